"""The form of a new review."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLineEdit, QPushButton, QWidget

from napari_normative.plugin.docks.files import COHORTS, RESULTS, ask_file, ask_folder
from napari_normative.plugin.docks.widgets import bind, button, combo, fill, form, pick, watch
from napari_normative.plugin.state.review import ORDERS, ReviewFilesState
from napari_normative.plugin.state.settings import Settings

PATHS = {
    "source": ("From", "Folder of detections, or of scans"),
    "scans": ("Scans in", "Where the scans of the detections lie, if not in the same folder"),
    "target": ("Into", "A new folder: the review file goes there"),
    "listed": ("List", "Text file: a scan's file name without .nii.gz on each line"),
}
"""Label and tooltip of each path."""


class NewReviewForm(QWidget):
    """What a review is made of, and how it is read.

    Parameters
    ----------
    state : ReviewFilesState
    settings : Settings
        Remembers folders.
    run : QPushButton
        Makes the review; stands below.
    """

    def __init__(self, state: ReviewFilesState, settings: Settings, run: QPushButton) -> None:
        super().__init__()
        self._state, self._settings = state, settings
        self.paths = {name: PathLine(tip) for name, (_, tip) in PATHS.items()}
        self.reader = QLineEdit()
        self.reader.setPlaceholderText("Your name; it stays in your file")
        self.reader.setToolTip("Names your file. Exports carry a code instead")
        self.order = combo("In which order scans and candidates are read")
        self.blind = QCheckBox("Hide scores until I submit")
        self.blind.setToolTip("z, p, maps and others' decisions are hidden while you read")
        self.words = QLineEdit()
        self.words.setPlaceholderText("Labels, separated by commas; may be empty")
        self.words.setToolTip("Words that a finding may be given, such as: infarct, haemorrhage")
        self._rows = form()
        self.setLayout(self._rows)
        for name in ("source", "scans", "target"):
            self._rows.addRow(PATHS[name][0], self.paths[name])
        self._rows.addRow("Reader", self.reader)
        self._rows.addRow("Order", self.order)
        self._rows.addRow(PATHS["listed"][0], self.paths["listed"])
        self._rows.addRow("Labels", self.words)
        self._rows.addRow(self.blind)
        self._rows.addRow(run)
        for name, path in self.paths.items():
            path.browse.clicked.connect(lambda *_, name=name: self._choose(name))
            bind(state, name, path.line.textChanged)
        bind(state, "reader", self.reader.textChanged)
        bind(state, "words", self.words.textChanged)
        bind(state, "blind", self.blind.toggled)
        pick(state, "order", self.order)
        watch(self, state, self._refresh)
        self._refresh()

    def _choose(self, name: str) -> None:
        if name == "listed":
            title, patterns = "Choose an assignment list", "Text (*.txt *.tsv);;All files (*)"
            path = ask_file(self, self._settings, COHORTS, title, patterns)
        else:
            kind = RESULTS if name == "target" else COHORTS
            path = ask_folder(self, self._settings, kind, "Choose a folder")
        if path:
            setattr(self._state, name, path)

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        for name, path in self.paths.items():
            if path.line.text() != getattr(state, name):
                path.line.setText(getattr(state, name))
        if self.reader.text() != state.reader:
            self.reader.setText(state.reader)
        fill(self.order, ORDERS, state.order)
        self.blind.setChecked(state.blind)
        listed = state.order == "list"
        self.paths["listed"].setVisible(listed)
        label = self._rows.labelForField(self.paths["listed"])
        if label is not None:
            label.setVisible(listed)


class PathLine(QWidget):
    """A line for a path, and a button that asks for it.

    Parameters
    ----------
    tip : str
    """

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
