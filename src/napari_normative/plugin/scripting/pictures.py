"""The standard pictures of a session, each checked to show something."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.errors import OutputError
from napari_normative.io.atomic import replace_files
from napari_normative.layers.spec import CANDIDATES, SCAN, facts_of
from napari_normative.plugin.controllers.reading_subject import OVERLAY
from napari_normative.plugin.panes.board import VIEW_3D
from napari_normative.plugin.viewing import main_window

if TYPE_CHECKING:
    from napari_normative.plugin.scripting.session import ScriptedSession

FAINT = 0.35
"""Opacity of the scan in 3D, behind the map."""
CLOSER = 1.4
"""napari leaves room for the diagonal of the whole volume."""
LEAST_SD = 5.0
"""A picture with less contrast (grey values 0 to 255) is blank."""
LEAST_CHANGED = 2e-4
"""An overlay that changes a smaller share of the pixels is not on the picture."""
CHANGE = 8
"""Grey values from 0 to 255 that count as a change."""
TURNS = 5
"""Of the event loop: layers are sliced and drawn by later events."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Standard:
    """One of the standard pictures.

    Attributes
    ----------
    layout : str
        Of the canvas; empty for the one there is.
    in_3d : bool
    grab : callable of (viewer)
        Returns the picture, uint8, shape (rows, columns, 3 or 4).
    compares : bool
        Needs an anomaly map.
    """

    layout: str
    grab: Callable[[Any], Picture]
    in_3d: bool = False
    compares: bool = False


def _canvas(viewer: Any) -> Picture:
    picture: Picture = viewer.screenshot(canvas_only=True, flash=False)
    return picture


def _area(viewer: Any) -> Picture:
    """Grab the canvas with the panes beside it."""
    from qtpy.QtGui import QImage

    image = main_window(viewer).centralWidget().grab().toImage()  # type: ignore[union-attr]
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    bits = image.constBits()
    if hasattr(bits, "setsize"):  # PyQt does not know how much there is
        bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def _window(viewer: Any) -> Picture:
    picture: Picture = viewer.screenshot(canvas_only=False, flash=False)
    return picture


STANDARD = {
    "axial.png": Standard("axial", _canvas),
    "planes.png": Standard("planes", _area),
    "side-by-side.png": Standard("side-by-side", _area, compares=True),
    "window.png": Standard("axial", _window),
    "volume-3d.png": Standard("axial", _canvas, in_3d=True),
}
"""By file name, in the order in which they are taken."""


def take_pictures(
    session: ScriptedSession, folder: str | Path, names: Collection[str] = ()
) -> list[Path]:
    """Write the standard pictures of what a session shows, and leave it as it was.

    They show the strongest candidate, or else the point at hand; all unless ``names`` says which.

    Raises
    ------
    OutputError
        ``OUT-020`` if a picture is blank, ``OUT-021`` if the overlay is not on it; then none
        is written.
    """
    from napari_normative.engine.pictures import png_bytes

    for name in names:
        session.require_one_of("picture", name, tuple(STANDARD))
    viewer, detection = session.viewer, session.detection
    wanted = {
        name: standard
        for name, standard in STANDARD.items()
        if (not names or name in names) and (detection is not None or not standard.compares)
    }
    files: dict[Path, bytes] = {}
    with _as_it_was(session):
        if detection is not None and detection.candidates:
            session.go_to(detection.candidates[0].centroid_mm)
        for name, standard in wanted.items():
            session.layout(standard.layout)
            with _unseen(viewer) if standard.in_3d else nullcontext():
                if standard.in_3d:
                    _arrange_3d(viewer)
                else:
                    session.frame()
                    draw(session)
                picture, bare = standard.grab(viewer), None
                if detection is not None:
                    with _bare(viewer):
                        if not standard.in_3d:
                            draw(session)
                        bare = standard.grab(viewer)
                require_content(picture, name, bare)
                if standard.in_3d:
                    viewer.dims.ndisplay = 2
            files[Path(folder) / name] = png_bytes(np.ascontiguousarray(picture[..., :3]))
    replace_files(files)
    return list(files)


@contextmanager
def _unseen(viewer: Any) -> Iterator[None]:
    """Draw on demand only: without a graphics card each look at a volume takes seconds."""
    centre = main_window(viewer).centralWidget()  # type: ignore[union-attr]
    centre.setUpdatesEnabled(False)
    try:
        yield
    finally:
        centre.setUpdatesEnabled(True)


def draw(session: ScriptedSession) -> None:
    """Let the panes fill and everything be drawn."""
    from qtpy.QtWidgets import QApplication

    session.settle()
    for _ in range(TURNS):
        QApplication.processEvents()


@contextmanager
def _as_it_was(session: ScriptedSession) -> Iterator[None]:
    """Give back layout, point, camera and looks of the layers."""
    viewer, layout, point = session.viewer, session.layout(), session.position_mm
    camera = viewer.scene.camera
    ndisplay, seen = viewer.dims.ndisplay, (camera.center, camera.zoom, camera.angles)
    opacity = {layer: layer.opacity for layer in viewer.layers}
    contour = {layer: layer.contour for layer in viewer.layers if hasattr(layer, "contour")}
    try:
        yield
    finally:
        viewer.dims.ndisplay = 2
        session.layout(layout)
        session.settle()
        viewer.dims.ndisplay = ndisplay
        for layer, value in opacity.items():
            layer.opacity = value
        for layer, value in contour.items():
            layer.contour = value
        if point is not None:
            session.go_to(point)
        camera.center, camera.zoom, camera.angles = seen


def _arrange_3d(viewer: Any) -> None:
    """Show the volume from the front, a little from above, the scan faint behind the map."""
    for layer in viewer.layers:
        facts = facts_of(layer)
        if facts is not None and facts.role == SCAN:
            layer.opacity = FAINT
        if facts is not None and facts.role == CANDIDATES:
            layer.contour = 0  # contours exist in planes only
    viewer.dims.ndisplay = 3
    viewer.scene.camera.set_view_direction(*VIEW_3D)
    viewer.reset_view(reset_camera_angle=False)
    viewer.scene.camera.zoom *= CLOSER


@contextmanager
def _bare(viewer: Any) -> Iterator[None]:
    """Show no maps and candidates; in planes the colour bar stays, so that it does not count."""
    overlay = [
        layer
        for layer in viewer.layers
        if (facts := facts_of(layer)) is not None and facts.role in OVERLAY
    ]
    # In 3D there is no bar, and what is only transparent takes as long to draw.
    name, empty = ("visible", False) if viewer.dims.ndisplay == 3 else ("opacity", 0.0)
    before = [getattr(layer, name) for layer in overlay]
    try:
        for layer in overlay:
            setattr(layer, name, empty)
        yield
    finally:
        for layer, value in zip(overlay, before, strict=True):
            setattr(layer, name, value)


def require_content(picture: NDArray[Any], name: str, bare: NDArray[Any] | None = None) -> None:
    """Refuse a blank picture, and one on which the overlay cannot be seen.

    Parameters
    ----------
    picture : uint8 array, shape (rows, columns, 3 or 4)
    name : str
        Of its file.
    bare : uint8 array, same shape, optional
        The same picture without the overlay; None where there is none.

    Raises
    ------
    OutputError
    """
    colours = picture[..., :3].astype(float)
    if colours.std() <= LEAST_SD:
        raise OutputError(
            "OUT-020",
            f"the screenshot is blank (standard deviation {colours.std():.1f})",
            "Check that OpenGL works on this display (on Debian: libgl1 and libegl1).",
            subject=name,
            consequence="No screenshot was written.",
        )
    if bare is None:
        return
    changed = np.abs(colours - bare[..., :3]).max(axis=-1) > CHANGE
    if changed.mean() < LEAST_CHANGED:
        raise OutputError(
            "OUT-021",
            "the screenshot does not show the anomaly map",
            "Show the overlay; otherwise report it with the versions of napari and vispy.",
            subject=name,
            consequence="No screenshot was written.",
        )
