"""The dock "Getting started": shows a :class:`GettingStartedState`, emits requests."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_normative.plugin.docks.widgets import (
    ERROR,
    FAINT,
    button,
    enable,
    line,
    scrolled,
    tell,
    text,
    watch,
)
from napari_normative.plugin.state.getting_started import (
    GettingStartedRequests,
    GettingStartedState,
)

DONE, OPEN = "✓", "○"
BOLD = "font-weight: bold;"
DONE_STYLE = "color: #6fbf73; font-weight: bold;"
CANCEL_TIP = "Stop what is running; nothing of it is kept"


class GettingStartedView(QWidget):
    """Widgets of the dock.

    Parameters
    ----------
    state : GettingStartedState
    requests : GettingStartedRequests
    """

    def __init__(self, state: GettingStartedState, requests: GettingStartedRequests) -> None:
        super().__init__()
        self._state = state
        self.setObjectName("napari-normative-getting-started")
        self.ticks: dict[str, QLabel] = {}
        self.buttons: dict[str, QPushButton] = {}
        self.reasons: dict[str, QLabel] = {}
        self.news = text(FAINT)
        self.trouble = text(ERROR)
        self.cancel = button("Cancel", CANCEL_TIP)
        self.limits = text()
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(5)
        for number, step in enumerate(state.steps, start=1):
            column.addLayout(self._row(number, step.key, step.title, step.sentence))
            self.buttons[step.key].setText(step.label)
            self.buttons[step.key].clicked.connect(lambda *_, key=step.key: requests.do.emit(key))
            column.addWidget(line())
        running = QHBoxLayout()
        running.addWidget(self.news, stretch=1)
        running.addWidget(self.cancel)
        column.addLayout(running)
        for widget in (self.trouble, self.limits):
            column.addWidget(widget)
        column.addStretch(1)
        scrolled(self, body)
        self.setMinimumWidth(330)
        self.cancel.clicked.connect(lambda: requests.cancel.emit())
        watch(self, state, self._refresh)
        self._refresh()

    def _row(self, number: int, key: str, title: str, sentence: str) -> QGridLayout:
        tick, heading, words, reason = QLabel(), text(BOLD), text(), text(FAINT)
        tick.setFixedWidth(16)
        heading.setText(f"{number}  {title}")
        words.setText(sentence)
        made = button("", "")
        self.ticks[key], self.reasons[key], self.buttons[key] = tick, reason, made
        grid = QGridLayout()
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        grid.addWidget(tick, 0, 0)
        grid.addWidget(heading, 0, 1)
        grid.addWidget(made, 0, 2, alignment=Qt.AlignmentFlag.AlignRight)
        grid.addWidget(words, 1, 1, 1, 2)
        grid.addWidget(reason, 2, 1, 1, 2)
        return grid

    def _refresh(self, changed: str = "") -> None:
        """Show the state."""
        state = self._state
        for step in state.steps:
            tick = self.ticks[step.key]
            tick.setText(DONE if step.done else OPEN)
            tick.setStyleSheet(DONE_STYLE if step.done else FAINT)
            tick.setToolTip("Done" if step.done else "Not done yet")
            enable(self.buttons[step.key], step.tip, step.blocked)
            tell(self.reasons[step.key], "" if state.news else step.blocked)
        tell(self.news, state.news)
        self.cancel.setVisible(bool(state.news))
        tell(self.trouble, state.trouble)
        tell(self.limits, "\n".join(f"• {limit}" for limit in state.limits))
