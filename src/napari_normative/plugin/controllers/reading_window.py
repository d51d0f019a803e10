"""The grey-value window: presets, numbers, dragging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from napari_normative.plugin.controllers.reading_subject import Subject
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.windowing import CT_PRESETS, MODALITIES, Modality, Window

AUTOMATIC, FULL = "auto", "full"
LEFT, RIGHT = 1, 2


class WindowPart:
    """Keeps the window of the scan, its reconstruction and its samples the same.

    Parameters
    ----------
    subject : Subject
    """

    def __init__(self, subject: Subject) -> None:
        self._subject, self._state = subject, subject.state
        self._applying = False
        self._watched: Any = None
        events = self._state.events
        events.modality.connect(self._on_modality)
        events.preset.connect(self._on_preset)
        events.level.connect(self._on_number)
        events.width.connect(self._on_number)

    @property
    def modality(self) -> Modality:
        """Chosen, or else recognised."""
        measured = self._subject.measured
        recognised: Modality = "MR" if measured is None else measured.recognised
        return next((m for m in MODALITIES if m == self._state.modality), recognised)

    def refresh(self) -> None:
        """Show the window of the chosen scan."""
        state, subject = self._state, self._subject
        scan, measured = subject.scan, subject.measured
        if scan is not self._watched:
            if self._watched is not None:
                self._watched.events.contrast_limits.disconnect(self._on_limits)
            if scan is not None:
                scan.events.contrast_limits.connect(self._on_limits)
            self._watched = scan
        if scan is None:
            state.window_blocked = "Open a scan first."
            return
        if measured is None:
            return
        state.window_blocked = ""
        state.modality_line = {
            "CT": "Looks like CT, in Hounsfield units.",
            "MR": "Not Hounsfield units: taken as MR.",
            "other": "The scan has no finite values.",
        }[measured.recognised]
        self._list_presets()
        if subject.first_seen():
            self.reset()
        else:
            self._on_limits()

    def reset(self) -> None:
        """Set the default window of the modality."""
        if self._window(AUTOMATIC) is not None:
            self._state.preset = ""
            self._state.preset = AUTOMATIC

    def drag(self, viewer: Any, event: Any) -> Iterator[None]:
        """Change the window while the mouse is dragged; a mouse callback of the viewer.

        Control and the left button; the right button alone where the person chose so. Only
        while the mouse pans and zooms: tools that paint or transform keep their buttons.
        """
        active = viewer.layers.selection.active
        automatic = self._window(AUTOMATIC)
        if automatic is None or (active is not None and str(active.mode) != "pan_zoom"):
            return
        controlled = event.button == LEFT and "Control" in event.modifiers
        righted = event.button == RIGHT and self._state.right_button and not event.modifiers
        if not (controlled or righted):
            return
        camera = viewer.scene.camera
        panned = camera.mouse_pan
        camera.mouse_pan = False  # else the right button zooms as well
        start, (x, y) = Window(self._state.level, self._state.width), event.pos
        yield
        try:
            while event.type == "mouse_move":
                right, down = event.pos[0] - x, event.pos[1] - y
                self._show(start.dragged(float(right), float(down), automatic.width))
                self._state.preset = ""
                yield
        finally:
            camera.mouse_pan = panned

    def _window(self, key: str) -> Window | None:
        measured = self._subject.measured
        if measured is None:
            return None
        if key == AUTOMATIC:
            return measured.automatic[self.modality]
        if key == FULL:
            return measured.full
        return next((preset.window for preset in CT_PRESETS if preset.key == key), None)

    def _list_presets(self) -> None:
        choices = [Choice(AUTOMATIC, "Automatic"), Choice(FULL, "All values")]
        if self.modality == "CT":
            choices += [Choice(preset.key, preset.label) for preset in CT_PRESETS]
        self._state.presets = tuple(choices)

    def _on_modality(self, *_: object) -> None:
        self._list_presets()
        self.reset()

    def _on_preset(self, key: str) -> None:
        if key and (window := self._window(key)) is not None:
            self._show(window)

    def _on_number(self, *_: object) -> None:
        if not self._applying:
            self._state.preset = ""
            self._show(Window(self._state.level, self._state.width))

    def _on_limits(self, *_: object) -> None:
        """Follow what napari's own controls set."""
        scan = self._subject.scan
        if not self._applying and scan is not None and self._subject.measured is not None:
            low, high = scan.contrast_limits
            window = Window.between(float(low), float(high))
            self._state.preset = next(
                (c.key for c in self._state.presets if _same(self._window(c.key), window)), ""
            )
            self._show(window)

    def _show(self, window: Window) -> None:
        """Give the window to every layer of the scan's units, and to the state."""
        state = self._state
        nested, self._applying = self._applying, True
        try:
            automatic = self._window(AUTOMATIC) or window
            state.window_step = max(automatic.width / 100, 1e-6)
            state.level, state.width = window.level, window.width
            limits = window.limits
            for layer in self._subject.alike():
                if tuple(layer.contrast_limits) != limits:
                    layer.contrast_limits = limits
        finally:
            self._applying = nested


def _same(one: Window | None, other: Window) -> bool:
    if one is None:
        return False
    tolerance = 1e-4 * other.width
    return abs(one.level - other.level) < tolerance and abs(one.width - other.width) < tolerance
