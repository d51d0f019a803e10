"""``explain`` and ``directions`` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from napari_normative.cli import app
from napari_normative.io.nifti import write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volume(tmp_path_factory.mktemp("scan") / "ill.nii.gz", phantom(900, lesion_ml=30))


def test_a_candidate_is_explained_in_sentences_and_files(
    scan: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "why"
    result = run("explain", scan, "--out", out, "--model", tiny_model_path, "--device", "cpu")
    assert "candidate 1: left" in result.stdout
    assert "darker than the model expects" in result.stdout
    assert "SD of healthy people here" in result.stdout
    record = json.loads((out / "explain.json").read_text())
    assert len(record["effects"]) == 5
    assert all((out / name).is_file() for name in record["effects"])


def test_a_rank_that_is_not_there_is_one_line(
    scan: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    result = run(
        "explain", scan, "--out", tmp_path / "why", "--model", tiny_model_path,
        "--candidate", 40, "--device", "cpu", code=1,
    )  # fmt: skip
    assert result.stderr.count("[WHY-001] ill") == 1
    assert not (tmp_path / "why").exists()


def test_directions_are_described_without_a_table(tiny_model_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "directions"
    result = run(
        "directions", "--out", out, "--model", tiny_model_path, "-n", 2, "--device", "cpu", "--json"
    )
    facts = json.loads(result.stdout)
    assert [d["basis"] for d in facts["directions"]] == ["latent"] * 2 + ["principal"] * 2
    assert facts["verdict"] == []
    assert not (out / "correlations.tsv").exists()


def test_a_table_without_columns_is_wrong_usage(tiny_model_path: Path, tmp_path: Path) -> None:
    run(
        "directions", "--out", tmp_path / "x", "--model", tiny_model_path, "--table", "t.tsv",
        code=2,
    )  # fmt: skip
