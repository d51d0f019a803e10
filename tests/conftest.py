"""Fixtures that several folders share."""

from __future__ import annotations

import os
import sys
import tempfile

# Small networks gain nothing from more threads, and on a busy machine these wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a person chose in napari is neither read nor written by tests, nor by programs they start.
os.environ["NAPARI_CONFIG"] = os.path.join(  # noqa: PTH118 - before anything is imported
    tempfile.mkdtemp(prefix="napari-settings-"), "settings.yaml"
)

# Nor is what a person configured for the command line.
os.environ["NAPARI_NORMATIVE_CONFIG"] = os.devnull

from pathlib import Path

import pytest

from napari_normative.engine.presets import PRESETS, Preset
from napari_normative.io.nifti import write_volume
from phantoms import phantom, write_cohort

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def fresh_settings(tmp_path, monkeypatch):
    """Each test begins with the defaults, and remembers in a folder of its own."""
    settings = sys.modules.get("napari.settings")
    if settings is not None:
        settings._clear_plugin_settings_cache()
        monkeypatch.setattr(settings, "_CFG_PATH", str(tmp_path / "napari" / "settings.yaml"))
    yield
    if settings is not None:
        settings._clear_plugin_settings_cache()


@pytest.fixture(autouse=True)
def same_threads():
    """numba, once napari shows labels, gives torch its own number of threads: take that back."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real volumes beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the real volumes (../shared/data) are not here")
    return SHARED


@pytest.fixture(scope="session")
def tiny_preset() -> Preset:
    """A preset that trains on phantoms in seconds."""
    small = PRESETS["brain-8mm"]
    space = small.preprocess.model_copy(update={"origin_mm": (-76.0, -92.0, -76.0)})
    return small.model_copy(
        update={
            "title": "Phantom",
            "preprocess": space,
            "widths": (8, 16, 16),
            "steps": 40,
            "batch": 4,
            "latent_size": 8,
        }
    )


@pytest.fixture(scope="session")
def phantom_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template file for the phantoms."""
    path = tmp_path_factory.mktemp("template") / "template.nii.gz"
    return write_volume(path, phantom(1))


@pytest.fixture(scope="session")
def phantom_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of fourteen healthy phantoms."""
    return write_cohort(tmp_path_factory.mktemp("cohort") / "site-a", 14)


@pytest.fixture(scope="session")
def tiny_model_path(
    tmp_path_factory: pytest.TempPathFactory,
    phantom_cohort: Path,
    phantom_template: Path,
    tiny_preset: Preset,
) -> Path:
    """A real model file, trained by the program itself on phantoms."""
    from napari_normative.engine.train import fit

    out = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    fit(phantom_cohort, out, preset=tiny_preset, template=phantom_template, device="cpu")
    return out
