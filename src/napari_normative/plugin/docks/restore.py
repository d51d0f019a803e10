"""The dock "Restore": shows its states, emits requests, decides nothing."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLineEdit, QTabWidget, QVBoxLayout, QWidget

from napari_normative.plugin.docks.files import COHORTS, RESULTS, ask_file, ask_target
from napari_normative.plugin.docks.paths import PathRow
from napari_normative.plugin.docks.widgets import (
    FAINT,
    JobBlock,
    ModelBlock,
    bind,
    button,
    combo,
    enable,
    fill,
    form,
    pick,
    scrolled,
    text,
    watch,
)
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.restore import (
    FOUND,
    MARKED,
    SLICES,
    LargeRequests,
    LargeState,
    RestoreRequests,
    RestoreState,
)
from napari_normative.plugin.state.settings import Settings
from napari_normative.plugin.state.shared import Shared

_MISSING = (
    Choice(FOUND, "what is found by itself"),
    Choice(SLICES, "slices"),
    Choice(MARKED, "what a labels layer covers"),
)
_ADD = "Add the slice on the screen"
_DENOISE = "Take noise out of this scan, with as much of the model as the scan says it deserves"
_SAVE = "Write what was made last of this scan, and its record, as files into a new folder"
_PATTERNS = "Volumes (*.nii *.nii.gz *.hdr *.img *.mgz *.mgh)"


class RestoreView(QWidget):
    """Widgets of the dock.

    Parameters
    ----------
    state : RestoreState
    requests : RestoreRequests
    large, large_requests : LargeState, LargeRequests
    shared : Shared
    """

    def __init__(
        self,
        state: RestoreState,
        requests: RestoreRequests,
        large: LargeState,
        large_requests: LargeRequests,
        shared: Shared,
    ) -> None:
        super().__init__()
        self.setObjectName("napari-normative-restore")
        self.models = ModelBlock(shared.models, shared.model_requests, shared.settings)
        self.scan = ScanBlock(state, requests, shared)
        self.large = LargeBlock(large, large_requests, shared.settings)
        self.tabs = QTabWidget()
        self.tabs.addTab(self.scan, "This scan")
        self.tabs.addTab(self.large, "Large file")
        self.tabs.setTabToolTip(
            0, "Fill missing or damaged parts of an open scan, or take out noise"
        )
        self.tabs.setTabToolTip(1, "Reconstruct a scan that is too large to open, on disk")
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(self.models)
        column.addWidget(self.tabs, stretch=1)
        scrolled(self, body)


class ScanBlock(QWidget):
    """The tab "This scan".

    Parameters
    ----------
    state : RestoreState
    requests : RestoreRequests
    shared : Shared
    """

    def __init__(self, state: RestoreState, requests: RestoreRequests, shared: Shared) -> None:
        super().__init__()
        self._state, self._requests, self._scans = state, requests, shared.scans
        self._settings = shared.settings
        self.scan = combo("The scan to fill; any image layer")
        self.missing = combo(
            "What is filled. Found: voxels that are no numbers, and slices without signal "
            "between others"
        )
        self.slices = QLineEdit()
        self.slices.setPlaceholderText("k:40-44, i:7")
        self.slices.setToolTip("Axis as stored, and slices counted from 0; several with commas")
        self.add_slice = button("Add shown", _ADD)
        self.axes_line = text(FAINT)
        self.axes_line.setToolTip("The scan's axes as stored: numbers of slices, and where to")
        self.labels = combo("Anything but 0 in this labels layer is missing or damaged")
        self.replace_earlier = QCheckBox("Replace earlier")
        self.replace_earlier.setToolTip("Off: new layers get a number")
        self.job = JobBlock(
            state, requests, "Fill", "Make what is missing; it is synthetic and may hide disease"
        )
        self.denoise = button("Denoise", _DENOISE)
        self.save = button("Save…", _SAVE)
        self._lay_out()
        for name in ("scan", "missing", "labels"):
            pick(state, name, getattr(self, name))
        bind(state, "slices", self.slices.textEdited)
        bind(state, "replace_earlier", self.replace_earlier.toggled)
        self.add_slice.clicked.connect(lambda: requests.add_slice.emit())
        self.denoise.clicked.connect(lambda: requests.denoise.emit())
        self.save.clicked.connect(self._choose_folder)
        watch(self, state, self._refresh)
        watch(self, shared.scans, self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        slices = QHBoxLayout()
        slices.setContentsMargins(0, 0, 0, 0)
        slices.addWidget(self.slices, stretch=1)
        slices.addWidget(self.add_slice)
        self._slices = QWidget()
        self._slices.setLayout(slices)
        self._top = form()
        self._top.addRow("Scan", self.scan)
        self._top.addRow("Missing", self.missing)
        self._top.addRow("Slices", self._slices)
        self._top.addRow(self.axes_line)
        self._top.addRow("Labels", self.labels)
        after = QHBoxLayout()
        after.addWidget(self.replace_earlier)
        after.addStretch(1)
        after.addWidget(self.denoise)
        after.addWidget(self.save)
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 6, 2, 2)
        column.addLayout(self._top)
        column.addWidget(self.job)
        column.addLayout(after)
        column.addStretch(1)

    def _refresh(self, changed: str = "") -> None:
        """Show the state; all of it, or what one field decides."""
        state, scans = self._state, self._scans
        if changed in {"", "missing"}:
            fill(self.missing, _MISSING, state.missing)
            for row in (self._slices, self.axes_line):
                self._top.setRowVisible(row, state.missing == SLICES)
            self._top.setRowVisible(self.labels, state.missing == MARKED)
        if changed in {"", "scans", "scan"}:
            fill(self.scan, scans.scans, state.scan)
        if changed in {"", "masks", "labels"}:
            fill(self.labels, scans.masks, state.labels)
        if self.slices.text() != state.slices:
            self.slices.setText(state.slices)
        if changed in {"", "replace_earlier"}:
            self.replace_earlier.setChecked(state.replace_earlier)
        self.axes_line.setText(state.axes_line)
        enable(self.add_slice, _ADD, state.slice_blocked)
        enable(self.denoise, _DENOISE, state.denoise_blocked)
        enable(self.save, _SAVE, state.save_blocked)

    def _choose_folder(self) -> None:
        title = "Name a folder for the restored scan"
        if path := ask_target(self, self._settings, RESULTS, title, "restored"):
            self._requests.save.emit(path)


class LargeBlock(QWidget):
    """The tab "Large file".

    Parameters
    ----------
    state : LargeState
    requests : LargeRequests
    settings : Settings
    """

    def __init__(self, state: LargeState, requests: LargeRequests, settings: Settings) -> None:
        super().__init__()
        self._state, self._settings = state, settings
        self.note = text(FAINT)
        self.note.setText(
            "Reconstruction and residual of a scan of any size. It is read from its file and "
            "they are written piece by piece; the window shows them from there. No anomaly map "
            "is made."
        )
        self.source = PathRow(
            state, "source", "file of the scan",
            "A volume file that need not be open, nor fit into memory",
            ("File…", "Choose the file of a scan", self._ask_source),
        )  # fmt: skip
        self.folder = PathRow(
            state, "folder", "new folder",
            "Gets reconstruction.nii, residual.nii and reconstruction.json",
            ("Folder…", "Name a new folder for the results", self._ask_folder),
        )  # fmt: skip
        self.force = QCheckBox("Run anyway")
        self.force.setToolTip("Reconstruct a scan whose contrast is not the model's")
        self.job = JobBlock(
            state, requests, "Reconstruct to disk", "Write the results, then show them from disk"
        )
        rows = form()
        rows.addRow("Scan", self.source)
        rows.addRow("Results", self.folder)
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 6, 2, 2)
        column.addWidget(self.note)
        column.addLayout(rows)
        column.addWidget(self.force)
        column.addWidget(self.job)
        column.addStretch(1)
        bind(state, "force", self.force.toggled)
        watch(self, state, self._refresh)
        self._refresh()

    def _refresh(self, changed: str = "") -> None:
        self.force.setChecked(self._state.force)
        self.force.setVisible(self._state.refused)

    def _ask_source(self) -> str:
        return ask_file(self, self._settings, COHORTS, "Choose a scan", _PATTERNS)

    def _ask_folder(self) -> str:
        name = f"{Path(self._state.source).name.partition('.')[0] or 'scan'}-reconstruction"
        title = "Name a folder for the results"
        return ask_target(self, self._settings, RESULTS, title, name)
