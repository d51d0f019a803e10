"""The cohort as the anatomy level of the hierarchical form sees it, and what it makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.preprocess import Template
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.volume import FloatArray

if TYPE_CHECKING:
    from napari_normative.core.vae import VAE

FOLDER = "anatomy"
"""Of the level in the work folder: its checkpoints, its curves and the cohort in blocks."""


def in_blocks(
    prepared: PreparedCohort, preset: Preset, folder: Path, ranks: Ranks
) -> PreparedCohort:
    """Return a cohort on the grid of the anatomy level, kept in ``folder``.

    Parameters
    ----------
    prepared : PreparedCohort
    preset : Preset
        Of the anatomy level: :meth:`Preset.above`.
    folder : Path
    ranks : Ranks
        The first process writes, all read.
    """
    space = preset.preprocess
    factor = prepared.config.shape[0] // space.shape[0]
    everybody = range(len(prepared.people))
    images = _kept(
        folder / "images.npy", (len(everybody), *space.shape), ranks,
        (blocks_of(prepared.images[n], factor) for n in everybody),
    )  # fmt: skip
    image = blocks_of(prepared.template.image * prepared.template.mask, factor)
    place = {"shape": space.shape, "spacing_mm": space.spacing_mm, "origin_mm": space.origin_mm}
    return dataclasses.replace(
        prepared,
        images=images,
        masks=Foreground(images),
        config=prepared.config.model_copy(update=place),
        template=Template(image, image != 0),
    )


def anatomies(
    network: VAE, coarse: PreparedCohort, device: str, folder: Path, ranks: Ranks
) -> NDArray[np.float16]:
    """Return what the anatomy level makes of everybody, shape (n, i, j, k), kept in ``folder``."""
    import torch

    def made() -> Iterable[FloatArray]:
        there = network.to(device)
        for n in range(len(coarse.people)):
            x = torch.from_numpy(coarse.images[n].astype(np.float32)).to(device)
            with torch.inference_mode():
                yield there.reconstruct(x[None, None])[0, 0].float().cpu().numpy()
        network.cpu()

    shape = (len(coarse.people), *coarse.config.shape)
    return _kept(folder / "anatomies.npy", shape, ranks, made())


def blocks_of(image: NDArray[np.floating], factor: int) -> FloatArray:
    """Return the means (i, j, k) of an image in blocks; see :func:`block_means`."""
    import torch

    from napari_normative.core.two_levels import block_means

    x = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
    means: FloatArray = block_means(x[None, None], factor)[0, 0].numpy()
    return means


@dataclasses.dataclass(frozen=True, eq=False)
class Foreground:
    """The masks of images that are 0 outside of them, as rows.

    Attributes
    ----------
    images : float16 array, shape (n, I, J, K)
    """

    images: NDArray[np.float16]

    def __getitem__(self, which: Any, /) -> NDArray[np.bool_]:
        """Return one mask for an int, or several for a list."""
        inside: NDArray[np.bool_] = self.images[which] != 0
        return inside


def _kept(
    path: Path, shape: tuple[int, ...], ranks: Ranks, rows: Iterable[FloatArray]
) -> NDArray[np.float16]:
    """Write rows to a file, and return them as they lie there."""
    if ranks.first:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = np.lib.format.open_memmap(path, "w+", dtype=np.float16, shape=shape)
        for number, row in enumerate(rows):
            file[number] = row
        file.flush()
    ranks.gather(None)  # nobody reads before it is written
    kept: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return kept
