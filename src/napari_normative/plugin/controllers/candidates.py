"""The candidates of the chosen scan: their list, the way to each, and why it is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.place import coordinates
from napari_normative.errors import NormativeError
from napari_normative.layers.spec import (
    CANDIDATES,
    facts_of,
    origin_of,
)
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.jobs import Listener
from napari_normative.plugin.latest import Latest
from napari_normative.plugin.state.candidates import (
    CandidateRow,
    CandidatesRequests,
    CandidatesState,
    CheckLine,
    Why,
)
from napari_normative.plugin.work.plots import load_plots
from napari_normative.plugin.work.report import Report
from napari_normative.plugin.work.why import Explain

if TYPE_CHECKING:
    from napari_normative.core.candidates import Candidate
    from napari_normative.engine.detection import Detection


class CandidatesController:
    """Shows what was found in the scan that the dock "Anomaly map" has chosen.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.state, self.requests = CandidatesState(), CandidatesRequests()
        self._anomaly = context.get(AnomalyController).state
        self._layout = context.get(LayoutController)
        self._explained = Latest(context.engine)
        self._detection: Detection | None = None
        context.detections.changed.connect(self._refresh)
        context.scans.state.events.scans.connect(self._on_scans)
        self._anomaly.events.scan.connect(self._refresh)
        self.state.events.selected.connect(self._on_selected)
        self.requests.step.connect(self.step)
        self.requests.report.connect(self.report)
        self._anomaly.events.running.connect(self._load_plots)
        self._refresh()

    def _load_plots(self, running: bool) -> None:
        """While the first detection runs, load what will show why."""
        if running:
            self._anomaly.events.running.disconnect(self._load_plots)
            load_plots(self.context.runner)

    @property
    def detection(self) -> Detection | None:
        """The detection whose candidates are listed."""
        return self._detection

    def candidates(self) -> tuple[Candidate, ...]:
        """Return the candidates that are listed, strongest first."""
        if self._detection is None:
            return ()
        return self.context.detections.shown(self._detection).candidates

    def step(self, by: int) -> None:
        """Go to the next candidate, or the one before; from the ends round again."""
        labels = [candidate.label for candidate in self.state.rows]
        if not labels:
            return
        if self.state.selected in labels:
            at = (labels.index(self.state.selected) + by) % len(labels)
        else:
            at = 0 if by > 0 else -1
        self.state.selected = labels[at]

    def report(self, path: str) -> None:
        """Write the report of the listed detection as HTML or PDF, as the path ends."""
        state, models, found = self.state, self.context.models, self._detection
        if found is None or state.report_blocked:
            return
        shown = self.context.detections.shown(found)
        notes: tuple[str, ...] = ()
        if shown.threshold_z != found.threshold_z:
            notes = (
                f"The reader looked at |z| > {shown.threshold_z:.1f}, where there are "
                f"{len(shown.candidates)} candidates; this report is at the model's threshold.",
            )
        # A layer has the name of its file, and that may identify a person: none is passed on.
        work = Report(found, Path(path), None, notes, models.shelf, models.state.model)
        state.report_blocked, state.report_note = "The report is being written", "Writing…"
        listener = Listener(
            lambda *_: None, self._on_report, self._on_report_failed, self._on_report_cancelled
        )
        self.context.runner.start("Report", work, listener)

    def _on_report(self, path: Path) -> None:
        self.state.report_blocked, self.state.report_note = "", f"Written: {path.name}"

    def _on_report_failed(self, error: NormativeError) -> None:
        self.state.report_blocked, self.state.report_note = "", str(error)
        self.context.notify(str(error))

    def _on_report_cancelled(self) -> None:
        self.state.report_blocked, self.state.report_note = "", ""

    def _origin(self, key: str) -> str:
        layer = self.context.scans.layer(key) if key else None
        facts = None if layer is None else facts_of(layer)
        return "" if facts is None else facts.origin

    def _on_scans(self, *_: object) -> None:
        """Let go of what belongs to scans that were closed."""
        keys = [choice.key for choice in self.context.scans.state.scans]
        origins = [origin for origin in map(self._origin, keys) if origin]
        self.context.detections.keep_only(keys, origins)

    def _refresh(self, *_: object) -> None:
        state, key = self.state, self._anomaly.scan
        found = self.context.detections.of_layer(key, self._origin(key)) if key else None
        if found is not self._detection:
            self._detection = found
            state.selected, state.report_note = 0, ""
        if found is None:
            state.rows, state.checks, state.headline = (), (), ""
            state.report_blocked = "Run the anomaly map first."
            return
        shown = self.context.detections.shown(found)
        state.report_blocked = ""
        own = shown.threshold_z == found.threshold_z
        state.rows = tuple(_row(found, c, own) for c in shown.candidates)
        if state.selected not in {candidate.label for candidate in state.rows}:
            state.selected = 0
        count = len(state.rows)
        words = f"{count or 'No'} candidate{'' if count == 1 else 's'}"
        state.headline = f"{words} beyond |z| {shown.threshold_z:.1f}"
        state.checks = check_lines(found)

    def _on_selected(self, label: int) -> None:
        """Go there, keep the zoom, mark the candidate, and ask why it is there."""
        state = self.state
        state.why, state.why_note, state.why_busy = None, "", False
        chosen = next((c for c in self.candidates() if c.label == label), None)
        if chosen is None or self._detection is None:
            return
        self._layout.go_to(chosen.centroid_mm)
        self._mark(label)
        inside = self._detection.in_model
        if inside is None:
            state.why_note = "This result was read from files; run it again to ask why."
            return
        told = self._detection.provenance["model"]
        models = self.context.models
        work = Explain(
            models.shelf, models.state.model, told["sha256"], told["name"], models.state.device,
            inside, chosen, self.context.detections.shown(self._detection).threshold_z,
        )  # fmt: skip
        state.why_busy = True
        self._explained.ask(
            f"Why candidate {chosen.rank}",
            work,
            lambda why: self._on_explained(label, why),
            self._on_failed,
        )

    def _on_explained(self, label: int, why: Why) -> None:
        if self.state.selected == label:
            self.state.why_busy = False
            self.state.why = why

    def _on_failed(self, error: NormativeError) -> None:
        self.state.why_busy = False
        self.state.why_note = str(error)

    def _mark(self, label: int) -> None:
        """Make the candidate the one that a label tool would edit."""
        viewer = self.context.viewer()
        if viewer is None or self._detection is None:
            return
        for layer in viewer.layers:
            facts = facts_of(layer)
            if facts is None or facts.role != CANDIDATES:
                continue
            if facts.origin == origin_of(self._detection.scan):
                layer.selected_label = label


def _row(detection: Detection, candidate: Candidate, own_threshold: bool) -> CandidateRow:
    return CandidateRow(
        label=candidate.label,
        rank=candidate.rank,
        sign="brighter" if candidate.sign > 0 else "darker",
        peak_z=candidate.peak_z,
        volume_ml=candidate.volume_mm3 / 1000,
        place=detection.place_of(candidate),
        world=coordinates(candidate.centroid_mm),
        # Healthy evidence is known at the model's threshold alone.
        p=candidate.p if own_threshold else None,
    )


def check_lines(detection: Detection) -> tuple[CheckLine, ...]:
    """Return what was asked of the scan before its map was made, with the answers."""
    rows: list[dict[str, Any]] = detection.provenance.get("applicability", {}).get("checks", [])
    return tuple(
        CheckLine(
            row["name"],
            f"{row['found']:.3g}",
            f"{row['expected']:.3g}",
            row["status"] == "ok",
            "" if row["status"] == "ok" else f"{row['what']}. {row['remedy']}",
        )
        for row in rows
    )
