"""How many false candidates are to be expected, candidate by candidate.

A model file holds, of each healthy person who calibrated it, the evidence of the strongest
candidate, and how many candidates there were on average. From these follow, for a candidate of a
new scan, how often healthy people have one that is as strong, and what share of the candidates that
are at least as strong would be false.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.calibration import Calibration

Numbers = NDArray[np.float64]


def expected_false(p: Numbers, calibration: Calibration) -> Numbers:
    """Return the false candidates per healthy scan that have at least a candidate's evidence.

    Where the strongest of a healthy scan reaches the evidence with probability p, and candidates
    are scattered as by Poisson, ``-log(1 - p)`` of them are expected. Real ones come in clumps:
    all is raised by the factor by which this falls short of the number that was counted.

    Parameters
    ----------
    p : float array, shape (n,)
        ``Candidate.p``, conformal: of the strongest candidate of a healthy scan.
    calibration : Calibration

    Returns
    -------
    float array, shape (n,)
        Never above ``calibration.false_per_scan``, what is expected of all together.
    """
    people = len(calibration.evidence)
    all_together = counted(calibration)
    weakest = (1 + np.count_nonzero(calibration.evidence > 0)) / (1 + people)
    clumps = max(1.0, all_together / float(_poisson(np.array(weakest), people)))
    return np.minimum(clumps * _poisson(np.asarray(p, dtype=np.float64), people), all_together)


def candidate_p_values(p: Numbers, calibration: Calibration) -> Numbers:
    """Return for each candidate the share of false candidates with at least its evidence.

    Where ``Candidate.p`` asks whether a healthy scan has such a candidate, this asks
    it of a single candidate beyond the threshold; of as many tests as there are candidates.
    """
    return expected_false(p, calibration) / counted(calibration)


def false_discovery(p: Numbers, calibration: Calibration) -> Numbers:
    """Return q of each candidate of a scan: the false share of it and all that are stronger.

    Benjamini and Hochberg's procedure on :func:`candidate_p_values`, given the
    threshold at which candidates were formed.

    References
    ----------
    .. [1] Benjamini & Hochberg, J. R. Stat. Soc. B 57:289-300, 1995.
    .. [2] Chumbley, Worsley, Flandin & Friston, NeuroImage 49:3057-3064, 2010.
    """
    return benjamini_hochberg(candidate_p_values(p, calibration))


def benjamini_hochberg(p: Numbers) -> Numbers:
    """Return the q of each of several p, shape (n,)."""
    order = np.argsort(p, kind="stable")
    raised = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return q


def counted(calibration: Calibration) -> float:
    """Return the healthy candidates per scan at the model's threshold; never quite none."""
    people = len(calibration.evidence)
    return max(calibration.false_per_scan, float(_poisson(np.array(1 / (1 + people)), people)))


def least_rate(calibration: Calibration) -> float:
    """Return the lowest rate of false candidates per scan that so many people can tell."""
    return float(expected_false(np.array([1 / (1 + len(calibration.evidence))]), calibration)[0])


def _poisson(p: Numbers, people: int) -> Numbers:
    """Return the mean of a Poisson number that is not 0 with probability p."""
    return -np.log1p(-np.minimum(p, people / (1 + people)))
