"""The dock "Reading room"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import Signal, SignalGroupDescriptor

from napari_normative.plugin.state.common import Choice

FLICKER, CHECKERBOARD, SWIPE = "flicker", "checkerboard", "swipe"
MODALITIES = (
    Choice("auto", "recognised"),
    Choice("MR", "MR"),
    Choice("CT", "CT (Hounsfield units)"),
    Choice("other", "PET and others"),
)


@dataclass(frozen=True)
class LayerValue:
    """A layer's value at a place, in words."""

    name: str
    value: str


@dataclass(frozen=True)
class Readout:
    """What lies at a place.

    Attributes
    ----------
    place : str
        World position in words; empty where there is none.
    voxel : str
        Index in the scan's file, counted from 0, in the order of its stored axes.
    values : tuple of LayerValue
        Of the visible layers that lie there, top first.
    """

    place: str = ""
    voxel: str = ""
    values: tuple[LayerValue, ...] = ()


@dataclass
class ReadingState:
    """Everything the dock "Reading room" displays.

    Attributes
    ----------
    scan : str
        Key of the chosen scan; empty for none.
    readout : Readout
        Under the mouse, else at the point that the planes show.
    modality : str
        Chosen: a key of ``MODALITIES``.
    modality_line : str
        What the values look like.
    presets : tuple of Choice
    preset : str
        Empty when the window is another.
    level, width : float
        Grey-value window of the scan, its reconstruction and samples, in the scan's units.
    window_step : float
        A sensible step for both.
    right_button : bool
        Whether dragging with the right button changes the window, too.
    window_blocked : str
        Why there is no window to change; empty when there is.
    opacity : float
        Of the anomaly maps, 0 to 1.
    hidden : bool
        Whether maps and candidates are hidden for a moment.
    overlay_blocked : str
        Why there is no overlay.
    colour_bar : bool
    threshold_z, threshold_low, threshold_high, threshold_default : float
        Chosen, smallest and largest offered, and the model's own.
    threshold_blocked : str
        Why candidates cannot be counted anew; empty when they can.
    threshold_busy : bool
    count_line : str
        How many candidates there are.
    rate_line : str
        How many there would be in healthy scans.
    threshold_note : str
        What was not done, such as replacing edited candidates.
    compare : str
        ``flicker``, ``checkerboard``, ``swipe``, or empty.
    compare_blocked : str
    flicker_hz : float
        Changes per second.
    square_mm : float
        Side of a square of the checkerboard.
    swipe : float
        Share of the picture, from the left of the screen, that shows the scan.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    scan: str = ""
    readout: Readout = Readout()
    modality: str = "auto"
    modality_line: str = ""
    presets: tuple[Choice, ...] = (Choice("auto", "Automatic"),)
    preset: str = ""
    level: float = 0.0
    width: float = 1.0
    window_step: float = 1.0
    right_button: bool = False
    window_blocked: str = "Open a scan first."
    opacity: float = 0.8
    hidden: bool = False
    overlay_blocked: str = "Open a scan first."
    colour_bar: bool = True
    threshold_z: float = 0.0
    threshold_low: float = 0.0
    threshold_high: float = 1.0
    threshold_default: float = 0.0
    threshold_blocked: str = "Open a scan first."
    threshold_busy: bool = False
    count_line: str = ""
    rate_line: str = ""
    threshold_note: str = ""
    compare: str = ""
    compare_blocked: str = "Open a scan first."
    flicker_hz: float = 2.0
    square_mm: float = 20.0
    swipe: float = 0.5


class ReadingRequests:
    """What the dock asks for."""

    reset_window = Signal()
    reset_threshold = Signal()
    left = Signal()  # the dock was closed
