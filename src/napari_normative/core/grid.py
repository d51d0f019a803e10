"""Regular grids in the world, and resampling between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_normative.errors import GeometryMismatchError
from napari_normative.volume import Affine, FloatArray, Volume

_COINCIDE = 0.1
"""Share of a voxel by which centres that are meant to coincide may differ."""


@dataclass(frozen=True)
class Grid:
    """An axis-aligned grid of cubic voxels, axes in RAS order.

    Attributes
    ----------
    shape : tuple of 3 int
    spacing_mm : float
    origin_mm : tuple of 3 float
        World position of the centre of voxel (0, 0, 0).
    """

    shape: tuple[int, int, int]
    spacing_mm: float
    origin_mm: tuple[float, float, float]

    @property
    def affine(self) -> Affine:
        """Voxel index to world mm, shape (4, 4)."""
        matrix = np.diag([self.spacing_mm] * 3 + [1.0])
        matrix[:3, 3] = self.origin_mm
        return matrix

    def coarser(self, factor: int) -> Grid:
        """Return the grid whose voxels are blocks of ``factor``³ voxels of this one."""
        shift = self.spacing_mm * (factor - 1) / 2
        i, j, k = (n // factor for n in self.shape)
        x, y, z = (o + shift for o in self.origin_mm)
        return Grid((i, j, k), self.spacing_mm * factor, (x, y, z))

    @classmethod
    def covering(cls, volume: Volume, spacing_mm: float) -> Grid:
        """Return the smallest grid of that spacing that holds every voxel of ``volume``."""
        corners = volume.corners_mm()
        low, high = corners.min(axis=0), corners.max(axis=0)
        i, j, k = (int(np.ceil(d / spacing_mm)) + 1 for d in high - low)
        return cls((i, j, k), spacing_mm, (float(low[0]), float(low[1]), float(low[2])))


def antialias(data: FloatArray, spacing_mm: NDArray[np.float64], target_mm: float) -> FloatArray:
    """Blur so that sampling every ``target_mm`` does not alias; no blur along coarser axes.

    The width follows from variances: a box of the target less a box of the source.
    """
    variance_mm2 = np.maximum(target_mm**2 - spacing_mm**2, 0.0) / 12.0
    sigma = np.sqrt(variance_mm2) / spacing_mm
    if (sigma < 0.2).all():
        return data
    from scipy import ndimage  # a fifth of a second that a window should not wait for

    blurred: FloatArray = ndimage.gaussian_filter(data, sigma, truncate=3.0, mode="constant")
    return blurred


def resample(
    data: NDArray[np.generic],
    affine: Affine,
    shape: tuple[int, int, int],
    target_affine: Affine,
    *,
    order: Literal[0, 1, 3] = 1,
    outside: float = 0.0,
) -> FloatArray:
    """Sample ``data`` at the voxel centres of another grid.

    Works on indices alone, so that tilt and shear need no case of their own. SimpleITK
    does it several times faster than scipy with the same result.

    Parameters
    ----------
    data : array, shape (I, J, K)
    affine : array, shape (4, 4)
        Voxel index of ``data`` to world mm.
    shape : tuple of 3 int
        Shape of the result.
    target_affine : array, shape (4, 4)
        Voxel index of the result to the same world, mm.
    order : {0, 1, 3}
        Nearest, linear, cubic B-spline.
    outside : float
        Value beyond the field of view of ``data``.
    """
    import SimpleITK as sitk

    index = np.linalg.inv(affine) @ target_affine
    flip = np.eye(3)[::-1]  # SimpleITK counts indices from the fastest axis
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((flip @ index[:3, :3] @ flip).ravel().tolist())
    transform.SetTranslation((flip @ index[:3, 3]).tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in shape[::-1]])
    resampler.SetTransform(transform)
    kinds = {0: sitk.sitkNearestNeighbor, 1: sitk.sitkLinear, 3: sitk.sitkBSpline}
    resampler.SetInterpolator(kinds[order])
    resampler.SetDefaultPixelValue(outside)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data, dtype=np.float32))
    out: FloatArray = sitk.GetArrayFromImage(resampler.Execute(image))
    return out


def on_grid(volume: Volume, like: Volume) -> Volume:
    """Return the same voxels in the axis order and the box of another grid.

    Axes are flipped and permuted, and what only one of the grids covers is cropped or filled
    with 0; no value is interpolated.

    Parameters
    ----------
    volume : Volume
        Its voxel centres coincide with those of ``like`` where both cover the world, to a tenth
        of a voxel: ITK, on which other programs build, places some scans a few µm off.
    like : Volume

    Returns
    -------
    Volume
        On the grid of ``like``, with its source facts; labels stay labels.

    Raises
    ------
    GeometryMismatchError
        ``GEO-010`` if the voxel centres do not coincide, ``GEO-011`` if something other than 0
        lies outside ``like``.
    """
    change = np.linalg.inv(like.affine) @ volume.affine
    index = np.eye(4)
    index[:3] = np.rint(change[:3])
    turn = np.abs(index[:3, :3])
    is_turn = (turn.sum(axis=0) == 1).all() and (turn.sum(axis=1) == 1).all()
    slack_mm = _COINCIDE * min(like.spacing_mm)
    if not is_turn or not volume.same_grid(Volume(volume.data, like.affine @ index), slack_mm):
        raise GeometryMismatchError(
            "GEO-010",
            f"its voxels {volume.shape} do not coincide with those of {like.source.name}",
            "Use a file that was made on this very scan, or resample it on purpose first.",
            subject=volume.source.name,
        )
    axes = turn.argmax(axis=1)
    data = volume.data.transpose(axes)
    inner: list[slice] = []
    outer: list[slice] = []
    for axis, (size, room) in enumerate(zip(data.shape, like.shape, strict=True)):
        start = int(index[axis, 3])
        if index[axis, axes[axis]] < 0:
            data = np.flip(data, axis)
            start -= size - 1
        low = min(max(start, 0), room)
        high = max(min(start + size, room), low)
        outer.append(slice(low, high))
        inner.append(slice(low - start, high - start) if high > low else slice(0, 0))
    kept = data[tuple(inner)]
    if np.count_nonzero(kept) != np.count_nonzero(data):
        raise GeometryMismatchError(
            "GEO-011",
            f"it holds values outside {like.source.name}",
            "Cut it to the scan first, or use the scan it was made on.",
            subject=volume.source.name,
        )
    placed = np.zeros(like.shape, np.float32)
    placed[tuple(outer)] = kept
    return like.with_data(placed, is_label=volume.source.is_label)


def overlap(
    shape: tuple[int, int, int], to_other: Affine, other: tuple[int, int, int], margin: int
) -> tuple[slice, slice, slice]:
    """Return the index box of a grid that holds all it shares with another grid.

    Parameters
    ----------
    shape : tuple of 3 int
        Of the grid whose box is wanted.
    to_other : array, shape (4, 4)
        Its index to the other grid's index.
    other : tuple of 3 int
        Shape of the other grid.
    margin : int
        Voxels added on every side, as far as there are any.
    """
    ends = np.array(np.meshgrid(*[(-1, n) for n in other], indexing="ij")).reshape(3, -1)
    back = np.linalg.inv(to_other)
    index = back[:3, :3] @ ends + back[:3, 3:]
    low = np.clip(np.floor(index.min(axis=1)).astype(int) - margin, 0, shape)
    high = np.clip(np.ceil(index.max(axis=1)).astype(int) + margin + 1, low, shape)
    a, b, c = (slice(int(i), int(j)) for i, j in zip(low, high, strict=True))
    return a, b, c


def shifted(affine: Affine, box: tuple[slice, slice, slice]) -> Affine:
    """Return the affine of the part of a grid that begins at ``box``."""
    out = affine.copy()
    out[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    return out


def shrink(data: FloatArray, affine: Affine, target_mm: float) -> tuple[FloatArray, Affine]:
    """Average blocks of whole voxels up to ``target_mm`` wide: a fast, coarse antialias.

    Returns
    -------
    data : float32 array
    affine : array, shape (4, 4)
        Of the blocks' centres.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    blocks = np.maximum(1, np.minimum(np.floor(target_mm / spacing), data.shape)).astype(int)
    count = np.array(data.shape) // blocks
    cut = data[tuple(slice(0, n * b) for n, b in zip(count, blocks, strict=True))]
    (i, j, k), (p, q, r) = count, blocks
    mean: FloatArray = cut.reshape(i, p, j, q, k, r).mean(axis=(1, 3, 5), dtype=np.float32)
    to_fine = np.diag([*blocks, 1.0])
    to_fine[:3, 3] = (blocks - 1) / 2
    return mean, affine @ to_fine
