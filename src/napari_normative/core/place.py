"""Places in words and in coordinates."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from napari_normative.volume import Affine, Mask

_WORDS = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))


def describe_place(from_middle_mm: Iterable[float]) -> str:
    """Return a place in words, such as ``left 40, anterior 3, superior 12 mm``.

    Parameters
    ----------
    from_middle_mm : three floats
        Right, anterior, superior (RAS+), mm from the middle of the body part: a scan may have
        its origin anywhere, so that only from there left and right mean a side of the patient.
    """
    parts = []
    for (negative, positive), mm in zip(_WORDS, from_middle_mm, strict=True):
        whole = round(mm)
        parts.append(f"{positive if whole >= 0 else negative} {abs(whole)}")
    return ", ".join(parts) + " mm"


def coordinates(world_mm: Iterable[float]) -> str:
    """Return a world position (RAS+, mm) as coordinates: ``R -40, A +3, S +12 mm``."""
    pairs = zip("RAS", world_mm, strict=True)
    return ", ".join(f"{axis} {round(mm):+d}" for axis, mm in pairs) + " mm"


def middle_of(mask: Mask, affine: Affine) -> tuple[float, float, float]:
    """Return the centroid of a mask, world mm (RAS+); the grid's middle when it is empty."""
    index = (np.array(mask.shape) - 1) / 2
    if mask.any():
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            weight = mask.sum(axis=others, dtype=np.int64)
            index[axis] = (weight * np.arange(weight.size)).sum() / weight.sum()
    x, y, z = affine[:3, :3] @ index + affine[:3, 3]
    return float(x), float(y), float(z)
