"""What may be passed as a scan: a file, a volume, an image of nibabel, an array."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from napari_normative.errors import GeometryMismatchError
from napari_normative.volume import Volume

ScanLike: TypeAlias = str | Path | Volume | SpatialImage | tuple[NDArray[Any], Any]
"""A path, a Volume, a nibabel image, or an array with its voxel-to-world affine."""


def as_volume(scan: ScanLike, *, volume: int | None = None) -> Volume:
    """Return a volume of a path, Volume, nibabel image or (array, affine)."""
    if isinstance(scan, Volume):
        return scan
    if isinstance(scan, str | Path):
        from napari_normative.io.nifti import read_volume

        return read_volume(scan, volume=volume)
    if isinstance(scan, tuple):
        return Volume.from_array(scan[0], scan[1])
    data = np.asanyarray(scan.dataobj)
    if data.ndim == 4 and volume is not None:
        data = data[..., volume]
    if data.ndim != 3:
        raise GeometryMismatchError(
            "GEO-002",
            f"the image has {data.ndim} dimensions, a volume has 3",
            "Choose one volume with volume=N, counted from 0.",
        )
    made = Volume.from_array(data, scan.affine)
    source = dataclasses.replace(made.source, header=scan.header)
    return dataclasses.replace(made, source=source)
