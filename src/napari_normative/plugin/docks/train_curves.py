"""Live curves of a training; pyqtgraph is loaded when there is something to draw."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_normative.plugin.state.training import FIGURES

Curves = tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]
_COLOURS = ("#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#f0e442")
ROW_HEIGHT = 108
BREATH_MS = 40
"""Between two plots that are made, so that the window draws and listens."""


class CurvesView(QWidget):
    """One small plot for each figure, all over the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip("Means since the previous point, per volume; drag and scroll to zoom")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._board: Any = None
        self._lines: dict[str, Any] = {}
        self._shown: Curves = ()
        self.setVisible(False)

    def show_curves(self, curves: Curves) -> None:
        """Draw what changed."""
        if curves == self._shown:
            return
        self._shown = curves
        known = any(steps for _, steps, _ in curves)
        self.setVisible(known)
        if known and self._board is None:
            self._make()
        for field, steps, values in curves:
            if field in self._lines:
                self._lines[field].setData(steps, values)

    def _make(self) -> None:
        """Make the plots one by one: together they would hold up the window."""
        import pyqtgraph as pg

        board = self._board = pg.GraphicsLayoutWidget()
        board.setBackground(None)
        board.setFixedHeight(ROW_HEIGHT * ((len(FIGURES) + 1) // 2))
        board.ci.layout.setContentsMargins(0, 0, 0, 0)
        board.ci.setSpacing(2)
        self._column.addWidget(board)
        QTimer.singleShot(BREATH_MS, partial(self._add, 0))

    def _add(self, place: int) -> None:
        if not isalive(self):
            return
        import pyqtgraph as pg

        field, name, unit = FIGURES[place]
        faint = pg.mkPen("#9aa0a6")
        plot = self._board.addPlot(*divmod(place, 2))
        plot.setTitle(f"{name} ({unit})" if unit else name, size="8pt", color="#c0c4c8")
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.showGrid(x=False, y=True, alpha=0.15)
        for side in ("left", "bottom"):
            axis = plot.getAxis(side)
            axis.setPen(faint)
            axis.setTextPen(faint)
            axis.enableAutoSIPrefix(False)
            axis.setStyle(tickTextOffset=2)
        plot.getAxis("left").setWidth(44)
        pen = pg.mkPen(_COLOURS[place], width=1)
        marks = "o" if field == "held_out_mae" else None
        line = self._lines[field] = plot.plot([], [], pen=pen, symbol=marks, symbolSize=3)
        shown = {known: (steps, values) for known, steps, values in self._shown}
        line.setData(*shown.get(field, ((), ())))
        if place + 1 < len(FIGURES):
            QTimer.singleShot(BREATH_MS, partial(self._add, place + 1))
