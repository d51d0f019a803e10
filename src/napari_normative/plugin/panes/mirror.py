"""The layers of a viewer, shown in a second viewer model."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

Shows = Callable[[Any], bool]
Later = Callable[[Callable[[], None]], None]

STYLE = [
    "opacity",
    "blending",
    "colormap",
    "contrast_limits",
    "gamma",
    "contour",
    "interpolation2d",
    "interpolation3d",
    "rendering",
    "attenuation",
    "iso_threshold",
    "iso_gradient_mode",
    "selected_label",
    "show_selected_label",
    "name",
    "scale",
    "translate",
    "rotate",
    "shear",
    "affine",
]
"""What a copy takes over when it changes; the names of napari's events and attributes."""

GEOMETRY = frozenset({"scale", "translate", "rotate", "shear", "affine"})

WHOLE = [
    "size",
    "symbol",
    "face_color",
    "border_color",
    "edge_color",
    "edge_width",
    "shown",
    "text",
    "features",
]
"""What rebuilds the copy of a layer that is no volume."""


@contextmanager
def adapting_once(viewer: Any) -> Iterator[None]:
    """Let a viewer adapt its axes to changes of its layers, and slice them, once: at the end.

    Each new array, scale and place of a layer would else do so by itself, 10 ms a time.
    """
    layers = list(viewer.layers)
    # napari has no public way; this is what the viewer connects to each of its layers.
    adapt = viewer._on_layers_change
    emitters = [layer.events[name] for layer in layers for name in ("data", "scale", "translate")]
    with ExitStack() as blocked:
        for layer in layers:
            blocked.enter_context(layer._block_refresh())
        for emitter in emitters:
            emitter.block(adapt)
        try:
            yield
        finally:
            for emitter in emitters:
                emitter.unblock(adapt)
    adapt()
    for layer in layers:
        if layer.visible:
            layer.refresh(thumbnail=False, highlight=False)


class LayerMirror:
    """Copies of a viewer's layers that share its data.

    A copy is made when its layer is first shown, so hidden layers cost nothing, and
    follows the layer until that is removed.

    Parameters
    ----------
    source : napari Viewer or ViewerModel
        Held weakly.
    target : ViewerModel
        Shows the copies; nobody else adds layers to it.
    shows : callable of (layer) -> bool
        Whether a layer of the source is visible in the target.
    later : callable
        Takes a function and calls it soon, one per turn of the event loop.
    placed : callable
        Called after the target's layers changed: napari then forgets order and point.
    dress : callable of (copy), optional
        Changes a new copy, e.g. its rendering.
    """

    def __init__(
        self,
        source: ViewerModel,
        target: ViewerModel,
        shows: Shows,
        later: Later,
        placed: Callable[[], None],
        dress: Callable[[Any], None] | None = None,
    ) -> None:
        self._source = weakref.ref(source)
        self._target = target
        self._shows = shows
        self._later = later
        self._placed = placed
        self._dress = dress
        self._copies: dict[Layer, Layer] = {}
        self._asking = False
        self._refreshing: set[Layer] = set()
        self._view_of: dict[Layer, Any] = {}
        self._held = False
        self.closed = False
        source.layers.events.inserted.connect(self._on_inserted)
        source.layers.events.removed.connect(self._on_removed)
        source.layers.events.reordered.connect(self._reorder)
        for layer in source.layers:
            self._watch(layer)
        shown = [layer for layer in source.layers if shows(layer)]
        for layer in shown[:1]:  # the scan at once; what lies over it soon
            self._make(layer)
        self._placed()
        for layer in shown[1:]:
            later(partial(self._show, layer))

    def copy_of(self, layer: Layer) -> Layer | None:
        """Return the copy of a layer; None while it was never shown."""
        return self._copies.get(layer)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let the copies follow several changes, and what shows them adapt once, at the end."""
        self._held = True
        try:
            with adapting_once(self._target):
                yield
        finally:
            self._held = False
        self._placed()

    def update(self) -> None:
        """Ask again which layers are shown."""
        self._asking = False
        source = self._source()
        if self.closed or source is None:
            return
        for layer in source.layers:
            self._show(layer)

    def close(self) -> None:
        """Let go of every layer. The target goes with its copies: emptying it takes long."""
        self.closed = True
        source = self._source()
        if source is not None:
            source.layers.events.inserted.disconnect(self._on_inserted)
            source.layers.events.removed.disconnect(self._on_removed)
            source.layers.events.reordered.disconnect(self._reorder)
            for layer in source.layers:
                self._unwatch(layer)
        self._copies.clear()
        self._view_of.clear()

    def _events(self, layer: Any) -> list[tuple[Any, Callable[[Any], None]]]:
        volume = layer._type_string in {"image", "labels"}
        handlers = {"visible": self._on_visible, "data": self._on_data, "set_data": self._on_drawn}
        handlers |= dict.fromkeys(STYLE, self._on_style)
        if volume:
            handlers["labels_update"] = self._on_painted
        else:
            handlers |= dict.fromkeys(WHOLE, self._on_whole)
        return [
            (layer.events[name], handler)
            for name, handler in handlers.items()
            if name in layer.events
        ]

    def _watch(self, layer: Any) -> None:
        for emitter, handler in self._events(layer):
            emitter.connect(handler)

    def _unwatch(self, layer: Any) -> None:
        for emitter, handler in self._events(layer):
            emitter.disconnect(handler)

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        self._watch(layer)
        if self._shows(layer):
            self._later(partial(self._show, layer))

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        self._unwatch(layer)
        self._view_of.pop(layer, None)
        copy = self._copies.pop(layer, None)
        if copy is not None:
            self._target.layers.remove(copy)
            self._placed()

    def _on_visible(self, event: Any) -> None:
        layer = event.source
        if layer in self._copies:
            self._show(layer)
        if not self._asking:  # whether another layer is shown may hang on this one
            self._asking = True
            self._later(self.update)

    def _show(self, layer: Layer) -> None:
        copy = self._copies.get(layer)
        if copy is not None:
            copy.visible = self._shows(layer)
        elif self._make(layer):
            self._placed()

    def _make(self, layer: Any) -> bool:
        """Copy a layer if it is shown and has no copy yet."""
        from napari.layers import Layer

        source = self._source()
        if self.closed or source is None or layer not in source.layers or layer in self._copies:
            return False
        if not self._shows(layer):
            return False
        data, state, kind = layer.as_layer_data_tuple()
        copy = Layer.create(data, {**state, "metadata": {}, "visible": True}, kind)
        if kind == "labels":
            copy.contour = layer.contour
            copy.selected_label = layer.selected_label
            copy.show_selected_label = layer.show_selected_label
        copy.editable = False
        if self._dress is not None:
            self._dress(copy)
        self._copies[layer] = copy
        below = list(source.layers)[: source.layers.index(layer)]  # a slice of napari's is slow
        at = sum(other in self._copies for other in below)
        self._target.layers.insert(at, copy)
        return True

    def _reorder(self, event: Any = None) -> None:
        source = self._source()
        if source is None:
            return
        wanted = [self._copies[layer] for layer in source.layers if layer in self._copies]
        for at, copy in enumerate(wanted):
            now = self._target.layers.index(copy)
            if now != at:
                self._target.layers.move(now, at)

    def _on_style(self, event: Any) -> None:
        copy = self._copies.get(event.source)
        if copy is None:
            return
        setattr(copy, event.type, getattr(event.source, event.type))
        if event.type in GEOMETRY and not self._held:
            self._placed()

    def _on_data(self, event: Any) -> None:
        layer = event.source
        copy: Any = self._copies.get(layer)
        if copy is None:
            return
        if layer._type_string in {"image", "labels"}:
            copy.data = layer.data
            if not self._held:
                self._placed()
        else:
            self._on_whole(event)

    def _on_whole(self, event: Any) -> None:
        layer = event.source
        if layer in self._copies:
            self._once(layer, self._remake)

    def _on_drawn(self, event: Any) -> None:
        """Follow a refresh of the layer, but not its slicing: that emits the same event."""
        source, layer = self._source(), event.source
        if source is None:
            return
        view = (source.dims.point, source.dims.order, source.dims.ndisplay)
        if self._view_of.get(layer) == view:
            self._on_painted(event)
        self._view_of[layer] = view

    def _on_painted(self, event: Any) -> None:
        if event.source in self._copies:
            self._once(event.source, self._refresh)

    def _once(self, layer: Layer, act: Callable[[Layer], None]) -> None:
        if layer in self._refreshing:
            return
        self._refreshing.add(layer)

        def run() -> None:
            self._refreshing.discard(layer)
            if not self.closed and layer in self._copies:
                act(layer)

        self._later(run)

    def _refresh(self, layer: Layer) -> None:
        self._copies[layer].refresh(thumbnail=False, highlight=False, extent=False)

    def _remake(self, layer: Layer) -> None:
        self._target.layers.remove(self._copies.pop(layer))
        self._make(layer)
        self._placed()
