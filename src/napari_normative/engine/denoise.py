"""A scan with less noise: as much of the model as the scan itself shows that it deserves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_normative.core.denoise import mixture, noise_sd
from napari_normative.core.preprocess import own_foreground
from napari_normative.engine.infer import DeviceNote
from napari_normative.engine.made import MadeVolume, layer_of, record_of
from napari_normative.errors import GenerationError
from napari_normative.io.folders import whole_folder
from napari_normative.io.nifti import write_volume
from napari_normative.io.tables import json_bytes
from napari_normative.layers.spec import (
    DENOISED,
    REMOVED,
    LayerSpec,
    LayerTuple,
    signed_spec,
)
from napari_normative.volume import FloatArray, Mask, Volume

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import Cancel, Progress

MARKER = "denoise.json"
SEAM_MM = 3.0
"""SD by which the border of the model's region is softened."""

MEANING = (
    "Estimates of what was there without noise, not acquired values. Look at what was removed: "
    "anatomy in it was lost."
)


@dataclass(frozen=True, eq=False)
class Denoised:
    """A scan with its noise taken out.

    Attributes
    ----------
    denoised : MadeVolume
        The scan's grid and units; a constant background stays as it was.
    removed : Volume
        Scan minus ``denoised``.
    without_model : Volume
        The same, made of the scan alone.
    record : dict
        What made it, JSON-ready.
    """

    denoised: MadeVolume
    removed: Volume
    without_model: Volume
    record: dict[str, Any] = field(default_factory=dict)

    def layers(self) -> list[LayerSpec]:
        """Return the layers that show it, bottom first: the denoised scan, and what was removed."""
        shown = layer_of(self.denoised)
        removed = signed_spec(
            self.removed, f"{self.removed.source.name} · removed noise", REMOVED,
            origin=shown.facts.origin, provenance=self.record, visible=False,
        )  # fmt: skip
        return [shown, removed]

    def to_layers(self) -> list[LayerTuple]:
        """Return the layer data tuples (data, attributes, kind) that napari takes."""
        return [layer.as_tuple() for layer in self.layers()]

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``denoised``, ``removed``, ``without_model`` (``.nii.gz``) and ``denoise.json``.

        The folder appears whole or not at all.

        Raises
        ------
        OutputError
            When the folder holds other files, or cannot be written.
        """
        target = Path(folder)
        volumes = {
            "denoised": self.denoised,
            "removed": self.removed,
            "without_model": self.without_model,
        }
        with whole_folder(target, MARKER) as fresh:
            for name, volume in volumes.items():
                write_volume(fresh / f"{name}.nii.gz", volume, like=self.denoised.like)
            (fresh / MARKER).write_bytes(json_bytes(self.record))
        return [target / f"{name}.nii.gz" for name in volumes] + [target / MARKER]


def denoise(
    model: NormativeModel,
    scan: Volume,
    *,
    noise: float | None = None,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Denoised:
    """Take noise out of a scan; see :meth:`NormativeModel.denoise`.

    Parameters
    ----------
    model : NormativeModel
    scan : Volume
    noise : float, optional
        SD of the noise in the scan's units; measured unless given.
    device, force, progress, cancel
        As for :meth:`NormativeModel.detect`.

    Raises
    ------
    GenerationError
        ``GEN-013`` where there is no noise to take out.
    """
    own = own_foreground(scan)
    inside = np.ones(scan.shape, dtype=bool) if own is None else own
    sd = noise_sd(scan.data, inside) if noise is None else noise
    if not sd > 0:
        raise GenerationError(
            "GEN-013",
            "no noise was found in the scan, or none was given",
            "Give its standard deviation in the scan's units, such as --noise 12.5.",
            subject=scan.source.name,
        )
    found = model.detect(scan, device=device, force=force, progress=progress, cancel=cancel)
    box = ndimage.find_objects(inside.astype(np.int8))[0]
    image, brain = scan.data[box], found.mask[box]
    plain = mixture(image, sd, inside[box])
    guided = mixture(image, sd, brain, found.reconstruction.data[box])
    if plain is None or guided is None:
        raise GenerationError(
            "GEN-014",
            "the scan has too few voxels for its noise to be told from anatomy",
            "Denoise a scan with more voxels inside the model's region.",
            subject=scan.source.name,
        )
    weight = _soft(brain, scan.spacing_mm)
    mixed = np.where(brain, weight * guided.image, 0) + (1 - weight) * plain.image
    note = DeviceNote(found.provenance["device"], found.provenance["device_reason"])
    record = record_of(
        model, "denoising", note,
        scan={"sha256": scan.source.digest},
        noise_sd=float(f"{sd:.6g}"), noise_given=noise is not None,
        expected_rmse={
            "with_model": float(f"{guided.expected_rmse:.4g}"),
            "without_model": float(f"{plain.expected_rmse:.4g}"),
        },
        warnings=list(found.warnings), meaning=MEANING,
    )  # fmt: skip

    def whole(values: FloatArray) -> Volume:
        out = scan.data.astype(np.float32)
        out[box] = np.where(inside[box], values, out[box])
        return scan.with_data(out, is_label=False)

    made = whole(mixed)
    return Denoised(
        MadeVolume.of(made, f"{scan.source.name} · denoised", DENOISED, record, like=scan),
        scan.with_data(scan.data - made.data, is_label=False),
        whole(plain.image),
        record,
    )


def _soft(region: Mask, spacing_mm: tuple[float, float, float]) -> FloatArray:
    """Return weights that rise from 0 at a region's border to 1 inside."""
    blurred = ndimage.gaussian_filter(
        region.astype(np.float32), [SEAM_MM / step for step in spacing_mm]
    )
    weight: FloatArray = np.clip(2 * blurred - 1, 0, 1) * region
    return weight
