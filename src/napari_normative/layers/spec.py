"""The layer of a volume: name, colours, limits, geometry, as napari takes it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.limits import image_limits, signed_limit
from napari_normative.layers.grid import (
    AXIS_LABELS,
    DisplayGrid,
    display_grid,
    to_display,
)
from napari_normative.layers.looks import (
    SIGNED,
    colormap_of,
)
from napari_normative.volume import Volume

LayerTuple: TypeAlias = tuple[NDArray[np.generic], dict[str, Any], str]
"""Data, attributes and kind of a layer, as napari takes them."""
METADATA_KEY = "napari_normative"
SCAN, LABELS, REVIEW = "scan", "labels", "review"
RECONSTRUCTION, RESIDUAL, LOCAL_VOLUME, ANOMALY_Z, ABS_Z, CANDIDATES, MASK, SAMPLE = (
    "reconstruction",
    "residual",
    "local volume",
    "anomaly z",
    "|z|",
    "candidates",
    "scored mask",
    "sample",
)
SAMPLES, SAMPLE_MEAN, SAMPLE_SD, INTERPOLATION, EXPLORER, EFFECT = (
    "samples",
    "mean of samples",
    "SD of samples",
    "interpolation",
    "latent explorer",
    "effect of a direction",
)
ATTRIBUTION, THROUGH = "attribution", "attribution through the expectation"
SEGMENTATION = "segmentation"
INPAINTED, MADE, DENOISED, REMOVED = "inpainted", "made voxels", "denoised", "removed noise"
LABEL_ROLES = frozenset({LABELS, CANDIDATES, SEGMENTATION, REVIEW, MADE})
REVIEW_MOST = 200
"""More candidates than a scan of a review has; what readers add has numbers above."""
SYNTHETIC_ROLES = frozenset({SAMPLES, SAMPLE_MEAN, SAMPLE_SD, INTERPOLATION, EXPLORER, EFFECT})
SIGNED_ROLES = frozenset({RESIDUAL, LOCAL_VOLUME, ANOMALY_Z, EFFECT, ATTRIBUTION, THROUGH})


@dataclass(frozen=True, eq=False)
class LayerFacts:
    """What a layer of ours knows of its volume; kept in its metadata.

    Attributes
    ----------
    volumes : tuple of Volume
        Exact voxels on the stored grid; several for a series.
    grid : DisplayGrid
        Where the layer shows them.
    role : str
        ``scan``, ``labels`` or a result such as ``anomaly z``.
    origin : str
        Which scan the layer belongs to; equal for a scan and its results.
    digest : str
        Of the displayed values when the layer was made; empty for result images. A layer
        whose values no longer have it was edited.
    provenance : dict
        Of the detection, for results; for a file, under ``read`` what its reader was told.
    """

    volumes: tuple[Volume, ...]
    grid: DisplayGrid
    role: str
    origin: str
    digest: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> LayerFacts:
        """Share: the facts never change, and a copied layer needs no second volume."""
        return self


@dataclass(frozen=True, eq=False)
class LayerSpec:
    """A layer to be: ``(data, attributes, kind)`` as napari takes it."""

    data: NDArray[np.generic]
    attributes: dict[str, Any]
    kind: str

    @property
    def facts(self) -> LayerFacts:
        """The facts in the metadata."""
        facts: LayerFacts = self.attributes["metadata"][METADATA_KEY]
        return facts

    def as_tuple(self) -> LayerTuple:
        """Return the layer data tuple of the reader contract."""
        return self.data, self.napari_attributes(), self.kind

    def napari_attributes(self) -> dict[str, Any]:
        """Return the attributes with colormaps of ours by value; specs cross processes by name."""
        if "colormap" not in self.attributes:
            return dict(self.attributes)
        return {**self.attributes, "colormap": colormap_of(self.attributes["colormap"])}


def origin_of(volume: Volume) -> str:
    """Return what identifies a scan among the layers of a viewer."""
    return f"{volume.source.digest}:{volume.source.name}"


def content_digest(data: NDArray[np.generic]) -> str:
    """Return a digest of an array's values, used to notice that labels were edited."""
    return hashlib.sha256(np.ascontiguousarray(data).data).hexdigest()


def facts_of(layer: Any) -> LayerFacts | None:
    """Return the facts of a layer, or None when the layer is not ours."""
    facts = layer.metadata.get(METADATA_KEY)
    return facts if isinstance(facts, LayerFacts) else None


def is_edited(layer: Any) -> bool:
    """Whether somebody changed the values of a layer of ours since it was made."""
    facts = facts_of(layer)
    return facts is not None and bool(facts.digest) and content_digest(layer.data) != facts.digest


def grid_attributes(grid: DisplayGrid, *, series: bool = False) -> dict[str, Any]:
    """Return the geometry of a layer on a display grid, in mm."""
    lead = (1.0,) if series else ()
    return {
        "scale": (*lead, *grid.spacing_mm),
        "translate": (*(0.0 for _ in lead), *grid.origin_mm),
        "units": (*("pixel" for _ in lead), "mm", "mm", "mm"),
        "axis_labels": (*("volume" for _ in lead), *AXIS_LABELS),
    }


def label_array(data: NDArray[np.float32], role: str) -> NDArray[np.generic]:
    """Return labels as whole numbers.

    Those of a review take one byte where they can: napari computes the colour of every number
    of the type whenever a decision changes one.
    """
    if role == REVIEW and data.max(initial=0) < REVIEW_MOST:
        return np.ascontiguousarray(data, dtype=np.uint8)
    small = data.size == 0 or (data.min() >= 0 and data.max() < 2**16)
    return np.ascontiguousarray(np.rint(data), dtype=np.uint16 if small else np.int32)


def spec_of(
    volumes: Sequence[Volume],
    name: str,
    role: str,
    *,
    origin: str = "",
    grid: DisplayGrid | None = None,
    provenance: dict[str, Any] | None = None,
    **attributes: Any,
) -> LayerSpec:
    """Return the layer of one volume, or of a series of volumes on one grid.

    Parameters
    ----------
    volumes : sequence of Volume
        One, or a series; all on the grid of the first.
    name, role : str
    origin : str
        Of the first volume unless given.
    grid : DisplayGrid
        Computed from the first volume unless given.
    provenance : dict
        Of a detection.
    **attributes
        Further layer attributes such as ``colormap``.
    """
    first = volumes[0]
    grid = grid or display_grid(first)
    is_label = role in LABEL_ROLES
    empty = 0.0 if is_label or role != SCAN else float(first.data.min())
    shown = [to_display(v, grid, nearest=is_label, outside=empty) for v in volumes]
    data: NDArray[np.generic] = shown[0] if len(shown) == 1 else np.stack(shown)
    digest = ""
    if is_label:
        data = label_array(data, role)  # type: ignore[arg-type]
    elif "contrast_limits" not in attributes:
        attributes["contrast_limits"] = image_limits(data)
    if is_label or role == SCAN:
        digest = content_digest(data)
    facts = LayerFacts(
        tuple(volumes), grid, role, origin or origin_of(first), digest, provenance or {}
    )
    attributes = {
        "name": name,
        "metadata": {METADATA_KEY: facts},
        **grid_attributes(grid, series=len(volumes) > 1),
        **attributes,
    }
    return LayerSpec(data, attributes, "labels" if is_label else "image")


def signed_spec(
    volume: Volume, name: str, role: str, *, least: float = 0.0, **attributes: Any
) -> LayerSpec:
    """Return the layer of a signed map: symmetric limits, transparent at zero.

    Parameters
    ----------
    volume : Volume
    name, role : str
    least : float
        Full colour is never reached below it.
    **attributes
        As for :func:`spec_of`.
    """
    limit = max(signed_limit(volume.data), least)
    return spec_of(
        [volume],
        name,
        role,
        colormap=SIGNED,
        contrast_limits=(-limit, limit),
        blending="translucent_no_depth",
        **attributes,
    )
