"""Scans whose voxels stay on disk, read box by box, and results written plane by plane."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_normative.io.gzipped import GZIP_MAGIC, FileWindow, Window
from napari_normative.io.transforms import Trust
from napari_normative.io.volume_file import VolumeFile, repaired_share
from napari_normative.io.writing import nifti_start
from napari_normative.volume import Affine, FloatArray, Source, Volume

Box = tuple[slice, slice, slice]
SLAB_VOXELS = 1 << 21
"""A pass over a scan holds about so many voxels at a time."""


class Mapped:
    """An array in a file, first axis fastest, of which no more is mapped than is being read.

    A file that stayed mapped would count as memory of the process, at least as addresses.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[np.generic], shape: tuple[int, int, int], offset: int = 0
    ) -> None:
        self._file = path.open("rb")
        self._dtype, self._shape, self._offset = dtype, shape, offset

    def __getitem__(self, box: Box) -> NDArray[np.generic]:
        """Return a copy of the values in a box."""
        i, j, k = box
        rows, columns, slices = self._shape
        start, stop, _ = k.indices(slices)
        plane = rows * columns * self._dtype.itemsize
        begin = self._offset + start * plane
        lead = begin % mmap.ALLOCATIONGRANULARITY
        count = max(stop - start, 0)
        if count == 0:
            return np.empty((rows, columns, 0), self._dtype)[i, j]
        with mmap.mmap(
            self._file.fileno(), lead + count * plane, access=mmap.ACCESS_READ, offset=begin - lead
        ) as pages:
            planes: NDArray[np.generic] = np.ndarray(
                (rows, columns, count), self._dtype, buffer=pages, offset=lead, order="F"
            )
            values = planes[i, j].copy(order="K")
            del planes  # the pages can only be let go of when nothing points at them
        return values

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@dataclass(frozen=True, eq=False)
class Overview:
    """What a pass over a whole scan gives.

    Attributes
    ----------
    scan : Volume
        Means of blocks of voxels.
    background : float
        Median of the outermost voxels of the full scan.
    warnings : tuple of str
    """

    scan: Volume
    background: float
    warnings: tuple[str, ...]


class StreamedScan:
    """A scan that is read box by box.

    Attributes
    ----------
    shape : tuple of 3 int
    affine : float64 array, shape (4, 4)
    source : Source
    """

    def __init__(
        self,
        values: Mapped | FloatArray,
        shape: tuple[int, int, int],
        affine: Affine,
        source: Source,
        scale: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        self._values, self._scale = values, scale
        self.shape, self.affine, self.source = shape, affine, source

    @property
    def grid(self) -> Volume:
        """The scan's grid and source facts as a volume of zeros that takes no memory."""
        return Volume(np.broadcast_to(np.float32(0), self.shape), self.affine, self.source)

    def box(self, box: Box) -> FloatArray:
        """Return the intensities in a box; 0 for what is no finite number."""
        values = self._raw(box)
        values[~np.isfinite(values)] = 0
        return values

    def slabs(self) -> Iterator[Box]:
        """Yield the boxes of a pass along the last axis, which lies in the file in order."""
        i, j, k = self.shape
        planes = max(1, SLAB_VOXELS // (i * j))
        for first in range(0, k, planes):
            yield slice(0, i), slice(0, j), slice(first, min(k, first + planes))

    def overview(self, most: int) -> Overview:
        """Read the scan once; return it in as many voxels as ``most`` or fewer.

        Raises
        ------
        VolumeFileError
            ``NIF-025`` if too many values are no finite numbers.
        """
        block = 1
        while np.prod([n // block for n in self.shape]) > most:
            block += 1
        i, j, k = self.shape
        size = tuple(max(1, n // block) for n in self.shape)
        edge = [n // m for n, m in zip(self.shape, size, strict=True)]
        edge = [min(block, e) for e in edge]
        mean = np.zeros(size, np.float32, order="F")
        outer: list[NDArray[np.float32]] = []
        bad = 0
        step = max(1, SLAB_VOXELS // (i * j) // edge[2]) * edge[2]
        for first in range(0, k, step):
            last = min(k, first + step)
            slab = self._raw((slice(0, i), slice(0, j), slice(first, last)))
            finite = np.isfinite(slab)
            bad += slab.size - int(np.count_nonzero(finite))
            slab[~finite] = 0
            outer += [slab[[0, -1]].ravel(), slab[:, [0, -1]].ravel()]
            outer += [slab[..., -1].ravel()] * (last == k) + [slab[..., 0].ravel()] * (first == 0)
            a, b, c = (s * e for s, e in zip(size, edge, strict=True))
            part = slab[:a, :b, : max(0, min(last, c) - first)]
            n = part.shape[2] // edge[2]
            p, q, r = edge
            blocks = part[..., : n * r].reshape((p, size[0], q, size[1], r, n), order="F")
            mean[..., first // r : first // r + n] = blocks.mean(axis=(0, 2, 4), dtype=np.float32)
        to_full = np.diag([*edge, 1.0])
        to_full[:3, 3] = (np.array(edge) - 1) / 2
        warnings = (repaired_share(bad, i * j * k, self.source.name),) if bad else ()
        background = float(np.median(np.concatenate(outer)))
        return Overview(Volume(mean, self.affine @ to_full, self.source), background, warnings)

    def _raw(self, box: Box) -> FloatArray:
        """Return a copy of the intensities in a box as they are."""
        slope, intercept = self._scale
        values = self._values[box]
        with np.errstate(over="ignore", invalid="ignore"):
            if (slope, intercept) == (1.0, 0.0):
                return np.array(values, np.float32, order="F")
            return np.array(values.astype(np.float64) * slope + intercept, np.float32, order="F")


@contextlib.contextmanager
def opened(
    path: Path,
    scratch: Path,
    *,
    volume: int | None = None,
    trust: Trust | None = None,
    any_size: bool = False,
) -> Iterator[StreamedScan]:
    """Yield a scan of a file that is read in boxes; a compressed one is inflated once, to disk.

    The file is read to its end and checked first, as by
    :func:`napari_normative.io.nifti.read_volume`; parameters and errors are the same.

    Parameters
    ----------
    path : Path
    scratch : Path
        Folder for the inflated voxels.
    volume, trust, any_size
        As for :func:`napari_normative.io.nifti.read_volume`.
    """
    file = VolumeFile(path)
    layout = file.layout
    start = layout.offset + file.which(volume) * layout.volume_bytes
    inflated = scratch / "voxels"
    with file.voxel_path.open("rb") as handle:
        compressed = handle.read(2) == GZIP_MAGIC
    with inflated.open("wb") if compressed else contextlib.nullcontext() as out:

        def keep() -> Window:
            return (
                Window(0, 0) if out is None else FileWindow(start, start + layout.volume_bytes, out)
            )

        _, affine, source = file.pour(keep, trust=trust, any_size=any_size)
    i, j, k, _ = layout.shape
    place, offset = (inflated, 0) if compressed else (file.voxel_path, start)
    voxels = Mapped(place, layout.dtype, (i, j, k), offset)
    try:
        scale = (layout.slope, layout.intercept)
        yield StreamedScan(voxels, (i, j, k), affine, source, scale)
    finally:
        voxels.close()
        inflated.unlink(missing_ok=True)


class PlaneWriter:
    """An uncompressed NIfTI file of float32 values that grows along its last axis."""

    def __init__(self, handle: BinaryIO, grid: Volume) -> None:
        self._handle = handle
        handle.write(nifti_start(grid))

    def write(self, planes: FloatArray) -> None:
        """Append planes (I, J, n)."""
        self._handle.write(planes.astype("<f4", copy=False).tobytes(order="F"))


def on_disk(path: Path, grid: Volume) -> Volume:
    """Return the volume of a file that :class:`PlaneWriter` wrote; its values stay on disk."""
    offset = len(nifti_start(grid))
    data: FloatArray = np.memmap(path, "<f4", "r", offset, grid.shape, "F")
    return Volume(data, grid.affine, grid.source)
