"""What the dock's requests do. No Qt: work goes to a runner, results come back as layers."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from napari_normative.errors import ModelFileError, NormativeError
from napari_normative.plugin.jobs import Job, Listener, Runner, Work
from napari_normative.plugin.layers import CANDIDATES, SCAN, Outputs, facts_of, place
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.sources import geometry_lines, snapshot
from napari_normative.plugin.state import AnomalyPanel, AnomalyState, Choice
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work import Detect, Draw, JobResult

DEFAULT_SAMPLES = 4
REFUSED = "PRE-004"
"""The one refusal that a person may overrule."""


class AnomalyController:
    """Answers the requests of the dock "Anomaly map" for one viewer.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
        Held weakly.
    panel : AnomalyPanel
    runner : Runner
    models : ModelShelf
    notify : callable of (message)
        Shows an error as a notification.
    """

    def __init__(
        self,
        viewer: Any,
        panel: AnomalyPanel,
        runner: Runner,
        models: ModelShelf,
        notify: Callable[[str], None],
    ) -> None:
        self._viewer = weakref.ref(viewer)
        self.panel = panel
        self._runner = runner
        self._models = models
        self._notify = notify
        self._job: Job | None = None
        self._layers: dict[str, weakref.ref[Any]] = {}
        for events in (
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.layers.events.reordered,
        ):
            events.connect(self._on_layers)
        requests = panel.requests
        requests.run.connect(self.run)
        requests.cancel.connect(self.cancel)
        requests.unload.connect(self.unload)
        requests.model_file.connect(self.add_model_file)
        state = panel.state
        state.events.scan.connect(self._on_scan)
        state.events.model.connect(self._on_model)
        for name in ("volume", "running", "cancelling"):
            state.events[name].connect(self._refresh_blocked)
        self._refresh_models()
        self._on_layers()

    @property
    def state(self) -> AnomalyState:
        """The dock's state."""
        return self.panel.state

    def _on_layers(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        scans, masks = [], []
        self._layers = {}
        for layer in viewer.layers:
            kind = type(layer).__name__
            if kind not in {"Image", "Labels"}:
                continue
            key = str(layer.unique_id)
            self._layers[key] = weakref.ref(layer)
            layer.events.name.disconnect(self._on_layers)
            layer.events.name.connect(self._on_layers)
            facts = facts_of(layer)
            if kind == "Labels":
                masks.append(Choice(key, layer.name))
            elif facts is None or facts.role == SCAN:
                scans.append(Choice(key, layer.name))
        state = self.state
        state.scans, state.masks = tuple(scans), tuple(masks)
        if state.mask not in {choice.key for choice in masks}:
            state.mask = ""
        if state.scan not in {choice.key for choice in scans}:
            state.scan = scans[-1].key if scans else ""
        self._refresh_blocked()

    def _layer(self, key: str) -> Any | None:
        reference = self._layers.get(key)
        return None if reference is None else reference()

    def _on_scan(self, key: str) -> None:
        state = self.state
        layer = self._layer(key)
        state.volume, state.volume_count = 0, 1
        state.geometry = state.geometry_warning = ""
        state.refused = state.force = False
        if layer is not None:
            try:
                taken = snapshot(layer)
            except NormativeError as error:
                state.geometry_warning = str(error)
            else:
                state.volume_count = taken.count
                state.geometry, state.geometry_warning = geometry_lines(taken)
        self._refresh_blocked()

    def _on_model(self, key: str) -> None:
        self.state.refused = self.state.force = False
        self.state.model_line = self._models.line(key)
        self.state.model_loaded = self._models.is_loaded(key)
        self._refresh_blocked()

    def _refresh_models(self) -> None:
        state = self.state
        state.models = tuple(self._models.choices())
        if state.model not in {choice.key for choice in state.models}:
            state.model = state.models[0].key if state.models else ""

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
        elif not state.model:
            reason = "Choose a model first."
        state.run_blocked = reason

    def add_model_file(self, path: str) -> None:
        """Put a model file on the list and choose it."""
        try:
            key = self._models.add(Path(path))
        except NormativeError as error:
            self._fail(error)
            return
        self.state.error = ""
        self._refresh_models()
        self.state.model = key

    def unload(self) -> None:
        """Free the memory of the loaded model."""
        if not self.state.running:
            self._models.unload()
            self.state.model_loaded = False

    def cancel(self) -> None:
        """Ask the running job to stop."""
        if self._job is not None:
            self.state.cancelling = True
            self._job.cancel()

    def choose(self, layer: Any) -> bool:
        """Choose a layer as the scan; False when it cannot be one."""
        key = str(layer.unique_id)
        if key not in {choice.key for choice in self.state.scans}:
            return False
        self.state.scan = key
        return True

    def run(self) -> None:
        """Compare the chosen scan with the chosen model."""
        state = self.state
        layer = self._layer(state.scan)
        self._refresh_blocked()
        if state.running or state.run_blocked or layer is None:
            return
        mask_layer = self._layer(state.mask) if state.mask else None
        try:
            scan = snapshot(layer)
            mask = None if mask_layer is None else snapshot(mask_layer)
        except NormativeError as error:
            self._fail(error)
            return
        outputs = Outputs(
            state.reconstruction, state.residual, state.anomaly_z, state.abs_z,
            state.candidates, state.local_volume,
        )  # fmt: skip
        volume = state.volume - 1 if scan.count > 1 else None
        work = Detect(
            self._models, state.model, state.device, scan, volume, mask, state.samples,
            state.seed, outputs, state.force,
        )  # fmt: skip
        self._start(f"Anomaly map of {layer.name}", work)

    def draw_samples(self) -> None:
        """Draw synthetic volumes from the chosen model, on the model's own grid."""
        state = self.state
        if state.running:
            return
        if not state.model:
            self._fail(ModelFileError("MOD-020", "no model was chosen", "Choose a model first."))
            return
        count = state.samples or DEFAULT_SAMPLES
        name = next(choice.label for choice in state.models if choice.key == state.model)
        work = Draw(self._models, state.model, state.device, name, count, state.seed)
        self._start(f"Samples of {name}", work)

    def _start(self, title: str, work: Work) -> None:
        state = self.state
        state.error = state.summary = ""
        state.step, state.fraction, state.running = "starting", 0.0, True
        listener = Listener(self._on_progress, self._on_done, self._on_failed, self._on_cancelled)
        job = self._runner.start(title, work, listener)
        self._job = job if state.running else None  # a synchronous runner is through already

    def _on_progress(self, step: str, fraction: float) -> None:
        self.state.step = step
        self.state.fraction = min(max(fraction, 0.0), 1.0)

    def _finish(self) -> None:
        self._job = None
        state = self.state
        state.running = state.cancelling = False
        state.step, state.fraction = "", 0.0
        state.model_loaded = self._models.is_loaded(state.model)

    def _on_cancelled(self) -> None:
        self._finish()
        self.state.summary = "Cancelled. Nothing was kept."

    def _on_failed(self, error: NormativeError) -> None:
        self._finish()
        self.state.refused = error.code == REFUSED
        self._fail(error)

    def _fail(self, error: NormativeError) -> None:
        self.state.error = str(error)
        self._notify(str(error))

    def _on_done(self, result: JobResult) -> None:
        self.state.device_line = result.device_line or self.state.device_line
        self.state.devices = tuple(Choice(name, name) for name in result.devices)
        self._runner.spread(self._show(result))

    def _show(self, result: JobResult) -> Iterator[None]:
        """Add the layers one by one, then say what was found."""
        self.state.step = "showing the layers"
        lines = [result.summary]
        for spec in result.specs:
            yield
            viewer = self._viewer()
            if viewer is None or not is_open(viewer):
                return
            (layer,) = place(viewer, [spec], replace_earlier=self.state.replace_earlier)
            if spec.facts.role == CANDIDATES and layer.name != spec.attributes["name"]:
                lines.append(f"The candidates are in {layer.name}; earlier ones were kept.")
        self._finish()
        self.state.summary = "\n".join(lines)
