"""World positions in words."""

from __future__ import annotations

from collections.abc import Iterable

_WORDS = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))


def describe_place(world_mm: Iterable[float]) -> str:
    """Return a world position in words, such as ``left 40, anterior 3, superior 12 mm``.

    Parameters
    ----------
    world_mm : three floats
        Right, anterior, superior (RAS+), mm.
    """
    parts = []
    for (negative, positive), mm in zip(_WORDS, world_mm, strict=True):
        whole = round(mm)
        parts.append(f"{positive if whole >= 0 else negative} {abs(whole)}")
    return ", ".join(parts) + " mm"
