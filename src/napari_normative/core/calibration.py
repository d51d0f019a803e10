"""What healthy people's residuals look like, and the frequencies that follow.

Everybody gives mean and SD of every voxel, and everybody is judged by the mean and SD of the
others: thresholds and p values come from maps that their own person had no say in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.volume import FloatArray, Mask

PRIOR_PEOPLE = 10.0
"""How many people the neighbourhood's variance counts for beside a voxel's own."""

TAIL = np.concatenate([np.linspace(1.0, 0.1, 10), np.logspace(-1.25, -5, 16)])
"""Probabilities at which the healthy distribution of |z| is stored."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Healthy statistics of a model, on its grid.

    Attributes
    ----------
    mean, sd : float32 array, shape (M, I, J, K)
        Of the maps of evidence; ``sd`` is 0 where nothing is known.
    z_tail : float array, shape (len(TAIL),)
        ``|z|`` exceeded by the fraction ``TAIL`` of healthy voxels.
    scan_scores : float array, shape (n,)
        Sorted.
    evidence : float array, shape (n,)
        Strongest candidate of each healthy scan; sorted.
    threshold_z : float
        ``|z|`` at which candidates are formed.
    false_per_scan : float
        Healthy candidates per scan at that threshold.
    rate_low, rate_high : float
        95 % interval of the rate that follows from so many people.
    n : int
        People.
    false_curve : float array, shape (2, T)
        Thresholds, rising, and healthy candidates per scan at each; T is 0 where the model
        file has none.
    """

    mean: FloatArray
    sd: FloatArray
    z_tail: NDArray[np.float64]
    scan_scores: NDArray[np.float64]
    evidence: NDArray[np.float64]
    threshold_z: float
    false_per_scan: float
    rate_low: float
    rate_high: float
    n: int
    false_curve: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 0)))

    def voxel_p(self, z: FloatArray) -> FloatArray:
        """Two-sided p of z among healthy voxels; not below 1e-5, 1 where z is 0."""
        tail = np.maximum.accumulate(self.z_tail)
        log_p = np.interp(np.abs(z), tail, np.log(TAIL))
        return np.where(z == 0, 1.0, np.exp(log_p)).astype(np.float32)

    def scan_p(self, score: float) -> float:
        """Conformal p: share of healthy scans, this one counted, that score as high."""
        return conformal_p(self.scan_scores, score)

    def candidate_p(self, evidence: float) -> float:
        """Conformal p: share of healthy scans whose strongest candidate has this evidence."""
        return conformal_p(self.evidence, evidence)

    def false_per_scan_at(self, threshold_z: float) -> float | None:
        """Return the healthy candidates per scan at another threshold than the model's.

        Interpolated. From the model's own threshold on it never rises, although a candidate
        that falls into two raises the count for a moment; far below, candidates grow together
        and the rate falls again, so a lower threshold is not always the one with more of them.

        Parameters
        ----------
        threshold_z : float
            ``|z|``; above the highest that was measured its rate stands for all.

        Returns
        -------
        float or None
            None below the lowest threshold that was measured, and where the model file holds
            no such rates.
        """
        thresholds, rates = self.false_curve
        if not len(thresholds) or threshold_z < thresholds[0]:
            return None
        above = thresholds >= self.threshold_z - 1e-6
        envelope = rates.copy()
        highest_yet_to_come = np.maximum.accumulate(rates[above][::-1])[::-1]
        envelope[above] = np.minimum(highest_yet_to_come, self.false_per_scan)
        return float(np.interp(threshold_z, thresholds, envelope))


def conformal_p(healthy: NDArray[np.float64], value: float) -> float:
    """Return ``(1 + #{healthy >= value}) / (1 + n)``.

    References
    ----------
    .. [1] Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005.
    """
    return float((1 + int((healthy >= value).sum())) / (1 + len(healthy)))


class VoxelStatistics:
    """Sums over people from which mean and SD of every voxel follow, with or without someone.

    Parameters
    ----------
    shape : tuple of 4 int
        Maps and grid, (M, I, J, K).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._total = np.zeros(shape)
        self._square = np.zeros(shape)
        self._count = np.zeros(shape[1:])

    def add(self, maps: FloatArray, mask: Mask, times: int = 1) -> None:
        """Count a person's maps (M, I, J, K) inside the mask; ``times=-1`` takes them out."""
        self._total += times * (maps * mask)
        self._square += times * (maps * mask).astype(np.float64) ** 2
        self._count += times * mask

    def mean_and_sd(self) -> tuple[FloatArray, FloatArray]:
        """Return mean and regularised SD; the SD is 0 where fewer than three people are known.

        Few people make a voxel's own SD unreliable: its variance is shrunk towards that of its
        neighbourhood, in the way of an inverse-gamma prior worth ``PRIOR_PEOPLE`` people.
        """
        n = np.maximum(self._count, 1)
        mean = self._total / n
        variance = np.maximum(self._square / n - mean**2, 0) * n / np.maximum(n - 1, 1)
        known = self._count >= 3
        weight = ndimage.gaussian_filter(known.astype(np.float32), 2.0)
        sd = np.zeros(variance.shape, dtype=np.float32)
        for s in range(len(variance)):
            own = (variance[s] * known).astype(np.float32)
            around = ndimage.gaussian_filter(own, 2.0) / np.maximum(weight, 1e-6)
            shrunk = (n * variance[s] + PRIOR_PEOPLE * around) / (n + PRIOR_PEOPLE)
            floor = 0.1 * np.median(shrunk[known]) if known.any() else 0.0
            sd[s] = np.where(known, np.sqrt(np.maximum(shrunk, floor)), 0)
        return mean.astype(np.float32), sd


def z_tail(maps: list[FloatArray]) -> NDArray[np.float64]:
    """Return ``|z|`` exceeded by each fraction of ``TAIL`` over healthy maps."""
    values = np.concatenate([np.abs(z[z != 0]) for z in maps])
    tail: NDArray[np.float64] = np.quantile(values, 1 - TAIL).astype(np.float64)
    return tail
