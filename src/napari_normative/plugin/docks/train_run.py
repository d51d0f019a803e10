"""The second page of "Train a model": what to train, and how it fares."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap, QTextCursor
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_normative.plugin.docks.files import MODELS, ask_folder, ask_target
from napari_normative.plugin.docks.train_curves import CurvesView
from napari_normative.plugin.docks.train_told import ToldBlock
from napari_normative.plugin.docks.widgets import (
    ERROR,
    FAINT,
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
from napari_normative.plugin.state.models import ModelsState
from napari_normative.plugin.state.settings import Settings
from napari_normative.plugin.state.training import TrainingRequests, TrainingState

MONTAGE_WIDTH = 340
_TIPS = {
    "start": "Train in a process of its own: it goes on when this window is closed",
    "stop": "Save the state and end; Resume goes on from there",
    "resume": "Go on with the training that is shown, from its last checkpoint",
}
_WORDS = (
    ("title", "Title", "One line for the model's card, e.g. Adult brain, our scanners"),
    ("license_text", "Licence", "Of the weights, for the card, e.g. CC BY 4.0"),
    ("credit", "Credit", "Whose scans, for the card"),
)


class RunPage(QWidget):
    """Preset, output, start and stop; the training that is shown, with curves and pictures.

    Parameters
    ----------
    state : TrainingState
    requests : TrainingRequests
    models : ModelsState
        Holds the device, which all docks share.
    settings : Settings
        Remembers the folder.
    """

    def __init__(
        self,
        state: TrainingState,
        requests: TrainingRequests,
        models: ModelsState,
        settings: Settings,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._state, self._requests, self._models = state, requests, models
        self.preset = combo("Size of the network and spacing")
        self.preset_line = text(FAINT)
        self.variant = combo(
            "Another form of the autoencoder: changes of the preset under a name (--variant)"
        )
        self.variant_line = text(FAINT)
        self.told = ToldBlock(state)
        self.estimate = text(FAINT)
        self.out = QLineEdit()
        self.out.setToolTip("The model file to write; its work folder lies beside it")
        self.choose_out = button("File…", "Choose where the model file is written")
        self.device = combo("auto takes a GPU when there is one")
        self.seed = spin(0, 2**31 - 1, "Of weights, draws and split; check again after a change")
        self.more = QCollapsible("More")
        self.more.toggleButton().setToolTip("Words for the card, limits, the preset's values")
        self.words = {name: QLineEdit() for name, _, _ in _WORDS}
        self.max_minutes = spin(0, 100_000, "Ends training after that; 0 for no limit")
        self.max_minutes.setSpecialValueText("no limit")
        self.max_minutes.setSuffix(" min")
        self.template = QLineEdit()
        self.template.setPlaceholderText("the preset's")
        self.template.setToolTip("Skull-stripped volume to align to instead of the preset's")
        self.changes = QLineEdit()
        self.changes.setPlaceholderText("e.g. objective.beta=0.3 steps=400")
        self.changes.setToolTip("Changes of the preset: NAME=VALUE, spaces between")
        self.forget = QCheckBox("Forget people")
        self.forget.setToolTip(
            "Keep the latents of the cohort's people out of the model file; the latent map then "
            "cannot show them"
        )

        self.start = button("Start", _TIPS["start"])
        self.stop = button("Stop", _TIPS["stop"])
        self.resume = button("Resume", _TIPS["resume"])
        self.start_reason = text(FAINT)
        self.training = combo("Trainings on this computer, newest first")
        self.attach = button("Attach…", "Show the training of a work folder")
        self.headline = text()
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(8)
        self.stage = text(FAINT)
        self.error = text(ERROR)
        self.device_line = text(FAINT)
        self.curves = CurvesView()
        self.montage_title = text(FAINT)
        self.montage = QLabel()
        self.montage.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.montage.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumHeight(110)
        self.log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.log.setToolTip("The end of log.txt in the work folder")
        self._shown_montage = b""
        self._lay_out()
        self._connect()
        self._refresh()

    def _lay_out(self) -> None:
        out = QHBoxLayout()
        out.addWidget(self.out, stretch=1)
        out.addWidget(self.choose_out)
        top = form()
        top.addRow("Preset", self.preset)
        top.addRow(self.preset_line)
        top.addRow("Variant", self.variant)
        top.addRow(self.variant_line)
        top.addRow("Tell the network", self.told)
        top.addRow(self.estimate)
        top.addRow("Model file", out)
        top.addRow("Device", self.device)
        top.addRow("Seed", self.seed)
        extra = QWidget()
        fields = form()
        extra.setLayout(fields)
        for name, label, tip in _WORDS:
            self.words[name].setToolTip(tip)
            fields.addRow(label, self.words[name])
        fields.addRow("At most", self.max_minutes)
        fields.addRow("Template", self.template)
        fields.addRow("Changes", self.changes)
        fields.addRow(self.forget)
        self.more.addWidget(extra)
        buttons = QHBoxLayout()
        for one in (self.start, self.stop, self.resume):
            one.setMinimumHeight(34)
            buttons.addWidget(one)
        shown = QHBoxLayout()
        shown.addWidget(self.training, stretch=1)
        shown.addWidget(self.attach)
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 6, 2, 2)
        column.addLayout(top)
        column.addWidget(self.more)
        column.addLayout(buttons)
        column.addWidget(self.start_reason)
        column.addWidget(line())
        column.addLayout(shown)
        for widget in (
            self.headline, self.progress, self.stage, self.error, self.device_line, self.curves,
            self.montage_title, self.montage, self.log,
        ):  # fmt: skip
            column.addWidget(widget)
        column.addStretch(1)

    def _connect(self) -> None:
        state, requests = self._state, self._requests
        pick(state, "preset", self.preset)
        pick(state, "variant", self.variant)
        pick(state, "training", self.training)
        pick(self._models, "device", self.device)
        for name, box in (
            *self.words.items(), ("out", self.out), ("template", self.template),
        ):  # fmt: skip
            bind(state, name, box.textEdited)
        # A change of the network is timed anew: when the words are complete, not at every key.
        self.changes.editingFinished.connect(self._take_changes)
        self.max_minutes.setKeyboardTracking(False)
        for name in ("seed", "max_minutes"):
            bind(state, name, getattr(self, name).valueChanged)
        bind(state, "forget_people", self.forget.toggled)
        self.choose_out.clicked.connect(self._choose_out)
        self.attach.clicked.connect(self._choose_folder)
        self.start.clicked.connect(lambda: requests.start.emit())
        self.stop.clicked.connect(lambda: requests.stop.emit())
        self.resume.clicked.connect(lambda: requests.resume.emit())
        watch(self, state, self._refresh)
        watch(self, self._models, self._refresh_device)

    def _take_changes(self) -> None:
        self._state.changes = self.changes.text()

    def _choose_out(self) -> None:
        patterns, offered = "Normative models (*.safetensors)", self._state.out
        path = ask_target(self, self._settings, MODELS, "Write the model to", offered, patterns)
        if path:
            name = path if path.endswith(".safetensors") else f"{path}.safetensors"
            self._state.out = name

    def _choose_folder(self) -> None:
        title = "Choose a work folder (….safetensors.work)"
        if path := ask_folder(self, self._settings, MODELS, title):
            self._requests.attach.emit(path)

    def _refresh_device(self, changed: str = "") -> None:
        if changed in {"", "devices", "device"}:
            fill(self.device, self._models.devices, self._models.device)

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        if not changed:
            self._refresh_device()
        if changed in {"", "presets", "preset"}:
            fill(self.preset, state.presets, state.preset)
        if changed in {"", "variants", "variant"}:
            fill(self.variant, state.variants, state.variant)
        if changed in {"", "trainings", "training"}:
            fill(self.training, state.trainings, state.training)
        lines = {**self.words, "out": self.out, "template": self.template, "changes": self.changes}
        if not changed or changed in lines:
            for name, box in lines.items():
                if box.text() != getattr(state, name):
                    box.setText(getattr(state, name))
        for name in ("seed", "max_minutes"):
            if changed in {"", name}:
                getattr(self, name).setValue(getattr(state, name))
        if changed in {"", "forget_people"}:
            self.forget.setChecked(state.forget_people)
        if not changed or changed.endswith("_blocked"):
            self._refresh_buttons()
        labels = {
            "preset_line": self.preset_line, "estimate": self.estimate, "stage": self.stage,
            "variant_line": self.variant_line, "train_error": self.error,
            "device_line": self.device_line, "headline": self.headline,
        }  # fmt: skip
        for name, label in labels.items():
            if changed in {"", name}:
                tell(label, getattr(state, name))
        if changed in {"", "done", "stop_blocked", "stage"}:
            self.progress.setVisible(bool(state.stage))
            self.progress.setValue(round(1000 * state.done))
        if changed in {"", "headline_bad"}:
            self.headline.setStyleSheet(ERROR if state.headline_bad else "")
        if changed in {"", "curves"}:
            self.curves.show_curves(state.curves)
        if changed in {"", "montage"}:
            self._refresh_montage()
        if changed in {"", "log"}:
            self.log.setVisible(bool(state.log))
            self.log.setPlainText(state.log)
            self.log.moveCursor(QTextCursor.MoveOperation.End)
            self.log.moveCursor(QTextCursor.MoveOperation.StartOfLine)

    def _refresh_buttons(self) -> None:
        state = self._state
        enable(self.start, _TIPS["start"], state.start_blocked)
        enable(self.stop, _TIPS["stop"], state.stop_blocked)
        enable(self.resume, _TIPS["resume"], state.resume_blocked)
        reasons = [f"Start: {state.start_blocked}"] if state.start_blocked else []
        tell(self.start_reason, "\n".join(reasons))

    def _refresh_montage(self) -> None:
        png = self._state.montage
        picture = QPixmap()
        shown = bool(png) and picture.loadFromData(png)
        if shown:
            smooth = Qt.TransformationMode.SmoothTransformation
            self.montage.setPixmap(picture.scaledToWidth(MONTAGE_WIDTH, smooth))
        self.montage.setVisible(shown)
        words = "People who take no part, their right on the left: scan and reconstruction, twice"
        tell(self.montage_title, words if shown else "")
