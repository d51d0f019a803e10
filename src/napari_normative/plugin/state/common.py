"""What the states of all docks have in common."""

from __future__ import annotations

from dataclasses import dataclass
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
class JobState:
    """A dock that runs something: how far it is, and how it ended.

    Attributes
    ----------
    running, cancelling : bool
    step : str
        What the job does now.
    fraction : float
        0 to 1.
    run_blocked : str
        Why Run cannot be pressed; empty when it can.
    summary, error : str
        What came out of the last run, or why nothing did.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    running: bool = False
    cancelling: bool = False
    step: str = ""
    fraction: float = 0.0
    run_blocked: str = ""
    summary: str = ""
    error: str = ""


class JobRequests:
    """What every dock that runs something asks for."""

    run = Signal()
    cancel = Signal()
