"""How columns of numbers go with a covariate: correlation, its interval, what chance would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from napari_normative.core.probe import Kind, kind_of

PERMUTATIONS = 2000
DRAWS = 1000
LEVEL = 0.95
ALPHA = 0.05
FEWEST = 10
"""People below whom nothing is said."""
FEWEST_OF_A_KIND = 3
"""People of a category below whom it is left out."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Covariate:
    """What is known of people beside their scans.

    Attributes
    ----------
    name : str
    kind : {"number", "category"}
    design : float64 array, shape (n, k)
        The numbers; or an indicator of each category but the first.
    classes : tuple of str
        Categories, sorted; empty for numbers.
    """

    name: str
    kind: Kind
    design: Numbers
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, cells: Sequence[str], kind: Kind | None = None) -> Covariate:
        """Return the values of people as numbers or categories.

        Parameters
        ----------
        name : str
        cells : sequence of str
            One a person; none is missing.
        kind : {"number", "category"}, optional
            By :func:`~napari_normative.core.probe.kind_of` unless given.
        """
        kind = kind or kind_of(cells)
        if kind == "number":
            return cls(name, kind, np.array([[float(cell)] for cell in cells]))
        classes = tuple(sorted(set(cells)))
        design = np.array([[float(cell == other) for other in classes[1:]] for cell in cells])
        return cls(name, kind, design, classes)

    @property
    def measure(self) -> str:
        """``r`` (of two categories point-biserial, higher in the second), or ``eta``."""
        return "r" if self.design.shape[1] == 1 else "eta"


@dataclass(frozen=True)
class Association:
    """How one column goes with a covariate.

    Attributes
    ----------
    n : int
        People.
    value, low, high : float
        Correlation (-1 to 1) or correlation ratio (0 to 1), with the 95 % bootstrap interval
        over people.
    spearman : float
        Of numbers; nan for categories.
    p : float
        Two-sided, by permutation of people.
    p_corrected : float
        Share of permutations in which any of the columns goes as well with the covariate.
    partial, partial_p_corrected : float
        The same within strata (sites); nan where there is one stratum or the covariate does
        not vary within them.
    """

    n: int
    value: float
    low: float
    high: float
    spearman: float
    p: float
    p_corrected: float
    partial: float
    partial_p_corrected: float


def associate(
    columns: NDArray[np.floating],
    covariate: Covariate,
    strata: NDArray[np.intp],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> list[Association]:
    """Return how each column goes with a covariate.

    Parameters
    ----------
    columns : float array, shape (n, D)
        A row a person.
    covariate : Covariate
        Of the same people.
    strata : int array, shape (n,)
        Sites, whose means are taken out for the partial figures.
    permutations, seed : int
        The correction is by the maximum over all columns [1]_, so that it knows how they hang
        together. For the partial figures people are exchanged within strata.

    References
    ----------
    .. [1] Westfall & Young, Resampling-based multiple testing, Wiley 1993.
    """
    random = np.random.default_rng(seed)
    wide = columns.astype(np.float64)
    found = _strength(wide, covariate.design)
    p, corrected = _by_chance(wide, covariate.design, permutations, random, np.zeros_like(strata))
    low, high = _interval(wide, covariate.design, random)
    spearman = np.full(wide.shape[1], np.nan)
    if covariate.kind == "number":
        spearman = _strength(rankdata(wide, axis=0), rankdata(covariate.design, axis=0))
    partial = partial_p = np.full(wide.shape[1], np.nan)
    within = _within(covariate.design, strata)
    if len(np.unique(strata)) > 1 and (np.abs(within) > 1e-9).any():
        columns_within = _within(wide, strata)
        partial = _strength(columns_within, within)
        _, partial_p = _by_chance(columns_within, within, permutations, random, strata)
    rows = zip(found, low, high, spearman, p, corrected, partial, partial_p, strict=True)
    return [Association(len(wide), *map(float, row)) for row in rows]


def _within(values: Numbers, strata: NDArray[np.intp]) -> Numbers:
    """Return values less the mean of their stratum."""
    left = values.copy()
    for stratum in np.unique(strata):
        left[strata == stratum] -= values[strata == stratum].mean(axis=0)
    return left


def _unit(values: Numbers) -> Numbers:
    """Return columns of mean 0 and length 1; 0 where a column does not vary."""
    centred = values - values.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    vary = length > 1e-12 * np.maximum(np.abs(values).max(axis=0), 1e-300)
    return np.where(vary, centred / np.where(vary, length, 1), 0)


def _frame(design: Numbers) -> Numbers:
    """Return an orthonormal frame of the centred design, shape (n, k) or fewer columns."""
    if design.shape[1] == 1:
        return _unit(design)
    left, size, _ = np.linalg.svd(design - design.mean(axis=0), full_matrices=False)
    return np.asarray(left[:, size > 1e-9 * max(float(size[0]), 1e-300)])


def _strength(columns: Numbers, design: Numbers) -> Numbers:
    """Return the correlation of each column; of a design of several columns the multiple one."""
    along = _frame(design).T @ _unit(columns)
    return np.asarray(along[0] if design.shape[1] == 1 else np.linalg.norm(along, axis=0))


def _by_chance(
    columns: Numbers,
    design: Numbers,
    count: int,
    random: np.random.Generator,
    strata: NDArray[np.intp],
) -> tuple[Numbers, Numbers]:
    """Return p of each column alone, and among all columns."""
    frame, unit = _frame(design), _unit(columns)
    found = np.linalg.norm(frame.T @ unit, axis=0) - 1e-12
    alone, among = np.ones(len(found)), np.ones(len(found))
    groups = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    order = np.arange(len(columns))
    for _ in range(count):
        for group in groups:
            order[group] = random.permutation(group)
        drawn = np.linalg.norm(frame[order].T @ unit, axis=0)
        alone += drawn >= found
        among += drawn.max() >= found
    return alone / (1 + count), among / (1 + count)


def _interval(
    columns: Numbers, design: Numbers, random: np.random.Generator
) -> tuple[Numbers, Numbers]:
    drawn = np.full((DRAWS, columns.shape[1]), np.nan)
    for draw in drawn:
        rows = random.integers(0, len(columns), len(columns))
        if (design[rows] != design[rows[0]]).any():
            draw[:] = _strength(columns[rows], design[rows])
    low, high = np.nanquantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    return low, high
