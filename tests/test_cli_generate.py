"""``augment`` and ``inpaint`` from the outside: what is printed, what is left, which status."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from napari_normative.cli import app
from napari_normative.io.nifti import read_volume, write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volume(tmp_path_factory.mktemp("scans") / "person.nii.gz", phantom(31))


def test_augment_says_what_it_made_and_goes_on(tmp_path: Path, tiny_model_path: Path) -> None:
    common = ("augment", "--out", tmp_path / "set", "--model", tiny_model_path, "--device", "cpu")
    first = run(*common, "-n", 2, "--json")
    facts = json.loads(first.stdout)
    assert (facts["made"], facts["found"], facts["synthetic"]) == (2, 0, True)
    assert all(Path(file).is_file() for file in facts["files"])
    second = run(*common, "-n", 3)
    assert "3 synthetic volumes" in second.stdout
    assert "2 of them there before" in second.stdout
    assert "not for diagnosis" in second.stdout
    refused = run(*common, "-n", 3, "--seed", 1, code=1)
    assert "[GEN-002] set: " in refused.stderr
    assert "Traceback" not in refused.output
    assert run(*common, "-n", 3, "--quiet").stdout == ""


def test_augment_reports_on_request(
    tmp_path: Path, tiny_model_path: Path, phantom_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_normative.engine.synthetic_quality.LEAST_PEOPLE", 4)
    out = tmp_path / "set"
    result = run(
        "augment", "--out", out, "-n", 4, "--model", tiny_model_path, "--device", "cpu",
        "--compare-with", phantom_cohort / "sub-0[0-3]_T1w.nii.gz",
    )  # fmt: skip
    assert "closer to training people than people the network never saw are" in result.stdout
    assert (out / "quality.html").is_file()


def test_inpaint_fills_slices_and_names_them(
    tmp_path: Path, tiny_model_path: Path, scan: Path
) -> None:
    common = ("inpaint", scan, "--model", tiny_model_path, "--device", "cpu", "--out")
    result = run(*common, tmp_path / "a", "--slices", "k:18-19", "--slices", "j:30")
    assert "slices k:18-19; slices j:30" in result.stdout
    assert "synthetic" in result.stdout
    filled, given = read_volume(tmp_path / "a" / "filled.nii.gz"), read_volume(scan)
    made = read_volume(tmp_path / "a" / "made.nii.gz").data > 0
    np.testing.assert_array_equal(filled.data[~made], given.data[~made])
    assert made[:, :, 18:20].all()
    mask = write_volume(tmp_path / "mask.nii.gz", given.with_data(made.astype(np.float32)))
    by_mask = run(*common, tmp_path / "b", "--missing", mask, "--json")
    assert json.loads(by_mask.stdout)["made_voxels"] == int(made.sum())
    again = read_volume(tmp_path / "b" / "filled.nii.gz")
    assert np.isfinite(again.data).all()
    refused = run(*common, tmp_path / "c", code=1)
    assert "[GEN-010] person: nothing is missing" in refused.stderr
    assert not (tmp_path / "c").exists()
