"""The scans and masks among the viewer's layers."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from napari_normative.errors import GeometryMismatchError, NormativeError
from napari_normative.layers.sources import (
    Snapshot,
    snapshot,
)
from napari_normative.layers.spec import (
    SCAN,
    facts_of,
)
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.scans import ScansState


class ScansController:
    """Keeps the lists of scans and masks in step with the layers.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
        Held weakly.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self._layers: dict[str, weakref.ref[Any]] = {}
        self.state = ScansState()
        for events in (
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.layers.events.reordered,
        ):
            events.connect(self._on_layers)
        viewer.layers.selection.events.active.connect(self._on_active)
        self._on_layers()

    def _on_layers(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        scans, masks = [], []
        self._layers = {}
        for layer in viewer.layers:
            kind = type(layer).__name__
            if kind not in {"Image", "Labels"}:
                continue
            key = str(layer.unique_id)
            self._layers[key] = weakref.ref(layer)
            layer.events.name.disconnect(self._on_layers)
            layer.events.name.connect(self._on_layers)
            facts = facts_of(layer)
            if kind == "Labels":
                masks.append(Choice(key, layer.name))
            elif facts is None or facts.role == SCAN:
                scans.append(Choice(key, layer.name))
        self.state.scans, self.state.masks = tuple(scans), tuple(masks)
        self._on_active()

    def _on_active(self, *_: object) -> None:
        """Note which scan was selected; results that are placed pass the selection back to it."""
        viewer = self._viewer()
        layer = None if viewer is None else viewer.layers.selection.active
        if layer is not None and (key := self.key_of(layer)):
            self.state.selected = key

    def keep(self, key: str) -> str:
        """Return ``key`` if it still is a scan, else the newest scan; empty without one."""
        keys = [choice.key for choice in self.state.scans]
        return key if key in keys else (keys[-1] if keys else "")

    def other(self, key: str, than: str) -> str:
        """Return ``key`` if it is another scan than one, else the first that is; empty without."""
        keys = [choice.key for choice in self.state.scans if choice.key != than]
        return key if key in keys else next(iter(keys), "")

    def why_not(self, keys: Sequence[str]) -> str:
        """Return why these layers cannot be used as scans, one volume each; empty when they can."""
        if not all(keys):
            return "Open two scans first." if len(keys) > 1 else "Open a scan first."
        for key in keys:
            try:
                taken = self.snapshot(key)
            except NormativeError as error:
                return str(error)
            if taken.count > 1:
                return f"{taken.name} is a series; open one volume of it."
        return ""

    def layer(self, key: str) -> Any | None:
        """Return the layer of a scan or mask; None when it is gone."""
        reference = self._layers.get(key)
        return None if reference is None else reference()

    def snapshot(self, key: str) -> Snapshot:
        """Take what a layer holds now.

        Raises
        ------
        GeometryMismatchError
            If the layer is gone or can be no scan.
        """
        layer = self.layer(key)
        if layer is None:
            raise GeometryMismatchError("GEO-008", "the layer is gone", "Choose another scan.")
        return snapshot(layer)

    def key_of(self, layer: Any) -> str:
        """Return the key of a layer that can be a scan; empty when it cannot."""
        key = str(layer.unique_id)
        return key if key in {choice.key for choice in self.state.scans} else ""
