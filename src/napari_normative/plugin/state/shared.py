"""What all docks of a viewer show alike."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_normative.plugin.state.keys import KeysState
from napari_normative.plugin.state.models import ModelsRequests, ModelsState
from napari_normative.plugin.state.scans import ScansState
from napari_normative.plugin.state.settings import Settings


@dataclass(frozen=True)
class Shared:
    """The chosen model and device, the scans of the viewer, what is remembered.

    Attributes
    ----------
    models : ModelsState
    model_requests : ModelsRequests
    scans : ScansState
    settings : Settings
    keys : KeysState
    """

    models: ModelsState
    model_requests: ModelsRequests
    scans: ScansState
    settings: Settings = field(default_factory=Settings)
    keys: KeysState = field(default_factory=KeysState)
