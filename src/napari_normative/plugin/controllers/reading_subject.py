"""The scan that the reading room is about, and what belongs to it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from napari_normative.errors import NormativeError
from napari_normative.layers.spec import (
    ABS_Z,
    ANOMALY_Z,
    ATTRIBUTION,
    CANDIDATES,
    LOCAL_VOLUME,
    RECONSTRUCTION,
    RESIDUAL,
    SAMPLE,
    SEGMENTATION,
    THROUGH,
    facts_of,
)
from napari_normative.plugin.compare import COMPARISON
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.detections import belongs
from napari_normative.plugin.latest import Latest
from napari_normative.plugin.state.reading import ReadingState
from napari_normative.plugin.work.reading import Measure, Measured

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection

MAPS = frozenset({RESIDUAL, LOCAL_VOLUME, ANOMALY_Z, ABS_Z})
OVERLAY = MAPS | {CANDIDATES, SEGMENTATION, ATTRIBUTION, THROUGH}


class Subject:
    """The chosen scan, its results among the layers, and its last detection.

    Parameters
    ----------
    context : Context
    state : ReadingState
    changed : callable
        Called when the scan was chosen, its values were measured, or its layers changed.
    """

    def __init__(self, context: Context, state: ReadingState, changed: Callable[[], None]) -> None:
        self.context, self.state = context, state
        self._changed = changed
        self._latest = Latest(context.runner)
        self._measured: weakref.WeakKeyDictionary[Any, Measured] = weakref.WeakKeyDictionary()
        self._fresh: weakref.WeakSet[Any] = weakref.WeakSet()
        state.events.scan.connect(self._on_scan)

    @property
    def scan(self) -> Any | None:
        """The layer of the chosen scan."""
        return self.context.scans.layer(self.state.scan)

    @property
    def measured(self) -> Measured | None:
        """What its grey values say; None until that is known."""
        layer = self.scan
        return None if layer is None else self._measured.get(layer)

    def first_seen(self) -> bool:
        """Whether the scan's window was never set: still as it was opened. True once."""
        layer = self.scan
        if layer is None or layer not in self._fresh:
            return False
        self._fresh.discard(layer)
        return True

    def results(self, roles: frozenset[str] | None = None) -> Iterator[Any]:
        """Yield the layers of the scan's results, bottom first; all unless roles are given."""
        viewer, measured = self.context.viewer(), self.measured
        if viewer is None or measured is None:
            return
        for layer in viewer.layers:
            facts = facts_of(layer)
            if (
                facts is not None
                and layer is not self.scan
                and belongs(facts.origin, measured.origin)
                and (roles is None or facts.role in roles)
            ):
                yield layer

    def alike(self) -> Iterator[Any]:
        """Yield the layers in the scan's units: itself, reconstruction, samples, comparison."""
        if self.scan is not None:
            yield self.scan
        for layer in self.results():
            facts = facts_of(layer)
            assert facts is not None
            if facts.role in {RECONSTRUCTION, COMPARISON} or facts.role.startswith(SAMPLE):
                yield layer

    def newest(self, role: str) -> Any | None:
        """Return the last result layer of a role; None without one."""
        found = list(self.results(frozenset({role})))
        return found[-1] if found else None

    def detection(self) -> Detection | None:
        """Return the last detection of the scan; None before one."""
        measured = self.measured
        if measured is None:
            return None
        return self.context.detections.of_layer("", measured.origin)

    def _on_scan(self, *_: object) -> None:
        layer = self.scan
        if layer is not None and layer not in self._measured:
            try:
                taken = self.context.scans.snapshot(self.state.scan)
            except NormativeError as error:
                self.state.window_blocked = str(error)
            else:
                self._latest.ask(
                    f"Grey values of {layer.name}",
                    Measure(taken),
                    lambda measured: self._on_measured(layer, measured),
                    lambda error: setattr(self.state, "window_blocked", str(error)),
                )
        self._changed()

    def _on_measured(self, layer: Any, measured: Measured) -> None:
        self._measured[layer] = measured
        low, high = layer.contrast_limits
        width = measured.opened[1] - measured.opened[0]
        if max(abs(low - measured.opened[0]), abs(high - measured.opened[1])) < 1e-3 * width:
            self._fresh.add(layer)
        self._changed()
