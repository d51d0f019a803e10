"""``disentanglement`` from the outside, and from Python: tables in, figures out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import napari_normative as nn
from napari_normative.cli import app


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["disentanglement", *(str(a) for a in arguments)])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Latents of sixty people as ``encode`` writes them, and the people, in another order."""
    random = np.random.default_rng(0)
    means = random.standard_normal((60, 3)).round(6)
    rows = pd.DataFrame(
        {"scan": [f"sub-{n:02}_T1w.nii.gz" for n in range(60)], "error": None}
        | {f"mean_{z + 1}": means[:, z] for z in range(3)}
        | {f"variance_{z + 1}": 0.1 for z in range(3)}
    )
    rows.loc[7, ["mean_1", "mean_2", "mean_3", "variance_1", "error"]] = [
        *[np.nan] * 4,
        "[NIF-001]",
    ]
    latents, cohort = tmp_path / "latents.tsv", tmp_path / "cohort.tsv"
    rows.to_csv(latents, sep="\t", index=False, na_rep="n/a")
    ages = (50 + 12 * means[:, 1]).round(1).astype(str)
    ages[:5] = "n/a"
    people = pd.DataFrame(
        {"path": [f"scans/{scan}" for scan in rows["scan"]], "site": "A", "age": ages}
    )
    people["sex"] = np.where(means[:, 2] > 0, "F", "M")
    people[::-1].to_csv(cohort, sep="\t", index=False)
    return latents, cohort


def test_what_a_latent_stands_for_is_found_and_written(
    tables: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "figures.tsv"
    printed = run(*tables, "--columns", "age, sex", "--out", out, "--permutations", 50).stdout
    assert "mig of age: " in printed
    assert "(by chance " in printed
    table = pd.read_csv(out, sep="\t").set_index(["measure", "covariate"])
    assert table.loc[("mig", "age"), "latent"].item() == 2
    assert table.loc[("sap", "sex"), "latent"].item() == 3
    assert table.loc[("mig", "age"), "people"].item() == 54  # five unknown, one not encoded
    assert table.loc[("sap", "age"), "value"].item() > 0.7
    assert table.loc[("sap", "age"), "p"].item() == pytest.approx(1 / 51, rel=1e-4)
    assert set(table.index.get_level_values(0)) == {
        "mig", "sap", "modularity", "total_correlation", "off_diagonal"
    }  # fmt: skip
    lines = run(*tables, "--columns", "age,sex", "--permutations", 50, "--json").stdout
    rows = [json.loads(line) for line in lines.strip().split("\n")]
    assert rows[0]["latent"] == 2
    assert rows[-1]["latent"] is None
    assert rows[0]["value"] == pytest.approx(table.loc[("mig", "age"), "value"].item(), rel=1e-4)


def test_python_gives_the_same_table(tables: tuple[Path, Path]) -> None:
    first, again = (nn.disentanglement(*tables, ["age"], permutations=9) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert first["value"].dtype == float
    assert first["people"].max() == 59


def test_what_cannot_be_measured_is_said(tables: tuple[Path, Path]) -> None:
    latents, cohort = tables
    said = run(latents, cohort, "--columns", "height", code=1).stderr
    assert "EVA-021" in said
    assert "site, age, sex" in said
    assert "EVA-021" in run(cohort, cohort, "--columns", "age", code=1).stderr
    assert "EVA-021" in run(latents.with_name("no.tsv"), cohort, "--columns", "age", code=1).stderr
    pd.read_csv(cohort, sep="\t").head(9).to_csv(cohort, sep="\t", index=False)
    said = run(latents, cohort, "--columns", "age", code=1).stderr
    assert "EVA-022" in said
    assert "9 people" in said
