"""Regular grids in the world, and resampling between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.volume import Affine, FloatArray, Volume


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
    blurred: FloatArray = ndimage.gaussian_filter(data, sigma, truncate=3.0, mode="constant")
    return blurred


def resample(
    data: FloatArray,
    affine: Affine,
    shape: tuple[int, int, int],
    target_affine: Affine,
    *,
    order: int = 1,
) -> FloatArray:
    """Sample ``data`` at the voxel centres of another grid; 0 beyond the field of view.

    Parameters
    ----------
    data : float32 array, shape (I, J, K)
    affine : array, shape (4, 4)
        Voxel index of ``data`` to world mm.
    shape : tuple of 3 int
        Shape of the result.
    target_affine : array, shape (4, 4)
        Voxel index of the result to the same world, mm.
    order : int
        0 nearest, 1 linear, 3 cubic B-spline.
    """
    index = np.linalg.inv(affine) @ target_affine
    out: FloatArray = ndimage.affine_transform(
        data,
        index[:3, :3],
        index[:3, 3],
        output_shape=shape,
        output=np.float32,
        order=order,
        mode="constant",
        cval=0.0,
    )
    return out
