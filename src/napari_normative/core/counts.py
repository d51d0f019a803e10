"""Voxels counted by z: figures over any number of scans without holding their maps.

Counts of several scans add up, and curves and areas follow from the sums. z is rounded to
0.01, which moves the average precision of a scan by about 0.001 from what ``core.metrics`` gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_normative.volume import FloatArray, Mask

STEP = 0.01
REACH = 3000
"""Levels on each side of 0; |z| above 30 counts as 30."""

Direction = Literal["both", "darker", "brighter"]
Counts = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class VoxelCounts:
    """Histogram of the signed z of healthy and of lesion voxels.

    Attributes
    ----------
    healthy, lesion : int array, shape (2 REACH + 1,)
        Entry ``REACH + n`` counts z within half a step of ``n STEP``.
    """

    healthy: Counts
    lesion: Counts

    @classmethod
    def of(cls, z: FloatArray, truth: Mask) -> VoxelCounts:
        """Count voxels; arrays of any equal shape."""
        level = np.clip(np.rint(z / STEP), -REACH, REACH).astype(np.intp) + REACH
        size = 2 * REACH + 1
        every = np.bincount(level.ravel(), minlength=size)
        lesion = np.bincount(level[truth], minlength=size)
        return cls((every - lesion).astype(np.int32), lesion.astype(np.int32))

    @classmethod
    def total(cls, parts: Iterable[VoxelCounts]) -> VoxelCounts:
        """Return the sum over scans."""
        kept = list(parts)
        return cls(
            np.sum([p.healthy for p in kept], axis=0, dtype=np.int64),
            np.sum([p.lesion for p in kept], axis=0, dtype=np.int64),
        )

    @property
    def prevalence(self) -> float:
        """Share of lesion voxels; what an average precision is without skill."""
        lesion = int(self.lesion.sum())
        return lesion / max(lesion + int(self.healthy.sum()), 1)

    def above(self, direction: Direction = "both") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return lesion and healthy voxels at or above each level, strictest first."""
        return _above(self.lesion, direction), _above(self.healthy, direction)

    def curve(
        self, direction: Direction = "both"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return recall and precision, strictest threshold first."""
        hit, false = self.above(direction)
        recall = hit / max(int(hit[-1]), 1)
        precision = np.where(hit + false > 0, hit / np.maximum(hit + false, 1), 1.0)
        return recall, precision

    def average_precision(self, direction: Direction = "both") -> float:
        """Return the area under precision over recall, as steps; nan without lesion voxels."""
        if not self.lesion.any():
            return float("nan")
        recall, precision = self.curve(direction)
        return float(np.sum(np.diff(recall, prepend=0.0) * precision))

    def best_dice(self) -> tuple[float, float]:
        """Return the highest Dice over thresholds of |z|, and that threshold: an oracle."""
        if not self.lesion.any():
            return float("nan"), float("nan")
        hit, false = self.above()
        values = 2 * hit / (hit + false + hit[-1])
        best = int(values.argmax())
        return float(values[best]), (REACH - best) * STEP

    def dice_at(self, threshold_z: float) -> float:
        """Return the Dice of ``|z| > threshold_z``; nan without lesion voxels."""
        if not self.lesion.any():
            return float("nan")
        hit, false = self.above()
        level = min(int(np.floor(threshold_z / STEP + 1e-6)) + 1, REACH)
        n = REACH - level
        return float(2 * hit[n] / (hit[n] + false[n] + hit[-1]))

    def sensitivity_at(self, false_positive_rate: float) -> float:
        """Return the share of lesion voxels found while at most that share of others is."""
        hit, false = self.above()
        if not hit[-1] or not false[-1]:
            return float("nan")
        allowed = false <= false_positive_rate * false[-1]
        return float(hit[allowed].max(initial=0) / hit[-1])


def _above(counts: Counts, direction: Direction) -> NDArray[np.int64]:
    """Cumulate counts by evidence, most first: |z|, -z or z."""
    if direction == "darker":
        ordered = counts
    elif direction == "brighter":
        ordered = counts[::-1]
    else:
        ordered = counts[REACH:].copy()
        ordered[1:] += counts[:REACH][::-1]
        ordered = ordered[::-1]
    return np.cumsum(ordered, dtype=np.int64)
