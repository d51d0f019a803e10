"""Which panes a layout has and which layers each of them shows. No Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_normative.layers.spec import (
    ABS_Z,
    ANOMALY_Z,
    ATTRIBUTION,
    CANDIDATES,
    RECONSTRUCTION,
    SCAN,
    SEGMENTATION,
    SIGNED_ROLES,
    THROUGH,
    facts_of,
)
from napari_normative.plugin.planes import Plane

DRAWN = {"labels", "points", "shapes"}


def _nothing(copy: Any) -> None:
    """Leave a copy as it is."""


@dataclass(frozen=True)
class PaneContent:
    """What one side pane shows.

    Attributes
    ----------
    key : str
        Contents of one key are the same.
    title : str
    plane : str or None
        None follows the main canvas.
    shows : callable of (layer) -> bool
    in_3d : bool
    dress : callable of (copy)
    """

    key: str
    title: str
    plane: Plane | None
    shows: Callable[[Any], bool]
    in_3d: bool = False
    dress: Callable[[Any], None] = _nothing


def role_of(layer: Any) -> str:
    """Return the role of a layer; empty when it is not ours."""
    facts = facts_of(layer)
    return "" if facts is None else facts.role


def as_in_main(layer: Any) -> bool:
    """Show what the main canvas shows."""
    return bool(layer.visible)


def _dress_3d(copy: Any) -> None:
    if copy._type_string == "labels":
        copy.contour = 0
    elif copy._type_string == "image" and copy.rendering == "mip" and copy.colormap.name == "gray":
        copy.rendering = "attenuated_mip"


def planes(viewer: Any, with_3d: bool) -> list[PaneContent]:
    """Return the panes beside an axial main canvas."""

    def in_3d(layer: Any) -> bool:
        # A projection of a signed map hides what is darker: |z| stands in for it.
        role, facts = role_of(layer), facts_of(layer)
        if role in SIGNED_ROLES:
            return False
        if role != ABS_Z:
            return bool(layer.visible)
        return bool(layer.visible) or any(
            other.visible and role_of(other) == ANOMALY_Z and facts_of(other).origin == facts.origin  # type: ignore[union-attr]
            for other in viewer.layers
        )

    panes = [
        PaneContent("coronal", "Coronal", "coronal", as_in_main),
        PaneContent("sagittal", "Sagittal", "sagittal", as_in_main),
    ]
    if with_3d:
        panes.append(PaneContent("3d", "3D", "axial", in_3d, in_3d=True, dress=_dress_3d))
    return panes


def compared_origin(viewer: Any) -> str:
    """Return the origin of the scan to put side by side; empty when none has results.

    That of the chosen layer, otherwise the last that has a reconstruction.
    """
    facts = [f for layer in viewer.layers if (f := facts_of(layer)) is not None]
    ready = [f.origin for f in facts if f.role == RECONSTRUCTION]
    active = viewer.layers.selection.active
    chosen = facts_of(active) if active is not None else None
    if chosen is not None and chosen.origin in ready:
        return chosen.origin
    return ready[-1] if ready else ""


def side_by_side(origin: str) -> list[PaneContent]:
    """Return the panes beside a main canvas that shows the anomaly map."""

    def original(layer: Any) -> bool:
        facts = facts_of(layer)
        if facts is not None and facts.role not in {CANDIDATES, SEGMENTATION}:
            if facts.role == SCAN:
                return facts.origin == origin
            return bool(layer.visible) and layer._type_string in DRAWN
        return facts is None and bool(layer.visible) and layer._type_string in DRAWN

    def reconstruction(layer: Any) -> bool:
        facts = facts_of(layer)
        return facts is not None and (facts.role, facts.origin) == (RECONSTRUCTION, origin)

    return [
        PaneContent(f"original {origin}", "Original", None, original),
        PaneContent(
            f"reconstruction {origin}", "Pseudo-healthy reconstruction", None, reconstruction
        ),
    ]


def in_anomaly_pane(layer: Any, origin: str) -> bool:
    """Whether the main canvas of the side-by-side layout shows a layer."""
    facts = facts_of(layer)
    if facts is None:
        return bool(layer.visible) and layer._type_string in DRAWN
    if facts.origin != origin:
        return False
    wanted = {CANDIDATES, SEGMENTATION, ATTRIBUTION, THROUGH}
    return facts.role in {SCAN, ANOMALY_Z} or (facts.role in wanted and bool(layer.visible))
