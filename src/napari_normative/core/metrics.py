"""How well anomalies are found: voxels, lesions, people, frequencies, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.core.calibration import TAIL
from napari_normative.core.candidates import components
from napari_normative.volume import FloatArray, Mask

Numbers = NDArray[np.floating]

THRESHOLDS: NDArray[np.float64] = np.arange(2.0, 12.01, 0.25)
"""``|z|`` at which lesion detection is judged."""

COVERED = 0.1
"""Share of a lesion that candidates must cover, and of a candidate that truth must fill."""

MOST_FALSE = 50
"""False candidates in one scan beyond which no lower threshold is looked at."""


@dataclass(frozen=True, eq=False)
class _Curve:
    """Counts at every distinct score, from the highest down."""

    thresholds: NDArray[np.float64]
    hits: NDArray[np.float64]
    false: NDArray[np.float64]

    @property
    def positives(self) -> float:
        return float(self.hits[-1])

    @property
    def negatives(self) -> float:
        return float(self.false[-1])


def _curve(score: Numbers, truth: Mask) -> _Curve:
    values = np.asarray(score, dtype=np.float64).ravel()
    positive = np.asarray(truth, dtype=bool).ravel()
    order = np.argsort(-values, kind="stable")
    values, positive = values[order], positive[order]
    # Voxels of equal score are told apart by no threshold: they count together.
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    hits = np.cumsum(positive, dtype=np.float64)[last]
    return _Curve(values[last], hits, last + 1.0 - hits)


def average_precision(score: Numbers, truth: Mask) -> float:
    """Return the average precision, ``sum (R_n - R_{n-1}) P_n`` over distinct scores.

    Parameters
    ----------
    score : array
        Larger is more anomalous; finite.
    truth : bool array, same shape

    Returns
    -------
    float
        The prevalence for a score that says nothing; nan without positives.

    References
    ----------
    .. [1] The definition of scikit-learn's ``average_precision_score``.
    """
    if not np.any(truth):
        return float("nan")
    curve = _curve(score, truth)
    recall = np.diff(curve.hits, prepend=0) / curve.positives
    return float((recall * curve.hits / (curve.hits + curve.false)).sum())


def dice(first: Mask, second: Mask) -> float:
    """Return Dice's coefficient of two masks; nan when both are empty."""
    total = int(first.sum()) + int(second.sum())
    return float(2 * int((first & second).sum()) / total) if total else float("nan")


def best_dice(score: Numbers, truth: Mask) -> tuple[float, float]:
    """Return the highest Dice over all thresholds, and the threshold (``score >= t``).

    An oracle: the threshold is chosen with the truth in hand. Say so wherever it is shown.
    (nan, nan) without positives.
    """
    if not np.any(truth):
        return float("nan"), float("nan")
    curve = _curve(score, truth)
    values = 2 * curve.hits / (curve.hits + curve.false + curve.positives)
    best = int(values.argmax())
    return float(values[best]), float(curve.thresholds[best])


def sensitivity_at(score: Numbers, truth: Mask, false_positive_rate: float) -> float:
    """Return the share of positives found while at most that share of negatives is marked.

    nan without positives or without negatives.
    """
    curve = _curve(score, truth)
    if not curve.positives or not curve.negatives:
        return float("nan")
    allowed = curve.false <= false_positive_rate * curve.negatives
    return float(curve.hits[allowed].max(initial=0.0) / curve.positives)


def auroc(healthy: Numbers | Sequence[float], patients: Numbers | Sequence[float]) -> float:
    """Return the probability that a patient scores above a healthy person; ties count half.

    nan when either group is empty.
    """
    low, high = np.asarray(healthy, dtype=float), np.asarray(patients, dtype=float)
    if not low.size or not high.size:
        return float("nan")
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, side="left")
    not_above = np.searchsorted(ordered, high, side="right")
    return float((below + not_above).mean() / (2 * low.size))


def realised_rates(
    z_maps: Sequence[FloatArray], nominal: Sequence[float], tail: Numbers
) -> NDArray[np.float64]:
    """Return the share of healthy voxels beyond each nominal rate's level, per person.

    Parameters
    ----------
    z_maps : sequence of float32 array
        z of healthy people; 0 where nothing was scored.
    nominal : sequence of float
        Rates such as 0.05 and 0.01, in ``calibration.TAIL``'s range.
    tail : float array
        ``Calibration.z_tail``.

    Returns
    -------
    float array, shape (people, rates)
        nan for a person without scored voxels.
    """
    levels = np.interp(np.log(nominal), np.log(TAIL[::-1]), np.asarray(tail)[::-1])
    rates = np.full((len(z_maps), len(levels)), np.nan)
    for row, z in zip(rates, z_maps, strict=True):
        scored = np.sort(np.abs(z[z != 0]))
        if scored.size:
            row[:] = 1 - np.searchsorted(scored, levels, side="left") / scored.size
    return rates


@dataclass(frozen=True, eq=False)
class FrocScan:
    """Lesion detection in one scan at each of ``thresholds``.

    Attributes
    ----------
    thresholds : float array, shape (T,)
        ``|z|``, ascending.
    false : float array, shape (T,)
        False candidates; infinite where there would be more than ``MOST_FALSE``.
    hit : bool array, shape (T, L)
        Which lesions were found.
    lesion_ml : float array, shape (L,)
    """

    thresholds: NDArray[np.float64]
    false: NDArray[np.float64]
    hit: NDArray[np.bool_]
    lesion_ml: NDArray[np.float64]


def froc_scan(
    z: FloatArray,
    truth: Mask,
    minimum_ml: float,
    voxel_ml: float,
    thresholds: NDArray[np.float64] = THRESHOLDS,
) -> FrocScan:
    """Count found lesions and false candidates of one scan at each threshold.

    A lesion is a connected part of the truth of at least ``minimum_ml``. A candidate counts
    for the truth when at least 10 % of it lies in the truth or its one-voxel rim, else it
    is false: a candidate that floods the brain must not pass as a hit because a lesion lies
    somewhere in it. A lesion is found when such candidates cover at least 10 % of it, the
    limit of the MSSEG challenge [1]_, low because a reader needs to be led to a lesion, not
    to have it outlined.

    Parameters
    ----------
    z : float32 array, shape (I, J, K)
        Signed anomaly map.
    truth : bool array, shape (I, J, K)
    minimum_ml : float
        Smallest candidate and smallest lesion.
    voxel_ml : float
    thresholds : float array
        Ascending.

    References
    ----------
    .. [1] Commowick et al., Sci. Rep. 8:13650, 2018.
    """
    every_direction = np.ones((3, 3, 3))
    lesions, count = ndimage.label(truth, structure=every_direction)
    sizes = np.bincount(lesions.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero(sizes * voxel_ml >= minimum_ml)
    with_rim = ndimage.binary_dilation(truth, structure=every_direction)
    false = np.full(len(thresholds), np.inf)
    hit = np.zeros((len(thresholds), len(large)), dtype=bool)
    for t in range(len(thresholds) - 1, -1, -1):
        labels, found = components(z, float(thresholds[t]), minimum_ml, voxel_ml)
        size = np.bincount(labels.ravel(), minlength=len(found) + 1)
        inside = np.bincount(labels[with_rim], minlength=len(found) + 1)
        true = inside >= COVERED * np.maximum(size, 1)
        true[0] = False
        false[t] = len(found) - int(true.sum())
        covered = np.bincount(lesions[true[labels]], minlength=count + 1)[1:]
        hit[t] = covered[large] >= COVERED * sizes[large]
        if false[t] > MOST_FALSE:
            false[: t + 1] = np.inf
            break
    lesion_ml = np.asarray(sizes[large] * voxel_ml, dtype=np.float64)
    return FrocScan(thresholds, false, hit, lesion_ml)


@dataclass(frozen=True, eq=False)
class Froc:
    """Free-response curve over scans.

    Attributes
    ----------
    thresholds, false_per_scan, sensitivity : float arrays, shape (T,)
    at : dict of float to float
        Sensitivity at each asked number of false candidates per scan.
    lesions : int
    """

    thresholds: NDArray[np.float64]
    false_per_scan: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    at: dict[float, float]
    lesions: int


def froc(scans: Sequence[FrocScan], rates: Sequence[float] = (1, 4)) -> Froc:
    """Pool scans, healthy ones too, into a free-response curve.

    The sensitivity at a rate is the best over thresholds from the highest down to the
    first that passes the rate: below that, candidates melt into one and the count of false
    ones falls again without any merit. nan without lesions.
    """
    thresholds = scans[0].thresholds
    false = np.mean([scan.false for scan in scans], axis=0)
    hit = np.concatenate([scan.hit for scan in scans], axis=1)
    lesions = hit.shape[1]
    sensitivity = hit.mean(axis=1) if lesions else np.full(len(thresholds), np.nan)
    worst_so_far = np.maximum.accumulate(false[::-1])[::-1]
    at = {}
    for rate in rates:
        allowed = worst_so_far <= rate
        at[rate] = float(sensitivity[allowed].max(initial=0.0)) if lesions else float("nan")
    return Froc(thresholds, false, sensitivity, at, lesions)


@dataclass(frozen=True)
class Interval:
    """A mean over people and its bootstrap interval."""

    value: float
    low: float
    high: float


def bootstrap(
    values_by_person: Sequence[float | Sequence[float]],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the mean over people with its percentile interval.

    Parameters
    ----------
    values_by_person : sequence of float, or of sequence of float
        Several values of one person are averaged first: they are one draw, not several.
        People whose value is nan are left out.
    draws : int
    seed : int
    level : float

    Returns
    -------
    Interval
        Bounds are nan for fewer than two people.

    References
    ----------
    .. [1] Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    means = _person_means(values_by_person)
    means = means[np.isfinite(means)]
    if not means.size:
        return Interval(float("nan"), float("nan"), float("nan"))
    value = float(means.mean())
    if means.size == 1:
        return Interval(value, float("nan"), float("nan"))
    pick = np.random.default_rng(seed).integers(means.size, size=(draws, means.size))
    low, high = np.quantile(means[pick].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def paired_difference(
    first: Sequence[float | Sequence[float]],
    second: Sequence[float | Sequence[float]],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the mean of ``first - second`` within people, with its bootstrap interval.

    Parameters are those of :func:`bootstrap`; the same people in the same order.
    """
    difference = _person_means(first) - _person_means(second)
    return bootstrap(difference.tolist(), draws=draws, seed=seed, level=level)


def _person_means(values: Sequence[float | Sequence[float]]) -> NDArray[np.float64]:
    means = []
    for person in values:
        own = np.atleast_1d(np.asarray(person, dtype=np.float64))
        own = own[np.isfinite(own)]
        means.append(float(own.mean()) if own.size else float("nan"))
    return np.array(means)
