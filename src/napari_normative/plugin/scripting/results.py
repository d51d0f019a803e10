"""What a run brought, in digests and numbers, and how another run compares with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.io.session_file import CandidateRecord, ResultRecord
from napari_normative.layers.spec import content_digest

if TYPE_CHECKING:
    from napari_normative.core.candidates import Candidate
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.draws import Draws
    from napari_normative.engine.inpaint import Inpainted
    from napari_normative.volume import Volume

PERCENTILES = (0.1, 1.0, 50.0, 99.0, 99.9)
Z_TOLERANCE = 0.02
"""Of percentiles and peaks of z; between devices and versions of torch 0.002 is usual."""
SHARE_TOLERANCE = 0.01
"""Of scan scores, volumes of candidates, percentiles of draws: a hundredth."""
PLACE_TOLERANCE_MM = 1.0


def results_of_detection(detection: Detection) -> ResultRecord:
    """Return what a detection brought; a quarter of a second."""
    volumes = {
        "reconstruction": detection.reconstruction,
        "residual": detection.residual,
        "anomaly z": detection.anomaly_z,
        "candidates": detection.candidate_labels,
        **{f"sample {n}": volume for n, volume in enumerate(detection.samples, start=1)},
    }
    if detection.local_volume is not None:
        volumes["local volume"] = detection.local_volume
    return ResultRecord(
        sha256=_digests(volumes),
        spread=_spread(detection.anomaly_z.data[detection.mask]),
        scan_score=round(float(detection.scan_score), 6),
        candidates=tuple(_candidate(each) for each in detection.candidates),
    )


def results_of_draws(draws: Draws) -> ResultRecord:
    """Return what a draw brought."""
    volumes = {f"sample {n}": volume for n, volume in enumerate(draws.volumes, start=1)}
    volumes |= {n: v for n, v in (("mean", draws.mean), ("SD", draws.sd)) if v is not None}
    values = [volume.data.ravel() for volume in volumes.values()]
    return ResultRecord(sha256=_digests(volumes), spread=_spread(np.concatenate(values)))


def results_of_inpainted(made: Inpainted) -> ResultRecord:
    """Return what filling a scan brought."""
    volumes = {"filled": made.filled, "made": made.made}
    values = made.filled.data[made.made.data != 0]
    return ResultRecord(sha256=_digests(volumes), spread=_spread(values))


def difference(before: ResultRecord, now: ResultRecord) -> str:
    """Return how the results of two runs differ beyond rounding; empty when they do not.

    Equal digests are equal results. Other results of the same parameters, as another device
    or version of torch makes them, count as the same within the tolerances above.
    """
    if before.sha256 == now.sha256:
        return ""
    if before.sha256.keys() != now.sha256.keys():
        return "other results were made"
    scale = 1.0 if before.scan_score is not None else max(map(abs, before.spread), default=0.0)
    allowed = Z_TOLERANCE if before.scan_score is not None else SHARE_TOLERANCE * scale
    if len(before.spread) != len(now.spread) or not _all_close(before.spread, now.spread, allowed):
        return "the values are spread differently"
    if (before.scan_score is None) != (now.scan_score is None):
        return "there is no scan score"
    score, score_before = now.scan_score or 0.0, before.scan_score or 0.0
    if not math.isclose(score, score_before, rel_tol=SHARE_TOLERANCE):
        return f"the scan score is {score:.4g}, it was {score_before:.4g}"
    return _other_candidates(before.candidates, now.candidates)


def _other_candidates(before: Sequence[CandidateRecord], now: Sequence[CandidateRecord]) -> str:
    if len(before) != len(now):
        return f"there are {len(now)} candidates, there were {len(before)}"
    for rank, (one, other) in enumerate(zip(before, now, strict=True), start=1):
        same = (
            one.sign == other.sign
            and abs(one.peak_z - other.peak_z)
            <= max(Z_TOLERANCE, SHARE_TOLERANCE * abs(one.peak_z))
            and math.isclose(one.volume_ml, other.volume_ml, rel_tol=SHARE_TOLERANCE)
            and math.dist(one.centroid_mm, other.centroid_mm) <= PLACE_TOLERANCE_MM
        )
        if not same:
            return f"candidate {rank} is another"
    return ""


def _all_close(before: Sequence[float], now: Sequence[float], allowed: float) -> bool:
    return all(abs(a - b) <= allowed for a, b in zip(before, now, strict=True))


def _digests(volumes: Mapping[str, Volume]) -> dict[str, str]:
    # Little-endian, so that the same values have the same digest on every machine.
    return {
        name: content_digest(np.asarray(volume.data, dtype="<f4"))
        for name, volume in volumes.items()
    }


def _spread(values: NDArray[np.floating]) -> tuple[float, ...]:
    if not values.size:
        return ()
    return tuple(round(float(v), 5) for v in np.percentile(values, PERCENTILES))


def _candidate(found: Candidate) -> CandidateRecord:
    right, anterior, superior = (round(float(mm), 3) for mm in found.centroid_mm)
    return CandidateRecord(
        sign=1 if found.sign > 0 else -1,
        peak_z=round(float(found.peak_z), 4),
        volume_ml=round(found.volume_mm3 / 1000, 4),
        centroid_mm=(right, anterior, superior),
    )
