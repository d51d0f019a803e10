"""The memory of what was computed for a scan or a model: small files in the user's cache."""

from __future__ import annotations

import json
from pathlib import Path

from napari_normative.errors import NormativeError
from napari_normative.io.atomic import replace_files
from napari_normative.io.checkpoint import Tensors, pack, unpack


def default_cache() -> Path:
    """Return the user's folder for latents of scans that were placed before."""
    from platformdirs import user_cache_path

    return user_cache_path("napari-normative", appauthor=False) / "latents"


def read_entry(entry: Path) -> tuple[Tensors, dict[str, float]] | None:
    """Return what was remembered; None where there is nothing, or nothing whole."""
    try:
        tensors, text, _ = unpack(entry.read_bytes(), entry.name)
    except (OSError, NormativeError):  # missing or damaged: computed again
        return None
    return tensors, json.loads(text)


def write_entry(entry: Path, tensors: Tensors, facts: dict[str, float]) -> None:
    """Remember arrays and numbers."""
    try:
        replace_files({entry: pack(tensors, json.dumps(facts))})
    except NormativeError:
        return  # a full or read-only disk costs time at the next map, nothing else
