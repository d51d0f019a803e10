"""Where DICOM slices lie in the world, and when a grid is the same but for its axes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PLACE_TOLERANCE_MM = 0.01
"""Voxel centres of a series and of a scan made from it may differ by this.

Positions and directions with six decimals, as scanners write them, and dcm2niix, which counts in
single precision, lead to 0.0015 mm at most; five decimals to 0.0025 mm.
"""

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's world axes run left, posterior, superior."""


class Plane(NamedTuple):
    """Where a slice lies, in DICOM's world axes, mm.

    Attributes
    ----------
    position : float64 array, shape (3,)
        Of the first voxel.
    steps : float64 array, shape (3, 2)
        To the next column and to the next row.
    distance : float
        Between slices as the header has it; 0 if it has none.
    """

    position: NDArray[np.float64]
    steps: NDArray[np.float64]
    distance: float


def frames_of(image: Any) -> list[Plane]:
    """Return where the frames of a multi-frame image lie; pydicom's errors if it is not said."""
    names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    count = int(image.NumberOfFrames)
    if len(image.PerFrameFunctionalGroupsSequence) != count:
        raise ValueError("another number of frames")
    return [plane_of(*(functional_group(image, n, name) for name in names)) for n in range(count)]


def functional_group(image: Any, frame: int, name: str) -> Any:
    """Return what a multi-frame image says of a frame, or of all its frames."""
    own = image.PerFrameFunctionalGroupsSequence[frame]
    return (own if name in own else image.SharedFunctionalGroupsSequence[0])[name].value[0]


def plane_of(position: Any, orientation: Any, measures: Any) -> Plane:
    """Return where a slice lies by the parts of a header; pydicom's errors if it is not said."""
    cosines = np.array(orientation.ImageOrientationPatient, dtype=np.float64).reshape(2, 3).T
    between_rows, between_columns = (float(v) for v in measures.PixelSpacing)
    plane = Plane(
        np.array(position.ImagePositionPatient, dtype=np.float64).reshape(3),
        cosines * (between_columns, between_rows),
        abs(float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0)),
    )
    square = np.abs(cosines.T @ cosines - np.eye(2)).max()
    finite = all(np.isfinite(v).all() for v in plane)
    if not (finite and square < 1e-3 and min(between_rows, between_columns) > 0):
        raise ValueError("no pixel geometry")
    return plane


def signed_axes(matrix: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Return the signed axes that the columns of a matrix of voxel steps are near to, if any."""
    near = np.rint(matrix).astype(np.int64)
    one_each = (np.abs(near).sum(axis=0) == 1).all() and (np.abs(near).sum(axis=1) <= 1).all()
    return near if one_each and np.abs(matrix - near).max() < 0.01 else None
