"""Skull, scalp, face and neck around a template brain, for whole-head sample scans.

A drawing, not anatomy: shells at fixed distances of the brain, and a face and a neck of a
few ellipsoids. It is there so that a whole head can be run through the program.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.volume import FloatArray, Mask

STEP_MM = 2.0
LOW_MM = np.array([-104.0, -146.0, -130.0])
HIGH_MM = np.array([104.0, 126.0, 104.0])


@dataclass(frozen=True)
class HeadShape:
    """Distances that say which tissue a point outside the brain belongs to.

    Attributes
    ----------
    from_skull_mm : float32 array, on the 2 mm grid from ``LOW_MM`` to ``HIGH_MM``
        Distance outwards of the closed brain surface, 0 inside it.
    depth_mm : float32 array, same grid
        Depth below the skin; negative in the air.
    cavity_mm : float32 array, same grid
        Distance of the nearest air-filled space or eyeball; negative inside.
    """

    from_skull_mm: FloatArray
    depth_mm: FloatArray
    cavity_mm: FloatArray

    def paint(self, points_mm: FloatArray, texture: FloatArray) -> FloatArray:
        """Return T1 intensities (white matter is 1) at template positions outside the brain.

        Parameters
        ----------
        points_mm : float32 array, shape (3, N), template mm
        texture : float32 array, shape (N,)
            Smooth noise of unit standard deviation; makes muscle and marrow uneven.
        """
        index = (points_mm - LOW_MM.astype(np.float32)[:, None]) / np.float32(STEP_MM)

        def at(values: FloatArray) -> FloatArray:
            found: FloatArray = ndimage.map_coordinates(values, index, order=1, mode="nearest")
            return found

        out, depth, cavity = at(self.from_skull_mm), at(self.depth_mm), at(self.cavity_mm)
        out = out + 0.7 * texture  # bone is not equally thick everywhere
        muscle = 0.42 + 0.06 * texture
        fat = 0.95 + 0.08 * texture
        value = np.where(texture > 1.6, fat, muscle)  # fat planes between muscles
        value = np.where(depth < 5.5, fat, value)
        value = np.where(depth < 1.5, 0.5, value)  # skin
        value = np.where(cavity < 0, 0.06, value)
        # From the brain outwards: fluid, inner table, marrow, outer table.
        value = np.where(out < 8.5, 0.07, value)
        value = np.where((out > 4.0) & (out < 7.0), 0.5 + 0.12 * texture, value)
        value = np.where(out < 2.2, 0.22, value)
        value = np.where(depth < 0, 0.0, value)
        return np.clip(value, 0.0, 1.3).astype(np.float32)


def build_head_shape(brain: Mask, origin_mm: NDArray[np.float64]) -> HeadShape:
    """Build the distances from a brain mask.

    Parameters
    ----------
    brain : bool array, shape (I, J, K), 1 mm, RAS
    origin_mm : float array, shape (3,)
        World position of voxel 0.
    """
    axes = [
        np.arange(lo, hi + STEP_MM / 2, STEP_MM) for lo, hi in zip(LOW_MM, HIGH_MM, strict=True)
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    index = [np.round(axis - o).astype(int) for axis, o in zip(axes, origin_mm, strict=True)]
    known = [(i >= 0) & (i < n) for i, n in zip(index, brain.shape, strict=True)]
    small = np.zeros([axis.size for axis in axes], bool)
    small[np.ix_(*known)] = brain[np.ix_(*[i[k] for i, k in zip(index, known, strict=True)])]

    def outwards(mask: Mask) -> FloatArray:
        distance: FloatArray = ndimage.distance_transform_edt(~mask, sampling=STEP_MM)
        return distance.astype(np.float32)

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Mask:
        inside: Mask = (
            ((x - centre[0]) / radii[0]) ** 2
            + ((y - centre[1]) / radii[1]) ** 2
            + ((z - centre[2]) / radii[2]) ** 2
        ) < 1
        return inside

    # Closing by 14 mm: the skull follows the brain's outline, not its folds.
    closed = outwards(~(outwards(small) <= 14.0)) > 14.0
    from_skull = outwards(closed)
    neck = (((x / 52.0) ** 2 + ((y + 42.0) / 58.0) ** 2) < 1) & (z < -40.0)
    nose = ellipsoid((0.0, 98.0, -52.0), (13.0, 16.0, 22.0))
    face = ellipsoid((0.0, 42.0, -62.0), (62.0, 54.0, 66.0))
    solid = (from_skull <= 14.0) | face | neck | nose
    solid = ndimage.gaussian_filter(solid.astype(np.float32), 2.5) > 0.5

    hollow = ellipsoid((0.0, 58.0, -52.0), (11.0, 34.0, 20.0))  # nose
    hollow |= ellipsoid((0.0, 6.0, -86.0), (11.0, 8.0, 44.0))  # throat
    hollow |= ellipsoid((32.0, 62.0, -36.0), (12.5, 13.0, 12.5))  # eyes
    hollow |= ellipsoid((-32.0, 62.0, -36.0), (12.5, 13.0, 12.5))
    hollow |= ellipsoid((27.0, 60.0, -64.0), (11.0, 15.0, 14.0))  # jaw sinuses
    hollow |= ellipsoid((-27.0, 60.0, -64.0), (11.0, 15.0, 14.0))
    return HeadShape(
        from_skull_mm=from_skull,
        depth_mm=outwards(~solid) - outwards(solid),
        cavity_mm=outwards(hollow) - outwards(~hollow),
    )
