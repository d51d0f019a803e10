"""What a session shows, and how: its scan, its layers by role, layouts, window, threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from nibabel.affines import apply_affine

from napari_normative.errors import SessionError
from napari_normative.layers.spec import SCAN, facts_of
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.reading import ReadingController
from napari_normative.plugin.detections import belongs
from napari_normative.plugin.scripting.driver import Driver
from napari_normative.plugin.state.layout import CONVENTION_CHOICES, PANE_CHOICES, PLANE_CHOICES
from napari_normative.plugin.state.reading import CHECKERBOARD, FLICKER, SWIPE

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_normative.core.candidates import Candidate
    from napari_normative.engine.detection import Detection

LAYOUTS = tuple(choice.key for choice in (*PLANE_CHOICES, *PANE_CHOICES))
CONVENTIONS = tuple(choice.key for choice in CONVENTION_CHOICES)
COMPARISONS = (FLICKER, CHECKERBOARD, SWIPE)


class Roles(dict[str, "Layer"]):
    """Layers of a scan by role, such as ``scan``, ``reconstruction``, ``anomaly z``."""

    def __missing__(self, role: str) -> Layer:
        """Say which roles there are."""
        raise SessionError(
            "SES-002",
            f"the scan has no layer with the role {role!r}",
            f"Roles that there are: {', '.join(self) or 'none'}.",
        )


class ScriptedView(Driver):
    """The view of a session, by method.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
    timeout_s : float
        Longest time that one step may take.
    """

    def __init__(self, viewer: ViewerModel, timeout_s: float) -> None:
        super().__init__(viewer, timeout_s)
        self._anomaly = self.controller(AnomalyController)
        self._layout = self.controller(LayoutController)

    # ---- scan and layers

    def choose(self, layer: Layer) -> None:
        """Make an image layer the scan that everything is about."""
        if self._anomaly.choose(layer):
            self.controller(ReadingController).state.scan = self._anomaly.state.scan

    @property
    def scan(self) -> Layer | None:
        """The layer of the chosen scan; None before one is open."""
        scans = self.context.scans
        return scans.layer(self._anomaly.state.scan) if self._anomaly.state.scan else None

    @property
    def layers(self) -> Roles:
        """The layers of the chosen scan, and of draws from the cohort, by role; the newest."""
        facts = None if self.scan is None else facts_of(self.scan)
        found = Roles() if self.scan is None else Roles({SCAN: self.scan})
        for layer in self.viewer.layers:
            own = facts_of(layer)
            if own is None:
                continue
            mine = facts is not None and belongs(own.origin, facts.origin)
            if mine or own.origin.startswith("model:"):
                found[own.role] = layer
        return found

    @property
    def detection(self) -> Detection | None:
        """What was last found in the chosen scan; None before :meth:`detect`."""
        facts = None if self.scan is None else facts_of(self.scan)
        origin = "" if facts is None else facts.origin
        return self.context.detections.of_layer(self._anomaly.state.scan, origin)

    # ---- the view

    def layout(self, name: str = "") -> str:
        """Divide the canvas; return the layout there is.

        Parameters
        ----------
        name : str
            ``axial``, ``coronal``, ``sagittal``, ``planes``, ``planes+3d``, ``side-by-side``.
        """
        if name:
            self.require_one_of("layout", name, LAYOUTS)
            self.require("layout", self._layout.blocked(name))
            self._layout.state.layout = name
            self.settle()
        return self._layout.state.layout

    def convention(self, name: str = "") -> str:
        """Choose where patient right is; return where it is.

        Parameters
        ----------
        name : str
            ``radiological``: on the left of the screen; ``neurological``. What is stored
            for new windows stays.
        """
        if name:
            self.require_one_of("convention", name, CONVENTIONS)
            self._session.view.convention = name  # type: ignore[assignment]
        return self._session.view.convention

    def go_to(self, target: int | Candidate | Sequence[float]) -> None:
        """Show a place in all planes; the zoom stays.

        Parameters
        ----------
        target : int, Candidate, or sequence of 3 float
            A candidate by its rank, from 1; or world mm, right, anterior, superior.
        """
        if isinstance(target, int) or hasattr(target, "centroid_mm"):
            self._layout.go_to(self._candidate(target).centroid_mm)
            return
        place = [float(value) for value in target]
        if len(place) != 3:
            raise self.refusal("go_to", "Give three numbers: mm to the right, anterior, superior.")
        self._layout.go_to(place)

    @property
    def position_mm(self) -> tuple[float, float, float] | None:
        """World mm (R, A, S) that all planes show; None without a volume."""
        return self._layout.point_mm

    def mark(self, *, letters: bool | None = None, crosshair: bool | None = None) -> None:
        """Show or hide the letters of the sides and the crosshair."""
        state = self._layout.state
        if letters is not None:
            state.letters = letters
        if crosshair is not None:
            state.crosshair = crosshair

    def fit(self) -> None:
        """Show the whole scan in every pane."""
        self._layout.fit()

    def frame(self) -> None:
        """Show what was scored as large as the panes allow; before :meth:`detect` all of it."""
        found = self.detection
        if found is None or not found.mask.any():
            self.fit()
            return
        index = np.argwhere(found.mask)
        ends = np.array(np.meshgrid(*zip(index.min(axis=0), index.max(axis=0), strict=True)))
        corners = apply_affine(found.scan.affine, ends.reshape(3, -1).T)
        self._layout.board.link.frame(corners.min(axis=0), corners.max(axis=0))

    def window(
        self, level: float | None = None, width: float | None = None, *, preset: str = ""
    ) -> tuple[float, float]:
        """Set the grey-value window of the scan and its reconstruction; return level and width.

        Parameters
        ----------
        level, width : float, optional
            In the scan's units.
        preset : str
            Instead: ``auto``, ``full``, or for CT one that the dock *Reading room* lists.
        """
        state = self._read("window").state
        self.require("window", state.window_blocked)
        if preset:
            self.require_one_of("preset", preset, [choice.key for choice in state.presets])
            state.preset = ""
            state.preset = preset
        if level is not None:
            state.level = float(level)
        if width is not None:
            if width <= 0:
                raise self.refusal("window", "Give a width above 0.")
            state.width = float(width)
        return state.level, state.width

    def overlay(self, *, visible: bool | None = None, opacity: float | None = None) -> None:
        """Hide or show maps and candidates, or set the opacity of the maps, 0 to 1."""
        state = self._read("overlay").state
        self.require("overlay", state.overlay_blocked)
        if visible is not None:
            state.hidden = not visible
        if opacity is not None:
            state.opacity = float(opacity)

    def threshold(self, z: float | None = None) -> tuple[Candidate, ...]:
        """Form the candidates beyond another ``|z|``; return them, strongest first.

        Parameters
        ----------
        z : float, optional
            The model's own unless given.
        """
        reading = self._read("threshold")
        state, part = reading.state, reading.threshold
        self.require("threshold", state.threshold_blocked)
        wanted = state.threshold_default if z is None else float(z)
        if not state.threshold_low <= wanted <= max(state.threshold_high, state.threshold_default):
            told = f"{state.threshold_low:.1f} and {state.threshold_high:.1f}"
            raise self.refusal("threshold", f"Choose |z| between {told}.")
        state.threshold_z = wanted
        changes = [state.events.threshold_busy]
        self.wait("threshold", lambda: not state.threshold_busy, changes)
        if part.ended_with is not None:
            raise part.ended_with
        return self.candidates

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates of the chosen scan as they are shown, strongest first."""
        detection = self.detection
        if detection is None:
            return ()
        return self.context.detections.shown(detection).candidates

    def compare(self, kind: str = "", *, position: float = 0.5) -> None:
        """Show scan and reconstruction in one place, or end that.

        Parameters
        ----------
        kind : str
            ``flicker``, ``checkerboard``, ``swipe``; empty ends it.
        position : float
            Of the swipe: share of the picture, from the left of the screen, that shows the scan.
        """
        state = self._read("compare").state
        if kind:
            self.require_one_of("comparison", kind, COMPARISONS)
            self.require("compare", state.compare_blocked)
            state.swipe = position
        state.compare = kind

    # ---- inside

    def _read(self, what: str) -> ReadingController:
        """Return the reading room when it has looked at the chosen scan."""
        reading = self.controller(ReadingController)
        reading.follow(self._layout)
        if self.scan is None:
            raise self.refusal(what, "Open a scan first.")
        reading.state.scan = self._anomaly.state.scan
        known = lambda: reading.subject.measured is not None  # noqa: E731
        self.wait(what, known, [reading.state.events.window_blocked])
        return reading

    def _candidate(self, target: Any) -> Candidate:
        if not isinstance(target, int):
            found: Candidate = target
            return found
        for candidate in self.candidates:
            if candidate.rank == target:
                return candidate
        count = len(self.candidates)
        hint = f"Candidates have ranks from 1 to {count}." if count else "Run detect first."
        raise self.refusal(f"candidate {target}", hint)


def is_layer(thing: object) -> TypeGuard[Layer]:
    """Whether something is a napari layer."""
    from napari.layers import Layer

    return isinstance(thing, Layer)
