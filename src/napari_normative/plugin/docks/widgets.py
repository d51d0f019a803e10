"""Widgets that several docks use: pickers, the model picker, the run button with its news."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from psygnal import EmissionInfo
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
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
from superqt import QCollapsible

from napari_normative.plugin.docks.files import MODELS, ask_file
from napari_normative.plugin.state.common import RESEARCH_ONLY, Choice, JobRequests, JobState
from napari_normative.plugin.state.models import ModelsRequests, ModelsState
from napari_normative.plugin.state.settings import Settings

WARNING = "color: #e0a030;"
ERROR = "color: #ff6b5e;"
FAINT = "color: #9aa0a6;"
LEAST_WIDTH = 350


def watch(widget: QWidget, state: Any, refresh: Callable[[str], None]) -> None:
    """Call ``refresh(name of the field)`` when a state changes, as long as the widget lives.

    psygnal may outlive the window's half of a view.
    """

    def on_change(info: EmissionInfo) -> None:
        if isalive(widget):
            refresh(info.signal.name)
        else:
            state.events.disconnect(on_change)

    state.events.connect(on_change)


def pick(state: object, field: str, box: QComboBox) -> None:
    """Let a picker write the key of its entry into a field of a state."""
    box.currentIndexChanged.connect(
        lambda index: setattr(state, field, box.itemData(index) or ""),
    )


def fill(box: QComboBox, choices: Iterable[Choice], key: str) -> None:
    """Show choices without telling anybody."""
    blocked = box.blockSignals(True)
    shown = [(box.itemData(i), box.itemText(i)) for i in range(box.count())]
    wanted = [(choice.key, choice.label) for choice in choices]
    if shown != wanted:
        box.clear()
        for data, label in wanted:
            box.addItem(label, data)
    keys = [data for data, _ in wanted]
    box.setCurrentIndex(keys.index(key) if key in keys else -1)
    box.blockSignals(blocked)


def tell(label: QLabel, words: str) -> None:
    """Show words, or hide the label when there are none."""
    if label.text() != words:
        label.setText(words)
    label.setVisible(bool(words))


def combo(tip: str) -> QComboBox:
    """Return a picker that long names do not make wider than the dock."""
    box = QComboBox()
    box.setToolTip(tip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(12)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def spin(low: int, high: int, tip: str) -> QSpinBox:
    """Return a box for whole numbers."""
    box = QSpinBox()
    box.setRange(low, high)
    box.setToolTip(tip)
    return box


def button(label: str, tip: str) -> QPushButton:
    """Return a button with a tooltip."""
    made = QPushButton(label)
    made.setToolTip(tip)
    return made


def enable(made: QPushButton, tip: str, blocked: str = "") -> None:
    """Let a button be pressed, or say in its tooltip why it cannot."""
    made.setEnabled(not blocked)
    made.setToolTip(blocked or tip)


def text(style: str = "") -> QLabel:
    """Return a label of plain words that wrap and can be copied."""
    label = QLabel()
    label.setWordWrap(True)
    label.setStyleSheet(style)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def line() -> QFrame:
    """Return a horizontal rule."""
    rule = QFrame()
    rule.setFrameShape(QFrame.Shape.HLine)
    return rule


def form() -> QFormLayout:
    """Return a form whose fields take the width there is."""
    made = QFormLayout()
    made.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    made.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    return made


def scrolled(view: QWidget, body: QWidget) -> None:
    """Lay out a dock: a body that scrolls up and down, and the notice below it."""
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(body)
    notice = QLabel(RESEARCH_ONLY)
    notice.setStyleSheet(WARNING)
    notice.setAlignment(Qt.AlignmentFlag.AlignCenter)
    outer = QVBoxLayout(view)
    outer.setContentsMargins(2, 2, 2, 2)
    outer.addWidget(scroll, stretch=1)
    outer.addWidget(notice)
    # Narrower, the bar of the scroll area would lie on what it scrolls.
    view.setMinimumWidth(LEAST_WIDTH)


class ModelBlock(QWidget):
    """The model picker: model, file, its card in a line, device, unload.

    Parameters
    ----------
    state : ModelsState
    requests : ModelsRequests
    settings : Settings, optional
        Remembers the folder.
    """

    def __init__(
        self, state: ModelsState, requests: ModelsRequests, settings: Settings | None = None
    ) -> None:
        super().__init__()
        self._state, self._requests, self._settings = state, requests, settings or Settings()
        self.model = combo("Packaged models and files used before")
        self.choose_file = button("File…", "Choose a model file (.safetensors)")
        self.model_line = text(FAINT)
        self.verdict = text(FAINT)
        self.how_good = QCollapsible("How good is it?")
        self.how_good.toggleButton().setToolTip("Whether the model beats simple baselines")
        self.how_good.addWidget(self.verdict)
        self.error = text(ERROR)
        self.device = combo("auto takes a GPU when there is one")
        self.unload = button("Unload", "Free the memory that the model holds")
        self.device_line = text(FAINT)

        models, devices = QHBoxLayout(), QHBoxLayout()
        models.addWidget(self.model, stretch=1)
        models.addWidget(self.choose_file)
        devices.addWidget(self.device, stretch=1)
        devices.addWidget(self.unload)
        rows = form()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Model", models)
        rows.addRow(self.model_line)
        rows.addRow(self.how_good)
        rows.addRow(self.error)
        rows.addRow("Device", devices)
        rows.addRow(self.device_line)
        self.setLayout(rows)

        pick(state, "model", self.model)
        pick(state, "device", self.device)
        self.choose_file.clicked.connect(self._choose_file)
        self.unload.clicked.connect(lambda: requests.unload.emit())
        watch(self, state, self._refresh)
        self._refresh()

    def _choose_file(self) -> None:
        patterns = "Normative models (*.safetensors)"
        path = ask_file(self, self._settings, MODELS, "Choose a model", patterns)
        if path:
            self._requests.add_file.emit(path)

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        if changed in {"", "models", "model"}:
            fill(self.model, state.models, state.model)
        if changed in {"", "devices", "device"}:
            fill(self.device, state.devices, state.device)
        one_line, _, verdict = state.model_line.partition("\n")
        tell(self.model_line, one_line)
        tell(self.verdict, verdict)
        self.how_good.setVisible(bool(verdict))
        tell(self.device_line, state.device_line)
        tell(self.error, state.error)
        reason = "" if state.loaded else "No model is in memory"
        if state.busy:
            reason = "The model is at work"
        enable(self.unload, "Free the memory that the model holds", reason)


class JobBlock(QWidget):
    """The button that runs and cancels, why it cannot, how far it is, how it ended.

    Parameters
    ----------
    state : JobState
    requests : JobRequests
    label, tip : str
        Of the button while nothing runs.
    """

    def __init__(
        self, state: JobState, requests: JobRequests, label: str = "Run", tip: str = ""
    ) -> None:
        super().__init__()
        self._state, self._label, self._tip = state, label, tip
        self.run = QPushButton(label)
        self.run.setMinimumHeight(34)
        self.run_reason = text(FAINT)
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(8)
        self.step = text(FAINT)
        self.error = text(ERROR)
        self.summary = text()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (
            self.run, self.run_reason, self.progress, self.step, self.error, self.summary,
        ):  # fmt: skip
            column.addWidget(widget)
        self.run.clicked.connect(
            lambda: requests.cancel.emit() if state.running else requests.run.emit()
        )
        watch(self, state, self._refresh)
        self._refresh()

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        tell(self.run_reason, "" if state.running else state.run_blocked)
        tell(self.step, state.step)
        tell(self.error, state.error)
        tell(self.summary, state.summary)
        self.progress.setVisible(state.running)
        self.progress.setValue(round(1000 * state.fraction))
        self.run.setText("Cancel" if state.running else self._label)
        self.run.setEnabled(not (state.cancelling if state.running else state.run_blocked))
        self.run.setToolTip("" if state.running else state.run_blocked or self._tip)


def bind(state: object, field: str, change: Any) -> None:
    """Let a widget's signal of a new value write a field of a state."""
    # No partial of setattr: PySide6 does not see how many arguments that takes.
    change.connect(lambda value: setattr(state, field, value))
