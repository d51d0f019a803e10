"""The dock "Reading room": what is under the mouse, window, overlay, threshold, comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.reading_compare import ComparePart
from napari_normative.plugin.controllers.reading_overlay import OverlayPart
from napari_normative.plugin.controllers.reading_subject import Subject
from napari_normative.plugin.controllers.reading_threshold import ThresholdPart
from napari_normative.plugin.controllers.reading_window import WindowPart
from napari_normative.plugin.readout import read_at
from napari_normative.plugin.state.reading import ReadingRequests, ReadingState


class ReadingController:
    """Answers the requests of the dock "Reading room" for one viewer.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.state, self.requests = ReadingState(), ReadingRequests()
        self.subject = Subject(context, self.state, self.refresh)
        self.window = WindowPart(self.subject)
        self.overlay = OverlayPart(self.subject)
        self.threshold = ThresholdPart(self.subject)
        self.compare = ComparePart(self.subject)
        self._layout: LayoutController | None = None
        self._point: tuple[float, ...] = ()
        self._mice: WeakKeyDictionary[Any, tuple[float, ...]] = WeakKeyDictionary()
        requests = self.requests
        requests.reset_window.connect(self.window.reset)
        requests.reset_threshold.connect(self.threshold.reset)
        requests.left.connect(self.compare.stop)
        context.scans.state.events.connect(self._on_scans)
        context.models.state.events.busy.connect(self.refresh)
        viewer = context.viewer()
        if viewer is not None:
            viewer.layers.events.inserted.connect(self.refresh)
            viewer.layers.events.removed.connect(self.refresh)
            viewer.cursor.events.position.connect(self._on_mouse)
            viewer.dims.events.point.connect(self._on_point)
            viewer.mouse_drag_callbacks.append(self._drag)
        self._on_scans()

    def _on_scans(self, *_: object) -> None:
        self.state.scan = self.context.scans.keep(self.state.scan)

    def follow(self, layout: LayoutController) -> None:
        """Answer the mouse in the panes that a layout opens, too."""
        if self._layout is not layout:
            self._layout = layout
            layout.state.events.layout.connect(self._on_layout)
            self._on_layout()

    def _on_layout(self, *_: object) -> None:
        self.compare.stop()  # panes choose by themselves what they show
        for model in [] if self._layout is None else self._layout.board.models:
            if self._drag not in model.mouse_drag_callbacks:
                model.mouse_drag_callbacks.append(self._drag)
                model.cursor.events.position.connect(self._on_mouse)

    def refresh(self, *_: object) -> None:
        """Show what the layers and the detections are now."""
        for part in (self.window, self.overlay, self.threshold, self.compare):
            part.refresh()

    def read(self, point: tuple[float, ...]) -> None:
        """Tell what lies at a point of the viewer (last three: superior, anterior, right; mm)."""
        viewer = self.context.viewer()
        if viewer is not None:
            self.state.readout = read_at(viewer.layers, point, self.subject.scan)

    def _on_mouse(self, event: Any) -> None:
        panes = [] if self._layout is None else self._layout.board.models
        viewer = next(
            (
                v
                for v in (self.context.viewer(), *panes)
                if v is not None and v.cursor is event.source
            ),
            None,
        )
        # In 3D the mouse is on no particular voxel.
        if viewer is None or viewer.dims.ndisplay == 3:
            return
        position = tuple(viewer.cursor.position)
        if len(position) != viewer.dims.ndim:
            return
        # napari moves its cursor along with the slice, too: then the mouse was not moved.
        before = self._mice.get(viewer)
        self._mice[viewer] = tuple(position[axis] for axis in viewer.dims.displayed)
        if self._mice[viewer] != before:
            self.read(position)

    def _on_point(self, *_: object) -> None:
        """Read where the planes jumped to; scrolling on leaves the mouse where it is."""
        viewer = self.context.viewer()
        if viewer is None:
            return
        before, self._point = self._point, tuple(viewer.dims.point)
        place = list(viewer.cursor.position)
        scrolled = len(before) == len(self._point) == len(place) and all(
            before[axis] == self._point[axis] for axis in viewer.dims.displayed
        )
        if not (scrolled and viewer.mouse_over_canvas and viewer.dims.ndisplay == 2):
            self.read(self._point)
            return
        for axis in viewer.dims.not_displayed:
            place[axis] = self._point[axis]
        self.read(tuple(place))

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        yield from self.window.drag(viewer, event)
