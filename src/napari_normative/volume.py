"""A volume: voxel values, where they lie in the world, and where they came from."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialHeader
from numpy.typing import NDArray

from napari_normative.errors import GeometryMismatchError

FloatArray = NDArray[np.float32]
Affine = NDArray[np.float64]
Mask = NDArray[np.bool_]

GRID_TOLERANCE_MM = 1e-3
"""Two grids are the same when no voxel centre differs by more than this."""


@dataclass(frozen=True)
class Source:
    """What is known of where a volume came from.

    Attributes
    ----------
    name : str
        Stem without ``.nii.gz`` and the like; names output folders and layers.
    path : Path or None
        None for arrays.
    digest : str
        SHA-256 of the file's bytes as stored, or of the array; hexadecimal.
    orientation : str
        Axis codes as stored, such as ``LAS``.
    warnings : tuple of str
        What was repaired or assumed while reading, in plain sentences.
    header : nibabel header or None
        The header as stored; kept so that results can be written back with the
        same grid, transforms and codes. Never copied whole into an export.
    is_label : bool
        True when the values are integer labels.
    """

    name: str = "array"
    path: Path | None = None
    digest: str = ""
    orientation: str = ""
    warnings: tuple[str, ...] = ()
    header: SpatialHeader | None = field(default=None, repr=False, compare=False)
    is_label: bool = False


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a grid.

    Attributes
    ----------
    data : float32 array, shape (I, J, K)
        Values in the order of axes as stored (labels: whole numbers).
    affine : float64 array, shape (4, 4)
        Voxel index to world mm, world axes right, anterior, superior (RAS+).
    source : Source

    Examples
    --------
    >>> made = Volume.from_array(np.ones((4, 5, 6)), np.diag([2.0, 2.0, 3.0, 1.0]), "ones")
    >>> made.shape, made.spacing_mm, made.orientation, made.voxel_ml
    ((4, 5, 6), (2.0, 2.0, 3.0), 'RAS', 0.012)
    >>> doubled = made.with_data(2 * made.data)
    >>> doubled.same_grid(made)
    True
    """

    data: FloatArray
    affine: Affine
    source: Source = field(default_factory=Source)

    @classmethod
    def from_array(cls, data: NDArray[np.generic], affine: Affine, name: str = "array") -> Volume:
        """Make a volume of a 3D array and its voxel-to-world (RAS+, mm) affine.

        Raises
        ------
        GeometryMismatchError
            If the array is not 3D or the affine is not an invertible 4x4 matrix.
        """
        array = np.ascontiguousarray(data, dtype=np.float32)
        matrix = np.array(affine, dtype=np.float64)
        if array.ndim != 3:
            raise GeometryMismatchError(
                "GEO-002",
                f"the array has {array.ndim} dimensions, a volume has 3",
                "Pass one volume, for instance array[..., 0] of a series.",
                subject=name,
            )
        if (
            matrix.shape != (4, 4)
            or not np.isfinite(matrix).all()
            or abs(np.linalg.det(matrix[:3, :3])) < 1e-9
            or not np.array_equal(matrix[3], (0.0, 0.0, 0.0, 1.0))
        ):
            raise GeometryMismatchError(
                "GEO-003",
                "the affine is not an invertible 4x4 voxel-to-world matrix",
                "Pass the scan's own affine, for instance image.affine of nibabel.",
                subject=name,
            )
        digest = hashlib.sha256(array.tobytes() + matrix.tobytes()).hexdigest()
        codes = "".join(str(c) for c in nib.aff2axcodes(matrix))
        return cls(array, matrix, Source(name=name, digest=digest, orientation=codes))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each stored axis."""
        i, j, k = self.data.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each stored axis, mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def orientation(self) -> str:
        """Axis codes of the stored axes, such as ``LAS``."""
        return "".join(str(c) for c in nib.aff2axcodes(self.affine))

    @property
    def tilt_deg(self) -> float:
        """Largest angle between a stored axis and its nearest world axis, degrees."""
        unit = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(np.degrees(np.arccos(np.clip(np.abs(unit).max(axis=0), 0, 1))).max())

    def with_data(self, data: NDArray[np.generic], *, is_label: bool | None = None) -> Volume:
        """Return other values on the same grid, keeping the source facts.

        Raises
        ------
        GeometryMismatchError
            If the shape differs.
        """
        if data.shape != self.data.shape:
            raise GeometryMismatchError(
                "GEO-001",
                f"shape {data.shape} does not fit the grid {self.data.shape}",
                "Resample one of them on purpose first.",
                subject=self.source.name,
            )
        source = self.source
        if is_label is not None:
            source = dataclasses.replace(source, is_label=is_label)
        return Volume(np.ascontiguousarray(data, dtype=np.float32), self.affine, source)

    def canonical(self) -> Volume:
        """Return the same volume with axes flipped and permuted to the nearest RAS order.

        No value is interpolated; world positions do not change.
        """
        to_ras = nib.orientations.io_orientation(self.affine)
        data = nib.orientations.apply_orientation(self.data, to_ras)
        affine = self.affine @ nib.orientations.inv_ornt_aff(to_ras, self.data.shape)
        return Volume(np.ascontiguousarray(data), affine, self.source)

    def corners_mm(self) -> NDArray[np.float64]:
        """World positions of the eight corner voxel centres, shape (8, 3), mm."""
        ends = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"))
        index = ends.reshape(3, -1).T
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]

    def same_grid(self, other: Volume, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
        """Whether every voxel centre of both lies at the same place in the world."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners_mm() - other.corners_mm()).max() <= tolerance_mm)


def require_same_grid(first: Volume, second: Volume) -> None:
    """Raise GeometryMismatchError unless both volumes share a grid."""
    if not first.same_grid(second):
        raise GeometryMismatchError(
            "GEO-001",
            f"the grids of {first.source.name} {first.shape} and "
            f"{second.source.name} {second.shape} differ",
            "Resample one of them on purpose first, for instance with nibabel.processing.",
        )
