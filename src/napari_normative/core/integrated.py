"""Whose doing a candidate's score is: contributions of voxels and of latent directions that add up.

Integrated gradients: a function's change from one point to another is the integral of its
gradient along the straight line between them, and the integral falls apart into one share for
each coordinate [1]_.

References
----------
.. [1] Sundararajan, Taly & Yan, Axiomatic attribution for deep networks, ICML 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.core.calibration import Calibration
from napari_normative.core.score import ScoreConfig
from napari_normative.volume import FloatArray, Mask

STEPS = 8
"""Points of the Gauss-Legendre rule along the path."""

PASSED_THROUGH = (
    "residual after the contrast fit, at every scale, over the healthy SD of its place, mean over "
    "the candidate"
)
LEFT_OUT = (
    "tolerance to misregistration, bending, fine structure, the scan's own median and MAD, "
    "left-right difference, edge-preserving averages"
)

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judged:
    """The differentiable part of a candidate's score: a weighted sum of the residual.

    Attributes
    ----------
    weights : float64 array, shape (I, J, K)
        SD of healthy per unit of the residual of a voxel; 0 outside the foreground.
    healthy : float
        What healthy people have there on average, SD.
    """

    weights: Numbers
    healthy: float

    @classmethod
    def inside(
        cls,
        region: Mask,
        mask: Mask,
        calibration: Calibration,
        score: ScoreConfig,
        spacing_mm: float,
    ) -> Judged:
        """Return the score of a candidate: see ``PASSED_THROUGH`` and ``LEFT_OUT``.

        Smoothing is linear, so that the mean of the smoothed residual over the candidate is a
        weighted sum of the plain one.

        Parameters
        ----------
        region : bool array, shape (I, J, K)
            The candidate; healthy statistics are known everywhere in it.
        mask : bool array, shape (I, J, K)
            Foreground.
        calibration : Calibration
        score : ScoreConfig
        spacing_mm : float
        """
        scales = score.scales_mm
        weights = np.zeros(mask.shape)
        healthy = 0.0
        share = 1 / (len(scales) * int(region.sum()))
        for n, sigma_mm in enumerate(scales):
            over = np.zeros(mask.shape)
            over[region] = share / calibration.sd[n][region]
            healthy += float((over[region] * calibration.mean[n][region]).sum())
            weights += _smoothed_back(over, mask, sigma_mm / spacing_mm)
        return cls(weights, healthy)

    def of(self, residual: NDArray[np.floating]) -> float:
        """Return the score of a residual, SD of healthy; signed."""
        return float((self.weights * residual).sum()) - self.healthy


def _smoothed_back(over: Numbers, mask: Mask, sigma_voxels: float) -> Numbers:
    """Return the transpose of :func:`~napari_normative.core.residual.smooth_inside` on ``over``."""
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma_voxels, truncate=3.0)
    shared = np.where(mask, over / np.maximum(weight, 1e-3), 0)
    return np.where(mask, ndimage.gaussian_filter(shared, sigma_voxels, truncate=3.0), 0)


def integrated_gradients(
    gradient: Callable[[FloatArray], NDArray[np.floating]],
    start: FloatArray,
    end: FloatArray,
    steps: int = STEPS,
) -> Numbers:
    """Return what each entry adds to a function's change from ``start`` to ``end``.

    Parameters
    ----------
    gradient : callable
        Of the function, at a point of the shape of ``start``.
    start, end : float32 array, any shape
    steps : int
        Points of the Gauss-Legendre rule: exact for a gradient that is a polynomial of degree
        ``2 steps - 1`` along the path.

    Returns
    -------
    float64 array, shape of ``start``
        Sums to the change, but for the error of the rule.
    """
    points, shares = np.polynomial.legendre.leggauss(steps)
    away = end.astype(np.float64) - start
    total = np.zeros(start.shape)
    for point, share in zip((points + 1) / 2, shares / 2, strict=True):
        total += share * gradient((start + point * away).astype(np.float32))
    return total * away


@dataclass(frozen=True)
class Contribution:
    """What a latent direction adds to the expectation inside a candidate.

    Attributes
    ----------
    index : int
        Entry of the latent, from 0.
    contribution : float
        Change of the expectation, SD of healthy, on the way from the cohort's average latent to
        the scan's; the score changes by as much the other way.
    coordinate_sd : float
        Where the scan lies along it, in SD of the cohort from its mean.
    """

    index: int
    contribution: float
    coordinate_sd: float


@dataclass(frozen=True)
class Account:
    """The expectation inside a candidate, from the cohort's average to this scan's, SD of healthy.

    ``average + directions + others + local = expected``, but for the error of the rule.

    Attributes
    ----------
    average, expected : float
        Weighted as the score weights them.
    directions : tuple of Contribution
        Largest first.
    others : float
        All other directions together.
    local : float
        Levels below the global one.
    error : float
        Of the sum over all directions.
    """

    average: float
    expected: float
    directions: tuple[Contribution, ...]
    others: float
    local: float
    error: float


@dataclass(frozen=True)
class Shares:
    """What voxels add to a candidate's score, in groups; SD of healthy.

    The four add up to the change from the baseline, but for the error of the rule.

    Attributes
    ----------
    residual_inside, residual_around : float
        The voxels' own departure from the expectation, in the candidate and where its smoothed
        score reaches.
    expectation_inside, expectation_elsewhere : float
        Through the network: how what it saw in the candidate, and elsewhere, moved the
        expectation there.
    """

    residual_inside: float
    residual_around: float
    expectation_inside: float
    expectation_elsewhere: float

    @classmethod
    def of(cls, own: Numbers, through: Numbers, region: Mask) -> Shares:
        """Return the sums of two maps inside and outside a region."""
        return cls(
            float(own[region].sum()),
            float(own[~region].sum()),
            float(through[region].sum()),
            float(through[~region].sum()),
        )

    @property
    def total(self) -> float:
        """The sum of all four."""
        return (
            self.residual_inside
            + self.residual_around
            + self.expectation_inside
            + self.expectation_elsewhere
        )


def account_of(
    contributions: Numbers,
    coordinates: NDArray[np.floating],
    average: float,
    whole: float,
    expected: float,
    count: int,
) -> Account:
    """Return the account of an expectation.

    Parameters
    ----------
    contributions : float64 array, shape (Z,)
        Of each direction.
    coordinates : float array, shape (Z,)
        Of the scan, SD of the cohort.
    average, whole, expected : float
        Of the cohort's average latent, of the scan's, and with all levels.
    count : int
        Directions to name; those without any contribution are not.
    """
    order = np.argsort(-np.abs(contributions), kind="stable")[:count]
    named = tuple(
        Contribution(int(d), float(contributions[d]), float(coordinates[d]))
        for d in order
        if contributions[d]
    )
    total = float(contributions.sum())
    return Account(
        average=average,
        expected=expected,
        directions=named,
        others=total - sum(c.contribution for c in named),
        local=expected - whole,
        error=total - (whole - average),
    )
