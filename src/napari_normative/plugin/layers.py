"""Layers in a viewer: added, updated, found; on the main thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.layers.spec import (
    CANDIDATES,
    MADE,
    SEGMENTATION,
    LayerSpec,
    facts_of,
    is_edited,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


def _free_name(viewer: ViewerModel, name: str) -> str:
    taken = {layer.name for layer in viewer.layers}
    number = 1
    candidate = name
    while candidate in taken:
        number += 1
        candidate = f"{name} {number}"
    return candidate


def update(layer: Any, spec: LayerSpec) -> None:
    """Give a layer new values; what the person set by hand (visibility, opacity) stays."""
    layer.data = spec.data
    for name in ("scale", "translate"):  # setting the same again would slice the layer again
        if not np.array_equal(getattr(layer, name), spec.attributes[name]):
            setattr(layer, name, spec.attributes[name])
    if spec.kind == "labels":
        layer.features = spec.attributes.get("features", {})
    else:
        layer.contrast_limits = spec.attributes["contrast_limits"]
    layer.metadata = {**layer.metadata, **spec.attributes["metadata"]}


def add_spec(viewer: ViewerModel, spec: LayerSpec) -> Layer:
    """Add one layer under a name nobody has."""
    attributes = {**spec.napari_attributes(), "name": _free_name(viewer, spec.attributes["name"])}
    add = viewer.add_labels if spec.kind == "labels" else viewer.add_image
    layer: Layer = add(spec.data, **attributes)
    # An outline leaves the map below it visible; what grew is thinner than what it grew from.
    width = {CANDIDATES: 2, MADE: 2, SEGMENTATION: 1}.get(spec.facts.role)
    if width:
        layer.contour = width
    return layer


def place(viewer: ViewerModel, specs: Sequence[LayerSpec], *, replace_earlier: bool) -> list[Layer]:
    """Put result layers into a viewer; on the main thread.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
    specs : sequence of LayerSpec
    replace_earlier : bool
        Earlier results of the same scan get the new values, except labels that somebody
        edited: those stay, and a new numbered layer is added. Otherwise all are added.
    """
    # Reading several layers costs one redraw each; keep the person's selection.
    selected = viewer.layers.selection.active
    placed: list[Layer] = []
    for spec in specs:
        earlier = [
            layer
            for layer in viewer.layers
            if (facts := facts_of(layer)) is not None
            and (facts.role, facts.origin) == (spec.facts.role, spec.facts.origin)
            and layer.data.ndim == spec.data.ndim
            and not is_edited(layer)
        ]
        if replace_earlier and earlier:
            update(earlier[-1], spec)
            placed.append(earlier[-1])
        else:
            placed.append(add_spec(viewer, spec))
    if selected is not None:
        viewer.layers.selection.active = selected
    return placed
