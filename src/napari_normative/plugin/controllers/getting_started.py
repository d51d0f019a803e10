"""The dock "Getting started": does the steps of the tour, and sees which are done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from napari_normative.layers.spec import (
    ANOMALY_Z,
    LayerSpec,
    facts_of,
)
from napari_normative.layers.spec import SAMPLES as SAMPLES_ROLE
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.state.common import JobState
from napari_normative.plugin.state.getting_started import (
    COMPARE,
    LIMIT_LINES,
    LIMITS,
    MAP,
    PLANES,
    SAMPLES,
    SCAN,
    STEPS,
    GettingStartedRequests,
    GettingStartedState,
)
from napari_normative.plugin.state.samples import POSTERIOR
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.getting_started import MakeSample

SAMPLE = "brain-with-lesion"
COUNT = 4
RUN_FIRST = "Run the anomaly map first."


class GettingStartedController(JobController):
    """Answers the requests of the tour for one viewer.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = GettingStartedState(), GettingStartedRequests()
        super().__init__(context, self.state, self.requests)
        self._anomaly = context.get(AnomalyController)
        self._layout = context.get(LayoutController)
        self._samples = context.get(SamplesController)
        self._candidates = context.get(CandidatesController)
        self._seen: set[str] = set()
        self.requests.do.connect(self.do)
        for state in (self.state, self._anomaly.state, self._samples.state):
            for name in ("running", "cancelling", "step", "fraction", "error", "run_blocked"):
                state.events[name].connect(self._refresh)
        self._layout.state.events.connect(self._refresh)
        self.context.scans.state.events.connect(self._refresh)
        self.context.models.state.events.model.connect(self._refresh)
        viewer = self.context.viewer()
        if viewer is not None:
            viewer.layers.events.inserted.connect(self._refresh)
            viewer.layers.events.removed.connect(self._refresh)
        self._refresh()

    # ---- what is there

    def _has(self, *roles: str) -> bool:
        viewer = self.context.viewer()
        facts = [] if viewer is None else [facts_of(layer) for layer in viewer.layers]
        return any(told is not None and told.role in roles for told in facts)

    def _refresh(self, *_: object) -> None:
        anomaly, layout, samples = self._anomaly, self._layout, self._samples
        mapped = self._has(ANOMALY_Z)
        if mapped and layout.state.layout in {"planes", "planes+3d"}:
            self._seen.add(PLANES)
        if layout.state.layout == "side-by-side":
            self._seen.add(COMPARE)
        if self.state.limits:
            self._seen.add(LIMITS)
        done = {
            SCAN: bool(self.context.scans.state.scans),
            MAP: mapped,
            SAMPLES: self._has(SAMPLES_ROLE),
        }
        busy = self._busy()
        waits = "" if busy is None else "Wait until this is done, or cancel."
        blocked = {
            SCAN: waits,
            MAP: waits or anomaly.state.run_blocked,
            PLANES: "" if mapped else RUN_FIRST,
            COMPARE: layout.state.side_by_side_blocked,
            SAMPLES: waits or self._why_no_samples(),
        }
        self.state.steps = tuple(
            replace(
                step,
                done=done.get(step.key, step.key in self._seen),
                blocked=blocked.get(step.key, ""),
            )
            for step in STEPS
        )
        parts: tuple[tuple[str, JobState], ...] = (
            ("Sample", self.state), ("Anomaly map", anomaly.state), ("Samples", samples.state),
        )  # fmt: skip
        self.state.news = "".join(
            f"{title}: {part.step or 'starting'} · {100 * part.fraction:.0f} %"
            for title, part in parts
            if part is busy
        )
        self.state.trouble = next((part.error for _, part in parts if part.error), "")

    def _busy(self) -> JobState | None:
        states: tuple[JobState, ...] = (self.state, self._anomaly.state, self._samples.state)
        return next((state for state in states if state.running), None)

    def _why_no_samples(self) -> str:
        if not self.context.scans.state.scans:
            return "Open a scan first."
        return "" if self.context.models.state.model else "Choose a model first."

    # ---- steps

    def do(self, key: str) -> None:
        """Do a step; nothing while it cannot be done."""
        step = next(step for step in self.state.steps if step.key == key)
        if step.blocked:
            return
        if key == SCAN:
            self._start("Sample scan", MakeSample(SAMPLE), self._on_sample)
        elif key == MAP:
            self._anomaly.run()
        elif key == PLANES:
            self._show_candidate()
        elif key == COMPARE:
            self._layout.state.layout = "side-by-side"
        elif key == SAMPLES:
            self._layout.state.layout = "axial"
            wanted = self._samples.state
            wanted.kind, wanted.scan, wanted.count = POSTERIOR, self._anomaly.state.scan, COUNT
            wanted.volumes = True
            self._samples.run()
        else:
            self.state.limits = LIMIT_LINES
            self._refresh()

    def cancel(self) -> None:
        """End whatever the tour began."""
        super().cancel()
        self._anomaly.cancel()
        self._samples.cancel()

    def _on_sample(self, specs: list[LayerSpec]) -> None:
        self.context.runner.spread(self._show(specs))

    def _show(self, specs: list[LayerSpec]) -> Iterator[None]:
        """Add the layers one by one; the scan is the one that is selected."""
        scan: Any = None
        for spec in specs:
            yield
            viewer = self.context.viewer()
            if viewer is None or not is_open(viewer):
                break
            layer = add_spec(viewer, spec)
            scan = scan or layer
            viewer.layers.selection.active = scan
        self._finish()
        self._refresh()

    def _show_candidate(self) -> None:
        """Go to the strongest candidate, in three planes."""
        self._layout.state.layout = "planes"
        if self._candidates.state.rows:
            self._candidates.state.selected = 0
            self._candidates.step(1)
        else:
            self._layout.fit()
