"""The display grid: axis-aligned, ordered (S, A, R), positive spacing.

napari slices oblique volumes wrongly, so every volume is shown on an axis-aligned
grid. A volume whose axes lie along the world axes is shown voxel for voxel; a tilted
or sheared one is resampled for the display alone, and the exact grid stays with the
layer for measuring and saving.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_normative.core.grid import resample
from napari_normative.volume import Affine, Volume

AXIS_LABELS = ("S", "A", "R")
TILT_TOLERANCE_VOXELS = 0.5
"""A volume is resampled when showing it untilted would misplace a corner by more."""
MAX_DISPLAY_VOXELS = 1 << 28

_REVERSE = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=np.float64)


@dataclass(frozen=True)
class DisplayGrid:
    """An axis-aligned grid; every triple is in the order superior, anterior, right.

    Attributes
    ----------
    shape : tuple of int
    spacing_mm : tuple of float
        Positive.
    origin_mm : tuple of float
        World position of voxel (0, 0, 0).
    exact : bool
        True when its voxels are those of the volume, so that nothing is interpolated.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    exact: bool

    @property
    def affine(self) -> Affine:
        """Index (s, a, r) to world mm in RAS+ order, shape (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = _REVERSE @ np.diag(self.spacing_mm)
        matrix[:3, 3] = self.origin_mm[::-1]
        return matrix


def _untilted(canonical: Volume) -> tuple[Affine, float]:
    """Return the nearest axis-aligned affine and what it misplaces, in voxels.

    The centre of the volume keeps its place, which halves the largest displacement.
    """
    spacing = np.array(canonical.spacing_mm)
    centre = (np.array(canonical.shape) - 1) / 2
    aligned = np.diag([*spacing, 1.0])
    aligned[:3, 3] = canonical.affine[:3, :3] @ centre + canonical.affine[:3, 3] - spacing * centre
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in canonical.shape], indexing="ij"))
    index = corners.reshape(3, -1).T
    shift = index @ (aligned - canonical.affine)[:3, :3].T + (aligned - canonical.affine)[:3, 3]
    return aligned, float(np.abs(shift / spacing).max())


def display_grid(volume: Volume) -> DisplayGrid:
    """Return the grid on which ``volume`` is shown.

    Parameters
    ----------
    volume : Volume
        Any orientation, tilt and shear.

    Returns
    -------
    DisplayGrid
        With ``exact`` the canonical voxels; otherwise the box around the volume with a
        spacing fine enough that one display voxel never skips a stored one.
    """
    canonical = volume.canonical()
    aligned, misplaced = _untilted(canonical)
    if misplaced <= TILT_TOLERANCE_VOXELS:
        i, j, k = canonical.shape
        x, y, z = (float(v) for v in aligned[:3, 3])
        dx, dy, dz = canonical.spacing_mm
        return DisplayGrid((k, j, i), (dz, dy, dx), (z, y, x), exact=True)

    corners = volume.corners_mm()
    low, high = corners.min(axis=0), corners.max(axis=0)
    # Stored voxels passed per mm along each world axis: rows stored axes, columns world axes.
    per_mm = np.abs(np.linalg.inv(canonical.affine[:3, :3]))
    spacing = np.minimum(1.0 / per_mm.max(axis=0), canonical.spacing_mm)
    count = np.prod((high - low) / spacing + 2)
    spacing = spacing * max(1.0, float(count / MAX_DISPLAY_VOXELS) ** (1 / 3))
    steps = np.ceil((high - low) / spacing - 1e-6).astype(int)
    # The surplus of whole steps is shared by both sides: the centre stays put.
    origin = (low + high) / 2 - spacing * steps / 2
    r, a, s = (int(n) + 1 for n in steps)
    dr, da, ds = (float(v) for v in spacing)
    x, y, z = (float(v) for v in origin)
    return DisplayGrid((s, a, r), (ds, da, dr), (z, y, x), exact=False)


def to_display(
    volume: Volume, grid: DisplayGrid, *, nearest: bool = False, outside: float = 0.0
) -> NDArray[np.float32]:
    """Return the values of ``volume`` on its display grid, shape ``grid.shape``.

    Parameters
    ----------
    volume : Volume
    grid : DisplayGrid
        Of this volume or of another on the same voxel grid.
    nearest : bool
        Nearest voxel instead of linear interpolation; for labels.
    outside : float
        Value where the volume has no voxel.
    """
    if grid.exact:
        if isinstance(volume.data, np.memmap):  # stays on disk: only axes are turned
            to_ras = nib.orientations.io_orientation(volume.affine)
            turned: NDArray[np.float32] = nib.orientations.apply_orientation(volume.data, to_ras)
            return turned.transpose(2, 1, 0)
        return volume.canonical().data.transpose(2, 1, 0)
    order: Literal[0, 1] = 0 if nearest else 1
    return resample(
        volume.data, volume.affine, grid.shape, grid.affine, order=order, outside=outside
    )


def from_display(array: NDArray[np.generic], grid: DisplayGrid, volume: Volume) -> Volume:
    """Return display values on the stored grid of ``volume``.

    An exact grid gives back every value; a resampled one is read at the nearest
    display voxel.

    Parameters
    ----------
    array : array, shape ``grid.shape``
    grid : DisplayGrid
    volume : Volume
        Gives the stored grid and the source facts; its values are not used.
    """
    values = np.asarray(array)
    if grid.exact:
        to_ras = nib.orientations.io_orientation(volume.affine)
        back = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt(("R", "A", "S")), to_ras
        )
        return volume.with_data(nib.orientations.apply_orientation(values.transpose(2, 1, 0), back))
    return volume.with_data(resample(values, grid.affine, volume.shape, volume.affine, order=0))
