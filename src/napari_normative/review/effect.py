"""A small calibrated classifier of candidates, and how well it does on scans it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.metrics import Interval
from napari_normative.volume import Mask

Numbers = NDArray[np.float64]

FOLDS = 5
BINS = 5
SEEN = 0.9
"""Share of what was accepted that has to be seen in :attr:`Effect.read`."""

DRAWS = 1000
STRENGTH = 0.3
"""Inverse of the penalty of the classifier (``C`` of scikit-learn)."""


@dataclass(frozen=True)
class Effect:
    """How well the classifier does on scans that it did not learn from.

    Intervals are 95 %, of a bootstrap by scan. Pairs of candidates are compared within folds.

    Attributes
    ----------
    images, candidates : int
        Scans and decisions that it is judged on.
    auroc, auroc_evidence, gain : Interval
        Of the classifier, of the order by evidence, and the difference.
    brier, brier_evidence : Interval
        Mean squared error of the probabilities; beside them those from evidence alone.
    reliability : tuple of (float, float, int)
        Mean probability, share accepted, number; from the least probable fifth up.
    read, read_evidence : float
        Share of the candidates to read until 90 % of the accepted are seen.
    """

    images: int
    candidates: int
    auroc: Interval
    auroc_evidence: Interval
    gain: Interval
    brier: Interval
    brier_evidence: Interval
    reliability: tuple[tuple[float, float, int], ...]
    read: float
    read_evidence: float

    @property
    def better(self) -> bool:
        """Whether the interval of the difference lies above 0."""
        return self.gain.low > 0

    @property
    def line(self) -> str:
        """One sentence for people."""
        if self.better:
            said = "is better than"
        elif self.gain.high < 0:
            said = "is worse than"
        else:
            said = "is not shown to be better than"
        return (
            f"On scans it did not learn from, the order learnt from {self.candidates} decisions in "
            f"{self.images} scans {said} the order by evidence: AUROC {self.auroc.value:.2f} "
            f"against {self.auroc_evidence.value:.2f}, difference {self.gain.value:+.2f} "
            f"[{self.gain.low:+.2f}, {self.gain.high:+.2f}]; {SEEN:.0%} of what was accepted is "
            f"seen after {self.read:.0%} of the candidates, by evidence after "
            f"{self.read_evidence:.0%}."
        )


Predict = Callable[[Numbers], Numbers]


def learn(x: Numbers, y: Mask, images: NDArray[np.str_], seed: int) -> Predict:
    """Return the calibrated probability of being accepted, as a function of features.

    Platt's two numbers come from scans that were left out. Where these contradict the
    classifier (a slope that is not positive) all candidates get the share accepted.

    Parameters
    ----------
    x : float array, shape (N, F)
        Features; nan for what is not known.
    y : bool array, shape (N,)
        Accepted; both kinds in at least two scans.
    images : str array, shape (N,)
        The scan of each.
    seed : int
        Of the folds.
    """
    from sklearn.linear_model import LogisticRegression

    apart = np.zeros(len(y))
    for out in _folds(y, images, seed):
        apart[out] = _classifier(x[~out], y[~out])(x[out])
    platt = LogisticRegression(C=100.0).fit(apart[:, None], y)
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if slope <= 0:
        return lambda new: np.full(len(new), y.mean())
    score = _classifier(x, y)
    return lambda new: 1 / (1 + np.exp(-(slope * score(new) + offset)))


def _classifier(x: Numbers, y: Mask) -> Predict:
    """Return log odds as a function of features; what is missing counts as the mean."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(
        SimpleImputer(keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=STRENGTH, max_iter=500),
    )
    decide: Predict = model.fit(x, y).decision_function
    return decide


def _folds(y: Mask, images: NDArray[np.str_], seed: int) -> list[Mask]:
    """Return what is left out of each fold: whole scans, something of both kinds in each.

    Scans with acceptances alone, with both and with rejections alone are dealt out in turn,
    so that what holds acceptances, and what holds rejections, is dealt without a gap.
    """
    drawn = np.random.default_rng(seed).permutation(np.unique(images))
    with_yes, with_no = set(images[y]), set(images[~y])
    names = sorted(drawn, key=lambda name: (name in with_no) - (name in with_yes))
    count = min(FOLDS, len(with_yes), len(with_no))
    return [np.isin(images, names[fold::count]) for fold in range(count)]


def judge(x: Numbers, y: Mask, images: NDArray[np.str_], seed: int) -> Effect:
    """Judge on scans that were left out of learning and of calibration.

    Parameters are those of :func:`learn`.
    """
    found, alone, fold_of = np.zeros(len(y)), np.zeros(len(y)), np.zeros(len(y), dtype=int)
    for fold, out in enumerate(_folds(y, images, seed)):
        fold_of[out] = fold
        found[out] = learn(x[~out], y[~out], images[~out], seed)(x[out])
        alone[out] = learn(x[~out, :1], y[~out], images[~out], seed)(x[out, :1])
    evidence = np.nan_to_num(x[:, 0], nan=-np.inf)
    names, where = np.unique(images, return_inverse=True)
    random = np.random.default_rng(seed)

    by_found, by_evidence = _Levels.of(found, fold_of), _Levels.of(evidence, fold_of)

    def figures(weight: Numbers) -> tuple[float, ...]:
        first, second = (levels.auroc(y, weight) for levels in (by_found, by_evidence))
        briers = [np.average((p - y) ** 2, weights=weight) for p in (found, alone)]
        return (first, second, first - second, *map(float, briers))

    draws = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    drawn = np.array([figures(draw[where].astype(float)) for draw in draws])
    low, high = np.nanquantile(drawn, (0.025, 0.975), axis=0)
    auroc, auroc_evidence, gain, brier, brier_evidence = (
        Interval(value, float(a), float(b))
        for value, a, b in zip(figures(np.ones(len(y))), low, high, strict=True)
    )
    fifths = np.array_split(np.argsort(found, kind="stable"), BINS)
    return Effect(
        len(names), len(y), auroc, auroc_evidence, gain, brier, brier_evidence,
        tuple((float(found[f].mean()), float(y[f].mean()), len(f)) for f in fifths),
        _read(y, found), _read(y, evidence),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Levels:
    """Distinct scores, those of each fold together, from the lowest up.

    Pairs are compared within folds: between folds, classifiers differ by more than their
    order, and the share accepted of one fold is low where that of the others is high.
    """

    level: NDArray[np.int_]
    start: NDArray[np.int_]
    fold: NDArray[np.int_]

    @classmethod
    def of(cls, score: Numbers, fold: NDArray[np.int_]) -> _Levels:
        """Sort scores."""
        pairs, level = np.unique(np.stack([fold, score]), axis=1, return_inverse=True)
        _, start, fold = np.unique(pairs[0], return_index=True, return_inverse=True)
        return cls(level.ravel(), start, fold)

    def auroc(self, y: Mask, weight: Numbers) -> float:
        """Return the share of pairs that are in order, ties by half; nan without a pair."""
        yes, no = np.bincount(self.level, weight * y), np.bincount(self.level, weight * ~y)
        before = np.cumsum(no) - no
        before -= before[self.start][self.fold]
        pairs = (np.bincount(self.fold, yes) * np.bincount(self.fold, no)).sum()
        return float((yes * (before + no / 2)).sum() / pairs) if pairs else float("nan")


def _read(y: Mask, score: Numbers) -> float:
    """Return the share to read, highest score first, until enough of the accepted are seen."""
    seen = np.cumsum(y[np.argsort(-score, kind="stable")])
    return float((np.searchsorted(seen, np.ceil(SEEN * seen[-1])) + 1) / len(y))
