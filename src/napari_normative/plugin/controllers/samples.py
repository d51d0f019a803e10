"""The dock "Samples": synthetic volumes as layers, played and saved."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.errors import NormativeError
from napari_normative.layers.spec import (
    SYNTHETIC_ROLES,
    facts_of,
)
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.given import GivenController
from napari_normative.plugin.jobs import Repeater
from napari_normative.plugin.layers import place
from napari_normative.plugin.state.samples import (
    INTERPOLATION,
    POSTERIOR,
    PRIOR,
    SamplesRequests,
    SamplesState,
)
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.samples import Draw, DrawResult, Save

if TYPE_CHECKING:
    from napari_normative.engine.draws import Draws

FEWEST_RATE = 0.5


class SamplesController(JobController):
    """Answers the requests of the upper part of the dock for one viewer.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = SamplesState(), SamplesRequests()
        super().__init__(context, self.state, self.requests)
        self._made: DrawResult | None = None
        self._layers: list[weakref.ref[Any]] = []
        self._series: weakref.ref[Any] | None = None
        self._timer: Repeater | None = None
        self._given = context.get(GivenController)
        self._given.state.events.connect(self._refresh)
        self.requests.run.connect(self.run)
        self.requests.play.connect(self.play)
        self.requests.save.connect(self.save)
        context.scans.state.events.scans.connect(self._on_scans)
        context.models.state.events.model.connect(self._refresh)
        for name in ("kind", "scan", "second", "volumes", "maps", "running", "cancelling"):
            self.state.events[name].connect(self._refresh)
        self.state.events.rate.connect(self._on_rate)
        viewer = context.viewer()
        if viewer is not None:
            viewer.layers.events.removed.connect(self._on_removed)
        self._on_scans()

    def _on_scans(self, *_: object) -> None:
        state, scans = self.state, self.context.scans
        state.scan = scans.keep(state.scan)
        state.second = scans.other(state.second, state.scan)
        self._refresh()

    def _refresh(self, *_: object) -> None:
        """Say what cannot be pressed, and why."""
        state = self.state
        state.run_blocked = self._why_not()
        state.save_blocked = "" if self._made is not None else "Draw something first."
        if state.running:
            state.save_blocked = "Wait until this is done."
        series = self._series() if self._series is not None else None
        state.play_blocked = "" if series is not None else "Draw a series first."

    def _why_not(self) -> str:
        state = self.state
        if state.cancelling:
            return "Stopping…"
        if not self.context.models.state.model:
            return "Choose a model first."
        if state.kind != INTERPOLATION and not (state.volumes or state.maps):
            return "Choose volumes, or mean and SD, or both."
        if state.kind == PRIOR:
            return self._given.why_not("")
        if not state.scan:
            return "Open a scan first, or draw from the cohort."
        if state.kind == INTERPOLATION and state.second in {"", state.scan}:
            return "Interpolation leads from one scan to another: open and choose two."
        keys = (state.scan,) if state.kind == POSTERIOR else (state.scan, state.second)
        reason = self.context.scans.why_not(keys)
        if not reason and state.person is not None:
            reason = self._given.why_not(state.person)
        return reason

    @property
    def made(self) -> Draws | None:
        """What was drawn last; None before, and when its layers are gone."""
        return None if self._made is None else self._made.draws

    @property
    def layers(self) -> list[Any]:
        """The layers of what was drawn last that are still there."""
        return [layer for ref in self._layers if (layer := ref()) is not None]

    def draw(self) -> None:
        """Draw from the cohort, whatever was chosen before."""
        self.state.kind = PRIOR
        self.run()

    def run(self) -> None:
        """Draw what was chosen."""
        state, models = self.state, self.context.models
        self._refresh()
        if state.running or state.run_blocked:
            return
        keys = {PRIOR: (), POSTERIOR: (state.scan,)}.get(state.kind, (state.scan, state.second))
        try:
            scans = tuple(self.context.scans.snapshot(key) for key in keys)
            known = {} if state.person is None else self._given.known(state.person)
        except NormativeError as error:
            self._fail(error)
            return
        self.stop()
        work = Draw(
            models.shelf, models.state.model, models.name, models.state.device, scans,
            max(state.count, 2) if state.kind == INTERPOLATION else state.count,
            state.seed, state.temperature, state.volumes, state.maps,
            self.context.settings.memory_gib, known,
        )  # fmt: skip
        self._start(f"Samples of {models.name}", work, self._on_done)

    def _on_done(self, made: DrawResult) -> None:
        self.context.models.ran_on(made.devices, made.device_line)
        self.context.runner.spread(self._show(made))

    def _show(self, made: DrawResult) -> Iterator[None]:
        """Add the layers one by one."""
        self.state.step = "showing the layers"
        placed: list[Any] = []
        for spec in made.specs:
            yield
            viewer = self.context.viewer()
            if viewer is None or not is_open(viewer):
                break
            placed += place(viewer, [spec], replace_earlier=self.state.replace_earlier)
        series = [layer for layer in placed if layer.ndim == 4]
        self._made, self._layers = made, [weakref.ref(layer) for layer in placed]
        self._series = weakref.ref(series[0]) if series else None
        if viewer is not None and placed:
            hide_others(viewer, placed)
            if series:
                series[0].visible = True
                viewer.dims.set_current_step(0, 0)
        self._finish(made.summary)
        self._refresh()

    def _on_removed(self, *_: object) -> None:
        """Let go of volumes whose layers are all gone."""
        viewer = self.context.viewer()
        if viewer is None or self.state.running:
            return
        present = set(viewer.layers)
        if self._series is not None and self._series() not in present:
            self._series = None
            self.stop()
        if self._made is not None and not any(ref() in present for ref in self._layers):
            self._made, self._layers = None, []
        self._refresh()

    def save(self, folder: str) -> None:
        """Write the last draws into a folder."""
        if self._made is None or self.state.running:
            return
        work = Save(self._made.draws, Path(folder))
        # In a thread: through the pipe to the engine all volumes would be copied once more.
        self._start("Saving samples", work, self._on_saved, self.context.runner)

    def _on_saved(self, summary: str) -> None:
        self._finish(summary)
        self._refresh()

    def play(self) -> None:
        """Step through the series again and again; or stop."""
        viewer = self.context.viewer()
        series = None if self._series is None else self._series()
        if self.state.playing or viewer is None or series is None:
            self.stop()
            return
        series.visible = True
        self.state.playing = True
        interval_s = 1 / max(self.state.rate, FEWEST_RATE)
        self._timer = self.context.runner.repeat(interval_s, self._step)

    def stop(self) -> None:
        """Stop playing."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self.state.playing = False

    def _on_rate(self, *_: object) -> None:
        if self.state.playing:
            self.stop()
            self.play()

    def _step(self) -> None:
        viewer = self.context.viewer()
        series = None if self._series is None else self._series()
        if viewer is None or series is None or not is_open(viewer):
            self.stop()
            return
        viewer.dims.set_current_step(0, (viewer.dims.current_step[0] + 1) % len(series.data))


def hide_others(viewer: Any, keep: Sequence[Any]) -> None:
    """Hide the synthetic layers of earlier requests: they lie on other grids, and over scans."""
    for layer in viewer.layers:
        facts = facts_of(layer)
        if facts is not None and facts.role in SYNTHETIC_ROLES and layer not in keep:
            layer.visible = False
