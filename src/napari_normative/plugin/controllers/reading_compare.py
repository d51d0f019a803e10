"""Scan against reconstruction in one place: flicker, checkerboard, swipe."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

from napari_normative.layers.spec import (
    METADATA_KEY,
    RECONSTRUCTION,
    facts_of,
    grid_attributes,
)
from napari_normative.plugin.compare import (
    COMPARISON,
    Chooser,
    Mixed,
    checkerboard,
    everywhere,
    swipe,
)
from napari_normative.plugin.controllers.reading_subject import OVERLAY, Subject
from napari_normative.plugin.jobs import Repeater
from napari_normative.plugin.state.reading import CHECKERBOARD, FLICKER, SWIPE
from napari_normative.plugin.viewing import is_open

_NAMES = {
    FLICKER: "flicker (scan and reconstruction)",
    CHECKERBOARD: "checkerboard (scan and reconstruction)",
    SWIPE: "swipe (scan and reconstruction)",
}


class ComparePart:
    """Shows one layer of its own above the scan; nothing else is touched.

    Parameters
    ----------
    subject : Subject
    """

    def __init__(self, subject: Subject) -> None:
        self._subject, self._state = subject, subject.state
        self._layer: weakref.ref[Any] | None = None
        self._repeater: Repeater | None = None
        self._made_of: tuple[Any, ...] = ()
        for name in ("compare", "flicker_hz", "square_mm", "swipe"):
            self._state.events[name].connect(self._show)

    def refresh(self) -> None:
        """Follow the layers: a comparison ends when what it compares is gone."""
        state, layer = self._state, None if self._layer is None else self._layer()
        viewer = self._subject.context.viewer()
        state.compare_blocked = self._blocked()
        gone = layer is not None and (viewer is None or layer not in viewer.layers)
        if gone or (layer is not None and state.compare_blocked):
            self.stop()
        elif state.compare and self._sources() != self._made_of:
            self._show()

    def stop(self) -> None:
        """End any comparison and take its layer away."""
        self._state.compare = ""
        viewer = self._subject.context.viewer()
        layer = None if self._layer is None else self._layer()
        self._layer, self._made_of = None, ()
        if viewer is not None and is_open(viewer) and layer in viewer.layers:
            viewer.layers.remove(layer)

    def _blocked(self) -> str:
        scan = self._subject.scan
        if scan is None:
            return "Open a scan first."
        reconstruction = self._subject.newest(RECONSTRUCTION)
        if reconstruction is None:
            return "Run the anomaly map of this scan first: it makes the reconstruction."
        if scan.data.shape != reconstruction.data.shape:
            return "Scan and reconstruction are shown on different grids."
        return ""

    def _sources(self) -> tuple[Any, ...]:
        reconstruction = self._subject.newest(RECONSTRUCTION)
        scan = self._subject.scan
        if scan is None or reconstruction is None:
            return ()
        return id(scan.data), id(reconstruction.data)

    def _show(self, *_: object) -> None:
        kind, viewer = self._state.compare, self._subject.context.viewer()
        if viewer is None:
            return
        layer = None if self._layer is None else self._layer()
        if not kind or self._blocked():
            self._tick_at(None)
            if layer is not None:
                layer.visible = False  # napari takes a third of a second to remove a layer
            return
        scan, reconstruction = self._subject.scan, self._subject.newest(RECONSTRUCTION)
        assert scan is not None and reconstruction is not None
        mixed = Mixed(scan.data, reconstruction.data, self._chooser(kind, viewer, reconstruction))
        self._made_of = self._sources()
        if layer is None or layer not in viewer.layers:
            layer = self._add(viewer, mixed, scan, reconstruction)
        else:
            layer.data = mixed
        layer.name = f"{scan.name} · {_NAMES[kind]}"
        layer.visible, layer.opacity = True, 1.0
        self._tick_at(self._state.flicker_hz if kind == FLICKER else None)

    def _chooser(self, kind: str, viewer: Any, reconstruction: Any) -> Chooser:
        if kind == CHECKERBOARD:
            spacing_mm = tuple(float(s) for s in reconstruction.scale)
            return checkerboard(spacing_mm, self._state.square_mm)
        if kind == SWIPE:
            leftward = str(viewer.scene.camera.orientation[2]) == "left"
            return swipe(reconstruction.data.shape, self._state.swipe, from_end=leftward)
        return everywhere

    def _add(self, viewer: Any, mixed: Mixed, scan: Any, reconstruction: Any) -> Any:
        facts = facts_of(reconstruction)
        assert facts is not None
        own = replace(facts, role=COMPARISON)
        selected = viewer.layers.selection.active
        layer = viewer.add_image(
            mixed,
            **grid_attributes(facts.grid),
            contrast_limits=tuple(scan.contrast_limits),
            colormap=scan.colormap,
            metadata={METADATA_KEY: own},
        )
        # Above everything it covers, below the maps.
        covered = [i for i, other in enumerate(viewer.layers) if not _is_overlay(other, layer)]
        viewer.layers.move(viewer.layers.index(layer), max(covered) + 1)
        viewer.layers.selection.active = selected
        self._layer = weakref.ref(layer)
        return layer

    def _tick_at(self, hz: float | None) -> None:
        if self._repeater is not None:
            self._repeater.stop()
            self._repeater = None
        if hz:
            self._repeater = self._subject.context.runner.repeat(1 / hz, self._tick)

    def _tick(self) -> None:
        viewer = self._subject.context.viewer()
        layer = None if self._layer is None else self._layer()
        if viewer is None or not is_open(viewer) or layer is None or layer not in viewer.layers:
            self._tick_at(None)
            self._state.compare = ""
        else:
            layer.opacity = 1.0 - layer.opacity  # cheaper than its visibility


def _is_overlay(layer: Any, own: Any) -> bool:
    facts = facts_of(layer)
    return layer is own or (facts is not None and facts.role in OVERLAY)
