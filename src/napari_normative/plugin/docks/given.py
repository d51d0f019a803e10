"""The form "About the person": what the model is told, for docks that can be asked so."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox, QFormLayout, QLineEdit, QVBoxLayout, QWidget

from napari_normative.plugin.docks.widgets import FAINT, combo, fill, form, tell, text, watch
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.given import GivenRequests, GivenState, Question

_UNKNOWN = Choice("", "unknown")


class GivenBlock(QWidget):
    """A field for each thing that the chosen model can be told; hidden when there is none.

    Parameters
    ----------
    state : GivenState
    requests : GivenRequests
    """

    def __init__(self, state: GivenState, requests: GivenRequests) -> None:
        super().__init__()
        self._state, self._requests = state, requests
        self._key: str | None = None
        self._asked: tuple[Question, ...] = ()
        self.fields: dict[str, QLineEdit | QComboBox] = {}
        self.title = text(FAINT)
        self._rows: QFormLayout = form()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.title)
        column.addLayout(self._rows)
        tell(self.title, "About the person, as far as it is known:")
        watch(self, state, self._refresh)
        self._refresh()

    def show_scan(self, key: str | None) -> None:
        """Show the answers of a scan, of draws without one (empty), or nothing (None)."""
        self._key = key
        self._refresh()

    def _refresh(self, changed: str = "") -> None:
        state = self._state
        if self._asked != state.questions:
            self._ask(state.questions)
        self.setVisible(bool(state.questions) and self._key is not None)
        answers = state.of(self._key or "")
        for question in state.questions:
            widget, answer = self.fields[question.name], answers.get(question.name, "")
            if isinstance(widget, QLineEdit):
                if widget.text() != answer:
                    widget.setText(answer)
            else:
                levels = (Choice(level, level) for level in question.levels)
                known = answer if answer in question.levels else ""
                fill(widget, (_UNKNOWN, *levels), known)

    def _ask(self, questions: tuple[Question, ...]) -> None:
        """Make the fields anew."""
        while self._rows.rowCount():
            self._rows.removeRow(0)
        self.fields = {}
        for question in questions:
            made = self._level(question) if question.levels else self._number(question)
            self.fields[question.name] = made
            self._rows.addRow(question.name.capitalize(), made)
        self._asked = questions

    def _number(self, question: Question) -> QLineEdit:
        box = QLineEdit()
        box.setPlaceholderText(f"unknown; training people: {question.range}")
        box.setToolTip(
            f"The {question.name} of this person; empty: unknown. Training people had "
            f"{question.range}; beyond that what is normal is extrapolated"
        )
        box.textEdited.connect(lambda answer: self._tell(question.name, answer))
        return box

    def _level(self, question: Question) -> QComboBox:
        box = combo(f"The {question.name} of this person, among the training people's")
        box.currentIndexChanged.connect(
            lambda index: self._tell(question.name, box.itemData(index) or "")
        )
        return box

    def _tell(self, name: str, answer: str) -> None:
        if self._key is not None:
            self._requests.answer.emit(self._key, name, answer)
