"""Where the voxels lie: choose among a header's transforms and refuse those that cannot be."""

from __future__ import annotations

from typing import Literal

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from napari_normative.errors import VolumeFileError
from napari_normative.volume import Affine

Trust = Literal["sform", "qform"]

DISAGREEMENT_MM = 0.1
"""sform and qform are said to differ when a corner moves by more than this."""
FIELD_OF_VIEW_MM = (5.0, 2500.0)
"""The longest side of a volume lies between these, or the user is asked."""
SIZE_TOLERANCE = 0.01
"""Voxel sizes and sform are said to differ beyond this share."""

_FLATTEST = 1e-3  # volume of the voxel over the volume of a brick with the same edges
_LONGEST = 1e6  # longest edge of a voxel over its shortest
_FARTHEST_MM = 1e6
_SAME_SIDE = np.cos(np.radians(45))
_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}
_UNIT_NAMES = {1: "metres", 3: "micrometres"}


def unit_mm(header: nib.Nifti1Header) -> float:
    """Return how many mm one length unit of the header is (1 if unknown)."""
    return _UNITS.get(int(header["xyzt_units"]) & 7, 1.0)


def stored_transforms(header: nib.Nifti1Header) -> dict[Trust, Affine]:
    """Return the transforms of a NIfTI header that are given and usable, in mm.

    What is usable says :func:`is_usable`.
    """
    usable: dict[Trust, Affine] = {}
    scale = np.diag([unit_mm(header)] * 3 + [1.0])
    if int(header["sform_code"]) > 0:
        matrix = scale @ header.get_sform().astype(np.float64)
        if is_usable(matrix):
            usable["sform"] = matrix
    if int(header["qform_code"]) > 0 and (rigid := _qform(header)) is not None:
        matrix = scale @ rigid
        if is_usable(matrix):
            usable["qform"] = matrix
    return usable


def is_usable(matrix: Affine) -> bool:
    """Whether a voxel-to-world matrix in mm can be inverted without losing positions.

    It is finite, its voxels are neither flat nor needles, and all is within a kilometre.
    """
    if not np.isfinite(matrix).all():
        return False
    edges = np.linalg.norm(matrix[:3, :3], axis=0)
    volume = abs(np.linalg.det(matrix[:3, :3]))
    return bool(
        edges.min() >= 1e-6
        and edges.max() <= min(_FARTHEST_MM, _LONGEST * edges.min())
        and volume >= max(1e-9, _FLATTEST * float(np.prod(edges)))
        and np.abs(matrix[:3, 3]).max() <= _FARTHEST_MM
    )


def choose_affine(
    header: nib.spatialimages.SpatialHeader,
    shape: tuple[int, int, int],
    name: str,
    *,
    trust: Trust | None,
    any_size: bool,
) -> tuple[Affine, tuple[str, ...]]:
    """Return the voxel-to-world affine (RAS+, mm) and what was assumed or repaired.

    Parameters
    ----------
    header : NIfTI or MGH header
    shape : tuple of int
        Voxels along each axis.
    name : str
        File name for messages.
    trust : {"sform", "qform"} or None
        Which to take when they disagree about left and right.
    any_size : bool
        Accept a field of view that no body part has.

    Raises
    ------
    VolumeFileError
        If there is no usable transform, the two disagree about left and right and
        ``trust`` is None, or the field of view is unusual and not confirmed.
    """
    warnings: list[str] = []
    with np.errstate(all="ignore"):  # damaged numbers are judged below, not announced
        if isinstance(header, MGHHeader):
            affine = header.get_affine().astype(np.float64)
            if not is_usable(affine):
                raise _no_transform(name)
        else:
            affine, warnings = _choose_nifti(header, shape, name, trust)
    if not any_size:
        _ask_about_size(affine, shape, name)
    return affine, tuple(warnings)


def _choose_nifti(
    header: nib.Nifti1Header, shape: tuple[int, int, int], name: str, trust: Trust | None
) -> tuple[Affine, list[str]]:
    warnings = []
    unit = int(header["xyzt_units"]) & 7
    if unit in _UNIT_NAMES:
        warnings.append(f"Lengths are stored in {_UNIT_NAMES[unit]}; they were converted to mm.")
    elif unit not in _UNITS:
        warnings.append(f"The length unit (code {unit}) is unknown; millimetres were assumed.")
    found = stored_transforms(header)
    given = [t for t in ("sform", "qform") if int(header[f"{t}_code"]) > 0]
    if not given:
        warnings.append(
            "Orientation assumed: the file has neither sform nor qform; the first axis was "
            "taken to run to the left, the second to the front, the third up. "
            "Left and right may be swapped."
        )
        affine = assumed_transform(header, shape)
        if not is_usable(affine):
            raise _no_transform(name)
        return affine, warnings
    if not found:
        raise _no_transform(name)
    for kind in given:
        if kind not in found:
            other = next(iter(found))
            warnings.append(f"The {kind} is not usable; the {other} was used instead.")
    if len(found) == 2:
        gap = corner_gap_mm(found["sform"], found["qform"], shape)
        if swaps_sides(found["sform"], found["qform"]):
            if trust is None:
                raise VolumeFileError(
                    "NIF-022",
                    "sform and qform disagree about left and right",
                    "Find out which is right, then choose it: --trust sform or --trust qform.",
                    subject=name,
                )
            warnings.append(
                f"sform and qform disagree about left and right; the {trust} was used, as chosen."
            )
        elif gap > DISAGREEMENT_MM:
            warnings.append(
                f"sform and qform differ by up to {gap:.3g} mm; the {trust or 'sform'} was used."
            )
        chosen: Trust = trust or "sform"
    else:
        chosen = next(iter(found))
    if chosen == "sform":
        warnings.extend(_doubt_sizes(header))
    return found[chosen], warnings


def _doubt_sizes(header: nib.Nifti1Header) -> list[str]:
    """Say when the voxel sizes do not fit the sform: one of the two is damaged."""
    rank = min(int(header["dim"][0]), 3)
    sizes = header["pixdim"][1 : rank + 1].astype(np.float64)
    edges = np.linalg.norm(header.get_sform()[:3, :rank], axis=0)
    if (np.abs(sizes - edges) <= SIZE_TOLERANCE * edges).all():  # NaN fails too
        return []
    listed = [" × ".join(f"{n:.3g}" for n in numbers) for numbers in (sizes, edges)]
    return [
        f"The voxel sizes in the header ({listed[0]}) differ from those of the sform "
        f"({listed[1]}); the sform was used."
    ]


def corner_gap_mm(first: Affine, second: Affine, shape: tuple[int, int, int]) -> float:
    """Return the largest distance by which a corner voxel moves between two affines, mm."""
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    corners = np.vstack([ends, np.ones(ends.shape[1])])
    return float(np.linalg.norm(((first - second) @ corners)[:3], axis=0).max())


def swaps_sides(first: Affine, second: Affine) -> bool:
    """Whether two affines disagree about left and right.

    True when one is the mirror image of the other, or when their right-hand
    directions lie more than 45 degrees apart.
    """
    change: NDArray[np.float64] = first[:3, :3] @ np.linalg.inv(second[:3, :3])
    to_right = change[0] / np.linalg.norm(change[0])
    return bool(np.linalg.det(change) < 0 or to_right[0] < _SAME_SIDE)


def _qform(header: nib.Nifti1Header) -> Affine | None:
    plain = header.copy()
    # the standard: any negative value means -1, everything else 1
    plain["pixdim"][0] = -1.0 if plain["pixdim"][0] < 0 else 1.0
    if int(plain["dim"][0]) < 3:  # a picture has no third axis to size
        plain["pixdim"][3] = plain["pixdim"][3] if plain["pixdim"][3] > 0 else 1.0
    if not (plain["pixdim"][1:4] > 0).all():
        return None
    try:
        return np.asarray(plain.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return None


def assumed_transform(header: nib.Nifti1Header, shape: tuple[int, int, int]) -> Affine:
    """Return what is assumed without sform and qform, as nibabel does: LAS, centred, in mm."""
    sizes = header["pixdim"][1:4].astype(np.float64) * unit_mm(header)
    if int(header["dim"][0]) < 3 and not sizes[2] > 0:
        sizes[2] = 1.0
    if not (sizes > 0).all():  # NaN fails too
        return np.full((4, 4), np.nan)
    affine = np.diag([-sizes[0], sizes[1], sizes[2], 1.0])
    affine[:3, 3] = -(affine[:3, :3] @ ((np.array(shape) - 1) / 2))
    return affine


def _ask_about_size(affine: Affine, shape: tuple[int, int, int], name: str) -> None:
    sides = np.linalg.norm(affine[:3, :3], axis=0) * shape
    low, high = FIELD_OF_VIEW_MM
    if not low <= sides.max() <= high:
        size = " × ".join(f"{side:.4g}" for side in sides)
        raise VolumeFileError(
            "NIF-023",
            f"the field of view is {size} mm, which no body part has; the length unit may be wrong",
            "Correct the header, or confirm the size with --any-size (any_size=True).",
            subject=name,
        )


def _no_transform(name: str) -> VolumeFileError:
    return VolumeFileError(
        "NIF-021",
        "the header has no usable transform from voxels to millimetres "
        "(zero, not finite, flat or far away)",
        "Write the geometry anew from the scan it came from, for instance with fslcpgeom.",
        subject=name,
    )
