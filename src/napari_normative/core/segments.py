"""Regions of a label volume with their meaning; what exports write and imports read."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_normative.volume import Volume

_GOLDEN = 0.61803398875


@dataclass(frozen=True)
class Segment:
    """One region.

    Attributes
    ----------
    value : int
        Its value in the labels; 1 or more.
    id : str
        Of the candidate.
    name : str
        Shown to people, such as ``finding 3``.
    decision : str
        ``accept``, ``reject``, ``uncertain``, or empty.
    label : str
        Word of the label set; empty without one.
    volume_ml : float
    centroid_mm : tuple of 3 float
        World (RAS+), mm.
    """

    value: int
    id: str
    name: str
    decision: str
    label: str
    volume_ml: float
    centroid_mm: tuple[float, float, float]

    @property
    def colour(self) -> tuple[int, int, int]:
        """Red, green, blue, 0 to 255: equal for equal values, far apart for neighbours."""
        r, g, b = colorsys.hsv_to_rgb((self.value * _GOLDEN) % 1.0, 0.75, 0.95)
        return round(255 * r), round(255 * g), round(255 * b)


def measure(mask: NDArray[np.bool_], volume: Volume) -> tuple[float, tuple[float, float, float]]:
    """Return volume (ml) and centroid (world RAS+, mm) of a mask on the grid of ``volume``.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    places = np.argwhere(mask)
    if not len(places):
        raise ValueError("an empty mask has no centroid")
    x, y, z = volume.affine[:3, :3] @ places.mean(axis=0) + volume.affine[:3, 3]
    return len(places) * volume.voxel_ml, (float(x), float(y), float(z))


def segments_of(labels: Volume, meanings: Sequence[Segment]) -> dict[int, Segment]:
    """Return the meanings by the values that occur in a label volume."""
    present = set(np.unique(labels.data).astype(int).tolist()) - {0}
    return {segment.value: segment for segment in meanings if segment.value in present}
