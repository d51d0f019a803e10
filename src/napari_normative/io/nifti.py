"""Volumes from NIfTI and MGH files, and back.

The rules by which a file is accepted, repaired with a warning, or refused stand in
``docs/formats.md``; each refusal is one :class:`~napari_normative.errors.VolumeFileError`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_normative.errors import VolumeFileError
from napari_normative.io.names import SUFFIXES, find_volumes, stem
from napari_normative.io.transforms import Trust
from napari_normative.io.volume_file import VolumeFile, masked
from napari_normative.io.writing import write_volume
from napari_normative.volume import FloatArray, Mask, Volume

__all__ = [
    "SUFFIXES",
    "Series",
    "find_volumes",
    "masked",
    "read_series",
    "read_volume",
    "read_with_gaps",
    "require_signal",
    "stem",
    "write_volume",
]


class Series(NamedTuple):
    """All volumes of a file on their common grid.

    Attributes
    ----------
    data : float32 array, shape (I, J, K, T)
    first : Volume
        Volume 0, a view into ``data``; it carries the affine and the source facts.
    """

    data: FloatArray
    first: Volume

    def volume(self, index: int) -> Volume:
        """Return one volume, a view into ``data``."""
        return Volume(self.data[..., index], self.first.affine, self.first.source)


def read_volume(
    path: str | Path,
    *,
    volume: int | None = None,
    trust: Trust | None = None,
    any_size: bool = False,
) -> Volume:
    """Read one 3D volume.

    Parameters
    ----------
    path : str or Path
        ``.nii``, ``.nii.gz``, either half of ``.hdr`` and ``.img``, ``.mgz`` or ``.mgh``.
    volume : int, optional
        Which volume of a 4D file, counted from 0. Needed when there are several:
        the first is never taken in silence.
    trust : {"sform", "qform"}, optional
        Which transform to use when the two disagree.
    any_size : bool, optional
        The user has confirmed a field of view below 5 or above 2500 mm.

    Returns
    -------
    Volume
        Data float32, shape (I, J, K), in the order of axes as stored (Fortran order
        in memory); affine in mm; what was repaired or assumed in ``source.warnings``.

    Raises
    ------
    VolumeFileError
        If the file is refused; its code names the reason.

    Examples
    --------
    >>> volume = read_volume("scan.nii.gz")
    >>> volume.shape, volume.spacing_mm, volume.orientation
    ((108, 92, 89), (2.0, 2.0, 2.0), 'PSR')
    """
    file = VolumeFile(Path(path))
    data, affine, source = file.load(file.which(volume), 1, trust=trust, any_size=any_size)
    return Volume(data[..., 0], affine, source)


def read_with_gaps(
    path: str | Path,
    *,
    volume: int | None = None,
    trust: Trust | None = None,
    any_size: bool = False,
) -> tuple[Volume, Mask]:
    """Read one 3D volume whose voxels may be missing in any number.

    Parameters and errors are those of :func:`read_volume`, without ``NIF-025``.

    Returns
    -------
    Volume
        With 0 where the file holds no finite number.
    bool array, shape (I, J, K)
        Where that was.
    """
    file = VolumeFile(Path(path))
    data, affine, source = file.load(
        file.which(volume), 1, trust=trust, any_size=any_size, keep_gaps=True
    )
    gaps = ~np.isfinite(data[..., 0])
    return Volume(np.where(gaps, 0, data[..., 0]).astype(np.float32), affine, source), gaps


def read_series(path: str | Path, *, trust: Trust | None = None, any_size: bool = False) -> Series:
    """Read all volumes of a 3D or 4D file.

    Parameters and errors are those of :func:`read_volume`.

    Returns
    -------
    Series
        ``data, first = read_series(path)``: float32 values, shape (I, J, K, T) with
        T = 1 for a 3D file, and volume 0 as a Volume.
    """
    file = VolumeFile(Path(path))
    data, affine, source = file.load(0, file.layout.shape[3], trust=trust, any_size=any_size)
    return Series(data, Volume(data[..., 0], affine, source))


def require_signal(volume: Volume) -> None:
    """Refuse a volume without contrast for scoring and training.

    Raises
    ------
    VolumeFileError
        If all voxels have the same value.
    """
    low, high = float(volume.data.min()), float(volume.data.max())
    if low == high:
        raise VolumeFileError(
            "NIF-026",
            f"every voxel has the same value ({low:g})",
            "Check how the file was exported.",
            consequence="It was neither scored nor used for training.",
            subject=volume.source.name,
        )
