"""The dock "Anomaly map": shows an :class:`AnomalyState`, emits requests, decides nothing."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QGridLayout, QLabel, QSpinBox, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_normative.plugin.docks.given import GivenBlock
from napari_normative.plugin.docks.widgets import (
    FAINT,
    WARNING,
    JobBlock,
    ModelBlock,
    bind,
    button,
    combo,
    enable,
    fill,
    form,
    line,
    pick,
    scrolled,
    spin,
    tell,
    text,
    watch,
)
from napari_normative.plugin.state.anomaly import AnomalyRequests, AnomalyState
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.given import GivenRequests, GivenState
from napari_normative.plugin.state.shared import Shared

_OUTPUTS = (
    ("reconstruction", "Reconstruction", "What the scan would look like if it were healthy"),
    ("residual", "Residual", "Scan minus reconstruction; red is brighter than expected"),
    ("anomaly_z", "Anomaly z", "Residual in standard deviations of healthy scans"),
    ("abs_z", "|z| for 3D", "Magnitude of z; shown instead of the signed maps in 3D"),
    ("candidates", "Candidates", "Connected groups of anomalous voxels, with a features table"),
    ("scored_mask", "Scored mask", "Where the scan was compared with the model"),
    (
        "local_volume",
        "Local volume",
        "Per cent more (red) or less (blue) room than expected; not calibrated, and larger "
        "ventricles are usual in the elderly",
    ),
)


class AnomalyView(QWidget):
    """Widgets of the dock.

    Parameters
    ----------
    state : AnomalyState
    requests : AnomalyRequests
    shared : Shared
    candidates : QWidget
        What was found; below the run.
    given, given_requests : GivenState, GivenRequests
    """

    def __init__(
        self,
        state: AnomalyState,
        requests: AnomalyRequests,
        shared: Shared,
        candidates: QWidget,
        given: GivenState,
        given_requests: GivenRequests,
    ) -> None:
        super().__init__()
        self._state, self._scans = state, shared.scans
        self.setObjectName("napari-normative-anomaly-map")

        self.scan = combo("The volume to compare; any image layer")
        self.geometry_line = text(FAINT)
        self.geometry_warning = text(WARNING)
        self.volume_label = QLabel("Volume")
        self.volume = QSpinBox()
        self.volume.setSpecialValueText("choose…")
        self.volume.setToolTip("Which volume of the series to compare, counted from 1")
        self.mask_layer = combo("Compare inside this labels layer only; else the model finds it")
        self.models = ModelBlock(shared.models, shared.model_requests, shared.settings)
        self.given = GivenBlock(given, given_requests)
        self.outputs = {name: QCheckBox(label) for name, label, _ in _OUTPUTS}
        for name, _, tip in _OUTPUTS:
            self.outputs[name].setToolTip(tip)
        self.more = QCollapsible("Layers and options")
        self.more.toggleButton().setToolTip("Which results become layers; samples; earlier results")
        self.samples = spin(0, 64, "Synthetic volumes drawn from the model, shown on this scan")
        self.seed = spin(0, 2**31 - 1, "The same seed draws the same samples")
        self.replace_earlier = QCheckBox("Replace earlier results of this scan")
        self.replace_earlier.setToolTip(
            "Off: new layers get a number. Labels that were edited are never replaced."
        )
        self.force = QCheckBox("Run anyway")
        self.force.setToolTip("Score a scan whose contrast is not the model's; believe nothing")
        self.job = JobBlock(state, requests, "Run", "Compare the scan with the model")
        self.run_all = button("Run on all", "Compare every scan of the viewer, one after another")
        self.working_on = text(FAINT)
        self.candidates = candidates
        self._lay_out()

        pick(state, "scan", self.scan)
        pick(state, "mask", self.mask_layer)
        for name in ("volume", "samples", "seed"):
            bind(state, name, getattr(self, name).valueChanged)
        boxes = {**self.outputs, "replace_earlier": self.replace_earlier, "force": self.force}
        self._boxes = boxes
        for name, box in boxes.items():
            bind(state, name, box.toggled)
        self.run_all.clicked.connect(lambda: requests.run_all.emit())
        watch(self, state, self._refresh)
        watch(self, shared.scans, self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        top = form()
        top.addRow("Scan", self.scan)
        top.addRow(self.geometry_line)
        top.addRow(self.geometry_warning)
        top.addRow(self.volume_label, self.volume)
        top.addRow("Mask", self.mask_layer)
        outputs = QGridLayout()
        for place, box in enumerate(self.outputs.values()):
            outputs.addWidget(box, place // 2, place % 2)
        draws = form()
        draws.addRow("Samples", self.samples)
        draws.addRow("Seed", self.seed)

        options = QWidget()
        inside = QVBoxLayout(options)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addLayout(outputs)
        inside.addLayout(draws)
        inside.addWidget(self.replace_earlier)
        self.more.addWidget(options)

        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(4, 4, 4, 4)
        column.addLayout(top)
        for widget in (
            self.models, self.given, line(), self.more, self.force, self.job, self.working_on,
            self.run_all, self.candidates,
        ):  # fmt: skip
            column.addWidget(widget)
        column.addStretch(1)
        scrolled(self, body)

    def _refresh(self, changed: str = "") -> None:
        """Show the state; all of it, or what one field decides."""
        state, scans = self._state, self._scans
        if changed in {"", "scans", "scan"}:
            fill(self.scan, scans.scans, state.scan)
            self.given.show_scan(state.scan or None)
        if changed in {"", "masks", "mask"}:
            none = Choice("", "none (found by the model)")
            fill(self.mask_layer, (none, *scans.masks), state.mask)
        if changed in {"", "volume_count", "volume"}:
            series = state.volume_count > 1
            self.volume.setMaximum(state.volume_count if series else 0)
            self.volume.setValue(state.volume)
            self.volume.setSuffix(f" of {state.volume_count}" if state.volume else "")
            self.volume.setVisible(series)
            self.volume_label.setVisible(series)
        for name in ("samples", "seed"):
            if changed in {"", name}:
                getattr(self, name).setValue(getattr(state, name))
        for name, box in self._boxes.items():
            if changed in {"", name}:
                box.setChecked(getattr(state, name))
        tell(self.geometry_line, state.geometry)
        tell(self.geometry_warning, state.geometry_warning)
        self.force.setVisible(state.refused)
        tell(self.working_on, state.working_on if state.running else "")
        self.run_all.setText(state.all_label)
        self.run_all.setVisible(bool(state.all_label))
        busy = "Wait for the present run, or cancel it" if state.running else ""
        enable(self.run_all, "Compare every scan of the viewer, one after another", busy)
