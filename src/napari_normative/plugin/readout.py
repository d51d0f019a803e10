"""What lies at a place: world mm, the voxel of the scan's own file, the value of each layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.place import coordinates
from napari_normative.layers.spec import (
    ANOMALY_Z,
    CANDIDATES,
    SEGMENTATION,
    LayerFacts,
    facts_of,
)
from napari_normative.plugin.compare import COMPARISON
from napari_normative.plugin.state.reading import LayerValue, Readout


def stored_index(facts: LayerFacts, ras_mm: NDArray[np.float64]) -> tuple[int, ...] | None:
    """Return the voxel of the stored grid nearest to a world position; None outside."""
    volume = facts.volumes[0]
    linear, offset = volume.affine[:3, :3], volume.affine[:3, 3]
    index = np.rint(np.linalg.solve(linear, ras_mm - offset)).astype(int)
    inside = all(0 <= i < n for i, n in zip(index, volume.shape, strict=True))
    return tuple(int(i) for i in index) if inside else None


def read_at(layers: Iterable[Any], point: tuple[float, ...], scan: Any | None = None) -> Readout:
    """Return what lies at a point of the viewer; on the main thread, a fraction of a ms.

    Parameters
    ----------
    layers : iterable of napari layers
        Bottom first.
    point : tuple of float
        World coordinates of the viewer, mm; the last three are superior, anterior, right.
    scan : napari layer, optional
        Whose file the voxel index is of.
    """
    if len(point) < 3:
        return Readout()
    ras_mm = np.array(point[-3:][::-1], dtype=np.float64)
    facts = facts_of(scan) if scan is not None else None
    index = stored_index(facts, ras_mm) if facts is not None else None
    if index is not None:
        voxel = ", ".join(str(i) for i in index)
    else:
        voxel = "" if facts is None else "outside the scan"
    prefix = "" if scan is None else f"{scan.name} · "
    values = []
    for layer in reversed(list(layers)):
        if layer.visible and (text := value_at(layer, point, ras_mm)):
            values.append(LayerValue(layer.name.removeprefix(prefix), text))
    return Readout(coordinates(ras_mm), voxel, tuple(values))


def value_at(layer: Any, point: tuple[float, ...], ras_mm: NDArray[np.float64]) -> str:
    """Return a layer's value at a point in words; empty when it has none there."""
    kind = type(layer).__name__
    if kind not in {"Image", "Labels"} or getattr(layer, "rgb", False):
        return ""
    if getattr(layer, "multiscale", False) or not 3 <= layer.ndim <= len(point):
        return ""
    facts = facts_of(layer)
    if facts is not None and facts.role == COMPARISON:  # its two images are told themselves
        return ""
    if kind == "Image" and facts is not None and not facts.grid.exact and layer.ndim == 3:
        # A tilted scan is interpolated for display: read what the file says.
        index = stored_index(facts, ras_mm)
        if index is None:
            return ""
        value = facts.volumes[0].data[index]
    else:
        at = np.rint(layer.world_to_data(point[-layer.ndim :])).astype(int)
        shape = layer.data.shape
        if any(not 0 <= i < n for i, n in zip(at, shape, strict=True)):
            return ""
        value = np.asarray(layer.data[tuple(int(i) for i in at)])[()]
    if kind == "Labels":
        return _label_text(layer, int(value), facts)
    text = number(float(value))
    if facts is not None and facts.role == ANOMALY_Z:
        return f"z {float(value):+.2f}"
    return text


def number(value: float) -> str:
    """Return a value with what digits are worth reading."""
    if not np.isfinite(value):
        return "no value"
    magnitude = abs(value)
    if magnitude >= 100 or value == round(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if magnitude >= 10 else f"{value:.3g}"


def _label_text(layer: Any, value: int, facts: LayerFacts | None) -> str:
    if value == 0:
        return ""
    if facts is None or facts.role not in {CANDIDATES, SEGMENTATION}:
        return f"label {value}"
    features = layer.features
    if not {"index", "rank", "sign", "p"} <= set(features.columns):
        return f"candidate {value}"
    found = np.flatnonzero(features["index"].to_numpy() == value)
    if found.size == 0:  # painted by hand
        return f"label {value}, not a candidate of the model"
    row = int(found[0])
    rank, sign, p = (features[name].to_numpy()[row] for name in ("rank", "sign", "p"))
    return f"candidate {int(rank)}, {sign}, p {float(p):.3g}"
