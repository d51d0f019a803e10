"""Decisions of a reader put the candidates that are left into another order.

A small calibrated classifier learns from what was accepted and rejected. It is off unless
asked for, and says of itself whether it does better than the order by evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_normative.review.effect import Effect, Numbers, judge, learn
from napari_normative.review.records import ReviewCandidate
from napari_normative.volume import Mask

FEATURES = (
    "log evidence", "peak |z|", "mean |z|", "log ml", "sign", "p", "mm from the midline",
    "mm anterior", "mm superior", "compactness", "share of the scan",
)  # fmt: skip
"""What is known of a candidate; the first is what candidates are ordered by without feedback."""

FEWEST_DECISIONS = 10
"""Accepted, and as many rejected, before anything is learnt."""

FEWEST_IMAGES = 5
"""Scans with something accepted, and as many with something rejected."""

SMALLEST_ML = 1e-4


@dataclass(frozen=True)
class Known:
    """A candidate with its features.

    Attributes
    ----------
    id, image : str
    features : tuple of float
        In the order of ``FEATURES``; nan for what is not known.
    decision : str
        ``accept`` or ``reject``; anything else is not known.
    """

    id: str
    image: str
    features: tuple[float, ...]
    decision: str = ""


@dataclass(frozen=True)
class Reranking:
    """An order of the candidates that are not decided.

    Attributes
    ----------
    probabilities : dict
        Of being accepted by this reader, by id; empty where nothing was learnt.
    order : tuple of str
        Ids, most probable first; by evidence where nothing was learnt.
    blocked : str
        Why nothing was learnt; empty otherwise.
    effect : Effect or None
    """

    probabilities: dict[str, float]
    order: tuple[str, ...]
    blocked: str = ""
    effect: Effect | None = None


def features_of(
    candidate: ReviewCandidate,
    mask: Mask,
    spacing_mm: Sequence[float],
    *,
    middle_mm: Sequence[float],
    siblings: Sequence[ReviewCandidate],
    threshold_z: float,
) -> tuple[float, ...]:
    """Return what is known of a candidate, in the order of ``FEATURES``.

    Parameters
    ----------
    candidate : ReviewCandidate
    mask : bool array
        Of the candidate, at least its bounding box.
    spacing_mm : 3 floats
    middle_mm : 3 floats
        World position (RAS+) of the middle of what was scored.
    siblings : sequence of ReviewCandidate
        All candidates of the scan, itself among them.
    threshold_z : float
        Of the detection.
    """

    def evidence(one: ReviewCandidate) -> float:
        return max(abs(one.mean_z) - threshold_z, 0.0) * one.volume_ml

    x, y, z = (a - b for a, b in zip(candidate.centroid_mm, middle_mm, strict=True))
    together = sum(evidence(one) for one in siblings)
    return (
        float(np.log(evidence(candidate) + SMALLEST_ML)),
        abs(candidate.peak_z),
        abs(candidate.mean_z),
        float(np.log(candidate.volume_ml + SMALLEST_ML)),
        float(candidate.sign),
        float("nan") if candidate.p is None else candidate.p,
        abs(x),
        y,
        z,
        compactness(mask, spacing_mm),
        evidence(candidate) / together if together else 0.0,
    )


def compactness(mask: Mask, spacing_mm: Sequence[float]) -> float:
    """Return the surface of a ball of a mask's volume, relative to the mask's own.

    Counted over faces of voxels: 0.81 for a cube, about 0.67 for a ball, less for what is
    thin or ragged; nan for an empty mask.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    volume = float(np.count_nonzero(mask) * spacing.prod())
    if not volume:
        return float("nan")
    padded = np.pad(mask, 1).astype(np.int8)
    faces = [np.count_nonzero(np.diff(padded, axis=axis)) for axis in range(3)]
    surface = float((faces * (spacing.prod() / spacing)).sum())
    return float((36 * np.pi * volume**2) ** (1 / 3) / surface)


def rerank(known: Sequence[Known], *, seed: int = 0) -> Reranking:
    """Order the candidates that are not decided by what was decided of the others.

    A logistic regression on standardised features, its probabilities calibrated on scans it
    did not learn from. The order of ``known`` does not matter.

    Parameters
    ----------
    known : sequence of Known
        Of one reader.
    seed : int
        Of the folds and the bootstrap.
    """
    known = sorted(known, key=lambda one: (one.image, one.id))
    decided = [one for one in known if one.decision in ("accept", "reject")]
    left = [one for one in known if one.decision not in ("accept", "reject")]
    blocked = _why_not(decided)
    if blocked:
        return Reranking({}, _ordered(left, np.zeros(len(left))), blocked)
    x, images = _table(decided), np.array([one.image for one in decided])
    y = np.array([one.decision == "accept" for one in decided])
    effect = judge(x, y, images, seed)
    found = learn(x, y, images, seed)(_table(left)) if left else np.zeros(0)
    return Reranking(
        {one.id: float(p) for one, p in zip(left, found, strict=True)},
        _ordered(left, found),
        effect=effect,
    )


def _why_not(decided: Sequence[Known]) -> str:
    """Return why nothing can be learnt yet; empty if it can."""
    for decision, word in (("accept", "accepted"), ("reject", "rejected")):
        some = [one.image for one in decided if one.decision == decision]
        if len(some) < FEWEST_DECISIONS:
            return (
                f"{len(some)} candidates were {word} so far; at least {FEWEST_DECISIONS} are needed"
            )
        if len(set(some)) < FEWEST_IMAGES:
            return (
                f"candidates were {word} in {len(set(some))} scans so far; at least "
                f"{FEWEST_IMAGES} scans are needed"
            )
    return ""


def _table(some: Sequence[Known]) -> Numbers:
    table = np.array([one.features for one in some], dtype=np.float64)
    if table.shape[1:] != (len(FEATURES),):
        raise ValueError(f"a candidate needs {len(FEATURES)} features")
    return table


def _ordered(some: Sequence[Known], marks: Numbers) -> tuple[str, ...]:
    """Return ids from the highest mark down; equal marks by evidence."""
    evidence = [float(np.nan_to_num(one.features[0], nan=-np.inf)) for one in some]
    keys = sorted(zip(-marks, np.negative(evidence), [one.id for one in some], strict=True))
    return tuple(one for _, _, one in keys)
