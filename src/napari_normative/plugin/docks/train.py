"""The dock "Train a model": cohort, training, model; shows a state and decides nothing."""

from __future__ import annotations

from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from napari_normative.plugin.docks.train_cohort import CohortPage
from napari_normative.plugin.docks.train_model import ModelPage
from napari_normative.plugin.docks.train_run import RunPage
from napari_normative.plugin.docks.widgets import scrolled, watch
from napari_normative.plugin.state.shared import Shared
from napari_normative.plugin.state.training import TrainingRequests, TrainingState


class TrainView(QWidget):
    """Three pages, in the order of the work.

    Parameters
    ----------
    state : TrainingState
    requests : TrainingRequests
    shared : Shared
    """

    def __init__(self, state: TrainingState, requests: TrainingRequests, shared: Shared) -> None:
        super().__init__()
        self._state = state
        self.setObjectName("napari-normative-train")
        self.cohort = CohortPage(state, requests, shared.settings)
        self.run = RunPage(state, requests, shared.models, shared.settings)
        self.model = ModelPage(state, requests)
        self.pages = QTabWidget()
        for page, name, tip in (
            (self.cohort, "1  Cohort", "Which healthy scans, and whether they can be used"),
            (self.run, "2  Training", "Preset, start and stop, curves"),
            (self.model, "3  Model", "The card of the finished model, and what it is worth"),
        ):
            self.pages.addTab(page, name)
            self.pages.setTabToolTip(self.pages.count() - 1, tip)
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(2, 2, 2, 2)
        column.addWidget(self.pages)
        scrolled(self, body)
        self.setMinimumWidth(380)
        if state.training:
            self.pages.setCurrentWidget(self.run)
        watch(self, state, self._refresh)

    def _refresh(self, changed: str) -> None:
        """Follow the work: to the training when it starts, to the model when there is one."""
        if changed == "starting" and self._state.starting:
            self.pages.setCurrentWidget(self.run)
        if changed == "card" and self._state.card and self.isVisible():
            self.pages.setCurrentWidget(self.model)
