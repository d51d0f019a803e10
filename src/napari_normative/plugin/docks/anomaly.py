"""The dock "Anomaly map": shows an :class:`AnomalyState`, emits requests, decides nothing."""

from __future__ import annotations

from functools import partial

from psygnal import EmissionInfo
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_normative.plugin.state import RESEARCH_ONLY, AnomalyPanel, Choice

_WARNING = "color: #e0a030;"
_ERROR = "color: #ff6b5e;"
_FAINT = "color: #9aa0a6;"

_OUTPUTS = (
    ("reconstruction", "Reconstruction", "What the scan would look like if it were healthy"),
    ("residual", "Residual", "Scan minus reconstruction; red is brighter than expected"),
    ("anomaly_z", "Anomaly z", "Residual in standard deviations of healthy scans"),
    ("abs_z", "|z| for 3D", "Magnitude of z; shown instead of the signed maps in 3D"),
    ("candidates", "Candidates", "Connected groups of anomalous voxels, with a features table"),
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
    panel : AnomalyPanel
    """

    def __init__(self, panel: AnomalyPanel) -> None:
        super().__init__()
        self._panel = panel
        state, requests = panel.state, panel.requests
        self.setObjectName("napari-normative-anomaly-map")

        self.scan = _combo("The volume to compare; any image layer")
        self.geometry_line = _text(_FAINT)
        self.geometry_warning = _text(_WARNING)
        self.volume_label = QLabel("Volume")
        self.volume = QSpinBox()
        self.volume.setSpecialValueText("choose…")
        self.volume.setToolTip("Which volume of the series to compare, counted from 1")
        self.mask_layer = _combo("Compare inside this labels layer only; else the model finds it")
        self.model = _combo("Packaged models and files used before")
        self.choose_file = QPushButton("File…")
        self.choose_file.setToolTip("Choose a model file (.safetensors)")
        self.model_line = _text(_FAINT)
        self.device = _combo("auto takes a GPU when there is one")
        self.device_line = _text(_FAINT)
        self.outputs = {name: QCheckBox(label) for name, label, _ in _OUTPUTS}
        for name, _, tip in _OUTPUTS:
            self.outputs[name].setToolTip(tip)
        self.samples = _spin(0, 64, "Synthetic volumes drawn from the model, shown on this scan")
        self.seed = _spin(0, 2**31 - 1, "The same seed draws the same samples")
        self.replace_earlier = QCheckBox("Replace earlier results of this scan")
        self.replace_earlier.setToolTip(
            "Off: new layers get a number. Labels that were edited are never replaced."
        )
        self.run = QPushButton("Run")
        self.run.setMinimumHeight(34)
        self.run_reason = _text(_FAINT)
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(8)
        self.step = _text(_FAINT)
        self.error = _text(_ERROR)
        self.force = QCheckBox("Run anyway")
        self.force.setToolTip("Score a scan whose contrast is not the model's; believe nothing")
        self.summary = _text("")
        self.unload = QPushButton("Unload model")
        self.unload.setToolTip("Free the memory that the model holds")
        self._lay_out()

        self.scan.currentIndexChanged.connect(partial(_pick, state, "scan", self.scan))
        self.mask_layer.currentIndexChanged.connect(partial(_pick, state, "mask", self.mask_layer))
        self.model.currentIndexChanged.connect(partial(_pick, state, "model", self.model))
        self.device.currentIndexChanged.connect(partial(_pick, state, "device", self.device))
        self.volume.valueChanged.connect(partial(setattr, state, "volume"))
        self.samples.valueChanged.connect(partial(setattr, state, "samples"))
        self.seed.valueChanged.connect(partial(setattr, state, "seed"))
        self.replace_earlier.toggled.connect(partial(setattr, state, "replace_earlier"))
        self.force.toggled.connect(partial(setattr, state, "force"))
        for name, box in self.outputs.items():
            box.toggled.connect(partial(setattr, state, name))
        self.run.clicked.connect(self._run_or_cancel)
        self.unload.clicked.connect(lambda: requests.unload.emit())
        self.choose_file.clicked.connect(self._choose_file)
        state.events.connect(self._on_change)
        self._refresh()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.addRow("Scan", self.scan)
        form.addRow(self.geometry_line)
        form.addRow(self.geometry_warning)
        form.addRow(self.volume_label, self.volume)
        form.addRow("Mask", self.mask_layer)
        model = QHBoxLayout()
        model.addWidget(self.model, stretch=1)
        model.addWidget(self.choose_file)
        form.addRow("Model", model)
        form.addRow(self.model_line)
        form.addRow("Device", self.device)
        form.addRow(self.device_line)

        outputs = QGridLayout()
        for place, box in enumerate(self.outputs.values()):
            outputs.addWidget(box, place // 2, place % 2)
        draws = QFormLayout()
        draws.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        draws.addRow("Samples", self.samples)
        draws.addRow("Seed", self.seed)

        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(4, 4, 4, 4)
        column.addLayout(form)
        column.addWidget(_line())
        column.addLayout(outputs)
        column.addLayout(draws)
        column.addWidget(self.replace_earlier)
        for widget in (
            self.run,
            self.run_reason,
            self.progress,
            self.step,
            self.error,
            self.force,
            self.summary,
        ):
            column.addWidget(widget)
        column.addStretch(1)
        column.addWidget(self.unload)

        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(body)
        notice = QLabel(RESEARCH_ONLY)
        notice.setStyleSheet(_WARNING)
        notice.setAlignment(Qt.AlignmentFlag.AlignCenter)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(2, 2, 2, 2)
        outer.addWidget(scroll, stretch=1)
        outer.addWidget(notice)
        self.setMinimumWidth(300)

    def _run_or_cancel(self) -> None:
        requests = self._panel.requests
        if self._panel.state.running:
            requests.cancel.emit()
        else:
            requests.run.emit()

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Choose a model", "", "Normative models (*.safetensors)"
        )
        if path:
            self._panel.requests.model_file.emit(path)

    def _on_change(self, info: EmissionInfo) -> None:
        if isalive(self):  # psygnal may outlive the window's half of this object
            self._refresh(info.signal.name)

    def _refresh(self, changed: str = "") -> None:
        """Show the state; all of it, or what one field decides."""
        state = self._panel.state
        if changed in {"", "scans", "scan"}:
            _fill(self.scan, state.scans, state.scan)
        if changed in {"", "masks", "mask"}:
            _fill(
                self.mask_layer, (Choice("", "none (found by the model)"), *state.masks), state.mask
            )
        if changed in {"", "models", "model"}:
            _fill(self.model, state.models, state.model)
        if changed in {"", "devices", "device"}:
            _fill(self.device, state.devices, state.device)
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
        boxes = {**self.outputs, "replace_earlier": self.replace_earlier, "force": self.force}
        for name, box in boxes.items():
            if changed in {"", name}:
                box.setChecked(getattr(state, name))
        for label, text in (
            (self.geometry_line, state.geometry),
            (self.geometry_warning, state.geometry_warning),
            (self.model_line, state.model_line),
            (self.device_line, state.device_line),
            (self.error, state.error),
            (self.summary, state.summary),
            (self.step, state.step),
            (self.run_reason, "" if state.running else state.run_blocked),
        ):
            if label.text() != text:
                label.setText(text)
            label.setVisible(bool(text))
        self.force.setVisible(state.refused)
        self.progress.setVisible(state.running)
        self.progress.setValue(round(1000 * state.fraction))
        self.run.setText("Cancel" if state.running else "Run")
        self.run.setEnabled(
            not state.cancelling if state.running else not state.run_blocked,
        )
        self.run.setToolTip(state.run_blocked)
        self.unload.setEnabled(state.model_loaded and not state.running)
        self.unload.setToolTip(
            "Free the memory that the model holds"
            if state.model_loaded
            else "No model is in memory"
        )


def _pick(state: object, field: str, combo: QComboBox, index: int) -> None:
    setattr(state, field, combo.itemData(index) or "")


def _fill(combo: QComboBox, choices: tuple[Choice, ...], key: str) -> None:
    """Show choices without telling anybody."""
    blocked = combo.blockSignals(True)
    shown = [(combo.itemData(i), combo.itemText(i)) for i in range(combo.count())]
    wanted = [(choice.key, choice.label) for choice in choices]
    if shown != wanted:
        combo.clear()
        for data, label in wanted:
            combo.addItem(label, data)
    keys = [data for data, _ in wanted]
    combo.setCurrentIndex(keys.index(key) if key in keys else -1)
    combo.blockSignals(blocked)


def _combo(tip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tip)
    # Long layer names must not push the dock wider than the screen.
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(12)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo


def _spin(low: int, high: int, tip: str) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(low, high)
    spin.setToolTip(tip)
    return spin


def _text(style: str) -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setStyleSheet(style)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    return line
