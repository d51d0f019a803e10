"""Healthy people who took no part in training: statistics, thresholds, held-out error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from napari_normative.core.calibration import Calibration, voxel_statistics, z_tail
from napari_normative.core.candidates import components, threshold_for_rate
from napari_normative.core.card import HeldOut
from napari_normative.core.score import ScoreConfig, anomaly_z, residual_scales, scan_score
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.volume import FloatArray, Mask

Reconstruct = Callable[[FloatArray], FloatArray]
"""(N, I, J, K) to (N, I, J, K), model units."""


def calibrate(
    cohort: PreparedCohort, reconstruct: Reconstruct, score: ScoreConfig, *, flip: bool
) -> Calibration:
    """Return voxel statistics of part A and frequencies of part B.

    Parameters
    ----------
    cohort : PreparedCohort
    reconstruct : callable
        Images (N, I, J, K) to pseudo-healthy reconstructions.
    score : ScoreConfig
    flip : bool
        Count each person of part A mirrored as well, where anatomy allows.
    """
    spacing = cohort.config.spacing_mm
    part_a, part_b = cohort.select("calibration-a"), cohort.select("calibration-b")
    people, masks = [], []
    for n in part_a:
        for image, mask in _views(cohort, n, flip):
            people.append(_scales(image, mask, reconstruct, score, spacing))
            masks.append(mask)
    mean, sd = voxel_statistics(people, masks)
    if not score.voxel_statistics:
        mean, sd = np.zeros_like(mean), (sd > 0).astype(np.float32)
    inside = cohort.template.mask
    draft = Calibration(
        mean=mean * inside, sd=sd * inside, z_tail=np.zeros(0), scan_scores=np.zeros(0),
        evidence=np.zeros(0), threshold_z=0.0, false_per_scan=0.0, n_a=len(part_a), n_b=len(part_b),
    )  # fmt: skip
    maps = []
    for n in part_b:
        image, mask = next(_views(cohort, n, False))
        scales = _scales(image, mask, reconstruct, score, spacing)
        maps.append(anomaly_z(scales, mask, draft, score, spacing))
    voxel_ml = spacing**3 / 1000
    threshold, found = threshold_for_rate(maps, score.false_per_scan, score.minimum_ml, voxel_ml)
    strongest = []
    for z in maps:
        candidates = components(z, threshold, score.minimum_ml, voxel_ml)[1]
        strongest.append(candidates[0].evidence if candidates else 0.0)
    return Calibration(
        mean=draft.mean,
        sd=draft.sd,
        z_tail=z_tail(maps),
        scan_scores=np.sort([scan_score(z) for z in maps]),
        evidence=np.sort(strongest),
        threshold_z=threshold,
        false_per_scan=found,
        n_a=len(part_a),
        n_b=len(part_b),
    )


@dataclass(frozen=True)
class _Errors:
    model: list[float]
    mean: list[float]


def held_out(cohort: PreparedCohort, reconstruct: Reconstruct) -> tuple[HeldOut, ...]:
    """Return the reconstruction error of the test people per site, beside the mean image's."""
    sites: dict[str, _Errors] = {}
    for n in cohort.select("test"):
        image, mask = next(_views(cohort, n, False))
        errors = sites.setdefault(cohort.people[n].site, _Errors([], []))
        errors.model.append(float(np.abs(image - reconstruct(image[None])[0])[mask].mean()))
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


def _views(cohort: PreparedCohort, n: int, flip: bool) -> Iterator[tuple[FloatArray, Mask]]:
    """Yield a person's image and mask, and both mirrored."""
    image, mask = cohort.images[n].astype(np.float32), cohort.masks[n]
    yield image, mask
    if flip:
        yield image[::-1].copy(), mask[::-1].copy()


def _scales(
    image: FloatArray,
    mask: Mask,
    reconstruct: Reconstruct,
    score: ScoreConfig,
    spacing_mm: float,
) -> FloatArray:
    return residual_scales(image, reconstruct(image[None])[0], mask, score, spacing_mm)
