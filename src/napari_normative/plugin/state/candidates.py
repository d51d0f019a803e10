"""What was found in the chosen scan, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from psygnal import Signal, SignalGroupDescriptor


@dataclass(frozen=True)
class CandidateRow:
    """A candidate as a row of the list.

    Attributes
    ----------
    label : int
        Its value in the candidates layer.
    rank : int
    sign : str
        ``brighter`` or ``darker`` than expected.
    peak_z, volume_ml : float
    place : str
        Centroid in words, mm from the middle of what was compared.
    world : str
        Its coordinates.
    p : float or None
        None at another threshold than the model's.
    """

    label: int
    rank: int
    sign: str
    peak_z: float
    volume_ml: float
    place: str
    world: str
    p: float | None


@dataclass(frozen=True)
class CheckLine:
    """A question asked of the scan before its map is believed.

    Attributes
    ----------
    name : str
    found, expected : str
    fine : bool
    what : str
        What was found and what to do; empty when fine.
    """

    name: str
    found: str
    expected: str
    fine: bool
    what: str


@dataclass(frozen=True)
class Curve:
    """Intensities along one axis through a candidate; None where nothing is known.

    Attributes
    ----------
    axis : str
    offset_mm : tuple of float
    observed, expected, low, high : tuple of float or None
    """

    axis: str
    offset_mm: tuple[float, ...]
    observed: tuple[float | None, ...]
    expected: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True)
class Why:
    """Why a place is a candidate, ready to be shown.

    Attributes
    ----------
    sentence : str
    curves : tuple of Curve
    directions, neighbours : tuple of str
        One line each.
    """

    sentence: str
    curves: tuple[Curve, ...]
    directions: tuple[str, ...]
    neighbours: tuple[str, ...]


@dataclass
class CandidatesState:
    """The candidates of the scan that the dock "Anomaly map" has chosen.

    Attributes
    ----------
    rows : tuple of CandidateRow
    headline : str
        How many there are, at which threshold, in which scan.
    checks : tuple of CheckLine
    selected : int
        Label of the selected candidate; 0 for none.
    why : Why or None
        Of the selected candidate.
    why_busy : bool
    why_note : str
        Why there is no explanation.
    report_blocked : str
        Why no report can be written.
    report_note : str
        Where the last report lies, or why there is none.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    rows: tuple[CandidateRow, ...] = ()
    headline: str = ""
    checks: tuple[CheckLine, ...] = ()
    selected: int = 0
    why: Why | None = field(default=None)
    why_busy: bool = False
    why_note: str = ""
    report_blocked: str = "Run the anomaly map first."
    report_note: str = ""


class CandidatesRequests:
    """What the list of candidates asks for."""

    step = Signal(int)  # 1 the next candidate, -1 the one before
    report = Signal(str)  # path
