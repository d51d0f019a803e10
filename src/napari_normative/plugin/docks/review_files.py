"""Opening, making and exporting reviews."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_normative.plugin.docks.files import COHORTS, RESULTS, ask_file, ask_folder
from napari_normative.plugin.docks.widgets import (
    JobBlock,
    bind,
    button,
    combo,
    enable,
    fill,
    form,
    pick,
    watch,
)
from napari_normative.plugin.state.review import (
    FORMATS,
    ORDERS,
    ReviewFilesRequests,
    ReviewFilesState,
    ReviewRequests,
    ReviewState,
)
from napari_normative.plugin.state.settings import Settings

PATTERNS = "Reviews (*.review)"
CREATE_TIP = "Scans are compared with the chosen model first; detections are taken as they are"


class ReviewFilesBlock(QWidget):
    """Open and close; below it, folded, a new review and exports.

    Parameters
    ----------
    review : ReviewState
    requests : ReviewRequests
    state : ReviewFilesState
    file_requests : ReviewFilesRequests
    settings : Settings
    """

    def __init__(
        self,
        review: ReviewState,
        requests: ReviewRequests,
        state: ReviewFilesState,
        file_requests: ReviewFilesRequests,
        settings: Settings,
    ) -> None:
        super().__init__()
        self._review, self._requests = review, requests
        self._state, self._file_requests, self._settings = state, file_requests, settings
        self.open = button("Open…", "Open a review file and go on where you stopped")
        self.close_review = button("Close", "Close the review; everything is saved")
        self.source = _Path("Folder of detections, or of scans")
        self.scans = _Path("Where the scans of the detections lie, if not in the same folder")
        self.target = _Path("A new folder: the review file goes there")
        self.reader = QLineEdit()
        self.reader.setPlaceholderText("Your name; it stays in your file")
        self.reader.setToolTip("Names your file. Exports carry a code instead")
        self.order = combo("In which order scans and candidates are read")
        self.blind = QCheckBox("Hide scores until I submit")
        self.blind.setToolTip("z, p, maps and others' decisions are hidden while you read")
        self.words = QLineEdit()
        self.words.setPlaceholderText("Labels, separated by commas; may be empty")
        self.words.setToolTip("Words that a finding may be given, such as: infarct, haemorrhage")
        self.job = JobBlock(state, file_requests, "Make and open", CREATE_TIP)
        self.format = combo("What to write; nothing of it names files, paths or readers")
        self.export = button("Export…", "Write the findings into a folder")
        self._lay_out()
        self._connect()
        watch(self, state, self._refresh)
        watch(self, review, self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        column, top = QVBoxLayout(self), QHBoxLayout()
        column.setContentsMargins(0, 0, 0, 0)
        top.addWidget(self.open)
        top.addWidget(self.close_review)
        column.addLayout(top)
        new, out = QWidget(), QWidget()
        rows = form()
        new.setLayout(rows)
        for label, field in (
            ("From", self.source), ("Scans in", self.scans), ("Into", self.target),
            ("Reader", self.reader), ("Order", self.order), ("Labels", self.words),
        ):  # fmt: skip
            rows.addRow(label, field)
        rows.addRow(self.blind)
        rows.addRow(self.job)
        take = QHBoxLayout(out)
        take.setContentsMargins(0, 0, 0, 0)
        take.addWidget(self.format, stretch=1)
        take.addWidget(self.export)
        self.new = QCollapsible("New review")
        self.new.toggleButton().setToolTip("Make a review of detections, or of scans")
        self.new.addWidget(new)
        self.exports = QCollapsible("Export")
        self.exports.toggleButton().setToolTip("Labels, tables, BIDS, Slicer; more on the terminal")
        self.exports.addWidget(out)
        column.addWidget(self.new)
        column.addWidget(self.exports)

    def _connect(self) -> None:
        state = self._state
        self.open.clicked.connect(self._open)
        self.close_review.clicked.connect(lambda: self._requests.close.emit())
        for name in ("source", "scans", "target"):
            field = getattr(self, name)
            field.browse.clicked.connect(lambda *_, name=name: self._choose(name))
            bind(state, name, field.line.textChanged)
        bind(state, "reader", self.reader.textChanged)
        bind(state, "words", self.words.textChanged)
        bind(state, "blind", self.blind.toggled)
        pick(state, "order", self.order)
        pick(state, "format", self.format)
        self.export.clicked.connect(self._export)

    def _open(self) -> None:
        if path := ask_file(self, self._settings, RESULTS, "Open a review", PATTERNS):
            self._requests.open.emit(path)

    def _choose(self, name: str) -> None:
        kind = RESULTS if name == "target" else COHORTS
        if path := ask_folder(self, self._settings, kind, "Choose a folder"):
            setattr(self._state, name, path)

    def _export(self) -> None:
        if path := ask_folder(self, self._settings, RESULTS, "Export into"):
            self._file_requests.export.emit(path)

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        for name in ("source", "scans", "target"):
            field = getattr(self, name).line
            if field.text() != getattr(state, name):
                field.setText(getattr(state, name))
        fill(self.order, ORDERS, state.order)
        fill(self.format, FORMATS, state.format)
        self.blind.setChecked(state.blind)
        closed = "" if self._review.is_open else "No review is open."
        enable(self.close_review, "Close the review; everything is saved", closed)
        enable(self.export, "Write the findings into a folder", state.export_blocked)
        self.exports.setVisible(self._review.is_open)


class _Path(QWidget):
    """A line for a path, and a button that asks for it."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.line = QLineEdit()
        self.line.setToolTip(tip)
        self.browse = button("…", tip)
        self.browse.setFixedWidth(30)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, stretch=1)
        row.addWidget(self.browse)
