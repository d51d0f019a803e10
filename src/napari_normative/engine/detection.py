"""What a detection returns, and how it is written to disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_normative.core.candidates import Candidate
from napari_normative.volume import Mask, Volume


@dataclass(frozen=True, eq=False)
class Detection:
    """The result of comparing one scan with a normative model.

    Every volume lies on the grid of ``scan``, voxel for voxel.

    Attributes
    ----------
    scan : Volume
        The input as given.
    mask : bool array, shape (I, J, K)
        Foreground that was scored.
    reconstruction : Volume
        Pseudo-healthy reconstruction, in the scan's own intensity units; 0 outside the mask.
    residual : Volume
        ``scan - reconstruction`` inside the mask, 0 outside; signed.
    anomaly_z : Volume
        Calibrated z of the residual; signed, 0 outside the mask.
    anomaly_p : Volume
        Two-sided p of ``anomaly_z`` among healthy voxels; 1 outside the mask.
    candidate_labels : Volume
        0 for background, otherwise ``Candidate.label``.
    candidates : tuple of Candidate
        Strongest first.
    scan_score : float
        One number for the scan; larger is less normal.
    scan_p : float
        Share of healthy calibration scans that score at least as high (conformal p).
    threshold_z : float
        ``|z|`` above which voxels form candidates.
    samples : tuple of Volume
        Synthetic draws of the model, placed on the scan's grid and in its units.
    warnings : tuple of str
        Whatever was repaired, assumed or looks unlike the training cohort.
    provenance : dict
        Versions, model digest, parameters, device, seed, UTC time, seconds per step; JSON-ready.
    """

    scan: Volume
    mask: Mask
    reconstruction: Volume
    residual: Volume
    anomaly_z: Volume
    anomaly_p: Volume
    candidate_labels: Volume
    candidates: tuple[Candidate, ...]
    scan_score: float
    scan_p: float
    threshold_z: float
    samples: tuple[Volume, ...]
    warnings: tuple[str, ...]
    provenance: dict[str, Any]

    def save(self, folder: str | Path) -> list[Path]:
        """Write the detection into ``folder`` and return the files written."""
        raise AssertionError("written next")
