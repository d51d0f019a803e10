"""Figures of a probe: skill, calibration, intervals over people, permutations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.metrics import auroc, average_precision
from napari_normative.core.probe import (
    Features,
    Kind,
    Numbers,
    OutOfFold,
    Rows,
    Target,
    cross_validate,
    permuted,
)

FIGURES: dict[Kind, tuple[str, ...]] = {
    "category": ("auroc", "balanced_accuracy", "accuracy", "ap", "brier"),
    "number": ("r2", "mae", "rmse", "correlation", "calibration_slope", "calibration_intercept"),
}
"""By kind of target; the first is the one that is tested and compared."""

DRAWS = 1000
BINS = 5
LEVEL = 0.95


@dataclass(frozen=True)
class Figure:
    """One figure of one set of features.

    Attributes
    ----------
    features, figure : str
    against : str
        Other features that were subtracted, within the same people; empty for the figure itself.
    value, low, high : float
        With the 95 % bootstrap interval over people; nan where there is none.
    """

    features: str
    figure: str
    against: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Reliability:
    """What was predicted, beside what was found, in bins of about equally many scans.

    Attributes
    ----------
    name : str
        The class; empty for numbers.
    predicted, found : float64 array, shape (B,)
        Means in each bin: probability and share, or two numbers.
    scans : int array, shape (B,)
    """

    name: str
    predicted: Numbers
    found: Numbers
    scans: Rows


def positive_class(target: Target) -> int:
    """Return which of two classes is the rarer; its average precision is given."""
    return int(np.bincount(target.values.astype(int), minlength=len(target.classes)).argmin())


def figures_of(target: Target, made: OutOfFold, rows: Rows | None = None) -> dict[str, float]:
    """Return the figures of predictions, each scan counted once.

    ``auroc`` and ``ap`` are means over classes, each against the others; of two classes
    ``ap`` is that of the rarer. ``brier`` is the mean squared difference of probability and
    truth, summed over classes (of two classes: of one). ``r2`` is the share of the variance
    about the mean of all; negative where the mean predicts better. ``calibration_slope`` and
    ``calibration_intercept`` are those of the truth on the prediction: 1 and 0 are right.

    Parameters
    ----------
    target : Target
    made : OutOfFold
    rows : int array, optional
        Which scans; some may occur often, as in a bootstrap draw.
    """
    chosen = np.arange(len(target.values)) if rows is None else rows
    truth, outputs = target.values[chosen], made.outputs[chosen]
    decided = made.decided[chosen]
    if target.kind == "number":
        return _of_numbers(truth, outputs)
    size = len(target.classes)
    is_class = truth[:, None] == np.arange(size)
    nan = float("nan")
    if not is_class.any(axis=0).all() or is_class.all(axis=0).any():
        return dict.fromkeys(FIGURES["category"], nan)
    right = decided == truth
    areas = [auroc(outputs[~is_class[:, k], k], outputs[is_class[:, k], k]) for k in range(size)]
    asked = [positive_class(target)] if size == 2 else list(range(size))
    precisions = [average_precision(outputs[:, k], is_class[:, k]) for k in asked]
    return {
        "auroc": float(np.mean(areas)),
        "balanced_accuracy": float(np.mean([right[is_class[:, k]].mean() for k in range(size)])),
        "accuracy": float(right.mean()),
        "ap": float(np.mean(precisions)),
        "brier": float(((outputs - is_class) ** 2).sum(axis=1).mean() / (2 if size == 2 else 1)),
    }


def with_intervals(
    target: Target, made: Mapping[str, OutOfFold], *, draws: int = DRAWS, seed: int = 0
) -> list[Figure]:
    """Return all figures with bootstrap intervals, and the first features less each other's.

    Every draw takes people with replacement, the same for all features.

    Parameters
    ----------
    target : Target
    made : mapping of name to OutOfFold
        The first is compared with the others by the first figure of :data:`FIGURES`.
    draws, seed : int
    """
    random = np.random.default_rng(seed)
    who, index = np.unique(target.people, return_inverse=True)
    rows = [np.flatnonzero(index == p) for p in range(len(who))]
    names = FIGURES[target.kind]
    drawn = {name: np.full((draws, len(names)), np.nan) for name in made}
    for draw in range(draws):
        chosen = np.concatenate([rows[p] for p in random.integers(0, len(who), len(who))])
        for name, out in made.items():
            found = figures_of(target, out, chosen)
            drawn[name][draw] = [found[figure] for figure in names]
    values = {name: figures_of(target, out) for name, out in made.items()}
    result = [
        Figure(name, figure, "", values[name][figure], *_interval(drawn[name][:, n]))
        for name in made
        for n, figure in enumerate(names)
    ]
    first, *others = made
    main = names[0]
    for other in others:
        difference = values[first][main] - values[other][main]
        span = _interval(drawn[first][:, 0] - drawn[other][:, 0])
        result.append(Figure(first, main, other, difference, *span))
    return result


def permutation_values(
    features: Features,
    target: Target,
    count: int,
    *,
    folds: int,
    seed: int = 0,
    tick: Callable[[int], None] = lambda done: None,
) -> Numbers:
    """Return the first figure of :data:`FIGURES` with values exchanged among people, (count,).

    Everything is done again for each: folds, penalties, fits.
    """
    random = np.random.default_rng(seed)
    main = FIGURES[target.kind][0]
    found = np.zeros(count)
    for n in range(count):
        tick(n)
        other = permuted(target, random)
        found[n] = figures_of(other, cross_validate(features, other, folds=folds, seed=seed))[main]
    return found


def permutation_p(permutations: Numbers, value: float) -> float:
    """Return ``(1 + #{permutations >= value}) / (1 + B)``; nan without permutations."""
    if not len(permutations):
        return float("nan")
    return float((1 + int((permutations >= value).sum())) / (1 + len(permutations)))


def reliability(target: Target, made: OutOfFold) -> list[Reliability]:
    """Return what was predicted beside what was found.

    For two classes of the rarer, for more of each; for numbers of the number.
    """
    if target.kind == "number":
        return [_bins("", made.outputs, target.values)]
    size = len(target.classes)
    asked = [positive_class(target)] if size == 2 else range(size)
    return [
        _bins(target.classes[k], made.outputs[:, k], (target.values == k).astype(float))
        for k in asked
    ]


def _of_numbers(truth: Numbers, predicted: Numbers) -> dict[str, float]:
    error = predicted - truth
    spread = float(((truth - truth.mean()) ** 2).sum())
    varies = float(predicted.std()) > 1e-9 * max(float(np.abs(predicted).max()), 1e-300)
    slope = intercept = together = float("nan")
    if varies and spread > 0:
        slope, intercept = (float(v) for v in np.polyfit(predicted, truth, 1))
        together = float(np.corrcoef(predicted, truth)[0, 1])
    return {
        "r2": 1 - float((error**2).sum()) / spread if spread > 0 else float("nan"),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "correlation": together,
        "calibration_slope": slope,
        "calibration_intercept": intercept,
    }


def _bins(name: str, predicted: Numbers, found: Numbers) -> Reliability:
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return Reliability(
        name,
        np.array([predicted[part].mean() for part in parts]),
        np.array([found[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )


def _interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    good = drawn[np.isfinite(drawn)]
    if not len(good):
        return float("nan"), float("nan")
    low, high = np.quantile(good, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)
