"""Learn from healthy scans what normal looks like; show where a new scan departs from it.

Research use only, not for diagnosis.

The names below are loaded when first used: importing the package loads neither
torch nor Qt.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if os.environ.get("NAPARI_NORMATIVE_OFFLINE"):  # programs that the command line started
    from napari_normative import offline

    if offline.asked_for():
        offline.refuse()

_PUBLIC = {
    "Book": "napari_normative.review.book",
    "Candidate": "napari_normative.core.candidates",
    "Denoised": "napari_normative.engine.denoise",
    "Detection": "napari_normative.engine.detection",
    "Draws": "napari_normative.engine.draws",
    "Encoding": "napari_normative.engine.encoding",
    "Evaluation": "napari_normative.engine.evaluation",
    "Head": "napari_normative.engine.head",
    "Inpainted": "napari_normative.engine.inpaint",
    "MadeVolume": "napari_normative.engine.made",
    "ModelCard": "napari_normative.core.card",
    "NormativeError": "napari_normative.errors",
    "NormativeModel": "napari_normative.engine.model",
    "Outcome": "napari_normative.engine.batch",
    "Prediction": "napari_normative.engine.prediction",
    "Probe": "napari_normative.engine.probe_file",
    "ProbeResult": "napari_normative.engine.probe_result",
    "Segmentation": "napari_normative.engine.segmentation",
    "ScriptedSession": "napari_normative.plugin.scripting.session",
    "SyntheticSet": "napari_normative.engine.synthetic",
    "StoredReconstruction": "napari_normative.engine.stored_reconstruction",
    "Volume": "napari_normative.volume",
    "available_models": "napari_normative.engine.model",
    "disentanglement": "napari_normative.engine.disentanglement",
    "evaluate": "napari_normative.engine.evaluate",
    "fit": "napari_normative.engine.train",
    "fit_head": "napari_normative.engine.head_fit",
    "fit_probe": "napari_normative.engine.probe",
    "describe_directions": "napari_normative.engine.traversal",
    "CandidateReport": "napari_normative.engine.candidate_report",
    "DirectionsReport": "napari_normative.engine.traversal",
    "load_head": "napari_normative.engine.head",
    "load_model": "napari_normative.engine.model",
    "load_probe": "napari_normative.engine.probe_file",
    "make_sample": "napari_normative.io.samples",
    "open_reconstruction": "napari_normative.engine.stored_reconstruction",
    "open_review": "napari_normative.review.book",
    "read_volume": "napari_normative.io.nifti",
    "reviewed_scans": "napari_normative.review.reviewed",
    "sample_truth": "napari_normative.io.samples",
    "show": "napari_normative.plugin.show",
    "open_session": "napari_normative.plugin.scripting.opening",
    "write_volume": "napari_normative.io.nifti",
}
"""Where each public name lives. What is not here may change without notice."""

__all__ = [
    "Book",
    "Candidate",
    "CandidateReport",
    "Denoised",
    "Detection",
    "DirectionsReport",
    "Draws",
    "Encoding",
    "Evaluation",
    "Head",
    "Inpainted",
    "MadeVolume",
    "ModelCard",
    "NormativeError",
    "NormativeModel",
    "Outcome",
    "Prediction",
    "Probe",
    "ProbeResult",
    "ScriptedSession",
    "Segmentation",
    "StoredReconstruction",
    "SyntheticSet",
    "Volume",
    "__version__",
    "available_models",
    "describe_directions",
    "disentanglement",
    "evaluate",
    "fit",
    "fit_head",
    "fit_probe",
    "load_head",
    "load_model",
    "load_probe",
    "make_sample",
    "open_reconstruction",
    "open_review",
    "open_session",
    "read_volume",
    "reviewed_scans",
    "sample_truth",
    "show",
    "write_volume",
]

if TYPE_CHECKING:
    from napari_normative.core.candidates import Candidate
    from napari_normative.core.card import ModelCard
    from napari_normative.engine.batch import Outcome
    from napari_normative.engine.candidate_report import CandidateReport
    from napari_normative.engine.denoise import Denoised
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.disentanglement import disentanglement
    from napari_normative.engine.draws import Draws
    from napari_normative.engine.encoding import Encoding
    from napari_normative.engine.evaluate import evaluate
    from napari_normative.engine.evaluation import Evaluation
    from napari_normative.engine.head import Head, load_head
    from napari_normative.engine.head_fit import fit_head
    from napari_normative.engine.inpaint import Inpainted
    from napari_normative.engine.made import MadeVolume
    from napari_normative.engine.model import NormativeModel, available_models, load_model
    from napari_normative.engine.prediction import Prediction
    from napari_normative.engine.probe import fit_probe
    from napari_normative.engine.probe_file import Probe, load_probe
    from napari_normative.engine.probe_result import ProbeResult
    from napari_normative.engine.segmentation import Segmentation
    from napari_normative.engine.stored_reconstruction import (
        StoredReconstruction,
        open_reconstruction,
    )
    from napari_normative.engine.synthetic import SyntheticSet
    from napari_normative.engine.train import fit
    from napari_normative.engine.traversal import DirectionsReport, describe_directions
    from napari_normative.errors import NormativeError
    from napari_normative.io.nifti import read_volume, write_volume
    from napari_normative.io.samples import make_sample, sample_truth
    from napari_normative.plugin.scripting.opening import open_session
    from napari_normative.plugin.scripting.session import ScriptedSession
    from napari_normative.plugin.show import show
    from napari_normative.review.book import Book, open_review
    from napari_normative.review.reviewed import reviewed_scans
    from napari_normative.volume import Volume


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
