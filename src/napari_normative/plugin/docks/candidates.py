"""The list of candidates, whether the model fits the scan, and why a candidate is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_normative.plugin.docks.files import RESULTS, ask_target
from napari_normative.plugin.docks.widgets import (
    FAINT,
    WARNING,
    button,
    enable,
    tell,
    text,
    watch,
)
from napari_normative.plugin.state.candidates import (
    CandidateRow,
    CandidatesRequests,
    CandidatesState,
)
from napari_normative.plugin.state.settings import Settings

_COLUMNS = ("#", "sign", "peak z", "ml", "where", "p")
_BRIGHTER, _DARKER = QColor("#ff8a80"), QColor("#82b1ff")
_ROWS_SHOWN, _ROW_HEIGHT = 6, 24
_REPORT_TIP = "Write what was found with pictures and provenance as HTML or PDF"


class CandidatesBlock(QWidget):
    """Candidates as a table that leads to each; checks, explanation and report below it.

    Parameters
    ----------
    state : CandidatesState
    requests : CandidatesRequests
    settings : Settings
        Remembers the folder.
    segment, attribution : QWidget
        Grow all candidates; show what the chosen one rests on.
    """

    def __init__(
        self,
        state: CandidatesState,
        requests: CandidatesRequests,
        settings: Settings,
        segment: QWidget,
        attribution: QWidget,
    ) -> None:
        super().__init__()
        self._state, self._requests, self._settings = state, requests, settings
        self.headline = text("font-weight: 600;")
        self.table = _table()
        self.before = button("◀", "The candidate before")
        self.after = button("▶", "The next candidate")
        self.report = button("Report…", _REPORT_TIP)
        self.report_note = text(FAINT)
        self.checks = text(WARNING)
        self.fits = text(FAINT)
        self.why = WhyBlock(state)
        self.segment, self.attribution = segment, attribution

        row = QHBoxLayout()
        for made in (self.before, self.after):
            made.setFixedWidth(44)
            row.addWidget(made)
        row.addStretch(1)
        row.addWidget(self.report)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.headline)
        column.addWidget(self.table)
        column.addLayout(row)
        for widget in (
            self.report_note, self.segment, self.attribution, self.why, self.checks, self.fits,
        ):  # fmt: skip
            column.addWidget(widget)

        self.table.itemSelectionChanged.connect(self._on_selection)
        self.before.clicked.connect(lambda: requests.step.emit(-1))
        self.after.clicked.connect(lambda: requests.step.emit(1))
        self.report.clicked.connect(self._choose_report)
        watch(self, state, self._refresh)
        self._refresh()

    def _on_selection(self) -> None:
        rows = {index.row() for index in self.table.selectedIndexes()}
        if rows:
            self._state.selected = self._state.rows[rows.pop()].label

    def _choose_report(self) -> None:
        patterns = "Web page (*.html);;PDF (*.pdf)"
        title, name = "Save the report", "report.html"
        if path := ask_target(self, self._settings, RESULTS, title, name, patterns):
            chosen = Path(path)
            self._requests.report.emit(str(chosen if chosen.suffix else f"{path}.html"))

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        if changed in {"", "rows"}:
            fill_table(self.table, state.rows)
        if changed in {"", "rows", "selected"}:
            self._show_selected()
        tell(self.headline, state.headline)
        tell(self.report_note, state.report_note)
        some = "" if state.rows else "There is no candidate"
        enable(self.before, "The candidate before", some)
        enable(self.after, "The next candidate", some)
        enable(self.report, _REPORT_TIP, state.report_blocked)
        wrong = [check for check in state.checks if not check.fine]
        tell(self.checks, "\n".join(f"⚠ {c.what}" for c in wrong))
        tell(
            self.fits, "\n".join(f"{c.name}: {c.found} (limit {c.expected})" for c in state.checks)
        )
        self.setVisible(bool(state.headline))

    def _show_selected(self) -> None:
        labels = [candidate.label for candidate in self._state.rows]
        blocked = self.table.blockSignals(True)
        if self._state.selected in labels:
            self.table.selectRow(labels.index(self._state.selected))
        else:
            self.table.clearSelection()
        self.table.blockSignals(blocked)


def _table() -> QTableWidget:
    table = QTableWidget(0, len(_COLUMNS))
    table.setHorizontalHeaderLabels(_COLUMNS)
    table.setToolTip("Choose a candidate: all planes go there, the zoom stays")
    rows, header = table.verticalHeader(), table.horizontalHeader()
    assert rows is not None and header is not None
    rows.setVisible(False)
    rows.setDefaultSectionSize(_ROW_HEIGHT)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setWordWrap(False)
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(_COLUMNS.index("where"), QHeaderView.ResizeMode.Stretch)
    header.setMinimumSectionSize(22)
    return table


def fill_table(table: QTableWidget, rows: Sequence[CandidateRow]) -> None:
    """Show one row a candidate."""
    blocked = table.blockSignals(True)
    table.setRowCount(len(rows))
    for row, candidate in enumerate(rows):
        cells = (
            str(candidate.rank),
            candidate.sign,
            f"{candidate.peak_z:+.1f}",
            f"{candidate.volume_ml:.1f}",
            short_place(candidate.place),
            "–" if candidate.p is None else f"{candidate.p:.2g}",
        )
        for column, words in enumerate(cells):
            item = QTableWidgetItem(words)
            item.setToolTip(_tip(_COLUMNS[column], candidate))
            if column == _COLUMNS.index("sign"):
                item.setForeground(_BRIGHTER if candidate.sign == "brighter" else _DARKER)
            if column in (0, 2, 3, 5):
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            table.setItem(row, column, item)
    shown = min(len(rows), _ROWS_SHOWN)
    table.setFixedHeight(_ROW_HEIGHT * (1 + max(shown, 1)) + 4)
    table.setVisible(bool(rows))
    table.blockSignals(blocked)


def _tip(column: str, candidate: CandidateRow) -> str:
    if column == "where":
        return f"{candidate.place} from the middle; coordinates {candidate.world}"
    if column == "p" and candidate.p is None:
        return "Known at the model's own threshold only"
    return ""


def short_place(words: str) -> str:
    """Return a place in a radiologist's shorthand: ``L 39 P 24 S 26``."""
    parts = words.removesuffix(" mm").split(", ")
    return " ".join(f"{part[0].upper()} {part.split()[-1]}" for part in parts)


class WhyBlock(QWidget):
    """Expected against observed intensities, latent directions, similar healthy people.

    Parameters
    ----------
    state : CandidatesState
    """

    def __init__(self, state: CandidatesState) -> None:
        super().__init__()
        self._state = state
        self.sentence = text()
        self.axis = QComboBox()
        self.axis.setToolTip("Along which line through the candidate's centre")
        self.directions = text(FAINT)
        self.neighbours = text(FAINT)
        self.note = text(FAINT)
        self.plot: Any = None
        self._lines: dict[str, Any] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 4, 0, 4)
        for widget in (self.note, self.sentence, self.axis, self.directions, self.neighbours):
            self._column.addWidget(widget)
        self.axis.currentIndexChanged.connect(self._draw)
        watch(self, state, self._refresh)
        self._refresh()

    def _refresh(self, changed: str = "") -> None:
        if changed not in {"", "why", "why_busy", "why_note", "selected"}:
            return
        state, why = self._state, self._state.why
        tell(self.note, "asking the model why…" if state.why_busy else state.why_note)
        tell(self.sentence, "" if why is None else why.sentence)
        self.axis.setVisible(why is not None)
        if self.plot is not None:
            self.plot.setVisible(why is not None)
        directions, neighbours = ((), ()) if why is None else (why.directions, why.neighbours)
        tell(self.directions, _listed("What moves the expectation here", directions))
        tell(self.neighbours, _listed("The most similar healthy people", neighbours))
        if why is not None and changed in {"", "why"}:
            blocked = self.axis.blockSignals(True)
            at = max(self.axis.currentIndex(), 0)
            self.axis.clear()
            self.axis.addItems([curve.axis for curve in why.curves])
            self.axis.setCurrentIndex(min(at, len(why.curves) - 1))
            self.axis.blockSignals(blocked)
            self._draw()

    def _draw(self, *_: object) -> None:
        why = self._state.why
        if why is None or not 0 <= self.axis.currentIndex() < len(why.curves):
            return
        if self.plot is None:
            self._make()
        curve = why.curves[self.axis.currentIndex()]
        for name in self._lines:
            self._lines[name].setData(list(curve.offset_mm), _known(getattr(curve, name)))

    def _make(self) -> None:
        import pyqtgraph as pg

        self.plot = pg.PlotWidget(background=None)
        self.plot.setFixedHeight(150)
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.setMouseEnabled(False, False)
        self.plot.setToolTip(
            "White: the scan. Green: what the model expects, with 2 SD of healthy people to either "
            "side. Grey values of the model over mm from the candidate's centre"
        )
        self.plot.setLabel("bottom", "mm from the centre")
        band = {"pen": pg.mkPen("#4f8f57", width=1)}
        low, high = self.plot.plot([], [], **band), self.plot.plot([], [], **band)
        self.plot.addItem(pg.FillBetweenItem(low, high, brush=pg.mkBrush(79, 143, 87, 60)))
        self._lines = {
            "low": low,
            "high": high,
            "expected": self.plot.plot([], [], pen=pg.mkPen("#7bd88f", width=2)),
            "observed": self.plot.plot([], [], pen=pg.mkPen("#ffffff", width=2)),
        }
        self._column.insertWidget(3, self.plot)


def _known(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _listed(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines)]) if lines else ""
