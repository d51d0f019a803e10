"""The z threshold, with the candidates counted anew while it moves."""

from __future__ import annotations

import math

import numpy as np

from napari_normative.errors import NormativeError
from napari_normative.layers.spec import (
    CANDIDATES,
    facts_of,
)
from napari_normative.plugin.controllers.reading_subject import Subject
from napari_normative.plugin.latest import Latest
from napari_normative.plugin.layers import update
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.reading import Recount, Recounted, model_rate_line

LOWEST_Z = 2.0
"""Below, candidates of a healthy brain grow together and their number says nothing."""
EDITED = "The candidates layer was edited and stays as it is; the count is of the map."


class ThresholdPart:
    """Counts candidates at a chosen threshold and shows them.

    Parameters
    ----------
    subject : Subject

    Attributes
    ----------
    ended_with : NormativeError or None
        Why the last count brought nothing; None when it did.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject, self._state = subject, subject.state
        self._latest = Latest(subject.context.runner)
        self._shown: object = None
        self._setting = False
        self.ended_with: NormativeError | None = None
        self._state.events.threshold_z.connect(self._on_threshold)

    def refresh(self) -> None:
        """Show the threshold of the chosen scan's detection, once per detection."""
        state, subject = self._state, self._subject
        detection = subject.detection()
        state.threshold_blocked = self._blocked()
        if detection is self._shown:
            return
        self._shown = detection
        state.threshold_note = ""
        if detection is None:
            state.count_line = state.rate_line = ""
            return
        inside = detection.in_model
        largest = 0.0 if inside is None else float(np.abs(inside.z).max())
        low = min(LOWEST_Z, detection.threshold_z)
        # A strong lesion would stretch the slider over values that nobody asks for.
        high = math.ceil(min(max(largest, detection.threshold_z + 2), 2 * detection.threshold_z))
        self._setting = True
        try:
            state.threshold_low, state.threshold_high = low, float(high)
            state.threshold_default = detection.threshold_z
            state.threshold_z = detection.threshold_z
        finally:
            self._setting = False
        state.count_line = count_line(len(detection.candidates), detection.threshold_z)
        told = detection.provenance.get("parameters", {}).get("false_per_scan")
        state.rate_line = model_rate_line(*told) if told else ""

    def reset(self) -> None:
        """Go back to the model's threshold."""
        if not self._state.threshold_blocked:
            self._state.threshold_z = self._state.threshold_default

    def _blocked(self) -> str:
        if self._subject.scan is None:
            return "Open a scan first."
        detection = self._subject.detection()
        if detection is None:
            return "Run the anomaly map of this scan first."
        if detection.in_model is None:
            return "This result was read from files; run it again to count anew."
        return ""

    def _on_threshold(self, threshold_z: float) -> None:
        state, subject = self._state, self._subject
        detection = subject.detection()
        if self._setting or state.threshold_blocked or detection is None:
            return
        layer = subject.newest(CANDIDATES)
        facts = None if layer is None else facts_of(layer)
        models = subject.context.models
        work = Recount(
            models.shelf,
            models.state.model,
            detection,
            round(threshold_z, 3),
            "" if layer is None else layer.name,
            None if facts is None else facts.grid,
            "" if facts is None else facts.origin,
            None if layer is None else layer.data,
            "" if facts is None else facts.digest,
        )
        self.ended_with, state.threshold_busy = None, True
        self._latest.ask(
            "Candidates at another threshold",
            work,
            lambda counted: self._on_counted(work, layer, counted),
            self._on_failed,
        )

    def _on_counted(self, work: Recount, layer: object, counted: Recounted) -> None:
        state, viewer = self._state, self._subject.context.viewer()
        state.threshold_busy = False
        if work.detection is not self._subject.detection():
            return  # the map was made anew meanwhile
        state.count_line = count_line(len(counted.candidates), work.threshold_z)
        state.rate_line = counted.rate_line
        state.threshold_note = ""
        detections = self._subject.context.detections
        detections.recounted(work.detection, counted.candidates, work.threshold_z)
        if layer is None or viewer is None or not is_open(viewer) or layer not in viewer.layers:
            return
        if counted.spec is None:
            state.threshold_note = EDITED
        else:
            update(layer, counted.spec)

    def _on_failed(self, error: NormativeError) -> None:
        self.ended_with = error
        self._state.threshold_busy = False
        self._state.threshold_note = str(error)


def count_line(count: int, threshold_z: float) -> str:
    """Return how many candidates there are, in words."""
    return f"{count} candidate{'' if count == 1 else 's'} beyond |z| {threshold_z:.1f}"
