"""The dock "Anomaly map": compares scans with the chosen model."""

from __future__ import annotations

from collections.abc import Iterator

from napari_normative.errors import NormativeError
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.layers import CANDIDATES, Outputs, origin_of, place
from napari_normative.plugin.sources import geometry_lines
from napari_normative.plugin.state.anomaly import AnomalyRequests, AnomalyState
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.detection import Detect, JobResult

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
        self.requests.run.connect(self.run)
        context.scans.state.events.connect(self._on_scans)
        context.models.state.events.model.connect(self._on_model)
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
        state.run_blocked = reason

    def choose(self, layer: object) -> bool:
        """Choose a layer as the scan; False when it cannot be one."""
        key = self.context.scans.key_of(layer)
        if key:
            self.state.scan = key
        return bool(key)

    def run(self) -> None:
        """Compare the chosen scan with the chosen model."""
        state, scans, models = self.state, self.context.scans, self.context.models
        self._refresh_blocked()
        if state.running or state.run_blocked:
            return
        try:
            scan = scans.snapshot(state.scan)
            mask = scans.snapshot(state.mask) if state.mask else None
        except NormativeError as error:
            self._fail(error)
            return
        outputs = Outputs(
            state.reconstruction, state.residual, state.anomaly_z, state.abs_z,
            state.candidates, state.local_volume,
        )  # fmt: skip
        volume = state.volume - 1 if scan.count > 1 else None
        work = Detect(
            models.shelf, models.state.model, models.state.device, scan, volume, mask,
            state.samples, state.seed, outputs, state.force,
            self.context.settings.memory_gib,
        )  # fmt: skip
        self._start(f"Anomaly map of {scan.name}", work, self._on_done)

    def _on_failed(self, error: NormativeError) -> None:
        self.state.refused = error.code == REFUSED
        super()._on_failed(error)

    def _on_done(self, result: JobResult) -> None:
        self.context.models.ran_on(result.devices, result.device_line)
        if (detection := result.detection) is not None:
            self.context.detections[origin_of(detection.scan)] = detection
        self.context.runner.spread(self._show(result))

    def _show(self, result: JobResult) -> Iterator[None]:
        """Add the layers one by one, then say what was found."""
        self.state.step = "showing the layers"
        lines = [result.summary]
        for spec in result.specs:
            yield
            viewer = self.context.viewer()
            if viewer is None or not is_open(viewer):
                break
            (layer,) = place(viewer, [spec], replace_earlier=self.state.replace_earlier)
            if spec.facts.role == CANDIDATES and layer.name != spec.attributes["name"]:
                lines.append(f"The candidates are in {layer.name}; earlier ones were kept.")
        self._finish("\n".join(lines))
