"""Letters at the edges of a pane and the lines of the crosshair."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.plugin.planes import edge_letters

if TYPE_CHECKING:
    from napari.components import ViewerModel

LETTER_COLOR = (1.0, 0.85, 0.35, 1.0)
LETTER_POINTS = 15
MARGIN_PIXELS = 16
TITLE_PIXELS = 22
"""The letter at the top stands below the title."""
LINE_COLOR = (0.35, 1.0, 0.55, 0.75)
GAP_PIXELS = 12
"""The crosshair is open in the middle: what it points at stays visible."""
DELAY_3D_MS = 150
EDGES = ("left", "right", "top", "bottom")


def letters_of(viewer: Any) -> dict[str, str]:
    """Return the letter at each edge of a viewer's canvas; empty in 3D."""
    dims = viewer.dims
    shown = tuple(dims.axis_labels[axis] for axis in dims.displayed)
    return edge_letters(shown, [str(side) for side in viewer.scene.camera.orientation])


class Letters:
    """Letters L R A P S I at the edges of one canvas, right however it is turned.

    One visual draws the four: napari's text overlays cost five times as much to make.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
        Held weakly.
    canvas : napari VispyCanvas
        Draws them; held weakly.
    """

    def __init__(self, viewer: ViewerModel, canvas: Any) -> None:
        from vispy.scene.visuals import Text

        self._viewer = weakref.ref(viewer)
        font = canvas.font_info()
        self._text = Text(
            text=["-"] * len(EDGES),
            color=LETTER_COLOR,
            bold=True,
            font_size=LETTER_POINTS,
            pos=np.zeros((len(EDGES), 2)),
            face=font.face,
            font_manager=font.font_manager,
        )
        self._text.order = 10**6 + 1
        self._text.visible = False
        self._text.parent = canvas.view
        self._shown: dict[str, str] = {}
        self._emitters = [
            viewer.dims.events.order,
            viewer.dims.events.axis_labels,
            viewer.dims.events.ndisplay,
            viewer.scene.camera.events.orientation,
            viewer.canvas.events.size,
        ]
        for emitter in self._emitters:
            emitter.connect(self.update)
        self.update()

    @property
    def shown(self) -> dict[str, str]:
        """The letters on the screen, by edge; empty when there are none."""
        return dict(self._shown)

    def update(self, event: Any = None) -> None:
        """Write the letters anew."""
        viewer = self._viewer()
        if viewer is None:
            return
        letters = letters_of(viewer)
        if letters:
            height, width = viewer.canvas.size
            away = MARGIN_PIXELS
            self._text.pos = np.array(
                [
                    (away, height / 2),
                    (width - away, height / 2),
                    (width / 2, away + TITLE_PIXELS),
                    (width / 2, height - away),
                ]
            )
            if letters != self._shown:
                self._text.text = [letters[edge] for edge in EDGES]
        self._shown = letters
        if self._text.visible != bool(letters):
            self._text.visible = bool(letters)

    def close(self) -> None:
        """Take the letters away."""
        for emitter in self._emitters:
            emitter.disconnect(self.update)
        self._text.parent = None


def segments(viewer: Any) -> np.ndarray:
    """Return the ends of the crosshair's lines in a viewer's scene, shape (n, 2 or 3).

    Two rows make one line; coordinates are in the scene's order: across, up, depth.
    """
    dims = viewer.dims
    here = np.array([dims.point[axis] for axis in dims.displayed[::-1]])
    gap = GAP_PIXELS / viewer.scene.camera.zoom
    if dims.ndisplay == 3:
        gap /= 2
    rows = []
    for number, axis in enumerate(dims.displayed[::-1]):
        low, high, _ = dims.range[axis]
        reach = 0.1 * (high - low) if dims.ndisplay == 3 else 10 * (high - low) + 1000
        for end, start in ((low - reach, here[number] - gap), (high + reach, here[number] + gap)):
            for value in (end, start):
                row = here.copy()
                row[number] = value
                rows.append(row)
    return np.array(rows, dtype=np.float32)


class Crosshair:
    """Lines through the point in one canvas.

    They are drawn straight into the scene: no layer, so no tool and no layer list
    knows of them.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
        Held weakly.
    canvas : napari VispyCanvas
        Draws it; held weakly.
    """

    def __init__(self, viewer: ViewerModel, canvas: Any) -> None:
        from qtpy.QtCore import QTimer
        from vispy.scene.visuals import Line

        self._viewer = weakref.ref(viewer)
        self._line = Line(
            np.zeros((2, 3), np.float32), color=LINE_COLOR, connect="segments", method="gl"
        )
        self._line.set_gl_state("translucent", depth_test=False)
        self._line.order = 10**6
        self._line.visible = False
        self._line.parent = canvas.view.scene
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_3D_MS)
        self._timer.timeout.connect(self._draw)
        self._emitters = [
            viewer.dims.events.point,
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
            viewer.dims.events.range,
            viewer.scene.camera.events.zoom,
            viewer.canvas.grid.events.enabled,
        ]
        for emitter in self._emitters:
            emitter.connect(self.update)
        self.update()

    def update(self, event: Any = None) -> None:
        """Move the lines to the point; in 3D, which costs more to draw, when it rests."""
        viewer = self._viewer()
        if viewer is not None and viewer.dims.ndisplay == 3:
            self._timer.start()
        else:
            self._draw()

    def _draw(self) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        drawn = viewer.dims.ndim >= 3 and not viewer.canvas.grid.enabled
        if self._line.visible != drawn:
            self._line.visible = drawn
        if drawn:
            self._line.set_data(pos=segments(viewer))

    def close(self) -> None:
        """Take the lines away."""
        self._timer.stop()
        for emitter in self._emitters:
            emitter.disconnect(self.update)
        self._line.parent = None
