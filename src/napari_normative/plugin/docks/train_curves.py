"""Live curves of a training; pyqtgraph is loaded when there is something to draw."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_normative.plugin.state.training import FIGURES

Curves = tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]
_COLOURS = ("#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#f0e442")
ROW_HEIGHT = 120


class CurvesView(QWidget):
    """One small plot for each figure, all over the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip("Means since the previous point, per volume; drag and scroll to zoom")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
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
        if known and not self._lines:
            self._make()
        for field, steps, values in curves:
            if field in self._lines:
                self._lines[field].setData(steps, values)

    def _make(self) -> None:
        import pyqtgraph as pg

        board = pg.GraphicsLayoutWidget()
        board.setBackground(None)
        board.setFixedHeight(ROW_HEIGHT * ((len(FIGURES) + 1) // 2))
        board.ci.layout.setContentsMargins(0, 0, 0, 0)
        board.ci.setSpacing(2)
        faint = pg.mkPen("#9aa0a6")
        for place, (field, name, unit) in enumerate(FIGURES):
            plot = board.addPlot(*divmod(place, 2), colspan=1)
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
            pen = pg.mkPen(_COLOURS[place % len(_COLOURS)], width=1)
            marks = "o" if field == "held_out_mae" else None
            self._lines[field] = plot.plot([], [], pen=pen, symbol=marks, symbolSize=3)
        self._column.addWidget(board)
