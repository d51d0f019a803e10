"""``neighbours``, and the layouts and neighbourhoods of ``encode``, from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from napari_normative.cli import app
from napari_normative.engine import encode
from napari_normative.engine.encode import encode_scans, layout_columns
from napari_normative.engine.model import load_model
from napari_normative.errors import ModelFileError

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all of these: each scan is encoded once."""
    folder = tmp_path_factory.getbasetemp() / "neighbours-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))


def test_the_nearest_of_given_scans_are_named_and_the_person_is_marked(
    phantom_cohort: Path, tiny_model_path: Path
) -> None:
    scan = phantom_cohort / "sub-03_T1w.nii.gz"
    arguments = (scan, "--among", phantom_cohort, "-n", 4, "--model", tiny_model_path)
    rows = [json.loads(line) for line in run("neighbours", *arguments, "--json").stdout.split("\n")
            if line]  # fmt: skip
    assert rows[0] == {"name": scan.name, "distance": 0, "itself": True}
    assert len(rows) == 5
    far = [row["distance"] for row in rows]
    assert far == sorted(far)
    assert not any(row["itself"] for row in rows[1:])
    model = load_model(tiny_model_path)
    latents = {
        row.path.name: row.place.latent
        for row in encode_scans(model, sorted(phantom_cohort.glob("*.nii.gz")))
        if row.place
    }
    white = model.posterior.whiten(np.stack(list(latents.values())))
    own = model.posterior.whiten(latents[scan.name][None])
    apart = np.sqrt(((white - own) ** 2).mean(axis=1))
    nearest = np.array(list(latents))[np.argsort(apart)][1:5]
    assert [row["name"] for row in rows[1:]] == nearest.tolist()
    assert "(the same person)" in run("neighbours", *arguments).stdout


def test_the_people_of_the_model_have_no_names_and_may_be_missing(
    phantom_cohort: Path, tiny_model_path: Path
) -> None:
    scan = phantom_cohort / "sub-03_T1w.nii.gz"
    out = run("neighbours", scan, "-n", 2, "--model", tiny_model_path).stdout.splitlines()
    assert "(the same person)" in out[0], "the model was trained or calibrated on it"
    assert all("cohort" in line for line in out[:3])
    model = load_model(tiny_model_path)
    assert [n.itself for n in model.neighbours(scan, count=2)] == [True, False, False]
    model.people = None
    with pytest.raises(ModelFileError, match="MOD-050"):
        model.neighbours(scan)
    bad = run("neighbours", scan.with_name("none.nii.gz"), "--model", tiny_model_path, code=1)
    assert "[NIF-001]" in bad.stderr


def test_a_scan_without_latents_has_no_coordinates(
    phantom_cohort: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def laid_out(places: np.ndarray, *, seed: int) -> np.ndarray:
        seeds.append(seed)
        return places[:, 1:3] * 10

    monkeypatch.setattr(encode, "umap_layout", laid_out)
    model = load_model(tiny_model_path)
    scans = sorted(phantom_cohort.glob("*.nii.gz"))[:3]
    rows = list(encode_scans(model, [scans[0], scans[0].with_name("none.nii"), *scans[1:]]))
    found = layout_columns(model, rows, ["umap", "principal", "umap"], seed=4)
    assert list(found) == ["umap_1", "umap_2", "principal_1", "principal_2"]
    assert seeds == [4]
    assert [value is None for value in found["umap_1"]] == [False, True, False, False]
    assert found["umap_1"][0] == pytest.approx(10 * found["principal_2"][0])
    assert layout_columns(model, rows[1:2], ["principal"]) == {}


def test_coordinates_and_neighbourhoods_come_with_the_table(
    phantom_cohort: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "latents.tsv"
    result = run(
        "encode", phantom_cohort, "--out", out, "--model", tiny_model_path, "--principal",
        "--preservation",
    )  # fmt: skip
    assert "voxel components (8), 5 neighbours" in result.stdout
    table = pd.read_csv(out, sep="\t", na_values=["n/a"])
    assert table[["principal_1", "principal_2"]].notna().all().all()
    assert table.principal_1.std() >= table.principal_2.std()
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["seed"] is None
    spaces = {row["space"]: row for row in record["preservation"] if row["neighbours"] == 5}
    components = spaces["voxel components"]
    assert components["trustworthiness"] > 0.9
    assert 0 < spaces["latents"]["continuity"] <= 1
    few = run(
        "encode", phantom_cohort / "sub-03_T1w.nii.gz", "--out", out, "--model",
        tiny_model_path, "--preservation", code=1,
    )  # fmt: skip
    assert "[PRB-006]" in few.stderr
