"""What jobs about the listed candidates share: whose they are, and how layers come back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from napari_normative.layers.spec import LayerSpec
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.layers import place
from napari_normative.plugin.state.common import JobRequests, JobState
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.segment import Shown, Subject


class CandidateJob(JobController, ABC):
    """Does something about the candidates that the dock lists.

    Parameters
    ----------
    context : Context
    state : JobState
    requests : JobRequests
    """

    def __init__(self, context: Context, state: JobState, requests: JobRequests) -> None:
        super().__init__(context, state, requests)
        self.candidates = context.get(CandidatesController)
        self._anomaly = context.get(AnomalyController).state
        self._told: tuple[object, ...] = ()
        requests.run.connect(self.run)
        listed = self.candidates.state.events
        for signal in (
            context.detections.changed, self._anomaly.events.scan, listed.rows, listed.selected,
            context.models.state.events.model, context.models.state.events.latents,
            state.events.cancelling, state.events.running,
        ):  # fmt: skip
            signal.connect(self._refresh)
        self._refresh()

    @abstractmethod
    def run(self) -> None:
        """Do it for what is listed now."""

    @abstractmethod
    def _why_not(self) -> str:
        """Return why it cannot be done for these candidates; empty where it can."""

    def _about(self) -> tuple[object, ...]:
        """Return what the summary is about: with another it is taken away."""
        return (id(self.candidates.detection),)

    def _after(self, layer: Any, spec: LayerSpec, viewer: Any) -> str:
        """Do what a layer needs when it has come; return what there is to say."""
        return ""

    def _refresh(self, *_: object) -> None:
        state = self._job_state
        if not state.running and self._told != self._about():
            state.summary = state.error = ""
        state.run_blocked = self._blocked()

    def _blocked(self) -> str:
        if self._job_state.cancelling:
            return "Stopping…"
        if self.candidates.detection is None:
            return "Run the anomaly map first."
        if not self.context.models.state.model:
            return "Choose a model first."
        if not self.candidates.state.rows:
            return "There is no candidate."
        return self._why_not()

    def _subject(self) -> Subject:
        """Return the listed detection with the name of its scan's layer."""
        found, models = self.candidates.detection, self.context.models
        assert found is not None, "blocked without a detection"
        layer = self.context.scans.layer(self._anomaly.scan)
        stored = found.scan.source.name
        _, series, number = stored.rpartition(" (volume ")
        name = stored if layer is None else f"{layer.name}{series}{number if series else ''}"
        state = models.state
        return Subject(models.shelf, state.model, state.device, found, name)

    def _begin(self, title: str, work: Any) -> None:
        self._told = self._about()
        self._start(title, work, self._on_done)

    def _on_done(self, made: Shown) -> None:
        self.context.models.ran_on(made.devices, "")
        self.context.runner.spread(self._show(made))

    def _show(self, made: Shown) -> Iterator[None]:
        """Add the layers one by one."""
        self._job_state.step = "showing the layers"
        lines = [made.summary]
        for spec in made.specs:
            yield
            viewer = self.context.viewer()
            if viewer is None or not is_open(viewer):
                break
            (layer,) = place(viewer, [spec], replace_earlier=True)
            lines.append(self._after(layer, spec, viewer))
        self._finish("\n".join(filter(None, lines)))
        self._refresh()
