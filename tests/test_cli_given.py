"""The options --condition-on, --given and --given-from: what is refused, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_normative.cli import app


@pytest.mark.parametrize(
    ("given", "status", "says"),
    [
        (["--given", "age=71"], 1, "MOD-070"),
        (["--given", "age"], 2, "COLUMN=VALUE"),
        (["--given", "age=7", "--given", "age=8"], 2, "twice"),
    ],
)
def test_what_a_model_cannot_be_told_is_said(
    tmp_path: Path, given: list[str], status: int, says: str
) -> None:
    made = CliRunner().invoke(app, ["sample", "--out", str(tmp_path / "out"), *given])
    assert made.exit_code == status
    assert says in made.output
    assert not (tmp_path / "out").exists()


def test_a_table_tells_nothing_to_a_model_that_cannot_be_told(tmp_path: Path) -> None:
    table = tmp_path / "people.tsv"
    table.write_text("path\tage\na.nii\t30\n", encoding="utf-8")
    command = ["detect", "a.nii", "--out", str(tmp_path / "out"), "--given-from", str(table)]
    made = CliRunner().invoke(app, command)
    assert made.exit_code == 1
    assert "MOD-070" in made.output


def test_a_column_that_is_not_there_cannot_be_conditioned_on(tmp_path: Path) -> None:
    table = tmp_path / "people.tsv"
    rows = ["path\tage", *(f"{n}.nii\t{30 + n}" for n in range(12))]
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    command = [
        "train",
        str(table),
        "--out",
        str(tmp_path / "m.safetensors"),
        "--preset",
        "brain-8mm",
    ]
    made = CliRunner().invoke(app, [*command, "--condition-on", "age,coil", "--device", "cpu"])
    assert made.exit_code == 1
    assert "COH-030" in made.output
    assert "age, site" in made.output
