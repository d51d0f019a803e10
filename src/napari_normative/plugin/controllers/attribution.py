"""The button "Show what it rests on": the attribution of the chosen candidate as layers."""

from __future__ import annotations

from typing import Any

from napari_normative.layers.spec import (
    ANOMALY_Z,
    ATTRIBUTION,
    CANDIDATES,
    SEGMENTATION,
    LayerSpec,
    facts_of,
)
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.candidate_job import CandidateJob
from napari_normative.plugin.state.common import JobRequests
from napari_normative.plugin.state.models import NONE
from napari_normative.plugin.state.segment import AttributionState
from napari_normative.plugin.work.segment import Attribute


class AttributionController(CandidateJob):
    """Shows which voxels the chosen candidate's score comes from, for one viewer.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = AttributionState(), JobRequests()
        super().__init__(context, self.state, self.requests)

    def _why_not(self) -> str:
        found = self.candidates.detection
        if found is not None and found.in_model is None:
            return "This result was read from files; run the anomaly map again."
        if self.context.models.state.latents == NONE:
            return "This model has no latents: a candidate rests on its own voxels alone."
        if not self.candidates.state.selected:
            return "Choose a candidate in the list."
        return ""

    def _about(self) -> tuple[object, ...]:
        return (*super()._about(), self.candidates.state.selected)

    def run(self) -> None:
        """Attribute the chosen candidate."""
        self._refresh()
        label = self.candidates.state.selected
        chosen = next((c for c in self.candidates.candidates() if c.label == label), None)
        if self.state.running or self.state.run_blocked or chosen is None:
            return
        subject = self._subject()
        threshold = self.context.detections.shown(subject.detection).threshold_z
        work = Attribute.of(subject, chosen, threshold)
        self._begin(f"What candidate {chosen.rank} rests on", work)

    def _after(self, layer: Any, spec: LayerSpec, viewer: Any) -> str:
        """Name the layer after its candidate, below the outlines, with no other signed map."""
        layer.name = spec.attributes["name"]
        outlines = [at for at, other in enumerate(viewer.layers) if _is_result_labels(other, spec)]
        if outlines and outlines[0] < viewer.layers.index(layer):
            viewer.layers.move(viewer.layers.index(layer), outlines[0])
        if spec.facts.role != ATTRIBUTION or viewer.dims.ndisplay == 3:
            return ""
        layer.visible = True
        hidden = [
            other
            for other in viewer.layers
            if (facts := facts_of(other)) is not None
            and (facts.role, facts.origin) == (ANOMALY_Z, spec.facts.origin)
            and other.visible
        ]
        for other in hidden:
            other.visible = False
        return "The anomaly map is hidden meanwhile." if hidden else ""


def _is_result_labels(layer: Any, spec: LayerSpec) -> bool:
    facts = facts_of(layer)
    if facts is None or facts.origin != spec.facts.origin:
        return False
    return facts.role in {CANDIDATES, SEGMENTATION}
