"""The button "Grow to their edges": the listed candidates as one labels layer."""

from __future__ import annotations

from typing import Any

from napari_normative.layers.spec import LayerSpec
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.candidate_job import CandidateJob
from napari_normative.plugin.state.common import JobRequests
from napari_normative.plugin.state.segment import FDR, RATE, SegmentState
from napari_normative.plugin.work.segment import Segment


class SegmentController(CandidateJob):
    """Grows the candidates of the listed detection for one viewer.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = SegmentState(), JobRequests()
        super().__init__(context, self.state, self.requests)

    def _why_not(self) -> str:
        found = self.candidates.detection
        if found is None:
            return ""
        shown = self.context.detections.shown(found)
        if shown.threshold_z != found.threshold_z:
            # Healthy evidence is known at the model's threshold alone.
            return (
                f"Candidates are shown at |z| {shown.threshold_z:.1f}; go back to the model's "
                f"threshold, {found.threshold_z:.1f}, in the reading room."
            )
        return ""

    def run(self) -> None:
        """Grow the listed candidates to their edges."""
        state = self.state
        self._refresh()
        if state.running or state.run_blocked:
            return
        subject = self._subject()
        rate = state.rate if state.rule == RATE else None
        fdr = state.fdr if state.rule == FDR else None
        self._begin(f"Segmentation of {subject.name}", Segment.of(subject, rate, fdr))

    def _after(self, layer: Any, spec: LayerSpec, viewer: Any) -> str:
        if layer.name == spec.attributes["name"]:
            return ""
        return f"It is in {layer.name}; an earlier one was edited and kept."
