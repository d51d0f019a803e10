"""Scans with regions that a reader accepted and rejected, as material to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.volume import Mask, Volume

AROUND_MM = 12.0
"""How far from what was accepted its healthy surroundings reach."""

BARE_MM = 2.0
"""Nearer than this an edge is too uncertain to call a voxel healthy."""


@dataclass(frozen=True, eq=False)
class ReviewedScan:
    """A scan that was read to its end.

    Attributes
    ----------
    scan : Volume
    regions : Volume
        On the scan's grid: 0, or the number of a region.
    accepted : dict of int to bool
        By region: whether it was accepted, else it was rejected.
    person : str
        Equal for scans of one person.
    name : str
        What messages call the scan.
    """

    scan: Volume
    regions: Volume
    accepted: dict[int, bool]
    person: str
    name: str


def choose_voxels(
    regions: NDArray[np.integer],
    accepted: dict[int, bool],
    mask: Mask,
    spacing_mm: float,
    most: int,
    random: np.random.Generator,
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Draw voxels to learn from: of what was accepted, rejected, and around what was accepted.

    Parameters
    ----------
    regions : int array, shape (I, J, K)
    accepted : dict of int to bool
    mask : bool array, shape (I, J, K)
        Where voxels may be drawn.
    spacing_mm : float
    most : int
        Of lesion voxels; of rejected ones and of the surroundings half as many each.
    random : numpy Generator

    Returns
    -------
    voxels : int array, shape (n,)
        Flat.
    lesion : bool array, shape (n,)
    """
    yes = np.isin(regions, [label for label, said in accepted.items() if said])
    no = np.isin(regions, [label for label, said in accepted.items() if not said])
    around = np.zeros(yes.shape, dtype=bool)
    if yes.any():
        away = ndimage.distance_transform_edt(~yes) * spacing_mm
        around = (away > max(BARE_MM, spacing_mm)) & (away <= AROUND_MM) & ~no
    drawn, lesion = [], []
    for where, is_lesion, count in ((yes, True, most), (no, False, most), (around, False, most)):
        found = np.flatnonzero(where & mask)
        kept = random.permutation(found)[: count if is_lesion else max(1, count // 2)]
        drawn.append(kept)
        lesion.append(np.full(len(kept), is_lesion))
    return np.concatenate(drawn), np.concatenate(lesion)
