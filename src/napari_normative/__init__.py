"""Learn from healthy scans what normal looks like; show where a new scan departs from it.

Research use only, not for diagnosis.

The names below are loaded when first used: importing the package loads neither
torch nor Qt.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Volume": "napari_normative.volume",
    "NormativeError": "napari_normative.errors",
    "read_volume": "napari_normative.io.nifti",
    "write_volume": "napari_normative.io.nifti",
    "NormativeModel": "napari_normative.engine.model",
    "Detection": "napari_normative.engine.detection",
    "load_model": "napari_normative.engine.model",
    "evaluate": "napari_normative.engine.evaluate",
    "Evaluation": "napari_normative.engine.evaluation",
    "fit": "napari_normative.engine.train",
    "show": "napari_normative.plugin.show",
    "open_session": "napari_normative.plugin.scripting.opening",
}

__all__ = [
    "Detection",
    "Evaluation",
    "NormativeError",
    "NormativeModel",
    "Volume",
    "__version__",
    "evaluate",
    "fit",
    "load_model",
    "open_session",
    "read_volume",
    "show",
    "write_volume",
]

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.evaluate import evaluate
    from napari_normative.engine.evaluation import Evaluation
    from napari_normative.engine.model import NormativeModel, load_model
    from napari_normative.engine.train import fit
    from napari_normative.errors import NormativeError
    from napari_normative.io.nifti import read_volume, write_volume
    from napari_normative.plugin.scripting.opening import open_session
    from napari_normative.plugin.show import show
    from napari_normative.volume import Volume


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
