"""``export`` and ``prepare`` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from napari_normative.cli import app
from napari_normative.engine.model import load_model
from napari_normative.io.nifti import read_volume, write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def pca(tiny_model_path: Path) -> Path:
    folder = tiny_model_path.with_name(tiny_model_path.name + ".work") / "baselines"
    return folder / "pca.safetensors"


def test_export_says_files_differences_and_licence(tmp_path: Path, pca: Path) -> None:
    out = tmp_path / "out"
    result = run("export", pca, "--format", "torch", "--out", out)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("encode.pt2: encode, differs from the model by ")
    assert lines[-1].endswith("licence not stated. Research use only, not for diagnosis.")
    assert {p.name for p in out.iterdir()} == {
        "encode.pt2", "decode.pt2", "reconstruct.pt2", "export.json", "template.nii.gz",
    }  # fmt: skip


def test_export_of_nothing_is_one_line(tmp_path: Path, pca: Path) -> None:
    atlas = pca.with_name("atlas.safetensors")
    result = run("export", atlas, "--format", "onnx", "--out", tmp_path / "out", "--quiet")
    assert result.exit_code == 1
    assert result.stderr.startswith("[EXP-003] tiny-atlas: ")
    assert result.stdout == ""
    assert run("export", pca, "--format", "keras", "--out", tmp_path / "out").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_prepare_writes_what_the_network_sees_and_the_way_back(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    model = load_model(tiny_model_path)
    scan = write_volume(tmp_path / "in" / "patient.nii.gz", phantom(7, lesion_ml=20))
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"nothing")
    result = run("prepare", tmp_path / "in", "--out", tmp_path / "out", "--model", tiny_model_path)
    assert result.exit_code == 1
    assert [line[:9] for line in result.stderr.splitlines()] == ["[NIF-006]"]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"patient.nii.gz", "patient.json"}

    made = read_volume(tmp_path / "out" / "patient.nii.gz")
    assert made.affine == pytest.approx(model.card.preprocess.grid.affine)
    assert np.array_equal(made.data, model.prepare(scan).data)
    outside = ~model.template.mask
    assert (made.data[outside] == 0).all()
    assert np.quantile(made.data[made.data > 0], 0.9) == pytest.approx(1, abs=0.05)

    record = json.loads((tmp_path / "out" / "patient.json").read_text())
    assert record["scan"]["sha256"] == read_volume(scan).source.digest
    assert record["model"]["sha256"] == model.digest
    # The knots lead back: model units of the middle quantile are the scan's median there.
    knots = record["intensity"]
    back = np.interp(np.median(made.data[made.data > 0]), knots["model"], knots["scan"])
    assert back == pytest.approx(
        np.median(read_volume(scan).data[read_volume(scan).data > 0]), rel=0.1
    )
    assert str(tmp_path) not in (tmp_path / "out" / "patient.json").read_text()


def test_prepare_prints_a_json_line_for_each_scan(tmp_path: Path, tiny_model_path: Path) -> None:
    scan = write_volume(tmp_path / "patient.nii.gz", phantom(7))
    out = tmp_path / "out"
    result = run("prepare", scan, "--out", out, "--model", tiny_model_path, "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["prepared"] == "patient.nii.gz"
