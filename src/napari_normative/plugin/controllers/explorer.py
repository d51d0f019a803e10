"""The latent explorer: sliders, and a layer that follows them."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

from napari_normative.errors import NormativeError
from napari_normative.layers.grid import to_display
from napari_normative.layers.spec import (
    LayerSpec,
    facts_of,
)
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.samples import hide_others
from napari_normative.plugin.jobs import Listener
from napari_normative.plugin.layers import place
from napari_normative.plugin.state.samples import (
    REACH_SD,
    ExplorerRequests,
    ExplorerState,
    SliderRow,
)
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.samples import Decode, Effect, Explore, ExplorerStart
from napari_normative.volume import FloatArray


class ExplorerController(JobController):
    """Answers the requests of the latent explorer for one viewer.

    At most one decode is under way. What the sliders say meanwhile replaces what they said
    before, so that nothing queues and the layer is never more than one decode behind.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = ExplorerState(), ExplorerRequests()
        super().__init__(context, self.state, self.requests)
        self._live: ExplorerStart | None = None
        self._layer: weakref.ref[Any] | None = None
        self._wanted: tuple[float, ...] | None = None
        self._decoding = self._again = False
        self.requests.run.connect(self.run)
        self.requests.move.connect(self.move)
        self.requests.reset.connect(self.reset)
        self.requests.effect.connect(self.effect)
        context.scans.state.events.scans.connect(self._on_scans)
        context.models.state.events.model.connect(self._on_model)
        self.state.events.order.connect(self._restart)
        self.state.events.start.connect(self._restart)
        for name in ("running", "cancelling"):
            self.state.events[name].connect(self._refresh)
        self._refresh()

    def _on_scans(self, *_: object) -> None:
        if self.state.start not in {c.key for c in self.context.scans.state.scans}:
            self.state.start = ""

    def _on_model(self, *_: object) -> None:
        """Another model has other directions; its layer stays, its sliders go."""
        self._close()
        self.cancel()
        self.state.summary = self.state.error = ""
        self._refresh()

    def _refresh(self, *_: object) -> None:
        reason = "" if self.context.models.state.model else "Choose a model first."
        self.state.run_blocked = "Stopping…" if self.state.cancelling else reason

    def _restart(self, *_: object) -> None:
        """Show what is chosen now; a job of what was chosen before ends first."""
        if self.state.running:
            self._again = True
            self.cancel()
        elif self._live is not None:
            self.run()

    def _finish(self, summary: str = "") -> None:
        super()._finish(summary)
        again, self._again = self._again, False
        if again:
            self.run()

    def _close(self) -> None:
        self._live, self._wanted = None, None
        self.state.rows, self.state.values, self.state.note = (), (), ""

    def run(self) -> None:
        """Find the directions, and show the volume the sliders start from."""
        state, models = self.state, self.context.models
        self._refresh()
        if state.running or state.run_blocked:
            return
        try:
            start = self.context.scans.snapshot(state.start) if state.start else None
        except NormativeError as error:
            self._fail(error)
            return
        work = Explore(
            models.shelf, models.state.model, models.name, models.state.device,
            "variance" if state.order == "variance" else "kl", start,
        )  # fmt: skip
        self._start(f"Latent directions of {models.name}", work, self._on_done)

    def _on_done(self, made: ExplorerStart) -> None:
        viewer = self.context.viewer()
        self.context.models.ran_on(made.devices, "")
        if self.state.cancelling:
            self._on_cancelled()
            return
        if viewer is not None and is_open(viewer):
            facts = made.spec.facts
            # One memory for what is shown and what is saved, so that both follow the sliders.
            spec = replace(made.spec, data=to_display(facts.volumes[0], facts.grid))
            (layer,) = place(viewer, [spec], replace_earlier=True)
            hide_others(viewer, [layer])
            layer.visible = True
            self._layer = weakref.ref(layer)
            self._live, self._wanted = made, None
            self.state.rows = tuple(
                SliderRow(f"Direction {d.index + 1}", _share(d.variance_share, d.kl_nats))
                for d in made.moved
            )
            self.state.values = (0.0,) * len(made.moved)
            self.state.note = made.note
        self._finish()

    def move(self, slider: int, value: float) -> None:
        """Set one slider, in SD."""
        values = list(self.state.values)
        if self._live is None or not 0 <= slider < len(values):
            return
        values[slider] = min(max(value, -REACH_SD), REACH_SD)
        self._set(tuple(values))

    def reset(self) -> None:
        """Set all sliders to 0."""
        self._set((0.0,) * len(self.state.values))

    def _set(self, values: tuple[float, ...]) -> None:
        if values == self.state.values:
            return
        self.state.values = values
        self._wanted = values
        if not self._decoding:
            self._decode()

    def _decode(self) -> None:
        live, wanted, self._wanted = self._live, self._wanted, None
        if live is None or wanted is None or self._target() is None:
            return
        self._decoding = True

        def done(image: FloatArray) -> None:
            self._decoding = False
            if live is not self._live:
                return
            settled = self._wanted is None
            if not settled:
                self._decode()  # before showing: the next decode runs while this one is drawn
            self._show(image, settled)

        def failed(error: NormativeError) -> None:
            self._decoding = False
            self._fail(error)

        def cancelled() -> None:
            self._decoding = False

        models = self.context.models
        work = Decode(models.shelf, live.model, models.state.device, live.sliders, wanted)
        listener = Listener(lambda step, fraction: None, done, failed, cancelled)
        self.context.engine.start("Latent explorer", work, listener)

    def _target(self) -> Any | None:
        """Return the explorer's layer while it is in the viewer."""
        viewer = self.context.viewer()
        layer = None if self._layer is None else self._layer()
        if viewer is None or layer is None or not is_open(viewer) or layer not in viewer.layers:
            self._close()
            return None
        return layer

    def _show(self, image: FloatArray, settled: bool) -> None:
        layer = self._target()
        facts = None if layer is None else facts_of(layer)
        if layer is None or facts is None:
            return
        # In place: setting ``data`` would look for the extent and draw the thumbnail each time.
        facts.volumes[0].data[...] = image
        layer.refresh(extent=False, highlight=False, thumbnail=settled)

    def effect(self, slider: int) -> None:
        """Show what a direction does, as a signed map."""
        live, models = self._live, self.context.models
        if live is None or self.state.running or not 0 <= slider < len(live.moved):
            return
        work = Effect(
            models.shelf, live.model, models.name, live.moved[slider], models.state.device
        )
        self._start("Effect of a direction", work, self._on_effect)

    def _on_effect(self, spec: LayerSpec) -> None:
        viewer = self.context.viewer()
        if viewer is not None and is_open(viewer):
            (shown,) = place(viewer, [spec], replace_earlier=True)
            below = self._target()
            hide_others(viewer, [shown, below])
            shown.visible = True
        self._finish("Red becomes brighter from -2 to +2 SD, blue darker; in the model's units.")


def _share(variance: float | None, kl_nats: float) -> str:
    return f"{kl_nats:.1f} nats" if variance is None else f"{100 * variance:.1f} %"
