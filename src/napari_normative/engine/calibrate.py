"""Healthy people who took no part in training: statistics, thresholds, held-out error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.calibration import Calibration, VoxelStatistics, z_tail
from napari_normative.core.candidates import components, false_curve, threshold_for_rate
from napari_normative.core.card import HeldOut
from napari_normative.core.metrics import bootstrap
from napari_normative.core.score import ScoreConfig, anomaly_z, evidence_maps, scan_score
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.volume import FloatArray, Mask

MOST_CALIBRATED = 256
"""Calibration people who give statistics and thresholds, drawn at random where there are more:
their maps lie in memory together."""
MOST_TESTED = 1024
"""Test people whose error is in the card, drawn at random where there are more."""

Reconstruct = Callable[..., FloatArray]
"""(N, I, J, K), and their person's code where there is one, to (N, I, J, K), model units."""


def calibrate(
    cohort: PreparedCohort,
    reconstruct: Reconstruct,
    score: ScoreConfig,
    *,
    flip: bool,
    codes: FloatArray | None = None,
) -> Calibration:
    """Return voxel statistics of the calibration people, and frequencies of their maps.

    Each is judged by the statistics of the others (docs/decisions/0008).

    Parameters
    ----------
    cohort : PreparedCohort
    reconstruct : callable
        Images (N, I, J, K) to pseudo-healthy reconstructions.
    score : ScoreConfig
    flip : bool
        Count each person mirrored as well, where anatomy allows.
    codes : float32 array, shape (people, D), optional
        Of the people of the cohort, for ``reconstruct``.
    """
    spacing, inside = cohort.config.spacing_mm, cohort.template.mask
    people = cohort.some(MOST_CALIBRATED, "calibration-a", "calibration-b")
    statistics = VoxelStatistics((score.maps, *inside.shape))
    views: list[list[tuple[NDArray[np.float16], Mask]]] = []
    for n in people:
        own = []
        for image, mask in _views(cohort, n, flip):
            made = reconstruct(image[None], *code_of(codes, n))[0]
            maps = evidence_maps(image, made, mask, score, spacing)
            # Kept in half precision: taking out exactly what was put in matters, digits do not.
            own.append((maps.astype(np.float16), mask))
            statistics.add(own[-1][0].astype(np.float32), mask)
        views.append(own)

    def known() -> Calibration:
        mean, sd = statistics.mean_and_sd()
        if not score.voxel_statistics:
            mean, sd = np.zeros_like(mean), (sd > 0).astype(np.float32)
        nothing = np.zeros(0)
        return Calibration(mean * inside, sd * inside, nothing, nothing, nothing, 0, 0, 0, 0, 0)

    found = []
    for n, own in zip(people, views, strict=True):
        for kept, mask in own:
            statistics.add(kept.astype(np.float32), mask, times=-1)
        image, mask = next(_views(cohort, n, False))
        found.append(anomaly_z(own[0][0].astype(np.float32), image, mask, known(), score, spacing))
        for kept, mask in own:
            statistics.add(kept.astype(np.float32), mask)
    voxel_ml = spacing**3 / 1000
    threshold = threshold_for_rate(found, score.false_per_scan, score.minimum_ml, voxel_ml)
    candidates = [components(z, threshold, score.minimum_ml, voxel_ml)[1] for z in found]
    rate = bootstrap([len(c) for c in candidates])
    return dataclasses.replace(
        known(),
        z_tail=z_tail(found),
        scan_scores=np.sort([scan_score(z) for z in found]),
        evidence=np.sort([c[0].evidence if c else 0.0 for c in candidates]),
        threshold_z=threshold,
        false_per_scan=rate.value,
        rate_low=rate.low,
        rate_high=rate.high,
        n=len(people),
        false_curve=false_curve(found, threshold, score.minimum_ml, voxel_ml),
    )


@dataclass(frozen=True)
class _Errors:
    model: list[float]
    mean: list[float]


def held_out(
    cohort: PreparedCohort, reconstruct: Reconstruct, codes: FloatArray | None = None
) -> tuple[HeldOut, ...]:
    """Return the reconstruction error of the test people per site, beside the mean image's."""
    sites: dict[str, _Errors] = {}
    for n in cohort.some(MOST_TESTED, "test"):
        image, mask = next(_views(cohort, n, False))
        errors = sites.setdefault(cohort.people[n].site, _Errors([], []))
        made = reconstruct(image[None], *code_of(codes, n))[0]
        errors.model.append(float(np.abs(image - made)[mask].mean()))
        errors.mean.append(float(np.abs(image - cohort.template.image)[mask].mean()))
    return tuple(
        HeldOut(
            site=site,
            people=len(errors.model),
            mae=round(float(np.mean(errors.model)), 5),
            mae_mean_image=round(float(np.mean(errors.mean)), 5),
        )
        for site, errors in sorted(sites.items())
    )


def code_of(codes: FloatArray | None, n: int) -> tuple[FloatArray, ...]:
    """Return what is handed on of a person beside the image: the code, where there are codes."""
    return () if codes is None else (codes[n],)


def _views(cohort: PreparedCohort, n: int, flip: bool) -> Iterator[tuple[FloatArray, Mask]]:
    """Yield a person's image and mask, and both mirrored."""
    image, mask = cohort.images[n].astype(np.float32), cohort.masks[n]
    yield image, mask
    if flip:
        yield image[::-1].copy(), mask[::-1].copy()
