"""Tables of what readers answered, and the figures of agreement that are formulas on them.

A table holds pairs of answers to the same unit, answers by answers in the order of
``DECISIONS``. A *confusion* counts what a first reader said against what a second said. A
*coincidence* counts all pairs of answers that a unit has got, each unit divided by one less
than its answers. Tables add up over units, and formulas take any axes in front.

References
----------
.. [1] Cohen, Educ. Psychol. Meas. 20:37-46, 1960.
.. [2] Fleiss, Psychol. Bull. 76:378-382, 1971.
.. [3] Krippendorff, Content Analysis, 3rd ed., 2013, chapter 12.
.. [4] Byrt, Bishop & Carlin, J. Clin. Epidemiol. 46:423-429, 1993 (PABAK).
.. [5] Cicchetti & Feinstein, J. Clin. Epidemiol. 43:551-558, 1990 (positive and negative).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_normative.review.records import DECISIONS

Numbers = NDArray[np.float64]
UncertainAs = Literal["not accepted", "accepted", "left out"]

_SIDES: dict[UncertainAs, list[list[int]]] = {
    "not accepted": [[1, 0], [0, 1], [0, 1]],
    "accepted": [[1, 0], [0, 1], [1, 0]],
    "left out": [[1, 0], [0, 1], [0, 0]],
}
"""On which of two sides, accepted or not, each answer of ``DECISIONS`` is."""


def answers_given(values: Sequence[Sequence[str]], readers: int) -> Numbers:
    """Return 1 where a reader gave an answer to a unit, shape (units, readers, answers)."""
    said = np.array(values, dtype=object).reshape(len(values), readers)
    return np.stack([said == answer for answer in DECISIONS], axis=-1).astype(np.float64)


def confusions(first: Numbers, second: Numbers) -> Numbers:
    """Return the table of each unit for two readers, shape (units, answers, answers).

    Parameters
    ----------
    first, second : float array, shape (units, answers)
        1 for the answer given; all 0 where there is none, and then the table is 0.
    """
    return first[:, :, None] * second[:, None, :]


def coincidences(times: Numbers) -> Numbers:
    """Return the table of each unit for all its readers, shape (units, answers, answers).

    Parameters
    ----------
    times : float array, shape (units, answers)
        How often each answer was given. The table of a unit with one answer or none is 0.
    """
    pairs = times[:, :, None] * times[:, None, :] - times[:, :, None] * np.eye(times.shape[1])
    others = np.maximum(times.sum(axis=1) - 1, 1)
    return np.asarray(pairs / others[:, None, None])


def accepted_or_not(table: Numbers, uncertain: UncertainAs) -> Numbers:
    """Return tables of two sides, accepted and not, shape (..., 2, 2)."""
    sides = np.array(_SIDES[uncertain], dtype=np.float64)
    folded: Numbers = sides.T @ table @ sides
    return folded


def observed(table: Numbers) -> Numbers:
    """Return the share of pairs of answers that are equal."""
    return _ratio(_same(table), table.sum(axis=(-1, -2)))


def kappa(table: Numbers) -> Numbers:
    """Return the agreement beyond what the margins give by chance.

    Of confusions it is Cohen's [1]_; of coincidences of units with equally many answers it is
    Fleiss' [2]_. nan where all answers are one and the same.
    """
    n = table.sum(axis=(-1, -2))
    chance = _chance(table)
    return _ratio(n * _same(table) - chance, n * n - chance)


def mean_kappa(tables: Numbers) -> Numbers:
    """Return the mean of those kappas that there are, over the axis before the tables'."""
    each = kappa(tables)
    there = np.isfinite(each)
    return _ratio(np.where(there, each, 0.0).sum(axis=-1), there.sum(axis=-1))


def alpha(coincidence: Numbers) -> Numbers:
    """Return Krippendorff's alpha for nominal answers [3]_; nan where all are the same."""
    n = coincidence.sum(axis=(-1, -2))
    expected = n * n - _chance(coincidence)
    return 1 - _ratio((n - 1) * (n - _same(coincidence)), expected)


def pabak(table: Numbers) -> Numbers:
    """Return kappa as it were if all answers were equally frequent [4]_."""
    answers = table.shape[-1]
    return np.asarray((answers * observed(table) - 1) / (answers - 1))


def positive(sides: Numbers) -> Numbers:
    """Return the share of acceptances that the other reader shares [5]_; nan without any."""
    return _specific(sides, 0)


def negative(sides: Numbers) -> Numbers:
    """Return the share of non-acceptances that the other shares [5]_; nan without any."""
    return _specific(sides, 1)


def mean(sums: Numbers) -> Numbers:
    """Return the mean of sums of values (0) and of how many there are (1), last axis."""
    return _ratio(sums[..., 0], sums[..., 1])


def _specific(sides: Numbers, side: int) -> Numbers:
    given = sides.sum(axis=-1)[..., side] + sides.sum(axis=-2)[..., side]
    return _ratio(2 * sides[..., side, side], given)


def _same(table: Numbers) -> Numbers:
    return np.asarray(np.trace(table, axis1=-2, axis2=-1))


def _chance(table: Numbers) -> Numbers:
    return np.asarray((table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1))


def _ratio(above: Numbers, below: NDArray[np.generic]) -> Numbers:
    """Return ``above / below``, nan where ``below`` is 0."""
    result = np.full(np.shape(above), np.nan)
    return np.asarray(np.divide(above, below, out=result, where=np.asarray(below) != 0))
