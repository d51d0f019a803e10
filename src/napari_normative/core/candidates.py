"""Candidates: connected groups of anomalous voxels that await review."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label, regionprops

from napari_normative.core.calibration import Calibration
from napari_normative.volume import FloatArray, Volume

SEARCHED = (2.0, 20.0)
"""Thresholds among which the one for a rate is looked for."""


@dataclass(frozen=True)
class Candidate:
    """A connected component of the thresholded anomaly map.

    Attributes
    ----------
    id : str
        Stable across runs of the same model on the same scan.
    label : int
        Its value in the candidate labels; 1 or more.
    rank : int
        1 is the strongest.
    sign : int
        +1 brighter than expected, -1 darker.
    peak_z, mean_z : float
        Signed.
    volume_mm3 : float
    centroid_mm : tuple of 3 floats
        World position (RAS+), mm.
    box : tuple of 3 (start, stop)
        Bounding box in voxels of the scan's grid.
    p : float
        Share of healthy calibration scans whose strongest candidate has at least this
        evidence (conformal p).
    """

    id: str
    label: int
    rank: int
    sign: int
    peak_z: float
    mean_z: float
    volume_mm3: float
    centroid_mm: tuple[float, float, float]
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    p: float


@dataclass(frozen=True)
class Component:
    """A candidate on the model's grid, before it is laid onto a scan."""

    label: int
    sign: int
    peak_z: float
    mean_z: float
    evidence: float


def components(
    z: FloatArray, threshold_z: float, minimum_ml: float, voxel_ml: float
) -> tuple[NDArray[np.int32], list[Component]]:
    """Group voxels of one sign with ``|z|`` above the threshold.

    Returns
    -------
    labels : int32 array, shape (I, J, K)
        ``Component.label``; 0 elsewhere.
    found : list of Component
        Strongest evidence first. Evidence is the sum of ``|z| - threshold`` times the
        voxel volume, ml.
    """
    labels = np.zeros(z.shape, dtype=np.int32)
    found: list[tuple[float, Component, NDArray[np.bool_], tuple[slice, ...]]] = []
    for sign in (1, -1):
        signed = sign * z
        for region in regionprops(label(signed > threshold_z, connectivity=2)):
            if region.area * voxel_ml < minimum_ml:
                continue
            values = signed[region.slice][region.image]
            evidence = float((values - threshold_z).sum()) * voxel_ml
            component = Component(
                0, sign, sign * float(values.max()), sign * float(values.mean()), evidence
            )
            found.append((evidence, component, region.image, region.slice))
    found.sort(key=lambda item: -item[0])
    ranked = []
    for rank, (_, component, image, where) in enumerate(found, start=1):
        labels[where][image] = rank
        ranked.append(
            Component(rank, component.sign, component.peak_z, component.mean_z, component.evidence)
        )
    return labels, ranked


def threshold_for_rate(
    maps: Sequence[FloatArray], rate: float, minimum_ml: float, voxel_ml: float
) -> float:
    """Return the lowest threshold from which on healthy scans have at most ``rate`` candidates.

    Searched downwards: far below, candidates grow together and become few again.
    """

    def per_scan(threshold: float) -> float:
        return float(
            np.mean([len(components(z, threshold, minimum_ml, voxel_ml)[1]) for z in maps])
        )

    lowest, highest = SEARCHED
    threshold = highest
    for step in (1.0, 0.1):
        while threshold - step >= lowest and per_scan(round(threshold - step, 1)) <= rate:
            threshold -= step
    return round(threshold, 1)


def false_curve(
    maps: Sequence[FloatArray], own: float, minimum_ml: float, voxel_ml: float
) -> NDArray[np.float64]:
    """Return the candidates per scan over thresholds, ``own`` among them; shape (2, T)."""
    thresholds = np.union1d(np.arange(2.0, 12.25, 0.5), [own])
    rates = [
        np.mean([len(components(z, t, minimum_ml, voxel_ml)[1]) for z in maps]) for t in thresholds
    ]
    return np.stack([thresholds, np.array(rates, dtype=float)])


def describe(
    found: Sequence[Component], on_scan: Volume, calibration: Calibration, key: str
) -> tuple[Candidate, ...]:
    """Measure components on the scan's grid.

    Parameters
    ----------
    found : sequence of Component
    on_scan : Volume
        Labels on the scan's grid.
    calibration : Calibration
    key : str
        Digest of scan and model; makes the ids stable.
    """
    labels = on_scan.data.astype(np.int32)
    boxes = ndimage.find_objects(labels)
    candidates: list[Candidate] = []
    for component in found:
        box = boxes[component.label - 1] if component.label <= len(boxes) else None
        if box is None:  # smaller than a voxel of the scan
            continue
        points = np.argwhere(labels[box] == component.label) + [s.start for s in box]
        x, y, z = on_scan.affine[:3, :3] @ points.mean(axis=0) + on_scan.affine[:3, 3]
        identity = f"{key}:{component.label}:{component.peak_z:.3f}"
        (a, b, c) = ((s.start, s.stop) for s in box)
        candidates.append(
            Candidate(
                id=hashlib.sha256(identity.encode()).hexdigest()[:12],
                label=component.label,
                rank=len(candidates) + 1,
                sign=component.sign,
                peak_z=component.peak_z,
                mean_z=component.mean_z,
                volume_mm3=len(points) * on_scan.voxel_ml * 1000,
                centroid_mm=(float(x), float(y), float(z)),
                box=(a, b, c),
                p=calibration.candidate_p(component.evidence),
            )
        )
    return tuple(candidates)
