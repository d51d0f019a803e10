"""A compact row: layouts, convention, crosshair, letters."""

from __future__ import annotations

from functools import partial

from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_normative.plugin.docks.widgets import bind, button, combo, fill, pick, watch
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.layout import (
    CONVENTION_CHOICES,
    PANE_CHOICES,
    PLANE_CHOICES,
    LayoutRequests,
    LayoutState,
)

TIPS = {
    "axial": "One axial plane: what was there before comes back",
    "coronal": "One coronal plane",
    "sagittal": "One sagittal plane, anterior on the left of the screen",
    "planes": "Axial, coronal and sagittal, linked: click to see a place in all",
    "planes+3d": "Three linked planes and a 3D view",
    "side-by-side": "Original, pseudo-healthy reconstruction and anomaly map of the same slice",
}
CHOSEN = "QPushButton { padding: 3px; } QPushButton:checked { background: #3f6fd8; color: white; }"


class LayoutRow(QWidget):
    """Buttons for the layouts, and what is drawn over the panes.

    Parameters
    ----------
    state : LayoutState
    requests : LayoutRequests
    """

    def __init__(self, state: LayoutState, requests: LayoutRequests) -> None:
        super().__init__()
        self._state = state
        self.buttons: dict[str, QPushButton] = {}
        self._group = QButtonGroup(self)
        grid = QGridLayout()
        grid.setSpacing(3)
        for row, choices in enumerate((PLANE_CHOICES, PANE_CHOICES)):
            for column, choice in enumerate(choices):
                grid.addWidget(self._button(choice), row, column)
        self.convention = combo("Radiological: patient right is on the left of the screen")
        self.crosshair = QCheckBox("Crosshair")
        self.crosshair.setToolTip("Lines at the point that all panes show; click to move it")
        self.letters = QCheckBox("Letters")
        self.letters.setToolTip("Sides of the patient at the edges: L R, A P, S I")
        self.fit = button("Fit", "Show the whole scan in every pane")
        marks = QHBoxLayout()
        marks.addWidget(self.crosshair)
        marks.addWidget(self.letters)
        marks.addStretch(1)
        marks.addWidget(self.fit)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        rows.addLayout(grid)
        rows.addWidget(self.convention)
        rows.addLayout(marks)

        pick(state, "convention", self.convention)
        bind(state, "crosshair", self.crosshair.toggled)
        bind(state, "letters", self.letters.toggled)
        self.fit.clicked.connect(lambda: requests.fit.emit())
        watch(self, state, self._refresh)
        self._refresh()

    def _button(self, choice: Choice) -> QPushButton:
        made = QPushButton(choice.label)
        made.setCheckable(True)
        made.setStyleSheet(CHOSEN)
        made.clicked.connect(partial(self._choose, choice.key))
        self._group.addButton(made)
        self.buttons[choice.key] = made
        return made

    def _choose(self, key: str, *_: object) -> None:
        self._state.layout = key
        self._refresh()

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        for key, made in self.buttons.items():
            blocked = ""
            if key == "side-by-side":
                blocked = state.side_by_side_blocked
            elif key in {"planes", "planes+3d"}:
                blocked = state.panes_blocked
            made.setEnabled(not blocked)
            made.setToolTip(blocked or TIPS[key])
            made.setChecked(key == state.layout)
        fill(self.convention, CONVENTION_CHOICES, state.convention)
        for box, on in ((self.crosshair, state.crosshair), (self.letters, state.letters)):
            box.blockSignals(True)
            box.setChecked(on)
            box.blockSignals(False)
