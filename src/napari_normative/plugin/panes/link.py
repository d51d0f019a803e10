"""One point, one centre and one zoom for a viewer and the panes beside it. No Qt."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_normative.plugin.planes import Plane, order_for, orientation_for, spatial_axes

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_normative.plugin.planes import Convention

CLICK_PIXELS = 4
"""A press that moves further is a drag."""
FIT = 0.92
ZOOM_STEP = 1.15


@dataclass(eq=False)
class Pane:
    """A viewer model beside the main one.

    Attributes
    ----------
    model : ViewerModel
    plane : str or None
        None follows the main viewer's plane.
    """

    model: ViewerModel
    plane: Plane | None


def point_axes(viewer: Any) -> tuple[int, int, int] | None:
    """Return the axes S, A, R of a viewer: by label, or the last three; None in flat ones."""
    ndim = viewer.dims.ndim
    if ndim < 3:
        return None
    return spatial_axes(viewer.dims.axis_labels) or (ndim - 3, ndim - 2, ndim - 1)


def shown_axes(viewer: Any) -> tuple[str, ...]:
    """Return S, A and R in the order in which a viewer shows them; empty if unknown."""
    axes = spatial_axes(viewer.dims.axis_labels)
    if axes is None:
        return ()
    return tuple(viewer.dims.axis_labels[axis] for axis in viewer.dims.order if axis in axes)


class Link:
    """Keeps a viewer and its panes at one point, with one centre and one zoom.

    The point is ``dims.point`` of the main viewer. A pixel is equally many mm in all
    panes, and panning one moves the others along the axes they share.

    Parameters
    ----------
    main : napari Viewer or ViewerModel
        Held weakly.
    convention : callable
        Returns the convention of the moment.

    Attributes
    ----------
    clicks : bool
        Whether a click moves the point without panes, too.
    """

    clicked = Signal(tuple)  # world mm (R, A, S) of the point that a click chose

    def __init__(self, main: ViewerModel, convention: Callable[[], Convention]) -> None:
        self._main = weakref.ref(main)
        self._convention = convention
        self._panes: list[Pane] = []
        self._centre: dict[int, float] = {}
        self._zoom: float | None = None
        self._fitted: float | None = None
        self._silent = False
        self.clicks = False
        main.dims.events.point.connect(self._on_point)
        main.dims.events.order.connect(self._on_order)
        main.events.reset_view.connect(self._on_reset)
        self._watch_view(main)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Change viewers without passing it on."""
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before

    def add(self, pane: Pane) -> None:
        """Link a pane."""
        self._panes.append(pane)
        self._watch_view(pane.model)
        pane.model.dims.events.point.connect(self._on_pane_point)
        pane.model.canvas.events.size.connect(self._on_size)
        self.place(pane)

    def remove(self, pane: Pane) -> None:
        """Let go of a pane."""
        self._panes.remove(pane)
        self._unwatch_view(pane.model)
        pane.model.dims.events.point.disconnect(self._on_pane_point)
        pane.model.canvas.events.size.disconnect(self._on_size)
        if not self._panes:
            self._centre.clear()
            self._zoom = None

    def close(self) -> None:
        """Let go of all viewers."""
        for pane in list(self._panes):
            self.remove(pane)
        main = self._main()
        if main is not None:
            main.dims.events.point.disconnect(self._on_point)
            main.dims.events.order.disconnect(self._on_order)
            main.events.reset_view.disconnect(self._on_reset)
            self._unwatch_view(main)

    def _watch_view(self, viewer: Any) -> None:
        viewer.scene.camera.events.center.connect(self._on_camera)
        viewer.scene.camera.events.zoom.connect(self._on_camera)
        viewer.mouse_drag_callbacks.append(self._click)
        viewer.mouse_wheel_callbacks.insert(0, self._wheel)

    def _unwatch_view(self, viewer: Any) -> None:
        viewer.scene.camera.events.center.disconnect(self._on_camera)
        viewer.scene.camera.events.zoom.disconnect(self._on_camera)
        viewer.mouse_drag_callbacks.remove(self._click)
        viewer.mouse_wheel_callbacks.remove(self._wheel)

    # ---- planes

    def place(self, pane: Pane) -> None:
        """Give a pane the main viewer's axes, point and view: its layers may have moved it."""
        main, model = self._main(), pane.model
        if main is None or model.dims.ndim < 3 or model.dims.ndim > main.dims.ndim:
            return
        lead = main.dims.ndim - model.dims.ndim
        labels = main.dims.axis_labels[lead:]
        with self.silent():
            model.dims.axis_labels = labels
            model.dims.range = main.dims.range[lead:]
            if pane.plane is not None:
                model.dims.order = order_for(pane.plane, labels)
            else:
                model.dims.order = tuple(a - lead for a in main.dims.order if a >= lead)
            model.dims.point = main.dims.point[lead:]
            self.orient(pane)
            self._apply_view(model)

    def orient(self, pane: Pane) -> None:
        """Turn a pane as the convention says, or as the main viewer is turned.

        A 3D view stays: it is seen from the front and has no convention.
        """
        main = self._main()
        axes = shown_axes(pane.model)
        if main is None or not axes:
            return
        if pane.plane is None:
            wanted = main.scene.camera.orientation
        else:
            solid = pane.model.dims.ndisplay == 3
            wanted = orientation_for(axes, "radiological" if solid else self._convention())
        pane.model.scene.camera.orientation = wanted

    def turn(self) -> None:
        """Turn all panes again: the convention changed."""
        for pane in self._panes:
            self.orient(pane)

    def _on_order(self, event: Any = None) -> None:
        for pane in self._panes:
            if pane.plane is None:
                self.place(pane)

    # ---- point

    def _on_point(self, event: Any = None) -> None:
        main = self._main()
        if main is None or self._silent:
            return
        with self.silent():
            for pane in self._panes:
                dims = pane.model.dims
                if 3 <= dims.ndim <= main.dims.ndim:
                    dims.point = main.dims.point[main.dims.ndim - dims.ndim :]

    def _on_pane_point(self, event: Any) -> None:
        main = self._main()
        if main is None or self._silent:
            return
        pane = next((p for p in self._panes if p.model.dims is event.source), None)
        if pane is not None and pane.model.dims.ndim >= 3:
            self._set_point(pane.model.dims.point)

    def _set_point(self, point: Sequence[float]) -> None:
        """Move everything to a point in the last axes of the main viewer."""
        main = self._main()
        if main is None:
            return
        lead = main.dims.ndim - len(point)
        wanted = (*main.dims.point[:lead], *(float(v) for v in point))
        # On whole slices, as the sliders would put it an event later.
        main.dims.point = tuple(
            start + round((value - start) / step) * step
            for value, (start, _, step) in zip(wanted, main.dims.range, strict=True)
        )

    @property
    def point_mm(self) -> tuple[float, float, float] | None:
        """World mm (R, A, S) of the point; None without a volume."""
        main = self._main()
        axes = None if main is None else point_axes(main)
        if main is None or axes is None:
            return None
        s, a, r = (float(main.dims.point[axis]) for axis in axes)
        return r, a, s

    def go_to(self, world_mm: Sequence[float]) -> None:
        """Move all planes to the slices nearest to world mm (R, A, S); the zoom stays.

        A pane is panned only if the point would lie outside of it.
        """
        main = self._main()
        axes = None if main is None else point_axes(main)
        if main is None or axes is None:
            return
        point = list(main.dims.point)
        for axis, value in zip(axes, reversed([float(v) for v in world_mm]), strict=True):
            point[axis] = value
        self._set_point(point)
        hidden = [a for viewer in self._flat() for a in self._out_of_view(viewer)]
        if hidden:
            self._keep_view(main)
            self._centre |= {axis: float(main.dims.point[axis]) for axis in hidden}
            with self.silent():
                for viewer in self._flat():
                    self._apply_view(viewer)

    # ---- view

    def _flat(self) -> list[Any]:
        """Return the viewers that show a plane."""
        main = self._main()
        viewers = [main, *(pane.model for pane in self._panes)]
        return [v for v in viewers if v is not None and v.dims.ndisplay == 2 and v.dims.ndim >= 3]

    def _displayed(self, viewer: Any) -> list[int]:
        """Return the displayed axes of a viewer as axes of the main one."""
        main = self._main()
        lead = 0 if main is None else main.dims.ndim - viewer.dims.ndim
        return [axis + lead for axis in viewer.dims.displayed]

    def _keep_view(self, viewer: Any) -> None:
        camera = viewer.scene.camera
        self._zoom = float(camera.zoom)
        for axis, value in zip(self._displayed(viewer), camera.center[-2:], strict=True):
            self._centre[axis] = float(value)

    def _apply_view(self, viewer: Any) -> None:
        if viewer.dims.ndisplay != 2 or self._zoom is None:
            return
        camera = viewer.scene.camera
        axes = self._displayed(viewer)
        if all(axis in self._centre for axis in axes):
            camera.center = (0.0, *(self._centre[axis] for axis in axes))
        camera.zoom = self._zoom

    def _on_camera(self, event: Any) -> None:
        if self._silent or not self._panes:
            return
        flat = self._flat()
        moved = next((v for v in flat if v.scene.camera is event.source), None)
        if moved is None:
            return
        self._keep_view(moved)
        with self.silent():
            for viewer in flat:
                if viewer is not moved:
                    self._apply_view(viewer)

    def _on_size(self, event: Any = None) -> None:
        """Show the whole again in panes of another size, unless somebody zoomed meanwhile."""
        if self._zoom is not None and self._zoom == self._fitted:
            self.fit()

    def _on_reset(self, event: Any = None) -> None:
        if not self._silent and self._panes:
            self.fit()

    def fit(self) -> None:
        """Show the whole of the layers in every pane, equally large in all."""
        main = self._main()
        if main is None or not len(main.layers) or main.dims.ndim < 3:
            return
        low, high = main.layers.extent.world
        self._fitted = self._show_box(main, low, high)

    def frame(self, low_mm: Sequence[float], high_mm: Sequence[float]) -> None:
        """Show a box, world mm (R, A, S), as large as every pane allows, equally large in all."""
        main = self._main()
        axes = None if main is None else point_axes(main)
        if main is None or axes is None:
            return
        low, high = (list(end) for end in main.layers.extent.world)
        for axis, least, most in zip(axes, reversed(low_mm), reversed(high_mm), strict=True):
            low[axis], high[axis] = float(least), float(most)
        self._show_box(main, low, high)

    def _show_box(self, main: Any, low: Sequence[float], high: Sequence[float]) -> float | None:
        """Centre all planes on a box of the main viewer's world; return the zoom."""
        zooms = []
        for viewer in self._flat():
            axes = self._displayed(viewer)
            size = [max(float(high[a] - low[a]), 1e-6) for a in axes]
            zooms.append(float(np.min(np.asarray(viewer.canvas.size) / size)))
        if not zooms:
            return self._fitted
        self._zoom = FIT * min(zooms)
        self._centre = {a: float(low[a] + high[a]) / 2 for a in range(main.dims.ndim)}
        with self.silent():
            for viewer in self._flat():
                self._apply_view(viewer)
        return self._zoom

    def _out_of_view(self, viewer: Any) -> list[int]:
        """Return the displayed axes along which the point lies outside of a pane."""
        camera, main = viewer.scene.camera, self._main()
        if main is None:
            return []
        away = [
            abs(float(main.dims.point[axis]) - float(centre)) * camera.zoom
            for axis, centre in zip(self._displayed(viewer), camera.center[-2:], strict=True)
        ]
        return [
            axis
            for axis, distance, pixels in zip(
                self._displayed(viewer), away, viewer.canvas.size, strict=True
            )
            if distance > 0.48 * pixels
        ]

    # ---- mouse

    def _click(self, viewer: Any, event: Any) -> Iterator[None]:
        """Jump to where somebody clicked, unless a tool or a key says otherwise."""
        active = viewer.layers.selection.active
        if (
            not (self._panes or self.clicks)
            or event.button != 1
            or len(event.modifiers)
            or viewer.dims.ndisplay != 2
            or viewer.dims.ndim < 3
            or (active is not None and str(active.mode) != "pan_zoom")
        ):
            return
        start, position = np.array(event.pos), tuple(event.position)
        yield
        while event.type == "mouse_move":
            if np.abs(np.array(event.pos) - start).max() > CLICK_PIXELS:
                return
            yield
        self._set_point(position)
        if (point := self.point_mm) is not None:
            self.clicked.emit(point)

    def _wheel(self, viewer: Any, event: Any) -> None:
        """Step through the slices; with Shift zoom. With one pane the wheel is napari's."""
        if not self._panes or viewer.dims.ndisplay != 2 or viewer.dims.ndim < 3:
            return
        turn = float(np.clip(event.delta[1] or event.delta[0], -1, 1))
        names = set(event.modifiers)
        if not names:
            through = viewer.dims.not_displayed[-1]
            forward = 1 if event.native is not None and event.native.inverted() else -1
            step = viewer.dims.current_step[through] + round(forward * np.sign(turn))
            viewer.dims.set_current_step(through, step)
            event.handled = True
        elif names == {"Shift"}:
            viewer.scene.camera.zoom *= ZOOM_STEP**turn
            event.handled = True
