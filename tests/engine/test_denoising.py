"""A scan denoised by a model: nearer to the truth, in its place, and nothing is hidden."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_normative.cli import app
from napari_normative.engine.model import NormativeModel
from napari_normative.errors import GenerationError
from napari_normative.io.nifti import read_volume, write_volume
from napari_normative.volume import Volume
from phantoms import phantom


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    return NormativeModel.load(tiny_model_path)


@pytest.fixture(scope="module")
def clean() -> Volume:
    return phantom(31)


@pytest.fixture(scope="module")
def noisy(clean: Volume) -> Volume:
    level = 0.15 * float(np.median(clean.data[clean.data > 0]))
    noise = np.random.default_rng(4).normal(0, level, clean.shape)
    return clean.with_data(np.where(clean.data > 0, clean.data + noise, clean.data))


def test_it_is_nearer_to_the_truth_and_a_constant_background_stays(
    model: NormativeModel, clean: Volume, noisy: Volume
) -> None:
    made = model.denoise(noisy, device="cpu")
    inside = clean.data > 0

    def error(volume: Volume) -> float:
        return float(np.sqrt(np.mean((volume.data - clean.data)[inside] ** 2)))

    assert error(made.denoised) < 0.75 * error(noisy)
    assert error(made.denoised) <= 1.02 * error(made.without_model)
    np.testing.assert_array_equal(made.denoised.data[~inside], clean.data[~inside])
    np.testing.assert_allclose(made.denoised.data + made.removed.data, noisy.data, atol=1e-3)
    assert made.denoised.same_grid(noisy)


def test_without_noise_there_is_nothing_to_do(model: NormativeModel, clean: Volume) -> None:
    with pytest.raises(GenerationError, match="GEN-013"):
        model.denoise(clean, noise=0.0, device="cpu")


def test_the_command_writes_all_and_says_what_it_expects(
    tiny_model_path: Path, noisy: Volume, tmp_path: Path
) -> None:
    scan = write_volume(tmp_path / "scan.nii.gz", noisy)
    out = tmp_path / "out"
    arguments = ["denoise", str(scan), "--out", str(out), "--model", str(tiny_model_path)]
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["expected_rmse"]["with_model"] < facts["noise_sd"]
    names = ["denoise.json", "denoised.nii.gz", "removed.nii.gz", "without_model.nii.gz"]
    assert sorted(p.name for p in out.iterdir()) == names
    assert read_volume(out / "denoised.nii.gz").same_grid(noisy)
    assert json.loads((out / "denoise.json").read_bytes())["noise_given"] is False
