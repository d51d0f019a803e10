"""Samples and their nearest people: do they copy anybody, do they cover everybody.

Distances are Euclidean between rows of features, or angles between whitened latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]

PERMUTATIONS = 9999


def distances(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """Return the Euclidean distances of all rows (n, d) to all rows (m, d), shape (n, m)."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    middle = b.mean(axis=0)
    a, b = a - middle, b - middle
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(square, 0)))


def angles(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """Return the angles between all rows (n, d) and all rows (m, d), degrees, shape (n, m).

    Of whitened latents, which are directions from the cohort's mean: a network knows its
    training people by heart and puts them farther out than people it has never seen, so that
    distances of the two kinds cannot be compared, and angles can.
    """
    a, b = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        for x in (first.astype(np.float64), second.astype(np.float64))
    )
    return np.asarray(np.degrees(np.arccos(np.clip(a @ b.T, -1, 1))))


def nearest_other(between: Floats) -> Floats:
    """Return each row's least distance to another one, of distances (n, n) among n rows."""
    others = between + np.diag(np.full(len(between), np.inf))
    least: Floats = others.min(axis=1)
    return least


@dataclass(frozen=True)
class Coverage:
    """Precision and recall of a sample of a distribution.

    Attributes
    ----------
    precision : float
        Share of made rows that lie among the real ones: how true to life they are.
    recall : float
        Share of real rows that lie among the made ones: how much of life they cover.
    """

    precision: float
    recall: float


def precision_recall(
    real: NDArray[np.floating], made: NDArray[np.floating], k: int = 3
) -> Coverage:
    """Return precision and recall by manifolds of k nearest neighbours.

    A row lies among others when it is within the distance of any of them to its own k-th
    neighbour. With few rows both depend on their number: compare only equal numbers.

    Parameters
    ----------
    real : array, shape (n, d)
    made : array, shape (m, d)
        More than ``k`` rows in each.
    k : int

    References
    ----------
    .. [1] Kynkäänniemi et al., Improved precision and recall metric for assessing generative
       models, NeurIPS 2019.
    """

    def radii(rows: NDArray[np.floating]) -> Floats:
        found: Floats = np.sort(distances(rows, rows), axis=1)[:, k]  # the first is the row itself
        return found

    apart = distances(made, real)
    among_real = (apart <= radii(real)[None]).any(axis=1)
    among_made = (apart <= radii(made)[:, None]).any(axis=0)
    return Coverage(float(among_real.mean()), float(among_made.mean()))


@dataclass(frozen=True)
class Closer:
    """Whether samples lie closer to some people than others do.

    Attributes
    ----------
    chance : float
        That a sample is closer than one of the others, ties half; 0.5 is no difference.
    p : float
        One-sided, by permutation of who is a sample: small where samples are closer.
    nearest : int
        Samples that are closer than every one of the others: copies, if there are a few among many.
    p_nearest : float
        That chance puts so many samples before all others.
    samples, others : int
    """

    chance: float
    p: float
    nearest: int
    p_nearest: float
    samples: int
    others: int


def closer_test(
    samples: NDArray[np.floating], others: NDArray[np.floating], *, seed: int = 0
) -> Closer:
    """Test whether samples are closer to training people than unseen people are.

    The rank sum of the distances to the nearest training person, samples against unseen
    people [1]_; p is (1 + b) / (1 + B) over B permutations. It is blind to a few copies among
    many samples, which the number of samples before all others shows; its p is exact.

    Parameters
    ----------
    samples, others : array, shape (n,), shape (m,)
        Distance of each to its nearest training person.
    seed : int

    References
    ----------
    .. [1] Meehan, Chaudhuri & Dasgupta, A non-parametric test to detect data-copying in
       generative models, AISTATS 2020.
    """
    n, m = len(samples), len(others)
    ranks = rankdata(np.concatenate([samples, others]))
    found = ranks[:n].sum()
    random = np.random.default_rng(seed)
    as_low = 0
    for _ in range(PERMUTATIONS):
        as_low += bool(random.permutation(ranks)[:n].sum() <= found)
    above = (found - n * (n + 1) / 2) / (n * m)  # share of pairs in which the sample is farther
    first = int((samples < others.min()).sum())
    before = np.arange(first)
    return Closer(
        chance=float(1 - above),
        p=(1 + as_low) / (1 + PERMUTATIONS),
        nearest=first,
        p_nearest=float(np.prod((n - before) / (n + m - before))),
        samples=n,
        others=m,
    )
