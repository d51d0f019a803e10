"""What healthy people's residuals look like, and the frequencies that follow.

People of part A give the mean and SD of every voxel; people of part B, who had no
say in those, give thresholds and p values.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    mean, sd : float32 array, shape (S, I, J, K)
        Of the signed residual at each scale; ``sd`` is 0 where nothing is known.
    z_tail : float array, shape (len(TAIL),)
        ``|z|`` exceeded by the fraction ``TAIL`` of healthy voxels.
    scan_scores : float array, shape (n_b,)
        Sorted.
    evidence : float array, shape (n_b,)
        Strongest candidate of each healthy scan; sorted.
    threshold_z : float
        ``|z|`` at which candidates are formed.
    false_per_scan : float
        Healthy candidates per scan at that threshold.
    n_a, n_b : int
        People in each part.
    """

    mean: FloatArray
    sd: FloatArray
    z_tail: NDArray[np.float64]
    scan_scores: NDArray[np.float64]
    evidence: NDArray[np.float64]
    threshold_z: float
    false_per_scan: float
    n_a: int
    n_b: int

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


def conformal_p(healthy: NDArray[np.float64], value: float) -> float:
    """Return ``(1 + #{healthy >= value}) / (1 + n)``.

    References
    ----------
    .. [1] Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005.
    """
    return float((1 + int((healthy >= value).sum())) / (1 + len(healthy)))


def voxel_statistics(people: list[FloatArray], masks: list[Mask]) -> tuple[FloatArray, FloatArray]:
    """Return mean and regularised SD per scale and voxel.

    Few people make a voxel's own SD unreliable: its variance is shrunk towards that of
    its neighbourhood, in the way of an inverse-gamma prior worth ``PRIOR_PEOPLE`` people.

    Parameters
    ----------
    people : list of float32 array, shape (S, I, J, K)
    masks : list of bool array, shape (I, J, K)
        A voxel needs three people or more.
    """
    total = np.zeros_like(people[0], dtype=np.float64)
    square = np.zeros_like(total)
    count = np.zeros(masks[0].shape)
    for scales, mask in zip(people, masks, strict=True):
        total += scales * mask
        square += (scales * mask) ** 2
        count += mask
    n = np.maximum(count, 1)
    mean = total / n
    variance = np.maximum(square / n - mean**2, 0) * n / np.maximum(n - 1, 1)
    known = count >= 3
    weight = ndimage.gaussian_filter(known.astype(np.float64), 2.0)
    for s in range(len(variance)):
        around = ndimage.gaussian_filter(variance[s] * known, 2.0) / np.maximum(weight, 1e-6)
        shrunk = (n * variance[s] + PRIOR_PEOPLE * around) / (n + PRIOR_PEOPLE)
        floor = 0.1 * np.median(shrunk[known]) if known.any() else 0.0
        variance[s] = np.maximum(shrunk, floor)
    sd = np.where(known, np.sqrt(variance), 0)
    return mean.astype(np.float32), sd.astype(np.float32)


def z_tail(maps: list[FloatArray]) -> NDArray[np.float64]:
    """Return ``|z|`` exceeded by each fraction of ``TAIL`` over healthy maps."""
    values = np.concatenate([np.abs(z[z != 0]) for z in maps])
    tail: NDArray[np.float64] = np.quantile(values, 1 - TAIL).astype(np.float64)
    return tail
