"""The dock "Samples": shows its states, emits requests, decides nothing."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_normative.plugin.docks.draws import KINDS, temperature_box
from napari_normative.plugin.docks.explorer import ExplorerBlock
from napari_normative.plugin.docks.files import RESULTS, ask_target
from napari_normative.plugin.docks.given import GivenBlock
from napari_normative.plugin.docks.sample_set import SetBlock
from napari_normative.plugin.docks.widgets import (
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
    spin,
    watch,
)
from napari_normative.plugin.state.given import GivenRequests, GivenState
from napari_normative.plugin.state.sample_set import SetRequests, SetState
from napari_normative.plugin.state.samples import (
    INTERPOLATION,
    PRIOR,
    ExplorerRequests,
    ExplorerState,
    SamplesRequests,
    SamplesState,
)
from napari_normative.plugin.state.shared import Shared

_PLAY = "Step through the series again and again"
_SAVE = "Write the volumes, mean and SD as NIfTI, and samples.json, into a new folder"


class SamplesView(QWidget):
    """Widgets of the dock.

    Parameters
    ----------
    state : SamplesState
    requests : SamplesRequests
    explorer, explorer_requests : ExplorerState, ExplorerRequests
    dataset, dataset_requests : SetState, SetRequests
    shared : Shared
    given, given_requests : GivenState, GivenRequests
    """

    def __init__(
        self,
        state: SamplesState,
        requests: SamplesRequests,
        explorer: ExplorerState,
        explorer_requests: ExplorerRequests,
        dataset: SetState,
        dataset_requests: SetRequests,
        shared: Shared,
        given: GivenState,
        given_requests: GivenRequests,
    ) -> None:
        super().__init__()
        self._state, self._requests, self._scans = state, requests, shared.scans
        self._settings = shared.settings
        self.setObjectName("napari-normative-samples")
        self.models = ModelBlock(shared.models, shared.model_requests, shared.settings)
        self.kind = combo(
            "From the cohort: any healthy person. About a scan: what the model holds possible "
            "for this person. From one scan to another: equal steps of the latents"
        )
        self.scan = combo("The scan to draw about, or to begin with")
        self.second = combo("The scan to end with")
        self.given = GivenBlock(given, given_requests)
        self.count = spin(1, 256, "How many volumes")
        self.seed = spin(0, 2**31 - 1, "The same seed draws the same volumes")
        self.temperature = temperature_box()
        self.volumes = QCheckBox("Volumes")
        self.volumes.setToolTip("Show the draws as one layer, with a slider from volume to volume")
        self.maps = QCheckBox("Mean and SD")
        self.maps.setToolTip("Show the mean of the draws, and where they differ")
        self.replace_earlier = QCheckBox("Replace earlier")
        self.replace_earlier.setToolTip("Off: new layers get a number")
        self.job = JobBlock(state, requests, "Draw", "Make synthetic volumes")
        self.play = button("Play", _PLAY)
        self.rate = QDoubleSpinBox()
        self.rate.setRange(0.5, 20.0)
        self.rate.setSuffix(" /s")
        self.rate.setToolTip("Volumes a second")
        self.save = button("Save…", _SAVE)
        self.explorer = ExplorerBlock(explorer, explorer_requests, shared.scans)
        self.dataset = SetBlock(dataset, dataset_requests, shared)
        self._lay_out()

        for name in ("kind", "scan", "second"):
            pick(state, name, getattr(self, name))
        for name in ("count", "seed", "temperature", "rate"):
            bind(state, name, getattr(self, name).valueChanged)
        for name in ("volumes", "maps", "replace_earlier"):
            bind(state, name, getattr(self, name).toggled)
        self.play.clicked.connect(lambda: requests.play.emit())
        self.save.clicked.connect(self._choose_folder)
        watch(self, state, self._refresh)
        watch(self, shared.scans, self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        self._top = form()
        for label, widget in (
            ("Draw", self.kind),
            ("Scan", self.scan),
            ("To", self.second),
            ("Number", self.count),
            ("Seed", self.seed),
            ("Temperature", self.temperature),
        ):
            self._top.addRow(label, widget)
        what = QHBoxLayout()
        for box in (self.volumes, self.maps):
            what.addWidget(box)
        what.addStretch(1)
        after = QHBoxLayout()
        after.addWidget(self.play)
        after.addWidget(self.rate)
        after.addStretch(1)
        after.addWidget(self.save)
        draw, explore = QWidget(), QWidget()
        column = QVBoxLayout(draw)
        column.setContentsMargins(2, 6, 2, 2)
        column.addLayout(self._top)
        column.addWidget(self.given)
        column.addLayout(what)
        column.addWidget(self.replace_earlier)
        column.addWidget(self.job)
        column.addLayout(after)
        column.addStretch(1)
        column = QVBoxLayout(explore)
        column.setContentsMargins(2, 6, 2, 2)
        column.addWidget(self.explorer)
        column.addStretch(1)
        self.tabs = QTabWidget()
        self.tabs.addTab(draw, "Draw")
        self.tabs.addTab(explore, "Latent explorer")
        self.tabs.addTab(self.dataset, "Write a set")
        self.tabs.setTabToolTip(2, "Any number of synthetic volumes as a dataset on disk")
        self.tabs.setTabToolTip(1, "Move along the model's directions and see the volume change")
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(self.models)
        column.addWidget(self.tabs, stretch=1)
        scrolled(self, body)
        self.setMinimumWidth(345)  # a slider, its number and its buttons in a row

    def _refresh(self, changed: str = "") -> None:
        """Show the state; all of it, or what one field decides."""
        state, scans = self._state, self._scans.scans
        if changed in {"", "kind"}:
            fill(self.kind, KINDS, state.kind)
            self._top.setRowVisible(self.scan, state.kind != PRIOR)
            self._top.setRowVisible(self.second, state.kind == INTERPOLATION)
            for widget in (self.seed, self.temperature):
                self._top.setRowVisible(widget, state.kind != INTERPOLATION)
            for box in (self.volumes, self.maps):
                box.setVisible(state.kind != INTERPOLATION)
        if changed in {"", "scans", "scan"}:
            fill(self.scan, scans, state.scan)
        if changed in {"", "scans", "second"}:
            fill(self.second, scans, state.second)
        if changed in {"", "kind", "scan"}:
            self.given.show_scan(state.person)
        for name in ("count", "seed", "temperature", "rate"):
            if changed in {"", name}:
                getattr(self, name).setValue(getattr(state, name))
        for name in ("volumes", "maps", "replace_earlier"):
            if changed in {"", name}:
                getattr(self, name).setChecked(getattr(state, name))
        if changed in {"", "playing", "play_blocked", "save_blocked"}:
            self.play.setText("Stop" if state.playing else "Play")
            enable(self.play, _PLAY, state.play_blocked)
            enable(self.save, _SAVE, state.save_blocked)

    def _choose_folder(self) -> None:
        title = "Name a folder for the samples"
        path = ask_target(self, self._settings, RESULTS, title, "samples")
        if path:
            self._requests.save.emit(path)
