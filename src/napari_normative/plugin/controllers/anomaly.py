"""The dock "Anomaly map": compares scans with the chosen model."""

from __future__ import annotations

from collections.abc import Iterator

from napari_normative.engine.detection_layers import Outputs
from napari_normative.errors import NormativeError
from napari_normative.layers.sources import geometry_lines
from napari_normative.layers.spec import CANDIDATES
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.given import GivenController
from napari_normative.plugin.layers import place
from napari_normative.plugin.state.anomaly import AnomalyRequests, AnomalyState
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.detection import Detect, JobResult, found_line

REFUSED = "PRE-004"
"""The one refusal that a person may overrule."""


class AnomalyController(JobController):
    """Answers the requests of the dock "Anomaly map" for one viewer.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = AnomalyState(), AnomalyRequests()
        super().__init__(context, self.state, self.requests)
        self._queue: list[str] = []
        self._outcomes: list[str] = []
        self._subject = ("", "")
        self._given = context.get(GivenController)
        self.requests.run.connect(self.run)
        self.requests.run_all.connect(self.run_all)
        context.scans.state.events.connect(self._on_scans)
        context.models.state.events.model.connect(self._on_model)
        self._given.state.events.connect(self._refresh_blocked)
        self.state.events.scan.connect(self._on_scan)
        for name in ("volume", "running", "cancelling"):
            self.state.events[name].connect(self._refresh_blocked)
        self._on_scans()

    def _on_scans(self, *_: object) -> None:
        state, scans = self.state, self.context.scans
        if state.mask not in {choice.key for choice in scans.state.masks}:
            state.mask = ""
        state.scan = scans.keep(state.scan)
        self._refresh_blocked()

    def _on_scan(self, key: str) -> None:
        state = self.state
        state.volume, state.volume_count = 0, 1
        state.geometry = state.geometry_warning = ""
        state.refused = state.force = False
        if key:
            try:
                taken = self.context.scans.snapshot(key)
            except NormativeError as error:
                state.geometry_warning = str(error)
            else:
                state.volume_count = taken.count
                state.geometry, state.geometry_warning = geometry_lines(taken)
        self._refresh_blocked()

    def _on_model(self, *_: object) -> None:
        self.state.refused = self.state.force = False
        self._refresh_blocked()

    def _refresh_blocked(self, *_: object) -> None:
        state = self.state
        reason = ""
        if state.cancelling:
            reason = "Stopping…"
        elif not state.scan:
            reason = "Open a scan first."
        elif not state.geometry:
            reason = "This layer is not a scan; see above."
        elif state.volume_count > 1 and not state.volume:
            reason = f"Choose which of the {state.volume_count} volumes to compare."
        elif not self.context.models.state.model:
            reason = "Choose a model first."
        else:
            reason = self._given.why_not(state.scan)
        state.run_blocked = reason
        count = len(self.context.scans.state.scans)
        runnable = count > 1 and self.context.models.state.model
        state.all_label = f"Run on all {count} scans" if runnable else ""

    def choose(self, layer: object) -> bool:
        """Choose a layer as the scan; False when it cannot be one."""
        key = self.context.scans.key_of(layer)
        if key:
            self.state.scan = key
        return bool(key)

    def run(self) -> None:
        """Compare the chosen scan with the chosen model."""
        self._refresh_blocked()
        if not self.state.running and not self.state.run_blocked:
            self._queue, self._outcomes = [], []
            self._detect(self.state.scan)

    def run_all(self) -> None:
        """Compare every scan of the viewer with the chosen model, one after another."""
        if self.state.running or not self.state.all_label:
            return
        self._outcomes = []
        self._queue = [choice.key for choice in self.context.scans.state.scans]
        self._next()

    def cancel(self) -> None:
        """Ask the running job to stop, and begin no other."""
        self._queue = []
        super().cancel()

    def _next(self) -> None:
        """Begin with the next scan of the queue; at its end say how each went."""
        while self._queue and not self.state.running:
            self._detect(self._queue.pop(0))
        if not self.state.running and len(self._outcomes) > 1:
            self.state.summary, self._outcomes = "\n".join(self._outcomes), []

    def _detect(self, key: str) -> None:
        state, scans, models = self.state, self.context.scans, self.context.models
        chosen = key == state.scan
        try:
            scan = scans.snapshot(key)
            mask = scans.snapshot(state.mask) if state.mask and chosen else None
            known = self._given.known(key)
        except NormativeError as error:
            self._one_failed(error)
            return
        if scan.count > 1 and not (chosen and state.volume):
            self._outcomes.append(f"{scan.name}: a series; choose it and one of its volumes.")
            return
        outputs = Outputs(
            state.reconstruction, state.residual, state.anomaly_z, state.abs_z,
            state.candidates, state.local_volume, state.scored_mask,
        )  # fmt: skip
        volume = state.volume - 1 if scan.count > 1 else None
        work = Detect(
            models.shelf, models.state.model, models.state.device, scan, volume, mask,
            state.samples, state.seed, outputs, state.force and chosen,
            self.context.settings.memory_gib, known,
        )  # fmt: skip
        waiting = f", {len(self._queue)} more after it" if self._queue else ""
        self._subject = key, scan.name
        state.working_on = f"{scan.name}{waiting}" if waiting or self._outcomes else ""
        self._start(f"Anomaly map of {scan.name}", work, self._on_done)

    def _on_failed(self, error: NormativeError) -> None:
        self.state.refused = error.code == REFUSED and self._subject[0] == self.state.scan
        self._finish()
        self._one_failed(error)
        self._next()

    def _one_failed(self, error: NormativeError) -> None:
        self._outcomes.append(str(error))
        self._fail(error)

    def _on_cancelled(self) -> None:
        done = self._outcomes
        super()._on_cancelled()
        if done:
            kept = "What was done before is kept."
            self.state.summary = "\n".join([*done, f"Cancelled. {kept}"])

    def _on_done(self, result: JobResult) -> None:
        self.context.models.ran_on(result.devices, result.device_line)
        self.context.runner.spread(self._show(result))

    def _show(self, result: JobResult) -> Iterator[None]:
        """Add the layers one by one, then say what was found."""
        self.state.step = "showing the layers"
        lines = [result.summary]
        key, name = self._subject
        for spec in result.specs:
            yield
            viewer = self.context.viewer()
            if viewer is None or not is_open(viewer):
                self._queue = []
                break
            (layer,) = place(viewer, [spec], replace_earlier=self.state.replace_earlier)
            if spec.facts.role == CANDIDATES and layer.name != spec.attributes["name"]:
                lines.append(f"The candidates are in {layer.name}; earlier ones were kept.")
        yield
        self.context.detections.add(result.detection, key)
        self._outcomes.append(f"{name}: {found_line(result.detection)}")
        self._finish("\n".join(lines))
        self._next()
