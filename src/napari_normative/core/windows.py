"""Overlapping windows over a volume of any size, with smooth weights that sum to one.

The weights of a window are a product of one profile per axis, and each profile is divided by
the sum of all profiles along its axis before anything is computed. So the weights of all windows
sum to one at every voxel, the outermost included, and a sum of weighted windows needs no second
array of weights and no division at the end: planes that no further window reaches are finished
and can be written to disk. ``monai.inferers.sliding_window_inference`` needs the whole sum and
the whole array of weights in memory, and offers no finished planes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Windows:
    """Where the windows of a volume begin.

    Attributes
    ----------
    shape : tuple of 3 int
        Of the volume.
    window : tuple of 3 int
        Of a window; never larger than the volume.
    starts : tuple of 3 tuples of int
        First voxels along each axis, rising; the windows are all their combinations.
    """

    shape: Triple
    window: Triple
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @classmethod
    def over(cls, shape: Triple, window: Triple, overlap: int, step: int = 1) -> Windows:
        """Cover a volume with windows that share at least ``overlap`` voxels.

        Parameters
        ----------
        shape : tuple of 3 int
        window : tuple of 3 int
            Cut to the volume where it is larger.
        overlap : int
            Voxels, along each axis.
        step : int
            Windows begin at multiples of it, but for the last of an axis, which ends with the
            volume; it divides overlap and window.

        Raises
        ------
        ValueError
            If the overlap leaves a window no voxel of its own, or the step divides it not.
        """
        if not 0 <= overlap < min(window) or overlap % step or any(n % step for n in window):
            raise ValueError(f"windows of {window} cannot overlap by {overlap} in steps of {step}")
        i, j, k = (min(n, w) for n, w in zip(shape, window, strict=True))
        a, b, c = (_starts(n, w, overlap) for n, w in zip(shape, window, strict=True))
        return cls(shape, (i, j, k), (a, b, c))

    def __len__(self) -> int:
        return math.prod(len(axis) for axis in self.starts)

    def __iter__(self) -> Iterator[Triple]:
        """Yield the first voxel of every window; the last axis moves fastest."""
        return itertools.product(*self.starts)

    def box(self, start: Triple) -> Box:
        """Return the window that begins at ``start``."""
        a, b, c = (slice(s, s + w) for s, w in zip(start, self.window, strict=True))
        return a, b, c

    def profile(self, axis: int, start: int) -> NDArray[np.float64]:
        """Return the weights along an axis of the windows that begin at ``start`` there."""
        size = self.window[axis]
        total = np.zeros(self.shape[axis])
        for other in self.starts[axis]:
            total[other : other + size] += _hann(size)
        weights: NDArray[np.float64] = _hann(size) / total[start : start + size]
        return weights

    def weight(self, start: Triple) -> NDArray[np.float64]:
        """Return the weights of a window, shape ``window``; over all windows they sum to one."""
        a, b, c = (self.profile(axis, s) for axis, s in enumerate(start))
        return a[:, None, None] * b[:, None] * c


def _starts(size: int, window: int, overlap: int) -> tuple[int, ...]:
    free = max(size - window, 0)
    return (*range(0, free, window - overlap), free)


def _hann(size: int) -> NDArray[np.float64]:
    """Return a Hann profile sampled between its zeros: positive at every voxel."""
    profile: NDArray[np.float64] = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    return profile
