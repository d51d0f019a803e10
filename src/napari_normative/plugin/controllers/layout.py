"""The layout of the canvas: planes, panes, conventions, the point they all show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

from psygnal import Signal

from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.panes.board import Board
from napari_normative.plugin.panes.contents import (
    compared_origin,
    in_anomaly_pane,
    planes,
    side_by_side,
)
from napari_normative.plugin.planes import PLANES, Convention, Plane, order_for, plane_of
from napari_normative.plugin.state.layout import LayoutRequests, LayoutState
from napari_normative.plugin.viewing import view_of

SIDE_BY_SIDE = "side-by-side"
COLUMNS = {
    "planes": ((0,), (1, 2)),
    "planes+3d": ((0, 2), (1, 3)),
    SIDE_BY_SIDE: ((1,), (2,), (0,)),
}
"""Where the panes are, as :meth:`Board.open` takes them."""
CAPTIONS = {SIDE_BY_SIDE: "Anomaly map"}
"""What the main canvas shows, where that is not plain."""


@dataclass(frozen=True)
class _Before:
    """What one plane looked like before it made room for panes."""

    plane: str
    order: tuple[int, ...]
    ndisplay: int
    camera: tuple[Any, Any, Any]


class LayoutController:
    """Divides the canvas of one viewer and keeps what its panes show together.

    Parameters
    ----------
    context : Context
    """

    point_changed = Signal(tuple)  # world mm (R, A, S)

    def __init__(self, context: Context) -> None:
        self.context = context
        self.state, self.requests = LayoutState(), LayoutRequests()
        viewer: Any = context.viewer()
        self._view = view_of(viewer)
        self._board = Board(viewer, lambda: self._view.convention, self._on_closed)
        self._before: _Before | None = None
        self._visible: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._origin = ""
        self._crosshairs = {False: self.state.crosshair, True: True}
        self._now = self.state.layout
        self._busy = False
        self._point: tuple[float, float, float] | None = None
        self.state.convention = self._view.convention
        self._view.convention_changed.connect(self._on_turned)
        events = self.state.events
        events.layout.connect(self._on_layout)
        events.convention.connect(self._on_convention)
        events.crosshair.connect(self._on_crosshair)
        events.letters.connect(self._mark)
        self.requests.fit.connect(self.fit)
        for emitter in (
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.layers.selection.events.active,
        ):
            emitter.connect(self._on_layers)
        viewer.dims.events.order.connect(self._on_order)
        viewer.dims.events.point.connect(self._on_point)
        self._on_layers()
        self._on_order()
        self._mark()

    @property
    def board(self) -> Board:
        """The open panes."""
        return self._board

    # ---- the point

    @property
    def point_mm(self) -> tuple[float, float, float] | None:
        """World mm (R, A, S) that all panes show; None without a volume."""
        return self._board.link.point_mm

    def go_to(self, world_mm: Sequence[float]) -> None:
        """Show a place in all planes; the zoom stays.

        Parameters
        ----------
        world_mm : sequence of float, length 3
            R, A, S.
        """
        self._board.link.go_to(world_mm)

    def fit(self) -> None:
        """Show the whole scan in every pane."""
        viewer = self.context.viewer()
        if viewer is not None and not self._board.models:
            viewer.reset_view()
        self._board.fit()

    def _on_point(self, event: Any = None) -> None:
        point = self.point_mm
        if point is not None and point != self._point:
            self._point = point
            self.point_changed.emit(point)

    # ---- layouts

    def _on_layout(self, wanted: str) -> None:
        viewer = self.context.viewer()
        if self._busy or viewer is None or wanted == self._now:
            return
        blocked = self.blocked(wanted)
        if blocked:
            self._say(self._now)
            self.context.notify(blocked)
            return
        self._busy = True
        try:
            self._leave(viewer, wanted)
            if wanted in PLANES:
                self._show_plane(viewer, wanted)
            else:
                self._show_panes(viewer, wanted)
            self._now = wanted
            self.state.crosshair = self._crosshairs[wanted not in PLANES]
        finally:
            self._busy = False
        self._mark()

    def blocked(self, layout: str) -> str:
        """Return why there can be no such layout now; empty when there can."""
        if layout in PLANES:
            return ""
        if layout not in COLUMNS:
            return f"There is no layout {layout!r}."
        side = layout == SIDE_BY_SIDE
        return self.state.side_by_side_blocked if side else self.state.panes_blocked

    def _leave(self, viewer: Any, wanted: str) -> None:
        """Remember one plane before panes come; take back what side by side hid."""
        if self._now in PLANES and wanted not in PLANES:
            camera = viewer.scene.camera
            self._before = _Before(
                self._now,
                viewer.dims.order,
                viewer.dims.ndisplay,
                (camera.center, camera.zoom, camera.angles),
            )
        if self._now == SIDE_BY_SIDE:
            for layer in viewer.layers:
                if layer in self._visible:
                    layer.visible = self._visible[layer]
            self._visible.clear()
            self._origin = ""

    def visible_in_planes(self, layer: Any) -> bool:
        """Whether a layer is seen in a plane: side by side and 3D show other ones for a while."""
        if layer in self._visible:
            return self._visible[layer]
        return self._view.visible_in_planes(layer)

    def _show_plane(self, viewer: Any, plane: Plane) -> None:
        self._board.close()
        before, self._before = self._before, None
        if before is not None and before.plane == plane and len(before.order) == viewer.dims.ndim:
            viewer.dims.ndisplay = before.ndisplay
            viewer.dims.order = before.order
            camera = viewer.scene.camera
            camera.center, camera.zoom, camera.angles = before.camera
        elif viewer.dims.ndim >= 3:
            viewer.dims.ndisplay = 2
            viewer.dims.order = order_for(plane, viewer.dims.axis_labels)
            viewer.reset_view()

    def _show_panes(self, viewer: Any, layout: str) -> None:
        viewer.dims.ndisplay = 2
        if layout == SIDE_BY_SIDE:
            self._origin = compared_origin(viewer)
            for layer in list(viewer.layers):
                self._visible[layer] = layer.visible
                layer.visible = in_anomaly_pane(layer, self._origin)
            contents = side_by_side(self._origin)
        else:
            viewer.dims.order = order_for("axial", viewer.dims.axis_labels)
            contents = planes(viewer, with_3d=layout == "planes+3d")
        self._board.open(contents, COLUMNS[layout])

    def _on_closed(self) -> None:
        """Have one plane again: the window closed."""
        self._before = None
        self._now = "axial"
        self._say(self._now)

    def _say(self, layout: str) -> None:
        """Write the layout that there is, without acting on it."""
        before, self._busy = self._busy, True
        self.state.layout = layout
        self._busy = before

    def _on_layers(self, event: Any = None) -> None:
        viewer, state = self.context.viewer(), self.state
        if viewer is None:
            return
        volumes = any(layer.ndim >= 3 for layer in viewer.layers)
        origin = compared_origin(viewer)
        state.panes_blocked = "" if volumes else "Open a scan first."
        state.side_by_side_blocked = (
            "" if origin else state.panes_blocked or "Run the anomaly map of a scan first."
        )
        gone = self._now == SIDE_BY_SIDE and not origin
        if gone or (self._now not in PLANES and not volumes):
            state.layout = "axial" if self._before is None else self._before.plane

    def _on_order(self, event: Any = None) -> None:
        """Follow somebody who turned the axes of the one plane."""
        viewer = self.context.viewer()
        if viewer is None or self._busy or self._now not in PLANES:
            return
        shown = plane_of(viewer.dims.axis_labels, viewer.dims.order)
        if shown is not None:
            self._now = shown
            self._say(shown)

    # ---- conventions and marks

    def _on_convention(self, convention: str) -> None:
        if convention != self._view.convention:
            self._view.convention = cast(Convention, convention)
            self.context.settings.convention = convention

    def _on_turned(self, convention: str) -> None:
        self.state.convention = convention
        self._board.link.turn()

    def _on_crosshair(self, shown: bool) -> None:
        if not self._busy:
            self._crosshairs[self._now not in PLANES] = shown
            self._mark()

    def _mark(self, *_: object) -> None:
        self._board.mark(self.state.letters, self.state.crosshair)
        self._view.describe(self.state.letters, CAPTIONS.get(self._now, ""))
