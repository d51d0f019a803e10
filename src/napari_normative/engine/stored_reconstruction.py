"""A reconstruction on disk: what of it is not looked at stays there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from napari_normative.errors import VolumeFileError
from napari_normative.io.streamed import on_disk
from napari_normative.layers.looks import SIGNED
from napari_normative.layers.spec import (
    RECONSTRUCTION,
    RESIDUAL,
    LayerSpec,
    LayerTuple,
    origin_of,
    spec_of,
)
from napari_normative.volume import Affine, Source, Volume

MARKER = "reconstruction.json"
FILES = ("reconstruction.nii", "residual.nii")


@dataclass(frozen=True, eq=False)
class StoredReconstruction:
    """A pseudo-healthy reconstruction and its residual, on disk.

    Attributes
    ----------
    folder : Path
        Holds ``reconstruction.nii``, ``residual.nii`` and ``reconstruction.json``.
    reconstruction, residual : Volume
        On the scan's grid, in its units; 0 outside the foreground. Their values are memory maps.
    record : dict
        What made them, JSON-ready.
    """

    folder: Path
    reconstruction: Volume
    residual: Volume
    record: dict[str, Any]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the results must know."""
        return tuple(self.record["warnings"])

    def __reduce__(self) -> tuple[Callable[..., StoredReconstruction], tuple[Any, ...]]:
        """Arrive in another process by opening the files there: no voxel is sent."""
        made = self.reconstruction
        return _arrived, (self.folder, made.shape, made.affine, made.source, self.record)

    def to_layers(self) -> list[LayerTuple]:
        """Return the layer data tuples that napari takes; what is not looked at stays on disk.

        A tilted scan is the exception: it is resampled for the display, in memory.
        """
        return [layer.as_tuple() for layer in self.layers()]

    def layers(self) -> list[LayerSpec]:
        """Return the layers, bottom first: reconstruction and residual."""
        name, limits = self.reconstruction.source.name, self.record["shown_between"]
        common: dict[str, Any] = {
            "origin": origin_of(self.reconstruction), "provenance": self.record,
        }  # fmt: skip
        bound = limits["residual"]
        return [
            spec_of(
                [self.reconstruction], f"{name} · reconstruction", RECONSTRUCTION,
                colormap="gray", contrast_limits=tuple(limits["scan"]), **common,
            ),
            spec_of(
                [self.residual], f"{name} · residual", RESIDUAL, colormap=SIGNED,
                contrast_limits=(-bound, bound), blending="translucent_no_depth", **common,
            ),
        ]  # fmt: skip


def _arrived(
    folder: Path,
    shape: tuple[int, int, int],
    affine: Affine,
    source: Source,
    record: dict[str, Any],
) -> StoredReconstruction:
    grid = Volume(np.broadcast_to(np.float32(0), shape), affine, source)
    made, left = (on_disk(folder / name, grid) for name in FILES)
    return StoredReconstruction(folder, made, left, record)


def open_reconstruction(folder: str | Path) -> StoredReconstruction:
    """Open what :meth:`NormativeModel.reconstruct_to` or the command ``reconstruct`` wrote.

    Nothing but headers and the record is read; values are read where they are looked at.

    Parameters
    ----------
    folder : path
        Of one scan, with ``reconstruction.nii``, ``residual.nii`` and ``reconstruction.json``.

    Raises
    ------
    VolumeFileError
        ``NIF-028`` if that is not what it holds, or not whole.

    Examples
    --------
    >>> stored = model.reconstruct_to(scan, "large", device="cpu", force=True)
    >>> again = nn.open_reconstruction("large")
    >>> again.residual.same_grid(stored.residual)
    True
    """
    place = Path(folder)
    try:
        record = json.loads((place / MARKER).read_text(encoding="utf-8"))
        shape = tuple(int(n) for n in record["scan"]["shape"])
        made, left = (_mapped(place / name, shape, record, place.name) for name in FILES)
        limits = record["shown_between"]
        low, high, bound = *map(float, limits["scan"]), float(limits["residual"])
    except (OSError, ValueError, KeyError, TypeError, ImageFileError) as error:
        raise VolumeFileError(
            "NIF-028",
            f"it holds no whole stored reconstruction ({error})",
            "Choose the folder of one scan that `reconstruct` wrote, or reconstruct again.",
            subject=place.name,
        ) from error
    record["shown_between"] = {"scan": [low, high], "residual": bound}
    return StoredReconstruction(place, made, left, record)


def _mapped(path: Path, shape: tuple[int, ...], record: dict[str, Any], name: str) -> Volume:
    """Return the volume of a file; ValueError if it is not the whole of what was written."""
    image = nib.load(path)
    affine = np.asarray(image.affine, np.float64)
    source = Source(
        name, path, record["scan"]["sha256"], "".join(map(str, nib.aff2axcodes(affine))),
        tuple(record["warnings"]), image.header,
    )  # fmt: skip
    i, j, k = shape
    size = int(image.dataobj.offset) + 4 * i * j * k
    if image.shape != shape or path.stat().st_size != size:
        raise ValueError(f"{path.name} is cut short, or of another scan")
    return on_disk(path, Volume(np.broadcast_to(np.float32(0), (i, j, k)), affine, source))
