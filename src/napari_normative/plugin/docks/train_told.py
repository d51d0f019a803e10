"""Which columns of the cohort's table a network is told, in "Train a model"."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QGridLayout, QVBoxLayout, QWidget

from napari_normative.plugin.docks.widgets import FAINT, tell, text, watch
from napari_normative.plugin.state.training import TrainingState

IN_A_ROW = 3


class ToldBlock(QWidget):
    """A box for each column that can be told.

    Parameters
    ----------
    state : TrainingState
    """

    def __init__(self, state: TrainingState) -> None:
        super().__init__()
        self._state = state
        self.boxes: dict[str, QCheckBox] = {}
        self.none = text(FAINT)
        self._grid = QGridLayout()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.none)
        column.addLayout(self._grid)
        watch(self, state, self._refresh)
        self._refresh()

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        if changed in {"", "columns"} and tuple(self.boxes) != state.columns:
            self._offer(state.columns)
        if changed in {"", "columns", "rows"}:
            words = "age, sex, site…, once a table that has them is checked"
            if state.rows:
                words = "nothing: no column tells these people apart"
            tell(self.none, "" if state.columns else words)
        if changed in {"", "columns", "condition_on"}:
            for name, box in self.boxes.items():
                blocked = box.blockSignals(True)
                box.setChecked(name in state.condition_on)
                box.blockSignals(blocked)

    def _offer(self, columns: tuple[str, ...]) -> None:
        """Make the boxes anew."""
        for box in self.boxes.values():
            self._grid.removeWidget(box)
            box.deleteLater()
        self.boxes = {}
        for place, name in enumerate(columns):
            box = QCheckBox(name)
            box.setToolTip(
                f"The model can then be asked for people whose {name} is known (--condition-on)"
            )
            box.toggled.connect(self._take)
            self._grid.addWidget(box, place // IN_A_ROW, place % IN_A_ROW)
            self.boxes[name] = box

    def _take(self) -> None:
        told = (name for name, box in self.boxes.items() if box.isChecked())
        self._state.condition_on = tuple(told)
