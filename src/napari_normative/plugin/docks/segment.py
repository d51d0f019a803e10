"""Two buttons below the list of candidates: grow them, show what the chosen one rests on."""

from __future__ import annotations

from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_normative.plugin.docks.widgets import JobBlock, bind, combo, fill, pick, watch
from napari_normative.plugin.state.common import JobRequests
from napari_normative.plugin.state.segment import (
    FDR,
    RATE,
    RULES,
    AttributionState,
    SegmentState,
)

_GROW_TIP = "Find the edge of each candidate in scan and z map; a labels layer of its own"
_REST_TIP = (
    "Red and blue: what each voxel adds to the chosen candidate's score. A second layer, hidden at "
    "first, has the part that goes through what the network expects"
)
_RULE_TIP = "Which candidates to grow: all, or those that are unlikely to be false"


class SegmentBlock(QWidget):
    """Which candidates to keep, and the button that grows them.

    Parameters
    ----------
    state : SegmentState
    requests : JobRequests
    """

    def __init__(self, state: SegmentState, requests: JobRequests) -> None:
        super().__init__()
        self._state = state
        self.rule = combo(_RULE_TIP)
        self.rate = _number(100.0, "As strong per healthy scan, on average")
        self.fdr = _number(1.0, "Highest q, after Benjamini and Hochberg")
        self.job = JobBlock(state, requests, "Grow to their edges", _GROW_TIP)
        row = QHBoxLayout()
        row.addWidget(QLabel("Keep"))
        row.addWidget(self.rule, stretch=1)
        row.addWidget(self.rate)
        row.addWidget(self.fdr)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.addLayout(row)
        column.addWidget(self.job)
        pick(state, "rule", self.rule)
        bind(state, "rate", self.rate.valueChanged)
        bind(state, "fdr", self.fdr.valueChanged)
        watch(self, state, self._refresh)
        self._refresh()

    def _refresh(self, changed: str = "") -> None:
        if changed not in {"", "rule", "rate", "fdr"}:
            return
        state = self._state
        fill(self.rule, RULES, state.rule)
        self.rate.setValue(state.rate)
        self.fdr.setValue(state.fdr)
        self.rate.setVisible(state.rule == RATE)
        self.fdr.setVisible(state.rule == FDR)


class AttributionBlock(JobBlock):
    """The button that shows what the chosen candidate rests on.

    Parameters
    ----------
    state : AttributionState
    requests : JobRequests
    """

    def __init__(self, state: AttributionState, requests: JobRequests) -> None:
        super().__init__(state, requests, "Show what it rests on", _REST_TIP)


def _number(most: float, tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(0.01, most)
    box.setDecimals(2)
    box.setSingleStep(0.05)
    box.setToolTip(tip)
    return box
