"""Candidates: connected groups of anomalous voxels that await review."""

from __future__ import annotations

from dataclasses import dataclass


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
