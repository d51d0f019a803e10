"""The overlay: opacity, hiding it for a moment, the colour bar."""

from __future__ import annotations

import weakref
from typing import Any

from napari_normative.layers.spec import ANOMALY_Z
from napari_normative.plugin.controllers.reading_subject import MAPS, OVERLAY, Subject

UNIT_KEY = "napari_normative_unit"
BAR_PX = (14.0, 110.0)
FONT_SIZE = 8
"""Small enough for a pane beside others."""


class OverlayPart:
    """Opacity and visibility of the anomaly maps and candidates.

    Parameters
    ----------
    subject : Subject
    """

    def __init__(self, subject: Subject) -> None:
        self._subject, self._state = subject, subject.state
        self._hidden: weakref.WeakSet[Any] = weakref.WeakSet()
        self._barred: weakref.ref[Any] | None = None
        events = self._state.events
        events.opacity.connect(self._on_opacity)
        events.hidden.connect(self._on_hidden)
        for name in ("colour_bar", "threshold_z"):
            events[name].connect(self._on_colour_bar)

    def refresh(self) -> None:
        """Show what the layers are now."""
        state, subject = self._state, self._subject
        maps = list(subject.results(MAPS))
        overlay = list(subject.results(OVERLAY))
        if subject.scan is None:
            state.overlay_blocked = "Open a scan first."
        else:
            state.overlay_blocked = "" if overlay else "There is no anomaly map of this scan yet."
        if not overlay:
            state.hidden = False
        z = subject.newest(ANOMALY_Z)
        if z is not None or maps:
            state.opacity = float((z or maps[-1]).opacity)
        self._on_colour_bar()

    def is_hidden(self, layer: Any) -> bool:
        """Whether a layer is hidden only for a moment, with the whole overlay."""
        return layer in self._hidden

    def _on_opacity(self, opacity: float) -> None:
        for layer in self._subject.results(MAPS):
            if layer.opacity != opacity:
                layer.opacity = opacity

    def _on_hidden(self, hidden: bool) -> None:
        if hidden:
            for layer in self._subject.results(OVERLAY):
                if layer.visible:
                    self._hidden.add(layer)
                    layer.visible = False
        else:
            for layer in list(self._hidden):
                layer.visible = True
            self._hidden.clear()

    def _on_colour_bar(self, *_: object) -> None:
        """Show the bar of the anomaly map, while that is visible, with its unit beside it."""
        viewer = self._subject.context.viewer()
        if viewer is None:
            return
        z = self._subject.newest(ANOMALY_Z)
        before = None if self._barred is None else self._barred()
        if before is not z:
            if before is not None:
                before.colorbar.visible = False
                before.events.visible.disconnect(self._on_colour_bar)
            if z is not None:
                z.events.visible.connect(self._on_colour_bar)
            self._barred = None if z is None else weakref.ref(z)
        shown = z is not None and z.visible and self._state.colour_bar
        if z is not None:
            if shown and z.colorbar.size != BAR_PX:
                z.colorbar.position, z.colorbar.size = "bottom_right", BAR_PX
                z.colorbar.font_size = FONT_SIZE
            z.colorbar.visible = shown
        overlays = viewer.canvas.overlays
        if UNIT_KEY not in overlays:
            if not shown:
                return
            from napari.components.overlays import TextOverlay

            overlays[UNIT_KEY] = TextOverlay(position="bottom_right", font_size=FONT_SIZE)
        detection = self._subject.detection()
        lines = ["anomaly z", "red brighter", "blue darker"]
        if detection is not None:
            lines += ["candidates", f"beyond ±{self._state.threshold_z:.1f}"]
        overlays[UNIT_KEY].text = "\n".join(lines)
        overlays[UNIT_KEY].visible = shown
