"""The chosen model and device: one choice for all docks of a viewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import Signal, SignalGroupDescriptor

from napari_normative.plugin.state.common import Choice

NONE, GRID, VECTOR = "none", "grid", "vector"


@dataclass
class ModelsState:
    """Which model is chosen, and where it runs.

    Attributes
    ----------
    models, devices : tuple of Choice
    model, device : str
        Keys of the chosen entries; no model when empty.
    model_line, device_line : str
        The model's card in one line; why this device.
    latents : {"", "none", "grid", "vector"}
        What stands for a scan in the chosen model: nothing, a grid of latents, one vector.
    loaded : bool
        Whether the chosen model occupies memory.
    busy : bool
        Whether a job of any dock uses it now.
    error : str
        Why the last file was not taken.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    models: tuple[Choice, ...] = ()
    model: str = ""
    model_line: str = ""
    latents: str = ""
    devices: tuple[Choice, ...] = (Choice("auto", "auto"), Choice("cpu", "cpu"))
    device: str = "auto"
    device_line: str = ""
    loaded: bool = False
    busy: bool = False
    error: str = ""


class ModelsRequests:
    """What the model picker asks for."""

    add_file = Signal(str)  # path
    unload = Signal()
