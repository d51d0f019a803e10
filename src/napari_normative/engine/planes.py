"""Slice planes of a volume in the world, in the order in which radiologists read them.

The patient's right is on the left of the picture. Pixels are square in mm, whatever the voxels
are, and lie along the world's axes, whatever the scan's tilt and order of axes are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.volume import FloatArray, Mask, Volume

MARGIN_MM = 12.0
"""Shown around what was scored."""

LEAST_MM = 20.0


@dataclass(frozen=True)
class View:
    """A direction to look from.

    Attributes
    ----------
    name : str
    normal, across, down : int
        World axes (0 right, 1 anterior, 2 superior): through the picture, along its rows, along
        its columns. World coordinates fall from left to right and from top to bottom.
    edges : str
        What lies at the left, right, top and bottom edge of the picture.
    """

    name: str
    normal: int
    across: int
    down: int
    edges: str


AXIAL = View("axial", 2, 0, 1, "RLAP")
CORONAL = View("coronal", 1, 0, 2, "RLSI")
SAGITTAL = View("sagittal", 0, 1, 2, "APSI")
VIEWS = (AXIAL, CORONAL, SAGITTAL)


@dataclass(frozen=True)
class Frame:
    """The box of the world that pictures show, and how finely.

    Attributes
    ----------
    low_mm, high_mm : tuple of 3 floats
        Right, anterior, superior.
    pixel_mm : float
    middle_mm : tuple of 3 floats
        Centroid of what was scored. Scans may have their origin anywhere, so that only from
        here left and right mean a side of the patient.
    """

    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]
    pixel_mm: float
    middle_mm: tuple[float, float, float]

    @classmethod
    def around(cls, scan: Volume, mask: Mask, longest_px: int) -> Frame:
        """Return the box about a mask; about the whole scan where the mask is empty.

        Parameters
        ----------
        scan : Volume
        mask : bool array, shape (I, J, K)
        longest_px : int
            Pixels along the longest edge.
        """
        ends = scan.corners_mm()
        field_low, field_high = ends.min(axis=0), ends.max(axis=0)
        # Every second millimetre is enough to find the edges.
        i, j, k = (max(1, round(2 / mm)) for mm in scan.spacing_mm)
        index = np.argwhere(mask[::i, ::j, ::k]) * (i, j, k)
        low, high, middle = field_low, field_high, ends.mean(axis=0)
        if index.size:
            points = index @ scan.affine[:3, :3].T + scan.affine[:3, 3]
            middle = points.mean(axis=0)
            low = np.maximum(points.min(axis=0) - MARGIN_MM, field_low)
            high = np.minimum(points.max(axis=0) + MARGIN_MM, field_high)
        short = np.maximum(LEAST_MM - (high - low), 0) / 2
        low, high = low - short, high + short
        pixel_mm = float((high - low).max()) / longest_px
        return cls(_three(low), _three(high), pixel_mm, _three(middle))

    def square(self) -> Frame:
        """Return the frame with its shorter horizontal side as long as the longer one.

        Pictures of all views are equally wide then.
        """
        low, high = np.array(self.low_mm), np.array(self.high_mm)
        grow = np.zeros(3)
        grow[:2] = ((high - low)[:2].max() - (high - low)[:2]) / 2
        return replace(self, low_mm=_three(low - grow), high_mm=_three(high + grow))

    def shape(self, view: View) -> tuple[int, int]:
        """Rows and columns of a view's picture."""
        rows, columns = (
            max(1, round((self.high_mm[axis] - self.low_mm[axis]) / self.pixel_mm))
            for axis in (view.down, view.across)
        )
        return rows, columns

    def pixel_of(self, view: View, place_mm: NDArray[np.float64]) -> tuple[float, float]:
        """Return row and column of a world position, pixel centres at whole numbers."""
        row, column = (
            (self.high_mm[axis] - float(place_mm[axis])) / self.pixel_mm - 0.5
            for axis in (view.down, view.across)
        )
        return row, column

    def plane(self, view: View, at_mm: float) -> NDArray[np.float64]:
        """Return the world positions of a picture's pixels, shape (rows, columns, 3), mm."""
        rows, columns = self.shape(view)
        points = np.empty((rows, columns, 3))
        points[..., view.normal] = at_mm
        points[..., view.down] = (
            self.high_mm[view.down] - (np.arange(rows)[:, None] + 0.5) * self.pixel_mm
        )
        points[..., view.across] = (
            self.high_mm[view.across] - (np.arange(columns) + 0.5) * self.pixel_mm
        )
        return points


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, c = values.tolist()
    return a, b, c


def sample(
    volume: Volume,
    points_mm: NDArray[np.float64],
    *,
    order: Literal[0, 1] = 1,
    outside: float = 0.0,
) -> FloatArray:
    """Return a volume's values at world positions.

    Parameters
    ----------
    volume : Volume
    points_mm : array, shape (..., 3)
    order : {0, 1}
        Nearest (labels) or linear.
    outside : float
        Value beyond the field of view.

    Returns
    -------
    float32 array, shape (...)
    """
    to_index = np.linalg.inv(volume.affine)
    index = np.moveaxis(points_mm @ to_index[:3, :3].T + to_index[:3, 3], -1, 0)
    values: FloatArray = ndimage.map_coordinates(
        volume.data, index, output=np.float32, order=order, cval=outside, prefilter=False
    )
    return values
