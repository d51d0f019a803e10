"""Opening and making reviews, comparing readers, taking results out and masks in."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_normative.plugin.docks.files import RESULTS, ask_file, ask_folder
from napari_normative.plugin.docks.review_new import NewReviewForm
from napari_normative.plugin.docks.widgets import (
    JobBlock,
    bind,
    button,
    combo,
    enable,
    fill,
    pick,
    watch,
)
from napari_normative.plugin.state.review import (
    FORMATS,
    ReviewFilesRequests,
    ReviewFilesState,
    ReviewRequests,
    ReviewState,
)
from napari_normative.plugin.state.settings import Settings

REVIEWS, REGIONS = "Reviews (*.review)", "Labels (*.nii *.nii.gz *.nrrd *.dcm)"
CREATE = "Scans are compared with the chosen model first; detections are taken as they are"
CLOSE = "Close the review; everything is saved"
EXPORT = "Write the findings into a folder"
IMPORT = "Take the masks of this scan from labels that another program edited"
COMPARE = "How far the readers of a project agree; a report goes into its folder"
ADJUDICATE = "Make a review of what the readers of a project dispute, and open it"


class ReviewFilesBlock(QWidget):
    """Open and close; below it, folded, a new review, readers, export and import.

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
        self.close_review = button("Close", CLOSE)
        self.job = JobBlock(state, file_requests, "Make and open", CREATE)
        self.form = NewReviewForm(state, settings, self.job.run)
        self.compare = button("Agreement…", COMPARE)
        self.adjudicator = QLineEdit()
        self.adjudicator.setPlaceholderText("Who adjudicates")
        self.adjudicator.setToolTip("Your name; it stays in the file of the adjudication")
        self.adjudicate = button("Adjudicate…", ADJUDICATE)
        self.format = combo("What to write; scans and readers go by codes")
        self.export = button("Export…", EXPORT)
        self.import_masks = button("Import masks…", IMPORT)
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
        readers, results = QWidget(), QWidget()
        pair, grid = QGridLayout(readers), QGridLayout(results)
        pair.addWidget(self.compare, 0, 0, 1, 2)
        pair.addWidget(self.adjudicator, 1, 0)
        pair.addWidget(self.adjudicate, 1, 1)
        grid.addWidget(self.format, 0, 0, 1, 2)
        grid.addWidget(self.export, 1, 0)
        grid.addWidget(self.import_masks, 1, 1)
        self.new = _folded("New review", "Make a review of detections, or of scans", self.form)
        self.readers = _folded("Readers", "Agreement of several readers, adjudication", readers)
        self.results = _folded("Export and import", "Findings for other programs", results)
        for block in (self.new, self.readers, self.results, self.job):
            column.addWidget(block)

    def _connect(self) -> None:
        state, requests = self._state, self._file_requests
        self.open.clicked.connect(self._open)
        self.close_review.clicked.connect(lambda: self._requests.close.emit())
        self.compare.clicked.connect(lambda: self._in_project(requests.compare))
        self.adjudicate.clicked.connect(lambda: self._in_project(requests.adjudicate))
        self.export.clicked.connect(self._export)
        self.import_masks.clicked.connect(self._import)
        bind(state, "reader", self.adjudicator.textChanged)
        pick(state, "format", self.format)

    def _open(self) -> None:
        if path := ask_file(self, self._settings, RESULTS, "Open a review", REVIEWS):
            self._requests.open.emit(path)

    def _in_project(self, request: object) -> None:
        if path := ask_folder(self, self._settings, RESULTS, "Folder of the readers' reviews"):
            request.emit(path)  # type: ignore[attr-defined]

    def _export(self) -> None:
        series = ""
        if self._state.format == "dicom":
            series = ask_folder(self, self._settings, RESULTS, "Folder of the source series")
            if not series:
                return
        if path := ask_folder(self, self._settings, RESULTS, "Export into"):
            self._file_requests.export.emit(path, series)

    def _import(self) -> None:
        if path := ask_file(self, self._settings, RESULTS, "Import masks", REGIONS):
            self._file_requests.import_masks.emit(path)

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        fill(self.format, FORMATS, state.format)
        if self.adjudicator.text() != state.reader:
            self.adjudicator.setText(state.reader)
        closed = "" if self._review.is_open else "No review is open."
        enable(self.close_review, CLOSE, closed)
        enable(self.compare, COMPARE, state.compare_blocked)
        enable(self.adjudicate, ADJUDICATE, state.adjudicate_blocked)
        enable(self.export, EXPORT, state.export_blocked)
        enable(self.import_masks, IMPORT, state.import_blocked)
        self.results.setVisible(self._review.is_open)
        # Why no review can be made matters to who is about to make one.
        self.job.run_reason.setVisible(self.new.isExpanded() and bool(state.run_blocked))


def _folded(title: str, tip: str, inside: QWidget) -> QCollapsible:
    made = QCollapsible(title)
    made.toggleButton().setToolTip(tip)
    made.addWidget(inside)
    return made
