"""The picture of the latent map; pyqtgraph is loaded when there is something to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_normative.plugin.docks.widgets import FAINT, text
from napari_normative.plugin.state.latent_map import Colouring, Scatter

# Okabe and Ito's colours, which colour-blind people tell apart; black is for the background.
PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
UNKNOWN = "#9aa0a6"
STAR = "#ff3b30"
HEIGHT = 340


class ScatterPlot(QWidget):
    """Dots, ellipses and the star, with a legend below.

    Parameters
    ----------
    clicked : callable of (row)
        Called with the row of the dot that was clicked.
    """

    def __init__(self, clicked: Callable[[int], None]) -> None:
        super().__init__()
        self._clicked = clicked
        self._plot: Any = None
        self._items: dict[str, Any] = {}
        self.setMinimumHeight(HEIGHT)
        self.empty = text(FAINT)
        self.empty.setText("The map appears here.")
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.legend = QLabel()
        self.legend.setWordWrap(True)
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._row = QHBoxLayout()
        self._row.addWidget(self.empty)
        column.addLayout(self._row, stretch=1)
        column.addWidget(self.legend)

    def _make(self) -> None:
        import pyqtgraph as pg

        self._plot = pg.PlotWidget(background=None, enableMenu=False)
        self._plot.setToolTip("Click a dot to open its scan; drag to move, wheel to zoom")
        self._plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        self._plot.setAspectLocked(True)
        self._plot.hideButtons()
        for side in ("bottom", "left"):  # "× 0.001" is no unit of anything here
            self._plot.getAxis(side).enableAutoSIPrefix(False)
        dots: dict[str, Any] = {
            "training": {"size": 6, "pen": None, "brush": pg.mkBrush(150, 150, 150, 110)},
            "unseen": {"size": 6, "pen": pg.mkPen(170, 170, 170, 190), "brush": None},
            "scans": {"size": 10, "hoverable": True, "hoverSize": 14, "tip": _tip},
            "star": {"size": 22, "symbol": "star", "pen": pg.mkPen("w", width=1)},
        }
        for level in (0.95, 0.5):
            style = Qt.PenStyle.DashLine if level > 0.9 else Qt.PenStyle.SolidLine
            item = pg.PlotCurveItem(pen=pg.mkPen("#8a93a0", width=1.2, style=style))
            self._items[f"{level:g}"] = item
            self._plot.addItem(item)
        for name, look in dots.items():
            self._items[name] = pg.ScatterPlotItem(**look)
            self._plot.addItem(self._items[name])
        self._items["scans"].sigClicked.connect(self._on_click)
        self.empty.hide()
        self._row.addWidget(self._plot, stretch=1)

    def _on_click(self, _item: Any, points: Any, _event: Any = None) -> None:
        if len(points):
            self._clicked(int(points[0].data()[0]))

    def show_scatter(self, made: Scatter) -> None:
        """Show a map in place of the one before."""
        import pyqtgraph as pg

        if self._plot is None:
            self._make()
        items = self._items
        self._plot.setLabel("bottom", made.x_label)
        self._plot.setLabel("left", made.y_label)
        circle = np.linspace(0, 2 * np.pi, 181)
        shown = {f"{level:g}": (a, b) for level, a, b in made.ellipses}
        for name in ("0.95", "0.5"):
            a, b = shown.get(name, (0.0, 0.0))
            items[name].setData(a * np.cos(circle), b * np.sin(circle))
            items[name].setVisible(name in shown)
        items["training"].setData(pos=made.people[~made.unseen])
        items["unseen"].setData(pos=made.people[made.unseen])
        colours = colours_of(made.colouring)
        items["scans"].setData(
            pos=made.scans,
            brush=[pg.mkBrush(c) for c in colours],
            pen=pg.mkPen("#202020", width=0.7),
            data=list(zip(made.rows, made.tips, strict=True)),
        )
        here = [] if made.current is None else [made.current]
        items["star"].setData(pos=np.array(here).reshape(-1, 2), brush=pg.mkBrush(STAR))
        self.legend.setText(legend_of(made))
        self._plot.autoRange()


def colours_of(colouring: Colouring) -> list[str]:
    """Return one colour a scan: a category's own, a place on a scale, or grey for unknown."""
    values = colouring.values
    if colouring.categories:
        return [PALETTE[int(v)] if np.isfinite(v) else UNKNOWN for v in values]
    low, high = range_of(colouring)
    from pyqtgraph import colormap

    scale = colormap.get("viridis")
    return [
        scale.map((v - low) / ((high - low) or 1.0), mode="qcolor").name()
        if np.isfinite(v)
        else UNKNOWN
        for v in values
    ]


def range_of(colouring: Colouring) -> tuple[float, float]:
    """Return the least and the largest number; 0 and 1 where there is none."""
    known = colouring.values[np.isfinite(colouring.values)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def legend_of(made: Scatter) -> str:
    """Return the legend as rich text: what colours and shapes mean."""
    colouring = made.colouring
    parts = []
    if colouring.categories:
        for number, name in enumerate(colouring.categories):
            count = int((colouring.values == number).sum())
            parts.append(f"<span style='color:{PALETTE[number]}'>●</span> {_safe(name)} ({count})")
    else:
        low, high = range_of(colouring)
        from pyqtgraph import colormap

        scale = colormap.get("viridis")
        bar = "".join(
            f"<span style='color:{scale.map(t, mode='qcolor').name()}'>█</span>"
            for t in np.linspace(0, 1, 16)
        )
        parts.append(f"{low:.3g} {bar} {high:.3g}")
    if not np.isfinite(colouring.values).all():
        parts.append(f"<span style='color:{UNKNOWN}'>●</span> not known")
    words = [f"<b>{_safe(colouring.label)}</b>: {' &nbsp; '.join(parts)}"]
    shapes = []
    if len(made.people):
        shapes.append("small dots: the model's people, filled trained on, open not")
    if made.ellipses:
        shapes.append("ellipses: 50 and 95 % of the model's samples")
    if made.current is not None:
        shapes.append(f"<span style='color:{STAR}'>★</span> the current scan")
    if shapes:
        words.append(f"<span style='{FAINT}'>{'; '.join(shapes)}</span>")
    return "<br>".join(words)


def _tip(x: float, y: float, data: Any) -> str:
    return str(data[1])


def _safe(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;")
