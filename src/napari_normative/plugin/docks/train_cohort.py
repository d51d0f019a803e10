"""The first page of "Train a model": the cohort, file by file, and its split."""

from __future__ import annotations

from qtpy.QtCore import QModelIndex, QSortFilterProxyModel, Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_normative.plugin.docks.files import COHORTS, ask_file, ask_folder
from napari_normative.plugin.docks.train_tables import FilesModel, TextModel, grey_pixmap, table
from napari_normative.plugin.docks.widgets import (
    ERROR,
    FAINT,
    JobBlock,
    bind,
    button,
    form,
    tell,
    text,
    watch,
)
from napari_normative.plugin.state.settings import Settings
from napari_normative.plugin.state.training import TrainingRequests, TrainingState

PREVIEW_ROWS = 116
WIDTHS = (150, 112, 76, 80, 80, 96, 70, 44)
"""Of the check table's columns."""


class CohortPage(QWidget):
    """Cohort picker, check button, table, preview of a scan, preview of the split.

    Parameters
    ----------
    state : TrainingState
    requests : TrainingRequests
    settings : Settings
        Remembers the folder.
    """

    def __init__(
        self, state: TrainingState, requests: TrainingRequests, settings: Settings
    ) -> None:
        super().__init__()
        self._settings = settings
        self._state, self._requests = state, requests
        self.cohort = QLineEdit()
        self.cohort.setPlaceholderText("folder, pattern or table")
        self.cohort.setToolTip(
            "Healthy people only: a folder, a pattern such as scans/*_T1w.nii.gz, or a table "
            "(.tsv) with the columns path, subject, site, split"
        )
        self.folder = button("Folder…", "Choose a folder of healthy scans")
        self.choose_table = button("Table…", "Choose a table (.tsv, .csv) of healthy scans")
        self.balance = QLineEdit()
        self.balance.setToolTip(
            "Columns of the table that make groups, with commas: rare groups are drawn more often"
        )
        self.job = JobBlock(state, requests, "Check the cohort", "Look at every scan")
        self.problems = text(ERROR)
        self.files_model, self._sorted = FilesModel(), QSortFilterProxyModel()
        self._sorted.setSourceModel(self.files_model)
        tip = "Click: preview and warnings. Double click: open the scan."
        self.files = table(self._sorted, tip, selectable=True)
        self.preview = QLabel()
        self.preview.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.preview.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.preview.setToolTip("Axial, coronal, sagittal; the patient's right is on the left")
        self.notes = text(FAINT)
        self.split_title = text()
        self.split_model = TextModel()
        self.split = table(
            self.split_model,
            "People, not scans; two groups calibrate, test people are seen by nothing",
        )
        self._lay_out()

        bind(state, "cohort", self.cohort.textEdited)
        bind(state, "balance", self.balance.textEdited)
        self.folder.clicked.connect(self._choose_folder)
        self.choose_table.clicked.connect(self._choose_table)
        chosen = self.files.selectionModel()
        assert chosen is not None
        self._chosen = chosen
        chosen.currentRowChanged.connect(lambda *_: self._show_row())
        self.files.doubleClicked.connect(self._open)
        watch(self, state, self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        where = QHBoxLayout()
        where.addWidget(self.cohort, stretch=1)
        where.addWidget(self.folder)
        where.addWidget(self.choose_table)
        rows = form()
        rows.addRow("Scans", where)
        rows.addRow("Groups", self.balance)
        self.files.setSortingEnabled(True)
        self.files.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.files.setMinimumHeight(220)
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 6, 2, 2)
        column.addLayout(rows)
        for widget in (
            self.job, self.problems, self.files, self.preview, self.notes, self.split_title,
            self.split,
        ):  # fmt: skip
            column.addWidget(widget)
        column.addStretch(1)

    def _choose_folder(self) -> None:
        title = "Choose a folder of healthy scans"
        if path := ask_folder(self, self._settings, COHORTS, title):
            self._state.cohort = path

    def _choose_table(self) -> None:
        patterns = "Tables (*.tsv *.csv)"
        if path := ask_file(self, self._settings, COHORTS, "Choose a table", patterns):
            self._state.cohort = path

    def _open(self, index: QModelIndex) -> None:
        row = self.files_model.rows[self._sorted.mapToSource(index).row()]
        if row.good:
            self._requests.open_file.emit(row.path)

    def _show_row(self) -> None:
        """Show preview and warnings of the row at hand."""
        index = self._chosen.currentIndex()
        rows = self.files_model.rows
        row = rows[self._sorted.mapToSource(index).row()] if index.isValid() and rows else None
        picture = None if row is None else row.picture
        if picture is not None:
            self.preview.setPixmap(grey_pixmap(picture, PREVIEW_ROWS))
        self.preview.setVisible(picture is not None)
        words = ""
        if row is not None:
            words = f"{row.cells[0]}: {row.notes or 'nothing to remark'}"
        tell(self.notes, words)

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        for name, box in (("cohort", self.cohort), ("balance", self.balance)):
            if changed in {"", name} and box.text() != getattr(state, name):
                box.setText(getattr(state, name))
        if changed in {"", "rows"}:
            self.files_model.show(state.rows)
            self.files.setVisible(bool(state.rows))
            if state.rows:
                for column, width in enumerate(WIDTHS):
                    self.files.setColumnWidth(column, width)
                self.files.selectRow(0)
            self._show_row()
        if changed in {"", "split", "split_header"}:
            self.split_model.show(state.split_header, state.split)
            self.split.setVisible(bool(state.split))
            tell(self.split_title, "How people are split" if state.split else "")
            self.split.resizeColumnsToContents()
            self.split.setFixedHeight(48 + 20 * min(len(state.split), 8))
        tell(self.problems, state.problems)
