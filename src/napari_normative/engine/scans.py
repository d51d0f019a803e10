"""What may be passed as a scan: a file, a volume, an image of nibabel, a layer, an array."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from napari_normative.errors import GeometryMismatchError
from napari_normative.io.names import stem
from napari_normative.io.nifti import masked, read_volume
from napari_normative.io.transforms import choose_affine
from napari_normative.layers.sources import snapshot, volume_of
from napari_normative.volume import Volume


@runtime_checkable
class LayerLike(Protocol):
    """What is asked of a napari layer."""

    name: str
    metadata: dict[str, Any]

    def data_to_world(self, position: Any) -> Any:
        """Return where an index lies, in the layer's units."""


ScanLike: TypeAlias = str | Path | Volume | SpatialImage | LayerLike | tuple[NDArray[Any], Any]
"""A path, a Volume, a nibabel image, a napari layer, or an array with its affine (RAS+, mm)."""


def as_volume(scan: ScanLike, *, volume: int | None = None) -> Volume:
    """Return the volume that was passed as a scan.

    Parameters
    ----------
    scan : path, Volume, nibabel image, napari layer, or (array, affine)
        What is given without a file is held to the same rules as a file. A layer that another
        reader or a script made has its axes in the order superior, anterior, right.
    volume : int, optional
        Which volume of a series, from 0; the first is never taken in silence.

    Raises
    ------
    NormativeError
        ``GEO-009`` for anything else; otherwise as for :func:`read_volume`.

    Examples
    --------
    >>> import numpy as np
    >>> as_volume((np.ones((2, 3, 4)), np.diag([1.0, 1.0, 2.0, 1.0]))).spacing_mm
    (1.0, 1.0, 2.0)
    """
    if isinstance(scan, Volume):
        return scan
    if isinstance(scan, str | Path):
        return read_volume(scan, volume=volume)
    if isinstance(scan, tuple) and len(scan) == 2:
        return _finite(Volume.from_array(_one(np.asarray(scan[0]), volume), scan[1]))
    if isinstance(scan, SpatialImage):
        return _of_image(scan, volume)
    if isinstance(scan, LayerLike):
        return _finite(volume_of(snapshot(scan), volume))
    raise GeometryMismatchError(
        "GEO-009",
        f"{type(scan).__name__} is no scan",
        "Pass a path, a Volume, a nibabel image, a napari layer, or (array, affine).",
    )


def name_of(scan: ScanLike) -> str:
    """Return what a scan is called in messages and names of folders, without its folder."""
    if isinstance(scan, str | Path):
        return stem(Path(scan))
    if isinstance(scan, Volume):
        return scan.source.name
    if isinstance(scan, SpatialImage):
        return stem(Path(found)) if (found := scan.get_filename()) else "image"
    return scan.name if isinstance(scan, LayerLike) else "array"


def _of_image(image: SpatialImage, volume: int | None) -> Volume:
    """Return the volume of a nibabel image; its affine is what nibabel took from the header."""
    name = name_of(image)
    data = _one(np.asanyarray(image.dataobj), volume, name)
    affine, header = image.affine, image.header
    warnings: tuple[str, ...] = ()
    is_nifti = isinstance(header, nib.Nifti1Header) and affine is not None
    if is_nifti and np.allclose(affine, header.get_best_affine()):
        # The image says what a file would say: where its transforms disagree, units differ or
        # nothing is known, the same is refused, converted or warned of.
        affine, warnings = choose_affine(header, data.shape, name, trust=None, any_size=False)
    made = Volume.from_array(data, affine, name)
    source = dataclasses.replace(made.source, header=header, warnings=warnings)
    return _finite(dataclasses.replace(made, source=source))


def _one(data: NDArray[Any], volume: int | None, name: str = "array") -> NDArray[Any]:
    """Return one 3D volume of an array whose further axes count volumes."""
    if data.dtype.kind not in "buif":
        raise GeometryMismatchError(
            "GEO-012",
            f"the voxels are {data.dtype}, not real numbers",
            "Pass one component, for instance its magnitude.",
            subject=name,
        )
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim == 4 and volume is not None and 0 <= volume < data.shape[3]:
        return data[..., volume]
    if data.ndim != 3:
        raise GeometryMismatchError(
            "GEO-002",
            f"it has {data.ndim} dimensions of sizes {data.shape}, a volume has 3",
            "Choose one volume of a series with volume=N, counted from 0.",
            subject=name,
        )
    return data


def _finite(made: Volume) -> Volume:
    """Return the volume with 0 where it held no finite number, and a warning that says so."""
    data, warnings = masked(made.data, made.source.name)
    if not warnings:
        return made
    source = dataclasses.replace(made.source, warnings=(*made.source.warnings, *warnings))
    return Volume(data, made.affine, source)
