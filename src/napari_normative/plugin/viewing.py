"""How a viewer is set up for scans: radiological view, sides in words, |z| in 3D."""

from __future__ import annotations

import warnings
import weakref
from typing import Any, cast

from psygnal import Signal

from napari_normative.layers.grid import AXIS_LABELS
from napari_normative.layers.spec import (
    ABS_Z,
    SIGNED_ROLES,
    facts_of,
)
from napari_normative.plugin.planes import (
    Convention,
    convention_of,
    orientation_for,
    spatial_axes,
)

OVERLAY_KEY = "napari_normative_sides"

_WORDS = {"R": "right", "A": "anterior", "S": "superior"}
_PLANES = {"S": "Axial", "A": "Coronal", "R": "Sagittal"}


def sides_text(
    displayed: tuple[str, ...],
    orientation: tuple[str, str, str],
    assumed: bool = False,
    letters: bool = False,
) -> str:
    """Return where the patient's sides are on the screen, in words.

    Parameters
    ----------
    displayed : tuple of str
        Labels of the displayed axes: vertical and horizontal, or three in 3D.
    orientation : tuple of str
        Of the camera: depth, vertical, horizontal; where each axis grows to.
    assumed : bool
        A visible layer's directions are an assumption.
    letters : bool
        Letters at the edges say which side is where, so that fewer words do.
    """
    tail = " · orientation assumed" if assumed else ""
    if len(displayed) == 3:
        return "3D · arrows point to patient right (R), anterior (A), superior (S)" + tail
    vertical, horizontal = displayed
    if vertical not in _WORDS or horizontal not in _WORDS:
        return ""
    _, up, across = orientation
    through = next(axis for axis in AXIS_LABELS if axis not in displayed)
    if letters:
        told = convention_of((through, vertical, horizontal), orientation)
        return f"{_PLANES[through]}{f' · {told}' if told else ''}{tail}"
    if horizontal == "R" and up == "up":
        if across == "left":
            return "Radiological · patient right on the left" + tail
        return "Neurological · patient right on the right" + tail
    return (
        f"{_PLANES[through]} · {_WORDS[horizontal]} on the {across}, "
        f"{_WORDS[vertical]} {'up' if up == 'up' else 'down'}{tail}"
    )


def is_open(viewer: Any) -> bool:
    """Whether a viewer can still take layers: its window, if it has one, was not closed."""
    return getattr(viewer, "window", None) is None or main_window(viewer) is not None


def main_window(viewer: Any) -> Any | None:
    """Return the Qt window of a viewer; None when it was closed or never was."""
    # napari has no public sign of it: Window.close() deletes the attribute.
    main = getattr(getattr(viewer, "window", None), "_qt_window", None)
    if main is None:
        return None
    from qtpy.compat import isalive

    return main if isalive(main) else None  # type: ignore[no-untyped-call]


class ViewController:
    """Keeps the sides right and readable in one viewer.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
        Held weakly.
    """

    convention_changed = Signal(str)

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self._prepared = False
        self._convention: Convention = "radiological"
        self._letters, self._caption = False, ""
        self._hidden_for_3d: weakref.WeakSet[Any] = weakref.WeakSet()
        viewer.layers.events.inserted.connect(self._on_inserted)
        if any(facts_of(layer) is not None for layer in viewer.layers):
            self.prepare()

    def begin(self, convention: str) -> None:
        """Choose where patient right will be; nothing once the view is set."""
        if not self._prepared and convention != self._convention:
            self._convention = cast(Convention, convention)
            self.convention_changed.emit(convention)

    def prepare(self) -> None:
        """Set the view and show the sides, once: a later choice stays."""
        viewer = self._viewer()
        if viewer is None or self._prepared:
            return
        from napari.components.overlays import TextOverlay

        self._prepared = True
        # Outlined candidates are filled in 3D; napari would say so at every switch.
        warnings.filterwarnings("ignore", message="Contours are not displayed during 3D")
        viewer.scene.camera.orientation = orientation_for(AXIS_LABELS, self._convention)
        viewer.canvas.overlays.axes.visible = True
        viewer.canvas.overlays[OVERLAY_KEY] = TextOverlay(visible=True, position="top_left")
        viewer.dims.events.order.connect(self._turn)
        viewer.dims.events.axis_labels.connect(self._show_sides)
        viewer.dims.events.ndisplay.connect(self._on_ndisplay)
        viewer.scene.camera.events.orientation.connect(self._on_orientation)
        self._show_sides()

    @property
    def convention(self) -> Convention:
        """Where patient right is: on the left of the screen, or on the right."""
        return self._convention

    @convention.setter
    def convention(self, convention: Convention) -> None:
        self.prepare()
        changed, self._convention = convention != self._convention, convention
        self._turn()
        if changed:
            self.convention_changed.emit(convention)

    def describe(self, letters: bool, caption: str = "") -> None:
        """Change what the corner says.

        Parameters
        ----------
        letters : bool
            Letters at the edges tell the sides: fewer words do.
        caption : str
            What the canvas shows; before the sides.
        """
        if (letters, caption) != (self._letters, self._caption):
            self._letters, self._caption = letters, caption
            self._show_sides()

    def _axes(self) -> tuple[str, ...]:
        """Return S, A and R in the order in which they are shown; empty if unknown."""
        viewer = self._viewer()
        axes = None if viewer is None else spatial_axes(viewer.dims.axis_labels)
        if viewer is None or axes is None:
            return ()
        return tuple(viewer.dims.axis_labels[axis] for axis in viewer.dims.order if axis in axes)

    def _turn(self, event: Any = None) -> None:
        """Keep the convention in every plane, and 3D from being a mirror image."""
        viewer, axes = self._viewer(), self._axes()
        if viewer is not None and axes:
            viewer.scene.camera.orientation = orientation_for(axes, self._convention)
        self._show_sides()

    def _on_orientation(self, event: Any = None) -> None:
        """Take over the convention of somebody who turned the camera."""
        viewer = self._viewer()
        if viewer is None:
            return
        orientation = [str(side) for side in viewer.scene.camera.orientation]
        told = convention_of(self._axes(), orientation)
        if told is not None and told != self._convention:
            self._convention = told
            self.convention_changed.emit(told)
        self._show_sides()

    def _on_inserted(self, event: Any) -> None:
        if facts_of(event.value) is not None:
            self.prepare()
            self._show_sides()
            viewer = self._viewer()
            if viewer is not None and viewer.dims.ndisplay == 3:
                self._swap_maps()

    def _on_ndisplay(self, event: Any = None) -> None:
        self._swap_maps()
        self._show_sides()

    def _show_sides(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None or OVERLAY_KEY not in viewer.canvas.overlays:
            return
        assumed = any(
            warning.startswith("Orientation assumed")
            for layer in viewer.layers
            if (facts := facts_of(layer)) is not None
            for warning in facts.volumes[0].source.warnings
        )
        labels = tuple(viewer.dims.axis_labels[axis] for axis in viewer.dims.displayed)
        orientation = tuple(str(side) for side in viewer.scene.camera.orientation)
        sides = sides_text(labels, orientation, assumed, self._letters)  # type: ignore[arg-type]
        text = " · ".join(part for part in (self._caption, sides) if part)
        viewer.canvas.overlays[OVERLAY_KEY].text = text
        # The arrows say what the letters say; letters are for planes.
        viewer.canvas.overlays.axes.visible = not self._letters or viewer.dims.ndisplay == 3

    def visible_in_planes(self, layer: Any) -> bool:
        """Whether a layer is seen in 2D, whatever 3D shows for a while."""
        viewer, facts = self._viewer(), facts_of(layer)
        if viewer is None or facts is None or viewer.dims.ndisplay == 2:
            return bool(layer.visible)
        return layer in self._hidden_for_3d or (bool(layer.visible) and facts.role != ABS_Z)

    def _swap_maps(self) -> None:
        """Show |z| in 3D and the signed maps in 2D.

        A projection keeps the largest value, so a signed map hides what is darker than
        expected.
        """
        viewer = self._viewer()
        if viewer is None:
            return
        in_3d = viewer.dims.ndisplay == 3
        for layer in viewer.layers:
            facts = facts_of(layer)
            if facts is None:
                continue
            if facts.role == ABS_Z:
                layer.visible = in_3d
            elif facts.role in SIGNED_ROLES:
                if in_3d and layer.visible:
                    layer.visible = False
                    self._hidden_for_3d.add(layer)
                elif not in_3d and layer in self._hidden_for_3d:
                    layer.visible = True
                    self._hidden_for_3d.discard(layer)


_VIEWS: weakref.WeakKeyDictionary[Any, ViewController] = weakref.WeakKeyDictionary()


def view_of(viewer: Any) -> ViewController:
    """Return the view controller of a viewer, made when first asked for."""
    if viewer not in _VIEWS:
        _VIEWS[viewer] = ViewController(viewer)
    return _VIEWS[viewer]
