"""The dock "Anomaly map"."""

from __future__ import annotations

from dataclasses import dataclass

from psygnal import Signal

from napari_normative.plugin.state.common import JobRequests, JobState


@dataclass
class AnomalyState(JobState):
    """Everything the dock "Anomaly map" displays besides scans, models and devices.

    Attributes
    ----------
    scan, mask : str
        Keys of the chosen layers; empty for none.
    geometry : str
        Shape, mm, stored orientation, tilt.
    geometry_warning : str
        What was assumed or repaired; empty when nothing was.
    volume_count : int
        More than 1 for a series.
    volume : int
        Chosen volume of a series, from 1; 0 until somebody chose.
    reconstruction, residual, anomaly_z, abs_z, candidates, local_volume, scored_mask : bool
        Which results become layers; the local volume is computed only then.
    refused, force : bool
        Whether the scan was refused for its contrast; whether to score it all the same.
    samples, seed : int
    replace_earlier : bool
    all_label : str
        How many scans "Run on all" would take; empty for fewer than two.
    working_on : str
        Which scan of several is at hand; empty when there is one.
    """

    scan: str = ""
    geometry: str = ""
    geometry_warning: str = ""
    volume_count: int = 1
    volume: int = 0
    mask: str = ""
    reconstruction: bool = True
    residual: bool = True
    anomaly_z: bool = True
    abs_z: bool = True
    candidates: bool = True
    local_volume: bool = False
    scored_mask: bool = False
    refused: bool = False
    force: bool = False
    samples: int = 0
    seed: int = 0
    replace_earlier: bool = True
    all_label: str = ""
    working_on: str = ""
    run_blocked: str = "Open a scan first."


class AnomalyRequests(JobRequests):
    """What the dock asks for."""

    run_all = Signal()
