"""Values with 95 % intervals when units come in images.

The candidates of one scan have its artefacts and its patient in common: they are no
independent draws, their scans are. So images are drawn with all their units [1]_.

References
----------
.. [1] Field & Welsh, J. R. Stat. Soc. B 69:369-390, 2007.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

LEVEL = 0.95

FEW_IMAGES = 20
"""With fewer images intervals are too narrow, which is said."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes
    ----------
    value, low, high : float
        nan where there is none.
    units, images : int
        How many it is made of.
    doubts : tuple of str
        What there is to say about the interval.
    """

    value: float
    low: float
    high: float
    units: int
    images: int
    doubts: tuple[str, ...] = ()


class ImageBootstrap:
    """Draws of images, the same for every figure.

    Parameters
    ----------
    images : sequence of str, length U
        Image of each unit.
    draws : int
    seed : int
    """

    def __init__(self, images: Sequence[str], draws: int, seed: int) -> None:
        names, self._image = np.unique(np.array(images, dtype=str), return_inverse=True)
        times = np.zeros((draws, len(names)), dtype=np.int64)
        if len(names):
            chances = np.full(len(names), 1 / len(names))
            times = np.random.default_rng(seed).multinomial(len(names), chances, size=draws)
        self._times = times.astype(np.float64)  # for a product of matrices

    def __call__(self, formula: Callable[[Numbers], Numbers], tables: Numbers) -> Estimate:
        """Return a formula on the sum of the units' tables.

        Parameters
        ----------
        formula : callable
            Of a table, with any axes in front; nan where it has no value.
        tables : float array, shape (U, ...)
            A unit whose table is 0 counts for nothing.
        """
        counted = tables.reshape(len(tables), math.prod(tables.shape[1:])).any(axis=1)
        units, images = int(counted.sum()), len(np.unique(self._image[counted]))
        value = float(formula(tables.sum(axis=0)))
        if math.isnan(value):
            return Estimate(value, math.nan, math.nan, units, images)
        if images < 2:
            return Estimate(value, math.nan, math.nan, units, images, ("one image: no interval",))
        by_image = np.zeros((self._times.shape[1], *tables.shape[1:]))
        np.add.at(by_image, self._image, tables)
        drawn = formula(np.tensordot(self._times, by_image, axes=1))
        known = drawn[np.isfinite(drawn)]
        if 2 * known.size <= drawn.size:
            why = "most draws have no value: no interval"
            return Estimate(value, math.nan, math.nan, units, images, (why,))
        low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        doubts = tuple(_doubts(float(high - low), images, drawn.size - known.size))
        return Estimate(value, float(low), float(high), units, images, doubts)


def _doubts(width: float, images: int, lost: int) -> Iterator[str]:
    if lost:
        yield f"{lost} draws have no value and are left out"
    if width < 1e-9:
        yield "all images say the same: the interval cannot tell how sure the value is"
    elif images < FEW_IMAGES:
        yield "few images: the interval is too narrow"
