"""What the docks show and what they ask for. No Qt, no napari.

A view reads a state object and emits requests; a controller answers requests and
writes the state. Neither knows the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from psygnal import Signal, SignalGroupDescriptor

RESEARCH_ONLY = "Research use only, not for diagnosis."


@dataclass(frozen=True)
class Choice:
    """One entry of a picker.

    Attributes
    ----------
    key : str
        Stable, unlike the label.
    label : str
    """

    key: str
    label: str


@dataclass
class AnomalyState:
    """Everything the dock "Anomaly map" displays.

    Attributes
    ----------
    scans, masks, models, devices : tuple of Choice
    scan, mask, model, device : str
        Keys of the chosen entries; empty for none.
    geometry : str
        Shape, mm, stored orientation, tilt.
    geometry_warning : str
        What was assumed or repaired; empty when nothing was.
    volume_count : int
        More than 1 for a series.
    volume : int
        Chosen volume of a series, from 1; 0 until somebody chose.
    model_line, device_line : str
        The model's card in one line; why this device.
    reconstruction, residual, anomaly_z, abs_z, candidates, local_volume : bool
        Which results become layers; the last is computed only then.
    refused, force : bool
        Whether the scan was refused for its contrast; whether to score it all the same.
    samples, seed : int
    replace_earlier : bool
    running, cancelling : bool
    step : str
        What the job does now.
    fraction : float
        0 to 1.
    run_blocked : str
        Why Run cannot be pressed; empty when it can.
    summary, error : str
    model_loaded : bool
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    scans: tuple[Choice, ...] = ()
    scan: str = ""
    geometry: str = ""
    geometry_warning: str = ""
    volume_count: int = 1
    volume: int = 0
    masks: tuple[Choice, ...] = ()
    mask: str = ""
    models: tuple[Choice, ...] = ()
    model: str = ""
    model_line: str = ""
    devices: tuple[Choice, ...] = (Choice("auto", "auto"), Choice("cpu", "cpu"))
    device: str = "auto"
    device_line: str = ""
    reconstruction: bool = True
    residual: bool = True
    anomaly_z: bool = True
    abs_z: bool = True
    candidates: bool = True
    local_volume: bool = False
    refused: bool = False
    force: bool = False
    samples: int = 0
    seed: int = 0
    replace_earlier: bool = True
    running: bool = False
    cancelling: bool = False
    step: str = ""
    fraction: float = 0.0
    run_blocked: str = "Open a scan first."
    summary: str = ""
    error: str = ""
    model_loaded: bool = False


class AnomalyRequests:
    """What the dock asks for."""

    run = Signal()
    cancel = Signal()
    unload = Signal()
    model_file = Signal(str)  # path


@dataclass
class AnomalyPanel:
    """The pair a view is built from."""

    state: AnomalyState = field(default_factory=AnomalyState)
    requests: AnomalyRequests = field(default_factory=AnomalyRequests)
