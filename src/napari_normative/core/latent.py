"""The cohort's latents: their Gaussian, draws from it, its directions, whether they are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_normative.volume import FloatArray

Basis = Literal["latent", "principal"]

ACTIVE_NATS = 0.01
"""A latent direction whose mean KL exceeds this is counted as active."""

SAME = 0.1
"""Distance below which a person of the cohort is the scanned one: a scan is never aligned twice
to the last digit, and latents are rounded. Two people are 0.4 or more apart."""

CHANCE = 0.05
"""Probability that any pair of unrelated latents counts as correlated."""

LEAST_EIGENVALUE = 0.05
"""Of the correlations that are shrunk to; 1 without correlations."""


@dataclass(frozen=True, eq=False)
class AggregatedPosterior:
    """A Gaussian fitted to the latents of the training cohort.

    Attributes
    ----------
    mean : float32 array, shape of one latent
    cholesky : float32 array, shape (Z, Z), or the mean's shape
        Lower factor of the covariance; the SD of each entry in the spatial form.
    """

    mean: FloatArray
    cholesky: FloatArray

    @classmethod
    def fit(cls, means: FloatArray, variances: FloatArray) -> AggregatedPosterior:
        """Fit latents of n people, shape (n, ...): covariance of means plus mean variance.

        Dense latents keep their own variances; of their correlations see
        :func:`shrunk_correlation`. Spatial ones get independent entries.
        """
        mean = means.mean(axis=0).astype(np.float32)
        if means.ndim > 2:
            sd = np.sqrt(means.var(axis=0) + variances.mean(axis=0))
            return cls(mean, sd.astype(np.float32))
        spread = means.std(axis=0, dtype=np.float64)
        standard = (means - means.mean(axis=0, dtype=np.float64)) / np.where(spread > 0, spread, 1)
        covariance = shrunk_correlation(standard) * np.outer(spread, spread)
        covariance += np.diag(variances.mean(axis=0).astype(np.float64) + 1e-6)
        return cls(mean, np.linalg.cholesky(covariance).astype(np.float32))

    def draw(self, n: int, seed: int, temperature: float = 1.0) -> FloatArray:
        """Return n draws, shape (n, ...); ``temperature`` scales their distance to the mean."""
        noise = np.random.default_rng(seed).standard_normal((n, *self.mean.shape))
        dense = self.cholesky.ndim == 2 and self.mean.ndim == 1
        spread = noise @ self.cholesky.T if dense else noise * self.cholesky
        return (self.mean + temperature * spread).astype(np.float32)

    def prior_kl_nats(self) -> float:
        """Return KL(this Gaussian || N(0, I)): how far draws from N(0, I) are from the cohort."""
        factor = self.cholesky.astype(np.float64)
        dense = factor.ndim == 2 and self.mean.ndim == 1
        scale = np.maximum(np.diag(factor) if dense else factor, 1e-12)
        spread = (factor**2).sum() + (self.mean.astype(np.float64) ** 2).sum()
        return float(0.5 * (spread - self.mean.size) - np.log(scale).sum())

    def sd(self) -> FloatArray:
        """Return the standard deviation of each entry of a latent, shape of one latent."""
        if self.cholesky.ndim == 2 and self.mean.ndim == 1:
            sd: FloatArray = np.linalg.norm(self.cholesky.astype(np.float64), axis=1)
            return sd.astype(np.float32)
        return self.cholesky

    def mean_kl_nats(self, log_variance: FloatArray) -> NDArray[np.float64]:
        """Return the mean KL(q(z|x) || N(0, I)) over the cohort of each entry of a latent.

        A model file holds the cohort's latents as their first two moments. These give
        E[mean²] + E[variance] exactly; of E[log variance], the one other term, the value at a
        typical scan has to stand for all.

        Parameters
        ----------
        log_variance : float32 array, shape of one latent
            Of q(z|x) where x is a typical scan: the template.
        """
        second = self.mean.astype(np.float64) ** 2 + self.sd().astype(np.float64) ** 2
        return 0.5 * (second - 1 - log_variance)

    def distance(self, mean: FloatArray) -> float:
        """Return the Mahalanobis distance of a latent, over its expectation (1 is usual)."""
        return float(np.sqrt((self.whiten(mean[None]) ** 2).mean()))

    def apart(self, latent: FloatArray, others: FloatArray) -> NDArray[np.float64]:
        """Return how far latents (n, Z) lie from one (Z,), shape (n,).

        Mahalanobis, over the root of the number of latents: two draws from the cohort are about
        1.4 apart, a person's own scans less than ``SAME``.
        """
        away = self.whiten(others) - self.whiten(latent[None])
        return np.asarray(np.sqrt((away**2).mean(axis=1)))

    def whiten(self, latents: FloatArray) -> NDArray[np.float64]:
        """Return latents (n, ...) in coordinates in which this Gaussian is N(0, I)."""
        centred = (latents - self.mean).astype(np.float64)
        if self.mean.ndim > 1:
            return np.asarray(centred / np.maximum(self.cholesky, 1e-6))
        return np.asarray(np.linalg.solve(self.cholesky.astype(np.float64), centred.T).T)


def shrunk_correlation(standard: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return correlations shrunk to those that chance cannot explain, shape (Z, Z).

    The weight is that of Ledoit & Wolf [1]_. Where they put the identity stand the
    correlations that are significant at ``CHANCE`` among all pairs, the others 0 [2]_: a few
    people have no say about thousands of pairs, but some pairs are unmistakable.

    Parameters
    ----------
    standard : float array, shape (n, Z)
        Of n people, columns of mean 0 and SD 1; or 0 throughout.

    References
    ----------
    .. [1] Ledoit & Wolf, J. Multivar. Anal. 88:365-411, 2004.
    .. [2] Bickel & Levina, Ann. Stat. 36:2577-2604, 2008.
    """
    from scipy.stats import norm
    from sklearn.covariance import ledoit_wolf_shrinkage

    n, size = standard.shape
    values = standard.astype(np.float64)
    sample = values.T @ values / n
    np.fill_diagonal(sample, 1)
    # Fisher's z of a correlation of nothing has the SD 1 / sqrt(n - 3).
    two_sided = norm.isf(CHANCE / max(size * (size - 1), 1))
    largest = np.tanh(two_sided / np.sqrt(max(n - 3, 1)))
    target = np.where(np.abs(sample) > largest, sample, 0)
    np.fill_diagonal(target, 1)
    # What is left of a correlation matrix need not be one.
    least = np.linalg.eigvalsh(target)[0]
    if least < LEAST_EIGENVALUE:
        share = (1 - LEAST_EIGENVALUE) / (1 - least)
        target = share * target + (1 - share) * np.eye(size)
    weight = float(ledoit_wolf_shrinkage(values, assume_centered=True))
    return np.asarray((1 - weight) * sample + weight * target)


@dataclass(frozen=True, eq=False)
class People:
    """Where the healthy people of a model lie among its latents, without names or sites.

    A latent decodes to a blurred brain of its person (docs/decisions/0010).

    Attributes
    ----------
    latents : float32 array, shape (n, Z)
        Latent means, in an order that says nothing.
    unseen : bool array, shape (n,)
        Calibration people; the others trained the network.
    """

    latents: FloatArray
    unseen: NDArray[np.bool_]

    @classmethod
    def anonymous(cls, training: FloatArray, unseen: FloatArray) -> People:
        """Return people in the order of their latents' own numbers.

        A shuffle by a seed could be undone by whoever knows the seed and the cohort's table.
        Rounded to half precision, as a model file holds them.
        """
        latents = np.concatenate([training, unseen]).astype(np.float16).astype(np.float32)
        split = np.repeat([False, True], [len(training), len(unseen)])
        order = np.lexsort(latents.T[::-1])
        return cls(latents[order], split[order])

    def trained_on(self, latents: FloatArray, posterior: AggregatedPosterior) -> NDArray[np.bool_]:
        """Return which latents (n, Z) are of people whom the network was trained on, shape (n,)."""
        known = self.latents[~self.unseen]
        if not len(known):
            return np.zeros(len(latents), dtype=bool)
        return np.array([posterior.apart(latent, known).min() < SAME for latent in latents])

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]], size: int) -> People | None:
        """Read ``latent.people`` and ``latent.people_split``; None where the file has none.

        Parameters
        ----------
        tensors : mapping
        size : int
            Z.

        Raises
        ------
        ValueError
            When one of the two is missing or does not fit.
        """
        names = ("latent.people", "latent.people_split")
        if not any(name in tensors for name in names):
            return None
        latents, split = (tensors.get(name, np.zeros(0)) for name in names)
        if latents.shape != (len(split), size) or split.dtype != np.uint8 or (split > 1).any():
            raise ValueError("latent.people and latent.people_split do not fit")
        return cls(latents.astype(np.float32), split.astype(bool))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return what :meth:`of` reads."""
        return {
            "latent.people": self.latents.astype(np.float16),
            "latent.people_split": self.unseen.astype(np.uint8),
        }


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of the latent space.

    Attributes
    ----------
    index : int
        Entry of a dense latent; of a spatial one the channel, moved in all cells together.
    step : float32 array, shape of one latent
        One standard deviation of the cohort along it.
    kl_nats : float
        Mean KL over the cohort, see :meth:`AggregatedPosterior.mean_kl_nats`.
    variance_share : float or None
        Its share of the variance of decoded volumes, 0 to 1; None when not measured.
    basis : {"latent", "principal"}
        An entry of the latent, or a principal axis of what the cohort's latents decode to: then
        ``index`` counts axes and ``kl_nats`` is nan, for the KL belongs to entries.
    """

    index: int
    step: FloatArray
    kl_nats: float
    variance_share: float | None = None
    basis: Basis = "latent"

    @property
    def name(self) -> str:
        """What it is called, counted from 1: ``direction 3`` or ``principal direction 3``."""
        kind = "" if self.basis == "latent" else "principal "
        return f"{kind}direction {self.index + 1}"


def directions_of(posterior: AggregatedPosterior, log_variance: FloatArray) -> list[Direction]:
    """Return the directions of a cohort's latents, largest mean KL first.

    Parameters
    ----------
    posterior : AggregatedPosterior
    log_variance : float32 array, shape of one latent
        Of q(z|x) at a typical scan.
    """
    kl, sd = posterior.mean_kl_nats(log_variance), posterior.sd()
    found = []
    for index in range(len(kl)):
        step = np.zeros_like(sd)
        step[index] = sd[index]
        found.append(Direction(index, step, float(kl[index].sum())))
    return sorted(found, key=lambda d: -d.kl_nats)


def draws_about(
    levels: tuple[tuple[FloatArray, FloatArray], ...], n: int, seed: int, temperature: float = 1.0
) -> Iterator[tuple[FloatArray, ...]]:
    """Yield ``n`` draws from independent Gaussians, one level of latents each.

    Parameters
    ----------
    levels : tuple of (mean, variance)
        float32 arrays of one shape a level.
    n, seed : int
        The first draws of a seed are the same however many follow.
    temperature : float
        Scales the distance to the means; 0 gives the means.
    """
    random = np.random.default_rng(seed)
    for _ in range(n):
        yield tuple(
            (m + temperature * np.sqrt(v) * random.standard_normal(m.shape)).astype(np.float32)
            for m, v in levels
        )


def between(first: FloatArray, second: FloatArray, n: int) -> FloatArray:
    """Return ``n`` latents from ``first`` to ``second`` on a straight line, both ends included.

    A great circle about 0 is for draws from N(0, I) [1]_, whose norm hardly varies. Posterior
    means lie about the cohort's mean, which is not 0, and nearer to it than the prior's shell;
    a straight line needs no origin, and of a linear decoder it gives a plain cross-fade.

    References
    ----------
    .. [1] White, Sampling generative networks, arXiv:1609.04468, 2016.
    """
    share = np.linspace(0, 1, n, dtype=np.float32).reshape(-1, *([1] * first.ndim))
    return ((1 - share) * first + share * second).astype(np.float32)


class RunningMoments:
    """Mean and SD of arrays that pass by one at a time: none of them has to be kept.

    References
    ----------
    .. [1] Welford, Technometrics 4:419-420, 1962.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: NDArray[np.float64] = np.zeros(())
        self._squares: NDArray[np.float64] = np.zeros(())

    def add(self, values: NDArray[np.floating]) -> None:
        """Take one array; all have one shape."""
        if self.count == 0:
            self._mean, self._squares = np.zeros(values.shape), np.zeros(values.shape)
        self.count += 1
        away = values - self._mean
        self._mean += away / self.count
        self._squares += away * (values - self._mean)

    def mean(self) -> FloatArray:
        """Return the mean so far."""
        return self._mean.astype(np.float32)

    def sd(self) -> FloatArray:
        """Return the standard deviation so far, over ``count - 1``; 0 of a single array."""
        return np.sqrt(self._squares / max(self.count - 1, 1)).astype(np.float32)


@dataclass(frozen=True)
class LatentHealth:
    """What the latents carry, over a cohort.

    The total is what a person's latent says about the person, plus the distance of the cohort
    as a whole from the prior: total = mutual information + KL(aggregate || N(0, I)).

    Attributes
    ----------
    total_kl_nats : float
        Mean KL(q(z|x) || N(0, I)).
    active : int
        Directions whose mean KL exceeds ``ACTIVE_NATS``.
    aggregate_kl_nats : float or None
        KL of the Gaussian with the aggregated posterior's moments; None of a codebook.
    """

    total_kl_nats: float
    active: int
    aggregate_kl_nats: float | None


def latent_health(means: FloatArray, variances: FloatArray) -> LatentHealth:
    """Return the health of the latents of n people, both of shape (n, ...).

    References
    ----------
    .. [1] Hoffman & Johnson, ELBO surgery, NIPS workshop on advances in approximate Bayesian
       inference, 2016.
    """
    kl = 0.5 * (means**2 + variances - 1 - np.log(variances)).mean(axis=0, dtype=np.float64)
    return LatentHealth(
        total_kl_nats=float(kl.sum()),
        active=int((kl > ACTIVE_NATS).sum()),
        aggregate_kl_nats=AggregatedPosterior.fit(means, variances).prior_kl_nats(),
    )


def code_health(index: NDArray[np.integer], codes: int) -> LatentHealth:
    """Return the health of the cells' codes of n people, shape (n, ...).

    Every cell costs the KL of one code to a uniform prior, ln K; one that has the same code in
    everybody says nothing and is not active.
    """
    cells = index.reshape(len(index), -1)
    return LatentHealth(
        total_kl_nats=cells.shape[1] * float(np.log(codes)),
        active=int((cells != cells[0]).any(axis=0).sum()),
        aggregate_kl_nats=None,
    )
