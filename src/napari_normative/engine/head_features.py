"""What a head sees of each voxel: the frozen encoder's features, z and intensity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.residual import fit_contrast, smooth_inside
from napari_normative.engine.detection import InModelSpace
from napari_normative.engine.infer import on_device
from napari_normative.errors import SegmentationError
from napari_normative.volume import FloatArray, Mask

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel

SCALES_MM = (4.0, 8.0)
"""At which z is averaged."""

PLAIN = 3 + 2 * (1 + len(SCALES_MM))
"""Features that need no encoder: z and |z| as they are and averaged; scan, expected, residual."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VoxelFeatures:
    """Features of all voxels of a scan on the model's grid.

    Attributes
    ----------
    plain : float32 array, shape (PLAIN, I, J, K)
    levels : tuple of float32 arrays, shape (C, i, j, k)
        Of the encoder, finest first; each covers the same space with fewer voxels.
    """

    plain: FloatArray
    levels: tuple[FloatArray, ...]

    @property
    def count(self) -> int:
        """Number of features."""
        return len(self.plain) + sum(len(level) for level in self.levels)

    def at(self, voxels: NDArray[np.intp]) -> Numbers:
        """Return the features of voxels (n,), flat indices, shape (n, count)."""
        import torch
        from torch.nn import functional as F

        shape = self.plain.shape[1:]
        found = [self.plain.reshape(len(self.plain), -1)[:, voxels].T.astype(np.float64)]
        index = np.stack(np.unravel_index(voxels, shape), axis=-1)
        # As interpolation without aligned corners has it; grid_sample counts axes backwards.
        where = (2 * (index + 0.5) / np.array(shape) - 1)[:, ::-1].astype(np.float32)
        points = torch.from_numpy(where.copy()).reshape(1, len(voxels), 1, 1, 3)
        for level in self.levels:
            sampled = F.grid_sample(
                torch.from_numpy(level)[None], points, padding_mode="border", align_corners=False
            )
            found.append(sampled[0, :, :, 0, 0].T.double().numpy())
        return np.concatenate(found, axis=1)

    def linear(self, weights: Numbers, offset: float) -> FloatArray:
        """Return ``features @ weights + offset`` of every voxel, shape (I, J, K).

        The weights are applied before the coarse levels are enlarged: the result is the same,
        and memory is that of one map.
        """
        import torch
        from torch.nn import functional as F

        out = np.tensordot(weights[: len(self.plain)], self.plain, axes=1) + offset
        start = len(self.plain)
        for level in self.levels:
            own = np.tensordot(weights[start : start + len(level)], level, axes=1)
            start += len(level)
            size = self.plain.shape[1:]
            coarse = torch.from_numpy(own.astype(np.float32))[None, None]
            fine = F.interpolate(coarse, size=size, mode="trilinear", align_corners=False)
            out = out + fine[0, 0].numpy()
        return np.asarray(out, dtype=np.float32)


def voxel_features(model: NormativeModel, inside: InModelSpace, device: str) -> VoxelFeatures:
    """Return the features of a detection's voxels.

    Raises
    ------
    SegmentationError
        ``SEG-005`` when the model has no encoder of ours.
    """
    from napari_normative.core.vae import VAE

    require_encoder(model)
    image, mask, spacing = inside.prepared.image, inside.prepared.mask, _spacing(model)

    def work(name: str) -> tuple[FloatArray, ...]:
        import torch

        network = model.network(name)
        assert isinstance(network, VAE)
        with torch.inference_mode():
            x = torch.from_numpy(image).to(name)[None, None]
            return tuple(level[0].float().cpu().numpy() for level in network.features(x))

    levels, _ = on_device(work, model, device)
    return VoxelFeatures(_plain(image, inside.reconstruction, inside.z, mask, spacing), levels)


def require_encoder(model: NormativeModel) -> None:
    """Raise ``SEG-005`` unless the model is a VAE, whose encoder's features can be read."""
    if model.card.network.kind != "vae":
        raise SegmentationError(
            "SEG-005",
            f"the model's network ({model.card.network.kind}) has no encoder whose features "
            "could be read",
            "Choose a model that train made with a brain preset, such as brain-t1.",
            subject=model.card.name,
        )


def _plain(
    image: FloatArray, reconstruction: FloatArray, z: FloatArray, mask: Mask, spacing_mm: float
) -> FloatArray:
    fitted = fit_contrast(image, reconstruction, mask)
    smooth = [z, *(smooth_inside(z, mask, scale / spacing_mm) for scale in SCALES_MM)]
    signed = [each for one in smooth for each in (one, np.abs(one))]
    return np.stack([*signed, image, fitted, (image - fitted) * mask]).astype(np.float32)


def _spacing(model: NormativeModel) -> float:
    return model.card.preprocess.spacing_mm
