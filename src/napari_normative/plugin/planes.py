"""Planes, conventions and letters: what lies where on the screen. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from napari_normative.layers.grid import AXIS_LABELS

Plane = Literal["axial", "coronal", "sagittal"]
Convention = Literal["radiological", "neurological"]
Orientation = tuple[str, str, str]

PLANES: dict[Plane, tuple[str, str, str]] = {
    "axial": ("S", "A", "R"),
    "coronal": ("A", "S", "R"),
    "sagittal": ("R", "S", "A"),
}
"""Axes of each plane: the one looked along, then vertical and horizontal."""

OPPOSITE = {"S": "I", "A": "P", "R": "L"}


def spatial_axes(labels: Sequence[str]) -> tuple[int, int, int] | None:
    """Return the positions of S, A and R among axis labels; None where one is missing."""
    if any(list(labels).count(name) != 1 for name in AXIS_LABELS):
        return None
    s, a, r = (list(labels).index(name) for name in AXIS_LABELS)
    return s, a, r


def order_for(plane: Plane, labels: Sequence[str]) -> tuple[int, ...]:
    """Return the order of axes that shows a plane.

    Without known labels the last three axes are taken as superior, anterior, right, as
    everywhere in this plugin.

    Parameters
    ----------
    plane : str
    labels : sequence of str, length 3 or more
        Of all axes of the viewer.
    """
    axes = spatial_axes(labels) or tuple(range(len(labels) - 3, len(labels)))
    place = dict(zip(AXIS_LABELS, axes, strict=True))
    rest = tuple(axis for axis in range(len(labels)) if axis not in axes)
    return rest + tuple(place[name] for name in PLANES[plane])


def plane_of(labels: Sequence[str], order: Sequence[int]) -> Plane | None:
    """Return the plane that an order of axes shows in 2D; None for any other."""
    axes = spatial_axes(labels)
    if axes is None:
        return None
    shown = tuple(labels[axis] for axis in order if axis in axes)
    return next((name for name, wanted in PLANES.items() if wanted == shown), None)


def orientation_for(axes: Sequence[str], convention: Convention) -> Orientation:
    """Return the camera orientation that keeps a convention.

    Patient right is on the left of the screen in the radiological convention, on the
    right in the neurological one. Anterior is on the left where it runs across, in both:
    a sagittal plane has no side to flip. The depth follows from the other two, so that
    the same axes in 3D are never a mirror image.

    Parameters
    ----------
    axes : sequence of str, length 3
        S, A and R in the displayed order: depth, vertical, horizontal.
    convention : str
    """
    across = "right" if axes[2] == "R" and convention == "neurological" else "left"
    start = AXIS_LABELS.index(axes[0])
    even = tuple(axes) == (*AXIS_LABELS[start:], *AXIS_LABELS[:start])
    return ("away" if even == (across == "left") else "towards", "up", across)


def convention_of(axes: Sequence[str], orientation: Sequence[str]) -> Convention | None:
    """Return the convention of a camera; None where right and left are not across."""
    if not axes or axes[-1] != "R":
        return None
    return "radiological" if orientation[2] == "left" else "neurological"


def edge_letters(displayed: Sequence[str], orientation: Sequence[str]) -> dict[str, str]:
    """Return the letter at each edge of a pane.

    Parameters
    ----------
    displayed : sequence of str
        Labels of the vertical and the horizontal axis.
    orientation : sequence of str
        Of the camera: depth, vertical, horizontal; where each axis grows to.

    Returns
    -------
    dict
        Keys ``left``, ``right``, ``top``, ``bottom``; empty in 3D and for axes without a
        known direction: no letter is better than a wrong one.
    """
    if len(displayed) != 2 or any(name not in OPPOSITE for name in displayed):
        return {}
    vertical, horizontal = displayed
    _, up, across = orientation
    ends = (OPPOSITE[vertical], vertical)
    bottom, top = ends if up == "up" else ends[::-1]
    ends = (OPPOSITE[horizontal], horizontal)
    left, right = ends if across == "right" else ends[::-1]
    return {"left": left, "right": right, "top": top, "bottom": bottom}


def slice_position(viewer: Any) -> str:
    """Return where the slice of a viewer lies, as in ``S 12 mm`` or ``I 3 mm``; empty in 3D."""
    labels = viewer.dims.axis_labels
    axes = spatial_axes(labels) or ()
    hidden = [axis for axis in viewer.dims.not_displayed if axis in axes]
    if len(hidden) != 1:
        return ""
    value = round(float(viewer.dims.point[hidden[0]]))
    side = labels[hidden[0]]
    return f"{side if value >= 0 else OPPOSITE[side]} {abs(value)} mm"
