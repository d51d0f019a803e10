"""File dialogs that begin where the last one of their kind ended."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_normative.plugin.state.settings import Settings

MODELS, COHORTS, RESULTS = "models_folder", "cohorts_folder", "results_folder"
"""The fields of :class:`Settings` that say where dialogs begin."""


def ask_file(parent: QWidget, settings: Settings, kind: str, title: str, patterns: str) -> str:
    """Return the chosen file; empty when nothing was chosen."""
    path, _ = QFileDialog.getOpenFileName(parent, title, getattr(settings, kind), patterns)
    return _remembered(settings, kind, path)


def ask_folder(parent: QWidget, settings: Settings, kind: str, title: str) -> str:
    """Return the chosen folder; empty when nothing was chosen."""
    path = QFileDialog.getExistingDirectory(parent, title, getattr(settings, kind))
    return _remembered(settings, kind, path)


def ask_target(
    parent: QWidget, settings: Settings, kind: str, title: str, name: str, patterns: str = ""
) -> str:
    """Return where to write; ``name`` (a name, or a whole path) is offered."""
    offered = str(Path(getattr(settings, kind)) / name) if getattr(settings, kind) else name
    path, _ = QFileDialog.getSaveFileName(parent, title, offered, patterns)
    return _remembered(settings, kind, path)


def _remembered(settings: Settings, kind: str, path: str) -> str:
    if path:
        setattr(settings, kind, str(Path(path).parent))
    return path
