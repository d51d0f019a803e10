"""``probe`` and ``predict`` from the outside, on phantoms that differ by a large lesion."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import napari_normative as nn
from napari_normative.cli import app
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.io.nifti import write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantoms without and six with a lesion, one file that is none, one without value."""
    folder = tmp_path_factory.mktemp("people")
    lines = ["path\tsubject\tstate"]
    for n in range(12):
        state = ("well", "ill")[n % 2]
        name = f"secret-{n:02d}_T1w.nii.gz"
        write_volume(folder / name, phantom(300 + n, lesion_ml=60.0 * (n % 2)))
        lines.append(f"{name}\tsecret-{n:02d}\t{state}")
    (folder / "secret-90.nii.gz").write_bytes(b"no scan")
    lines += ["secret-90.nii.gz\tsecret-90\till", "secret-00_T1w.nii.gz\tsecret-00\tn/a"]
    (folder / "people.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def fitted(
    scans: Path, tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("probe") / "state"
    result = run(
        "probe", scans / "people.tsv", "--target", "state", "--out", out, "--model",
        tiny_model_path, "--permutations", 3, "--device", "cpu", code=1,
    )  # fmt: skip
    return out, result


def test_the_folder_holds_report_tables_and_probe_without_names(
    fitted: tuple[Path, Result], scans: Path, tiny_model_path: Path
) -> None:
    out, result = fitted
    assert "secret-90.nii.gz" in result.stderr
    assert "1 scans have no value" in result.stdout
    names = {"probe.html", "figures.tsv", "predictions.tsv", "probe.safetensors", "probe.json"}
    assert {file.name for file in out.iterdir()} == names
    for file in out.iterdir():
        content = file.read_bytes()
        assert b"secret" not in content
        assert str(scans).encode() not in content
    record = json.loads((out / "probe.json").read_text())
    assert record["model"]["sha256"] == load_model(tiny_model_path).digest
    assert record["kind"] == "category"
    assert record["classes"] == {"ill": 6, "well": 6}
    assert record["scans"]["used"] == 12
    assert [r["row"] for r in record["scans"]["refused"]] == [13]
    assert len(set(record["scan_sha256"])) == 12
    figures = pd.read_csv(out / "figures.tsv", sep="\t", na_values=["n/a"], keep_default_na=False)
    own = figures[(figures.figure == "auroc") & figures.against.isna()].set_index("features")
    assert list(own.index) == ["latents", "voxel components", "volume features", "guess"]
    assert own.value["guess"] == 0.5
    assert own.value["latents"] > 0.7, "a lesion of 60 ml is in the latents of phantoms"
    assert own.permutation_p["latents"] in {0.25, 0.5, 0.75, 1.0}
    rows = pd.read_csv(out / "predictions.tsv", sep="\t")
    assert rows.row.tolist() == list(range(1, 13))
    assert rows.groupby("fold").size().sum() == 12
    page = (out / "probe.html").read_text()
    for words in ("Research use only", "Brier", "voxel components", "Calibration", "guess"):
        assert words in page


def test_a_probe_predicts_for_new_scans_and_says_whether_it_applies(
    fitted: tuple[Path, Result], tiny_model_path: Path, tmp_path: Path
) -> None:
    file = fitted[0] / "probe.safetensors"
    ill = write_volume(tmp_path / "new.nii.gz", phantom(401, lesion_ml=60.0))
    result = run("predict", ill, "--probe", file, "--model", tiny_model_path, "--json")
    (facts,) = map(json.loads, result.stdout.splitlines())
    assert facts["scan"] == "new.nii.gz"
    assert facts["value"] == "ill"
    assert sum(facts["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert "probe" in [check["name"] for check in facts["applicability"]["checks"]]
    probe, model = nn.load_probe(file), load_model(tiny_model_path)
    assert facts["scan_sha256"] == nn.read_volume(ill).source.digest
    assert facts["probe_sha256"] == probe.digest
    assert facts["model_sha256"] == model.digest
    made = probe.predict(model, ill, device="cpu")
    assert made.probabilities == facts["probabilities"]
    assert f"{made.target} ill" in run(
        "predict", ill, "--probe", file, "--model", tiny_model_path
    ).stdout  # fmt: skip


def test_a_scan_far_from_those_of_the_probe_is_warned_of(
    fitted: tuple[Path, Result], tiny_model_path: Path
) -> None:
    probe, model = nn.load_probe(fitted[0] / "probe.safetensors"), load_model(tiny_model_path)
    near = dataclasses.replace(probe, distances=probe.distances / 100)
    made = near.predict(model, phantom(402), device="cpu")
    assert made.distance_quantile == 1
    assert made.applicability.verdict == "warn"
    assert any("extrapolation" in warning for warning in made.warnings)


def test_another_models_probe_and_a_damaged_one_are_refused(
    fitted: tuple[Path, Result], tiny_model_path: Path, tmp_path: Path
) -> None:
    file, scan = fitted[0] / "probe.safetensors", tmp_path / "scan.nii.gz"
    assert "[PRB-004]" in run("predict", scan, "--probe", file, code=1).stderr
    data = bytearray(file.read_bytes())
    data[-9] ^= 4
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(data)
    for given, words in ((bad, "damaged"), (tiny_model_path, "format"), (scan, "No such file")):
        line = run("predict", scan, "--probe", given, "--model", tiny_model_path, code=1).stderr
        assert "[PRB-005]" in line
        assert words in line
    model = NormativeModel.load(tiny_model_path)
    model.digest = "0" * 64
    with pytest.raises(nn.NormativeError, match="PRB-004"):
        nn.load_probe(file).predict(model, phantom(1))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--target", "age"], "PRB-001"),
        (["--target", "path"], "PRB-001"),
        (["--target", "site"], "PRB-002"),
        (["--target", "state", "--folds", "9"], "PRB-002"),
        (["--target", "state", "--kind", "number"], "PRB-003"),
    ],
)
def test_a_target_that_cannot_be_told_is_refused_before_anything_is_read(
    scans: Path, tmp_path: Path, tiny_model_path: Path, arguments: list[str], code: str
) -> None:
    result = run(
        "probe", scans / "people.tsv", *arguments, "--out", tmp_path / "out", "--model",
        tiny_model_path, code=1,
    )  # fmt: skip
    assert f"[{code}]" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_refused_before_anything_is_read(
    scans: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = run(
        "probe", scans / "people.tsv", "--target", "state", "--out", tmp_path, code=1
    )  # fmt: skip
    assert "[OUT-010]" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
