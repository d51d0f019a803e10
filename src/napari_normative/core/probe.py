"""Linear probes: how much of a column of a table a scan's features tell.

A regularised linear rule, judged by nested cross-validation with folds of whole people: the
inner loop chooses the penalty, nothing that is judged has taken part in a choice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.linear_fit import logistic, ridge

Kind = Literal["category", "number"]
Numbers: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.intp]
Learn: TypeAlias = Callable[[Rows, Rows], tuple[Numbers, Numbers]]
"""From training rows and test rows to features of both; may learn from the former only."""

MANY = 8
"""Different numbers in a column up to which they are categories, as on the latent map."""

PENALTIES = (1e4, 1e3, 1e2, 1e1, 1.0, 0.1)
"""Strengths that the inner loop chooses among, strongest first; features have unit variance."""

OUTER, INNER = 5, 3
FEWEST = 6
"""People that a category needs, so that each inner fold has somebody of it."""
FEWEST_NUMBERS = 20
"""People that a column of numbers needs."""

_NEVER = -50.0
"""Logit of a category that a training fold lacks."""


@dataclass(frozen=True, eq=False)
class Target:
    """What is to be told of each scan, and whose scan it is.

    Attributes
    ----------
    kind : {"category", "number"}
    values : float64 array, shape (n,)
        Numbers, or which of ``classes``.
    people : int array, shape (n,)
        Equal for scans of one person.
    classes : tuple of str
        Empty for numbers.
    """

    kind: Kind
    values: Numbers
    people: NDArray[np.intp]
    classes: tuple[str, ...] = ()

    def some(self, rows: Rows) -> Target:
        """Return the target of some of the scans."""
        return dataclasses.replace(self, values=self.values[rows], people=self.people[rows])

    def frequencies(self) -> Numbers:
        """Return the share of scans of each class, shape (K,); empty for numbers."""
        counts = np.bincount(self.values.astype(int), minlength=len(self.classes))
        return counts / max(counts.sum(), 1) if self.classes else np.zeros(0)

    def people_of_classes(self) -> dict[str, int]:
        """Return how many people have scans of each class."""
        return {
            name: len(np.unique(self.people[self.values == k]))
            for k, name in enumerate(self.classes)
        }


@dataclass(frozen=True)
class Features:
    """What scans are described by.

    Attributes
    ----------
    learn : callable
    keep_scale : bool
        Divide all by one number, the largest SD, instead of each by its own.
    """

    learn: Learn
    keep_scale: bool = False


@dataclass(frozen=True, eq=False)
class LinearRule:
    """A fitted linear rule.

    Attributes
    ----------
    mean, scale : float64 array, shape (Z,)
        By which features are standardised.
    coefficients : float64 array, shape (K, Z)
        Of the logits of K classes; K = 1 for a number.
    intercept : float64 array, shape (K,)
    frequencies : float64 array, shape (K,)
        Of the classes in the training scans; empty for a number.
    penalty : float
    """

    mean: Numbers
    scale: Numbers
    coefficients: Numbers
    intercept: Numbers
    frequencies: Numbers
    penalty: float

    def balanced(self, features: Numbers) -> Numbers:
        """Return class probabilities (n, K) as if all classes were equally frequent."""
        logits = self._linear(features)
        weight = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))

    def probabilities(self, features: Numbers) -> Numbers:
        """Return class probabilities (n, K) at the frequencies of the training scans."""
        weight = self.balanced(features) * self.frequencies
        return np.asarray(weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300))

    def numbers(self, features: Numbers) -> Numbers:
        """Return predicted numbers, shape (n,)."""
        return self._linear(features)[:, 0]

    def _linear(self, features: Numbers) -> Numbers:
        standard = (features - self.mean) / self.scale
        return np.asarray(standard @ self.coefficients.T + self.intercept)


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What a rule says of scans of people that it was not fitted to.

    Attributes
    ----------
    outputs : float64 array, shape (n, K) or (n,)
        Class probabilities at the training frequencies, or numbers.
    decided : float64 array, shape (n,)
        The most probable class with all classes taken as equally frequent; the number.
    folds : int array, shape (n,)
    penalties : tuple of float
        Chosen by the inner loop of each fold.
    """

    outputs: Numbers
    decided: Numbers
    folds: Rows
    penalties: tuple[float, ...] = ()


def kind_of(cells: Sequence[str]) -> Kind:
    """Return what a column holds: numbers if all are numbers and more than ``MANY`` differ."""
    try:
        numbers = {float(cell) for cell in cells}
    except ValueError:
        return "category"
    return "number" if len(numbers) > MANY and all(map(math.isfinite, numbers)) else "category"


def columns(features: Numbers) -> Features:
    """Return features (n, Z) that need nothing to be learnt."""
    return Features(lambda train, test: (features[train], features[test]))


def inner_products(voxels: NDArray[np.floating]) -> Numbers:
    """Return the inner products of the scans' voxels (n, V), shape (n, n), float64."""
    size = 4096
    total = np.zeros((len(voxels), len(voxels)))
    for start in range(0, voxels.shape[1], size):
        block = voxels[:, start : start + size].astype(np.float64)
        total += block @ block.T
    return total


def components(products: Numbers, count: int) -> Features:
    """Return principal components of voxels, learnt from the training rows.

    They keep their scale: the last ones are mostly noise of the training scans, and would
    count like the first if each had unit variance.

    Parameters
    ----------
    products : float64 array, shape (n, n)
        Of :func:`inner_products`.
    count : int
        How many components; fewer where there are fewer training scans.
    """

    def learn(train: Rows, test: Rows) -> tuple[Numbers, Numbers]:
        among = products[np.ix_(train, train)]
        column = among.mean(axis=0)
        centred = among - column - column[:, None] + column.mean()
        values, vectors = np.linalg.eigh(centred)
        kept = np.argsort(-values)[:count]
        kept = kept[values[kept] > 1e-9 * max(float(values.max()), 1e-300)]
        root = np.sqrt(values[kept])
        # What is constant along a row drops out: the vectors add up to 0.
        moved = products[np.ix_(test, train)] - column
        return vectors[:, kept] * root, moved @ vectors[:, kept] / root

    return Features(learn, keep_scale=True)


def person_folds(target: Target, folds: int, seed: int) -> Rows:
    """Return the fold of each scan, shape (n,): a person's scans are together, labels spread."""
    random = np.random.default_rng(seed)
    who, index = np.unique(target.people, return_inverse=True)
    if target.kind == "category":
        label = np.array(
            [np.bincount(target.values[index == p].astype(int)).argmax() for p in range(len(who))]
        )
    else:
        label = np.bincount(index, target.values) / np.bincount(index)
    shuffled = random.permutation(len(who))
    order = shuffled[np.argsort(label[shuffled], kind="stable")]
    dealt = np.arange(len(who)) % folds
    if target.kind == "number":  # else the first fold would have the least of every few
        dealt = np.concatenate([random.permutation(folds) for _ in range(0, len(who), folds)])
    of_person = np.empty(len(who), dtype=np.intp)
    of_person[order] = dealt[: len(who)]
    return np.asarray(of_person[index])


def fit_rule(
    features: Numbers, target: Target, penalty: float, *, keep_scale: bool = False
) -> LinearRule:
    """Fit logistic regression, classes weighted alike, or ridge regression.

    Parameters
    ----------
    features : float64 array, shape (n, Z)
    target : Target
    penalty : float
        On half the squared coefficients of standardised features (ridge: on all of it), as
        in scikit-learn.
    keep_scale : bool
        See :class:`Features`.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    if keep_scale:
        scale = np.full(len(scale), scale.max(initial=0.0))
    scale = np.where(scale > 1e-12, scale, 1.0)
    standard = (features - mean) / scale
    if target.kind == "number":
        weights, line = ridge(standard, target.values, penalty)
        return LinearRule(mean, scale, weights[None], np.array([line]), np.zeros(0), penalty)
    size = len(target.classes)
    coefficients, offset = np.zeros((size, features.shape[1])), np.full(size, _NEVER)
    present = np.unique(target.values).astype(int)
    offset[present] = 0.0
    if len(present) > 1:
        rows = present[1:] if len(present) == 2 else present
        coefficients[rows], offset[rows] = logistic(standard, target.values.astype(int), penalty)
    return LinearRule(mean, scale, coefficients, offset, target.frequencies(), penalty)


def choose_penalty(
    features: Numbers, target: Target, seed: int, *, keep_scale: bool = False
) -> float:
    """Return the penalty with the least loss in folds by person: log loss, or squared error."""
    folds = person_folds(target, INNER, seed)
    loss = np.zeros(len(PENALTIES))
    for fold in range(INNER):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        known, asked = target.some(train), target.some(test)
        for n, penalty in enumerate(PENALTIES):
            rule = fit_rule(features[train], known, penalty, keep_scale=keep_scale)
            loss[n] += _loss(rule, features[test], asked)
    return PENALTIES[int(loss.argmin())]


def cross_validate(
    features: Features, target: Target, *, folds: int = OUTER, seed: int = 0
) -> OutOfFold:
    """Predict each scan by a rule that was fitted, penalty and all, to other people.

    What ``features.learn`` learns it learns from the outer training people, inner folds together:
    it sees no label.
    """
    of = person_folds(target, folds, seed)
    size = len(target.classes)
    outputs = np.zeros((len(of), size)) if size else np.zeros(len(of))
    decided, chosen = np.zeros(len(of)), []
    for fold in range(folds):
        train, test = np.flatnonzero(of != fold), np.flatnonzero(of == fold)
        seen, asked = features.learn(train, test)
        known, keep = target.some(train), features.keep_scale
        penalty = choose_penalty(seen, known, seed + 1 + fold, keep_scale=keep)
        rule = fit_rule(seen, known, penalty, keep_scale=keep)
        chosen.append(rule.penalty)
        if size:
            outputs[test] = rule.probabilities(asked)
            decided[test] = rule.balanced(asked).argmax(axis=1)
        else:
            outputs[test] = decided[test] = rule.numbers(asked)
    return OutOfFold(outputs, decided, of, tuple(chosen))


def guess(target: Target) -> OutOfFold:
    """Return what can be said without looking: the frequencies of all scans, or their mean."""
    n = len(target.values)
    if target.kind == "number":
        mean = np.full(n, target.values.mean())
        return OutOfFold(mean, mean, np.zeros(n, dtype=np.intp))
    share = target.frequencies()
    most = np.full(n, float(share.argmax()))
    return OutOfFold(np.tile(share, (n, 1)), most, np.zeros(n, dtype=np.intp))


def permuted(target: Target, random: np.random.Generator) -> Target:
    """Return the target with its values exchanged among people.

    Where each person has one value, values of people are shuffled. Else the values of all
    scans of a person move together, among people with equally many scans.
    """
    who, index = np.unique(target.people, return_inverse=True)
    rows = [np.flatnonzero(index == p) for p in range(len(who))]
    values = target.values.copy()
    first = np.array([target.values[r[0]] for r in rows])
    if np.array_equal(first[index], target.values):
        return dataclasses.replace(target, values=random.permutation(first)[index])
    counts = np.array([len(r) for r in rows])
    for count in np.unique(counts):
        alike = np.flatnonzero(counts == count)
        for to, source in zip(alike, random.permutation(alike), strict=True):
            values[rows[to]] = target.values[rows[source]]
    return dataclasses.replace(target, values=values)


def _loss(rule: LinearRule, features: Numbers, target: Target) -> float:
    if target.kind == "number":
        return float(((rule.numbers(features) - target.values) ** 2).sum())
    which = target.values.astype(int)
    said = np.maximum(rule.balanced(features)[np.arange(len(which)), which], 1e-12)
    weight = 1 / np.maximum(rule.frequencies[which], 1e-12)
    return float(-(np.log(said) * weight).sum())
