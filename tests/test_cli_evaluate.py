"""``evaluate`` from the outside: what is printed where, what is left, which status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from napari_normative.cli import app
from napari_normative.io.nifti import write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *(str(a) for a in arguments)])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A healthy person, a patient, and a file that is not there."""
    ill, well = phantom(7, lesion_ml=20.0), phantom(7)
    write_volume(tmp_path / "well.nii.gz", phantom(8))
    write_volume(tmp_path / "ill.nii.gz", ill)
    lesion = (ill.data != well.data) & (ill.data > 0)
    write_volume(tmp_path / "truth.nii.gz", ill.with_data(lesion, is_label=True))
    path = tmp_path / "people.tsv"
    path.write_text("path\ttruth\tkind\nwell.nii.gz\nill.nii.gz\ttruth.nii.gz\tball\ngone.nii.gz\n")
    return path


def test_figures_go_to_stdout_and_a_bad_case_to_stderr(
    tmp_path: Path, table: Path, tiny_model_path: Path
) -> None:
    out = tmp_path / "out"
    result = run(table, "--out", out, "--model", tiny_model_path, "--seeds", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("[NIF-001] gone.nii.gz")
    assert "real ball (1 person), tiny: voxel AP" in result.stdout
    assert "simulated hypointense (1 person)" in result.stdout
    assert "2 of 3 cases" in result.stdout
    assert "judged alone" in result.stdout
    assert "not for diagnosis" in result.stdout
    names = ["cases.tsv", "evaluation.html", "evaluation.json", "summary.tsv"]
    assert sorted(p.name for p in out.iterdir()) == names


def test_json_is_one_object_and_quiet_is_quiet(
    tmp_path: Path, table: Path, tiny_model_path: Path
) -> None:
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    common = (table, "--model", tiny_model_path, "--model", tiny_model_path, "--no-simulate")
    result = run(*common, "--out", tmp_path / "a", "--json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["model"] == "tiny"
    assert facts["cases"] == 2
    assert 0.1 < facts["ap_real_ball"] <= 1
    assert not any(name.startswith("ap_simulated") for name in facts)
    assert any("Only 1 person: too few to tell" in text for text in facts["verdict"])
    result = run(*common, "--out", tmp_path / "b", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("missing", ["--model", "--out"])
def test_wrong_usage_is_status_2(tmp_path: Path, table: Path, missing: str) -> None:
    options = {"--model": "brain-t1", "--out": str(tmp_path / "out")}
    del options[missing]
    result = run(table, *(word for pair in options.items() for word in pair))
    assert result.exit_code == 2
    assert missing in result.stderr


def test_a_bad_table_or_model_is_one_line(tmp_path: Path, table: Path) -> None:
    for arguments, code in (
        ((tmp_path / "none.tsv", "--model", "brain-t1"), "[EVA-001] none.tsv"),
        ((table, "--model", "nothing"), "[MOD-004] nothing"),
    ):
        result = run(*arguments, "--out", tmp_path / "out")
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith(code)
    assert not (tmp_path / "out").exists()
