"""The third page of "Train a model": the card of the finished model and its baselines."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_normative.plugin.docks.train_tables import TextModel, table
from napari_normative.plugin.docks.widgets import FAINT, button, enable, tell, text, watch
from napari_normative.plugin.state.training import TrainingRequests, TrainingState

_USE = "Choose it as the model of all docks"


class ModelPage(QWidget):
    """Card, comparison with simple baselines, and the button that chooses the model.

    Parameters
    ----------
    state : TrainingState
    requests : TrainingRequests
    """

    def __init__(self, state: TrainingState, requests: TrainingRequests) -> None:
        super().__init__()
        self._state = state
        self.use = button("Use this model", _USE)
        self.use.setMinimumHeight(34)
        self.reason = text(FAINT)
        self.card = text()
        self.title = text()
        self.rows = TextModel()
        self.comparison = table(
            self.rows,
            "On people the model never saw, with simulated lesions (AP: more is better) and "
            "without (error: less is better). Difference: model minus baseline.",
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 6, 2, 2)
        for widget in (self.use, self.reason, self.card, self.title, self.comparison):
            column.addWidget(widget)
        column.addStretch(1)
        self.use.clicked.connect(lambda: requests.use_model.emit())
        watch(self, state, self._refresh)
        self._refresh()

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        if changed in {"", "card", "comparison", "use_blocked"}:
            enable(self.use, _USE, state.use_blocked)
            tell(self.reason, state.use_blocked)
            tell(self.card, state.card)
        if changed in {"", "comparison"}:
            self.rows.show(state.comparison[0] if state.comparison else (), state.comparison[1:])
            self.comparison.setVisible(bool(state.comparison))
            self.comparison.resizeColumnsToContents()
            self.comparison.setFixedHeight(26 + 20 * len(state.comparison))
            words = "Beside simple baselines, on people it never saw" if state.comparison else ""
            tell(self.title, words)
