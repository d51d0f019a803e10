"""The latent explorer in the dock "Samples": one slider a direction."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_normative.plugin.docks.widgets import (
    FAINT,
    JobBlock,
    button,
    combo,
    enable,
    fill,
    form,
    pick,
    tell,
    text,
    watch,
)
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.samples import REACH_SD, ExplorerRequests, ExplorerState
from napari_normative.plugin.state.scans import ScansState

STEPS_PER_SD = 10
_ORDERS = (Choice("kl", "KL"), Choice("variance", "explained variance"))
_RESET_ALL = "Set all sliders to 0"


class ExplorerBlock(QWidget):
    """Widgets of the latent explorer.

    Parameters
    ----------
    state : ExplorerState
    requests : ExplorerRequests
    scans : ScansState
    """

    def __init__(self, state: ExplorerState, requests: ExplorerRequests, scans: ScansState) -> None:
        super().__init__()
        self._state, self._requests, self._scans = state, requests, scans
        self.order = combo(
            "KL: what the latents say about people, on average. Explained variance: how much of "
            "the decoded volumes' variance a direction makes; measured once a model, in seconds"
        )
        self.start = combo("Where the sliders' 0 is: the average person, or a scan as encoded")
        self.job = JobBlock(
            state, requests, "Explore", "Show the model's most used directions as sliders"
        )
        self.note = text(FAINT)
        self.reset_all = button("Reset all", _RESET_ALL)
        self.sliders: list[QSlider] = []
        self.resets: list[QPushButton] = []
        self.effects: list[QPushButton] = []
        self._numbers: list[QLabel] = []
        self._rows = QWidget()
        self._grid = QGridLayout(self._rows)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(4)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(1, 1)
        top = form()
        top.addRow("Order by", self.order)
        top.addRow("Start at", self.start)
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(self.reset_all)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(top)
        for widget in (self.job, self.note, self._rows):
            column.addWidget(widget)
        column.addLayout(foot)

        pick(state, "order", self.order)
        pick(state, "start", self.start)
        self.reset_all.clicked.connect(lambda: requests.reset.emit())
        watch(self, state, self._refresh)
        watch(self, scans, self._refresh)
        self._refresh()

    def _refresh(self, changed: str = "") -> None:
        """Show the state; all of it, or what one field decides."""
        state = self._state
        if changed in {"", "order"}:
            fill(self.order, _ORDERS, state.order)
        if changed in {"", "start", "scans"}:
            mean = Choice("", "the cohort's mean")
            fill(self.start, (mean, *self._scans.scans), state.start)
        if changed in {"", "rows"}:
            self._make_rows()
        if changed in {"", "rows", "values"}:
            for slider, number, value in zip(
                self.sliders, self._numbers, state.values, strict=False
            ):
                blocked = slider.blockSignals(True)
                slider.setValue(round(value * STEPS_PER_SD))
                slider.blockSignals(blocked)
                number.setText(f"{value:+.1f}")
        if changed in {"", "rows", "values", "note", "running"}:
            tell(self.note, state.note)
            moved = any(state.values)
            self.reset_all.setVisible(bool(state.rows))
            enable(self.reset_all, _RESET_ALL, "" if moved else "All sliders are at 0")
            for effect in self.effects:
                effect.setEnabled(not state.running)

    def _make_rows(self) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self.sliders, self.resets, self.effects, self._numbers = [], [], [], []
        for place, row in enumerate(self._state.rows):
            name = QLabel(f"{row.name.removeprefix('Direction ')} · {row.share}")
            name.setToolTip(f"{row.name} of the model's latents: {row.share}")
            name.setStyleSheet(FAINT)
            slider = QSlider(Qt.Orientation.Horizontal)
            reach = round(REACH_SD * STEPS_PER_SD)
            slider.setRange(-reach, reach)
            slider.setPageStep(STEPS_PER_SD)
            slider.setMinimumWidth(60)
            slider.setToolTip(f"{row.name}, in SD of the cohort; the layer follows")
            slider.valueChanged.connect(partial(self._on_moved, place))
            number = QLabel("+0.0")
            number.setFixedWidth(38)
            number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            reset = _small("0", f"Set {row.name} to 0", 24)
            reset.clicked.connect(partial(self._on_reset, place))
            effect = _small("Effect", f"Map of what {row.name} does: +2 SD minus -2 SD", 52)
            effect.clicked.connect(partial(self._on_effect, place))
            for column, widget in enumerate((name, slider, number, reset, effect)):
                self._grid.addWidget(widget, place, column)
            self.sliders.append(slider)
            self.resets.append(reset)
            self.effects.append(effect)
            self._numbers.append(number)
        self._rows.setVisible(bool(self._state.rows))

    def _on_moved(self, place: int, ticks: int) -> None:
        self._requests.move.emit(place, ticks / STEPS_PER_SD)

    def _on_reset(self, place: int, *_: object) -> None:
        self._requests.move.emit(place, 0.0)

    def _on_effect(self, place: int, *_: object) -> None:
        self._requests.effect.emit(place)


def _small(label: str, tip: str, width: int) -> QPushButton:
    made = button(label, tip)
    made.setStyleSheet("padding: 1px;")
    made.setFixedWidth(width)
    return made
