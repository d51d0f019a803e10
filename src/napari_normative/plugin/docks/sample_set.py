"""The tab "Write a set" of the dock "Samples"."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_normative.plugin.docks.draws import KINDS, temperature_box
from napari_normative.plugin.docks.files import COHORTS, RESULTS, ask_file, ask_folder, ask_target
from napari_normative.plugin.docks.paths import PathRow, open_page
from napari_normative.plugin.docks.widgets import (
    WARNING,
    JobBlock,
    bind,
    button,
    combo,
    enable,
    fill,
    form,
    line,
    pick,
    spin,
    tell,
    text,
    watch,
)
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.sample_set import GROUP, SetRequests, SetState
from napari_normative.plugin.state.samples import INTERPOLATION, POSTERIOR, PRIOR
from napari_normative.plugin.state.shared import Shared

TABLES = "Tables (*.tsv *.csv *.txt)"
_KINDS = (*KINDS, Choice(GROUP, "like a group of people"))
_SHOW = "Open the first volumes of the set as one layer, with a slider from volume to volume"
_REPORT = "Show quality.html in the web browser: are they like real scans, do they copy anybody"


class SetBlock(QWidget):
    """Widgets of the tab.

    Parameters
    ----------
    state : SetState
    requests : SetRequests
    shared : Shared
    """

    def __init__(self, state: SetState, requests: SetRequests, shared: Shared) -> None:
        super().__init__()
        self._state, self._scans, self._settings = state, shared.scans, shared.settings
        self.kind = combo(
            "From the cohort: any healthy person. About a scan: what the model holds possible for "
            "this person. Like a group: as the latents of these people are spread"
        )
        self.scan = combo("The scan to draw about, or to begin with")
        self.second = combo("The scan to end with")
        self.table = PathRow(
            state, "table", "table with a column path", "Whose scans and columns name the group",
            ("Table…", "Choose a table of scans", self._ask_table),
        )  # fmt: skip
        self.column = combo("Which column names the group")
        self.value = combo("Which people: the value, and how many scans have it")
        self.table_error = text(WARNING)
        self.count = spin(1, 100_000, "How many volumes; a larger number later adds to the set")
        self.seed = spin(0, 2**31 - 1, "The same seed gives the same files")
        self.temperature = temperature_box()
        self.folder = PathRow(
            state, "folder", "new folder", "Becomes a BIDS derivatives dataset",
            ("Folder…", "Name a folder for the set", self._ask_target),
        )  # fmt: skip
        self.real = PathRow(
            state, "real", "none: no report",
            "Folder or table of real scans: with them a report of quality and privacy is written",
            ("Folder…", "Choose a folder of real scans", self._ask_folder),
            ("Table…", "Choose a table of real scans", self._ask_table),
        )  # fmt: skip
        self.job = JobBlock(
            state, requests, "Write", "Write the set; what is there already is not made again"
        )
        self.report = button("Open the report", _REPORT)
        self.show_some = button("Show the first", _SHOW)
        self.shown = spin(1, 256, "How many volumes to show")
        self._lay_out()
        for name in ("kind", "scan", "second", "column", "value"):
            pick(state, name, getattr(self, name))
        for name in ("count", "seed", "temperature", "shown"):
            bind(state, name, getattr(self, name).valueChanged)
        self.report.clicked.connect(lambda: open_page(state.report))
        self.show_some.clicked.connect(lambda: requests.show.emit())
        watch(self, state, self._refresh)
        watch(self, shared.scans, self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        group = QHBoxLayout()
        group.setContentsMargins(0, 0, 0, 0)
        group.addWidget(self.column, stretch=1)
        group.addWidget(QLabel("="))
        group.addWidget(self.value, stretch=1)
        for box in (self.column, self.value):  # two side by side
            box.setMinimumContentsLength(3)
        self._group = QWidget()
        self._group.setLayout(group)
        self._top = form()
        for label, widget in (
            ("Draw", self.kind),
            ("Scan", self.scan),
            ("To", self.second),
            ("People", self.table),
            ("Group", self._group),
            ("Number", self.count),
            ("Seed", self.seed),
            ("Temperature", self.temperature),
            ("Set", self.folder),
            ("Compare", self.real),
        ):
            self._top.addRow(label, widget)
        after = QHBoxLayout()
        after.addWidget(self.report)
        after.addStretch(1)
        after.addWidget(self.show_some)
        after.addWidget(self.shown)
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 6, 2, 2)
        column.addLayout(self._top)
        for widget in (self.table_error, self.job, line()):
            column.addWidget(widget)
        column.addLayout(after)
        column.addStretch(1)

    def _refresh(self, changed: str = "") -> None:
        """Show the state; all of it, or what one field decides."""
        state, scans = self._state, self._scans.scans
        if changed in {"", "kind"}:
            fill(self.kind, _KINDS, state.kind)
            shown = {
                self.scan: {POSTERIOR, INTERPOLATION},
                self.second: {INTERPOLATION},
                self.table: {GROUP},
                self._group: {GROUP},
                self.seed: {PRIOR, POSTERIOR, GROUP},
                self.temperature: {PRIOR, POSTERIOR, GROUP},
            }
            for widget, kinds in shown.items():
                self._top.setRowVisible(widget, state.kind in kinds)
        if changed in {"", "scans", "scan"}:
            fill(self.scan, scans, state.scan)
        if changed in {"", "scans", "second"}:
            fill(self.second, scans, state.second)
        if changed in {"", "columns", "column"}:
            fill(self.column, state.columns, state.column)
        if changed in {"", "values", "value"}:
            fill(self.value, state.values, state.value)
        for name in ("count", "seed", "temperature", "shown"):
            if changed in {"", name}:
                getattr(self, name).setValue(getattr(state, name))
        tell(self.table_error, state.table_error if state.kind == GROUP else "")
        none = "Name real scans to compare with, and write: then there is a report."
        enable(self.report, _REPORT, "" if state.report else none)
        enable(self.show_some, _SHOW, state.show_blocked)

    def _ask_table(self) -> str:
        return ask_file(self, self._settings, COHORTS, "Choose a table of scans", TABLES)

    def _ask_folder(self) -> str:
        return ask_folder(self, self._settings, COHORTS, "Choose a folder of real scans")

    def _ask_target(self) -> str:
        return ask_target(self, self._settings, RESULTS, "Name a folder for the set", "synthetic")
