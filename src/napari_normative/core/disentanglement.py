"""Whether single latents stand for single things: measures that need no known generator.

What people are known by (age, sex, site, a volume) takes the place of the generator's factors of
other work. They are few and not independent of each other, so every measure comes with what chance
gives: people are shuffled against their values, or latents against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.probe import Kind, kind_of

BINS = 4
"""Groups of equally many people that numbers are cut into, where information is counted."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Covariate:
    """What is known of each person.

    Attributes
    ----------
    name : str
    kind : {"category", "number"}
    values : float array, shape (n,)
        Numbers, or the categories' numbers; nan where it is not known.
    """

    name: str
    kind: Kind
    values: Numbers

    @classmethod
    def of(cls, name: str, cells: Sequence[str], kind: Kind | None = None) -> Covariate:
        """Read the cells of a column; empty ones and ``n/a`` are not known."""
        known = np.array([cell.strip().lower() not in {"", "n/a", "na", "nan"} for cell in cells])
        kept = [cell.strip() for cell, is_known in zip(cells, known, strict=True) if is_known]
        kind = kind or kind_of(kept)
        values = np.full(len(cells), np.nan)
        if kind == "number":
            values[known] = [float(cell) for cell in kept]
        elif kept:
            values[known] = np.unique(kept, return_inverse=True)[1]
        return cls(name, kind, values)


@dataclass(frozen=True)
class Figure:
    """A measure, and what chance gives.

    Attributes
    ----------
    measure, covariate : str
        The covariate is empty for measures of the latents alone, and of all covariates together.
    value : float
    chance : float
        Mean over permutations.
    p : float
        Share of the permutations with at least that value, the observed one counted among them.
    people : int
    latent : int or None
        The latent (from 1) that stands for the covariate most, where there is one.
    """

    measure: str
    covariate: str
    value: float
    chance: float
    p: float
    people: int
    latent: int | None = None


def disentanglement(
    latents: NDArray[np.floating],
    covariates: Sequence[Covariate],
    *,
    variances: NDArray[np.floating] | None = None,
    permutations: int = 200,
    seed: int = 0,
) -> list[Figure]:
    """Return measures of disentanglement of people's latents.

    ==================  ==========================================================================
    mig                 mutual information gap [1]_: that of the most informative latent less that
                        of the next, over the covariate's entropy; 0 to 1
    sap                 separated attribute predictability [2]_: share of the covariate's variance
                        that the best latent explains, less the next one's; 0 to 1
    modularity          whether each latent is informative about one covariate only [3]_; 0 to 1
    total_correlation   nats by which latents are from independent, of a Gaussian; 0 is best
    off_diagonal        mean absolute correlation of two latents; 0 is best
    ==================  ==========================================================================

    Parameters
    ----------
    latents : float array, shape (n, Z)
        Means, of one scan a person; Z is 2 or more.
    covariates : sequence of Covariate
        Of the same n people; those not known of at least ``2 * BINS``, or alike in all, are left
        out.
    variances : float array, shape (n, Z), optional
        Of the people's Gaussians; then total correlation and correlations are of the aggregated
        posterior, else of the means alone.
    permutations : int
    seed : int

    References
    ----------
    .. [1] Chen et al., Isolating sources of disentanglement in variational autoencoders,
       NeurIPS 2018.
    .. [2] Kumar, Sattigeri & Balakrishnan, Variational inference of disentangled latent concepts
       from unlabeled observations, ICLR 2018.
    .. [3] Ridgeway & Mozer, Learning deep disentangled embeddings with the F-statistic loss,
       NeurIPS 2018.
    """
    means = np.asarray(latents, dtype=np.float64)
    own = np.zeros(means.shape[1]) if variances is None else variances.mean(axis=0)
    random = np.random.default_rng(seed)
    figures, observed, shuffled = [], [], []
    for covariate in covariates:
        known = np.isfinite(covariate.values)
        values, seen = covariate.values[known], means[known]
        if len(values) < 2 * BINS or len(np.unique(values)) < 2:
            continue
        groups, bins = _groups(covariate.kind, values), _binned(seen)
        entropy = _entropy(groups.mean(axis=0))
        information = _information(bins, groups)
        explained = explained_variance(seen, values, covariate.kind)
        orders = [random.permutation(len(values)) for _ in range(permutations)]
        by_chance = [_information(bins, groups[order]) for order in orders]
        chance = [_gap(explained_variance(seen, values[o], covariate.kind)) for o in orders]
        figures += [
            _figure("mig", _gap(information) / entropy, [_gap(i) / entropy for i in by_chance],
                    len(values), covariate.name, int(information.argmax()) + 1),
            _figure("sap", _gap(explained), chance, len(values), covariate.name,
                    int(explained.argmax()) + 1),
        ]  # fmt: skip
        observed.append(information)
        shuffled.append(by_chance)
    if len(observed) > 1:
        chance = [modularity(np.stack(rows)) for rows in zip(*shuffled, strict=True)]
        value = modularity(np.stack(observed))
        figures.append(_figure("modularity", value, chance, len(means)))
    together = correlation(means, own)
    apart = [correlation(random.permuted(means, axis=0), own) for _ in range(permutations)]
    for name, measure in (("total_correlation", total_correlation), ("off_diagonal", off_diagonal)):
        chance = [measure(each) for each in apart]
        figures.append(_figure(name, measure(together), chance, len(means)))
    return figures


def explained_variance(latents: Numbers, values: Numbers, kind: Kind) -> Numbers:
    """Return the share of variance that each latent has in common with a covariate, shape (Z,).

    Squared correlation for numbers, the correlation ratio for categories.
    """
    away = latents - latents.mean(axis=0)
    if kind == "number":
        line = (values - values.mean())[:, None]
        common = (line.T @ away)[0] ** 2 / (line**2).sum()
    else:
        groups = _groups(kind, values)
        common = ((groups.T @ away) ** 2 / groups.sum(axis=0)[:, None]).sum(axis=0)
    return np.asarray(common / np.maximum((away**2).sum(axis=0), 1e-12))


def modularity(information: Numbers) -> float:
    """Return the modularity of latents from their information about covariates, shape (C, Z).

    Latents that are informative about nothing are left out; nan where all are.
    """
    best = information.max(axis=0)
    used = information[:, best > 0]
    if not used.size:
        return float("nan")
    other = (used**2).sum(axis=0) - used.max(axis=0) ** 2
    spread = other / (used.max(axis=0) ** 2 * (len(information) - 1))
    return float((1 - spread).mean())


def correlation(latents: NDArray[np.floating], own: NDArray[np.floating]) -> Numbers:
    """Return the correlations (Z, Z) of latents: means (n, Z) and mean own variances (Z,)."""
    covariance = np.cov(latents.T, bias=True) + np.diag(own)
    spread = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    return np.asarray(covariance / np.outer(spread, spread))


def total_correlation(correlations: Numbers) -> float:
    """Return the total correlation of a Gaussian, nats: -½ log det of its correlations.

    Infinite where there are no more people than latents and nothing else is known.
    """
    sign, log = np.linalg.slogdet(correlations)
    return float(-0.5 * log) if sign > 0 else float("inf")


def off_diagonal(correlations: Numbers) -> float:
    """Return the mean absolute correlation of two different latents."""
    away = ~np.eye(len(correlations), dtype=bool)
    return float(np.abs(correlations[away]).mean())


def _figure(
    measure: str,
    value: float,
    chance: Sequence[float],
    people: int,
    covariate: str = "",
    latent: int | None = None,
) -> Figure:
    reached = sum(c >= value for c in chance) + 1
    mean = float(np.mean(chance)) if len(chance) else float("nan")
    return Figure(measure, covariate, value, mean, reached / (len(chance) + 1), people, latent)


def _gap(values: Numbers) -> float:
    second, first = np.sort(values)[-2:]
    return float(first - second)


def _binned(latents: Numbers) -> Numbers:
    """Return which of ``BINS`` groups of equally many people each is in, shape (Z, BINS, n)."""
    rank = latents.argsort(axis=0).argsort(axis=0)
    which = rank * BINS // len(latents)
    return np.asarray((which.T[:, None] == np.arange(BINS)[:, None]).astype(np.float64))


def _groups(kind: Kind, values: Numbers) -> Numbers:
    """Return who is in which group of a covariate, shape (n, G)."""
    if kind == "number":
        edges = np.quantile(values, np.arange(1, BINS) / BINS)
        values = np.searchsorted(edges, values, side="right").astype(np.float64)
    names = np.unique(values)
    return np.asarray((values[:, None] == names).astype(np.float64))


def _information(bins: Numbers, groups: Numbers) -> Numbers:
    """Return the mutual information of latents and a covariate, nats, shape (Z,).

    Counted, less what counting few people adds on average [1]_, and not below 0.

    References
    ----------
    .. [1] Miller, Note on the bias of information estimates, 1955.
    """
    people = len(groups)
    joint = bins @ groups / people
    apart = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    ratio = np.where(joint > 0, joint / np.maximum(apart, 1e-12), 1)
    counted = (joint * np.log(ratio)).sum(axis=(1, 2))
    excess = (bins.shape[1] - 1) * (groups.shape[1] - 1) / (2 * people)
    return np.asarray(np.maximum(counted - excess, 0))


def _entropy(shares: Numbers) -> float:
    return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


def as_rows(figures: Sequence[Figure]) -> list[Mapping[str, object]]:
    """Return figures as rows of a table."""
    return [
        {
            "measure": f.measure, "covariate": f.covariate or None, "value": f.value,
            "chance": f.chance, "p": f.p, "people": f.people, "latent": f.latent,
        }
        for f in figures
    ]  # fmt: skip
