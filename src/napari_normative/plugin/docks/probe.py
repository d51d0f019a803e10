"""The tab "Tell a column" of the dock "Latent map"."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_normative.plugin.docks.files import RESULTS, ask_file, ask_target
from napari_normative.plugin.docks.paths import PathRow, open_page
from napari_normative.plugin.docks.widgets import (
    ERROR,
    FAINT,
    WARNING,
    JobBlock,
    button,
    combo,
    enable,
    fill,
    form,
    line,
    pick,
    tell,
    text,
    watch,
)
from napari_normative.plugin.state.probe import FitRequests, FitState, TellRequests, TellState
from napari_normative.plugin.state.shared import Shared

_REPORT = "Show probe.html in the web browser: how well the latents tell it, beside simple features"


class ProbeBlock(QWidget):
    """Widgets of the tab.

    Parameters
    ----------
    state, requests : TellState, TellRequests
    fit, fit_requests : FitState, FitRequests
    shared : Shared
    """

    def __init__(
        self,
        state: TellState,
        requests: TellRequests,
        fit: FitState,
        fit_requests: FitRequests,
        shared: Shared,
    ) -> None:
        super().__init__()
        self._state, self._fit, self._scans = state, fit, shared.scans
        self._settings = shared.settings
        self.probe = PathRow(
            state, "probe", "probe.safetensors", "A probe: it tells a column from the latents",
            ("File…", "Choose a probe", self._ask_probe),
        )  # fmt: skip
        self.probe_line = text(FAINT)
        self.probe_error = text(ERROR)
        self.scan = combo("The scan that the probe is asked about")
        self.job = JobBlock(state, requests, "Tell", "Encode the scan and ask the probe")
        self.told = text("font-weight: bold; font-size: 15px;")
        self.detail = text()
        self.applies = text()
        self.doubts = text(WARNING)
        self.column = combo("What the probe shall tell; how many scans have a value")
        self.table_error = text(WARNING)
        self.folder = PathRow(
            fit, "folder", "new folder", "Gets probe.html (the report), tables and the probe",
            ("Folder…", "Name a folder for the report and the probe", self._ask_folder),
        )  # fmt: skip
        self.fit_job = JobBlock(
            fit, fit_requests, "Fit a probe",
            "Encode every scan of the table, fit a probe and judge it beside simple features",
        )  # fmt: skip
        self.report = button("Open the report", _REPORT)
        self._lay_out()
        pick(state, "scan", self.scan)
        pick(fit, "column", self.column)
        self.report.clicked.connect(lambda: open_page(fit.report))
        watch(self, state, self._refresh)
        watch(self, fit, self._refresh)
        watch(self, shared.scans, self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        ask, make = form(), form()
        ask.addRow("Probe", self.probe)
        ask.addRow(self.probe_line)
        ask.addRow(self.probe_error)
        ask.addRow("Scan", self.scan)
        make.addRow("Column", self.column)
        make.addRow("Report", self.folder)
        after = QHBoxLayout()
        after.addWidget(self.report)
        after.addStretch(1)
        heading = QLabel("A new probe, from the table above")
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 6, 2, 2)
        column.addLayout(ask)
        for widget in (
            self.job, self.told, self.detail, self.applies, self.doubts, line(), heading,
        ):  # fmt: skip
            column.addWidget(widget)
        column.addLayout(make)
        column.addWidget(self.table_error)
        column.addWidget(self.fit_job)
        column.addLayout(after)
        column.addStretch(1)

    def _refresh(self, changed: str = "") -> None:
        """Show the states; all of them, or what one field decides."""
        state, made = self._state, self._fit
        if changed in {"", "scans", "scan"}:
            fill(self.scan, self._scans.scans, state.scan)
        if changed in {"", "columns", "column"}:
            fill(self.column, made.columns, made.column)
        for name in ("probe_line", "probe_error", "told", "detail", "applies", "doubts"):
            tell(getattr(self, name), getattr(state, name))
        tell(self.table_error, made.table_error)
        enable(self.report, _REPORT, "" if made.report else "Fit a probe first.")

    def _ask_probe(self) -> str:
        patterns = "Probes (*.safetensors)"
        return ask_file(self, self._settings, RESULTS, "Choose a probe", patterns)

    def _ask_folder(self) -> str:
        name = f"{self._fit.column or 'column'}-probe"
        return ask_target(self, self._settings, RESULTS, "Name a folder for the report", name)
