"""What the shell offers at Tab. It answers at once, so nothing here imports torch."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

PRESETS = (
    "brain-2mm", "brain-4mm", "brain-8mm", "crop-1mm", "brain-1mm-patch", "brain-1mm-hierarchical",
    "brain-2mm-hierarchical", "brain-4mm-hierarchical",
)  # fmt: skip
VARIANTS = (
    "vae", "autoencoder", "beta-vae", "beta-tc", "context-encoding", "no-components", "spatial",
    "vq",
)  # fmt: skip
SAMPLES = ("healthy-brain", "brain-with-lesion", "whole-head", "whole-head-with-lesion")
"""The names that are known elsewhere, without the half second that loading them takes."""

SHOWN = 50
"""So many files of a folder are offered at most."""


def models(incomplete: str) -> list[tuple[str, str]]:
    """Offer packaged models, and the model files of the folder that was typed so far."""
    packaged = resources.files("napari_normative") / "models"
    names = sorted(entry.name for entry in packaged.iterdir())
    suffix = ".safetensors"
    offered = [(n.removesuffix(suffix), "packaged model") for n in names if n.endswith(suffix)]
    typed = incomplete.rpartition("/")[0]
    folder = Path(typed + "/" if typed or incomplete.startswith("/") else ".").expanduser()
    before = incomplete[: incomplete.rfind("/") + 1]
    try:
        found = sorted({*folder.glob(f"*{suffix}"), *folder.glob(f"*/*{suffix}")})
    except OSError:
        found = []
    inside = [before + path.relative_to(folder).as_posix() for path in found[:SHOWN]]
    return [*offered, *((name, "model file") for name in inside)]


def devices() -> list[tuple[str, str]]:
    """Offer devices; GPUs by what the driver shows, since asking torch takes seconds."""
    gpus = sorted(Path("/dev").glob("nvidia[0-9]*")) if sys.platform == "linux" else []
    found = [(f"cuda:{number}", "GPU") for number in range(len(gpus))]
    if sys.platform == "darwin":
        found.append(("mps", "Apple GPU"))
    return [("auto", "a GPU when there is one"), ("cpu", "always there"), *found]


def presets() -> list[str]:
    """Offer the presets of ``train``."""
    return list(PRESETS)


def variants() -> list[str]:
    """Offer the variants of ``train``."""
    return list(VARIANTS)


def samples() -> list[str]:
    """Offer the sample scans of ``demo``."""
    return list(SAMPLES)
