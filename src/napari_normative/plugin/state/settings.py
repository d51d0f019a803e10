"""What is remembered from one window, and one day, to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor


@dataclass
class Settings:
    """The plugin's settings. Writing a field remembers it where napari keeps settings.

    Attributes
    ----------
    device : str
        Where models run: ``auto``, ``cpu``, ``cuda:N``, ``mps``.
    memory_gib : float
        Most memory, in GiB, that the volumes of one draw may take; 0 for half of what is free.
    convention : str
        Of new windows: ``radiological`` (patient right on the left) or ``neurological``.
    models_folder, cohorts_folder, results_folder : str
        Where dialogs for models, for folders and tables of scans, and for results begin;
        empty until somebody chose.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    device: str = "auto"
    memory_gib: float = 0.0
    convention: str = "radiological"
    models_folder: str = ""
    cohorts_folder: str = ""
    results_folder: str = ""
