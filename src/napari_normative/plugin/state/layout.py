"""How the canvas is divided and what is drawn over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import Signal, SignalGroupDescriptor

from napari_normative.plugin.state.common import Choice

PLANE_CHOICES = (
    Choice("axial", "Axial"),
    Choice("coronal", "Coronal"),
    Choice("sagittal", "Sagittal"),
)
PANE_CHOICES = (
    Choice("planes", "3 planes"),
    Choice("planes+3d", "3 + 3D"),
    Choice("side-by-side", "Side by side"),
)
CONVENTION_CHOICES = (
    Choice("radiological", "Radiological"),
    Choice("neurological", "Neurological"),
)


@dataclass
class LayoutState:
    """The layout of the canvas. Writing a field changes the canvas.

    Attributes
    ----------
    layout : str
        ``axial``, ``coronal``, ``sagittal``: one plane; ``planes``, ``planes+3d``,
        ``side-by-side``: several panes.
    convention : str
        ``radiological``: patient right on the left of the screen; ``neurological``.
    crosshair : bool
        Lines at the point in every pane. One plane and several panes remember their own.
    letters : bool
        L R A P S I at the edges of every pane.
    panes_blocked, side_by_side_blocked : str
        Why there can be no panes; empty when there can.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    layout: str = "axial"
    convention: str = "radiological"
    crosshair: bool = False
    letters: bool = True
    panes_blocked: str = "Open a scan first."
    side_by_side_blocked: str = "Open a scan first."


class LayoutRequests:
    """What the row of layouts asks for."""

    fit = Signal()
