"""The candidates of the scan at hand, as a table of a review."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_normative.plugin.docks.candidates import short_place
from napari_normative.plugin.state.review import ReviewRow, ReviewState

COLUMNS = ("#", "decision", "", "ml", "where", "label", "z", "others")
SCORES, OTHERS = COLUMNS.index("z"), COLUMNS.index("others")
SIGNS = {"accept": "✓ accepted", "reject": "✗ rejected", "uncertain": "? uncertain", "": "·"}
COLOURS = {
    "accept": QColor("#7bd88f"),
    "reject": QColor("#9aa0a6"),
    "uncertain": QColor("#82b1ff"),
    "": QColor("#ffd740"),
}
ROWS_SHOWN, ROW_HEIGHT = 8, 24


class ReviewTable(QTableWidget):
    """Rows that lead to candidates; several can be chosen, to merge them.

    Parameters
    ----------
    state : ReviewState
    """

    def __init__(self, state: ReviewState) -> None:
        super().__init__(0, len(COLUMNS))
        self._state = state
        self._shown: tuple[ReviewRow, ...] = ()
        self.setHorizontalHeaderLabels(COLUMNS)
        self.setToolTip("Choose a candidate: all planes go there, the zoom stays")
        rows, header = self.verticalHeader(), self.horizontalHeader()
        assert rows is not None and header is not None
        rows.setVisible(False)
        rows.setDefaultSectionSize(ROW_HEIGHT)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(COLUMNS.index("where"), QHeaderView.ResizeMode.Stretch)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.itemSelectionChanged.connect(self._on_selection)

    def chosen(self) -> tuple[str, ...]:
        """Return the chosen candidates, from the top."""
        rows = sorted({index.row() for index in self.selectedIndexes()})
        return tuple(self._shown[row].candidate for row in rows if row < len(self._shown))

    def refresh(self) -> None:
        """Show the rows of the state."""
        blocked = self.blockSignals(True)
        rows = self._state.rows
        if rows != self._shown:
            self._fill(rows)
        self._select()
        self.blockSignals(blocked)

    def _fill(self, rows: Sequence[ReviewRow]) -> None:
        before, self._shown = self._shown, tuple(rows)
        self.setRowCount(len(rows))
        for number, row in enumerate(rows):
            if number >= len(before) or before[number] != row:
                self._fill_row(number, row)
        self.setColumnHidden(SCORES, all(row.z is None for row in rows))
        self.setColumnHidden(OTHERS, not any(row.others for row in rows))
        self.setColumnHidden(COLUMNS.index("label"), not any(row.label for row in rows))
        self.setFixedHeight(ROW_HEIGHT * (1 + max(min(len(rows), ROWS_SHOWN), 1)) + 4)

    def _fill_row(self, number: int, row: ReviewRow) -> None:
        cells = (
            str(row.number),
            SIGNS[row.decision],
            row.marks,
            f"{row.volume_ml:.2f}",
            short_place(row.place) if row.place else "",
            row.label,
            "" if row.z is None else f"{row.z:+.1f}",
            _short(row.others),
        )
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for column, words in enumerate(cells):
            item = QTableWidgetItem(words)
            item.setToolTip("\n".join(filter(None, [row.place, row.others, row.comment])))
            if column == COLUMNS.index("decision"):
                item.setForeground(COLOURS[row.decision])
            if column in {0, COLUMNS.index("ml"), SCORES}:
                item.setTextAlignment(right)
            self.setItem(number, column, item)

    def _select(self) -> None:
        names = [row.candidate for row in self._shown]
        if self._state.selected not in names:
            self.clearSelection()
        elif self._state.selected not in self.chosen():
            self.selectRow(names.index(self._state.selected))

    def _on_selection(self) -> None:
        chosen = self.chosen()
        if len(chosen) == 1:
            self._state.selected = chosen[0]


def _short(others: str) -> str:
    """Return what others decided as signs: ``1 ✓  2 ✗``."""
    signs = {"accepted": "✓", "rejected": "✗", "uncertain": "?", "no decision": "·"}
    parts = [part.split(" ", 1) for part in others.split(", ") if part]
    return "  ".join(f"{count} {signs[word]}" for count, word in parts)
