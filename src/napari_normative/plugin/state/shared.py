"""What all docks of a viewer show alike."""

from __future__ import annotations

from dataclasses import dataclass

from napari_normative.plugin.state.models import ModelsRequests, ModelsState
from napari_normative.plugin.state.scans import ScansState


@dataclass(frozen=True)
class Shared:
    """The chosen model and device, and the scans of the viewer.

    Attributes
    ----------
    models : ModelsState
    model_requests : ModelsRequests
    scans : ScansState
    """

    models: ModelsState
    model_requests: ModelsRequests
    scans: ScansState
