"""``encode`` from the outside: the table, its sidecar, and what becomes of bad scans."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from napari_normative.cli import app
from napari_normative.engine.encode import encode_scans
from napari_normative.engine.model import load_model
from napari_normative.errors import ModelFileError
from napari_normative.io.nifti import write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model


def run(*arguments: object, code: int = 0, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, ["encode", *(str(a) for a in arguments)], input=stdin)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    return write_volume(folder / "sub-07_T1w.nii.gz", phantom(7, lesion_ml=20.0))


def test_a_row_holds_the_figures_of_the_model_and_the_sidecar_what_made_them(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    out = tmp_path / "latents.tsv"
    result = run(scan, "--out", out, "--model", tiny_model_path, "--device", "cpu")
    assert "1 of 1 encoded" in result.stdout
    assert "not for diagnosis" in result.stdout
    model = load_model(tiny_model_path)
    (row,) = pd.read_csv(out, sep="\t", na_values=["n/a"]).to_dict("records")
    assert (row["scan"], row["subject"]) == ("sub-07_T1w.nii.gz", "sub-07")
    assert row["sha256"] == hashlib.sha256(scan.read_bytes()).hexdigest()
    found, seen = model.detect(scan, device="cpu"), model.encode(scan, device="cpu")
    assert row["scan_score"] == pytest.approx(found.scan_score, rel=1e-5)
    assert row["scan_p"] == pytest.approx(found.scan_p, rel=1e-5)
    assert row["latent_distance"] == pytest.approx(found.provenance["latent_distance"], abs=1e-3)
    means = [row[f"mean_{n}"] for n in range(1, 9)]
    np.testing.assert_allclose(means, seen.mean, rtol=1e-4, atol=1e-5)
    variances = [row[f"variance_{n}"] for n in range(1, 9)]
    np.testing.assert_allclose(variances, seen.variance, rtol=1e-4, atol=1e-5)
    assert "mean_9" not in row
    record = json.loads((tmp_path / "latents.json").read_text())
    assert record["model"]["sha256"] == model.digest
    assert record["latents"] == {"count": 8, "level": "global"}
    assert record["device"] == "cpu"
    assert record["scans"] == {"listed": 1, "encoded": 1, "remembered": 0}
    assert {"created_utc", "versions", "parameters", "notice", "columns"} <= set(record)
    assert str(tmp_path) not in out.read_text() + json.dumps(record)


def test_a_bad_scan_is_a_line_and_a_row_without_figures(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    out = tmp_path / "latents.tsv"
    listed = f"{tmp_path / 'missing.nii.gz'}\n{scan}\n"
    result = run("-", "--out", out, "--model", tiny_model_path, "--json", code=1, stdin=listed)
    assert result.stderr.startswith("[NIF-001] missing.nii.gz")
    bad, good = map(json.loads, result.stdout.splitlines())
    assert (bad["scan"], bad["code"]) == ("missing.nii.gz", "NIF-001")
    assert len(good["mean"]) == len(good["variance"]) == 8
    table = pd.read_csv(out, sep="\t", na_values=["n/a"])
    assert list(table.scan) == ["missing.nii.gz", scan.name]
    assert table.error[0].startswith("[NIF-001]")
    assert table.mean_1.isna().tolist() == [True, False]


def test_what_was_encoded_before_is_remembered_for_the_same_way_of_reading(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    image = nib.load(scan)
    series = tmp_path / "series.nii.gz"
    data = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(np.stack([data, data * 0], axis=-1), image.affine), series)
    out, model = tmp_path / "latents.tsv", ("--model", tiny_model_path)
    tables = []
    for remembered in (0, 1):
        run(series, "--volume", 0, "--out", out, *model, "--quiet")
        record = json.loads((tmp_path / "latents.json").read_text())
        assert record["scans"]["remembered"] == remembered
        tables.append(out.read_bytes())
    assert tables[0] == tables[1]
    assert "--volume" in run(series, "--out", out, *model, code=1).stderr, "no volume was chosen"


def test_a_model_without_one_vector_for_a_scan_is_refused(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    model = load_model(tiny_model_path)
    model.posterior = type(model.posterior)(
        np.zeros((2, 3, 3, 3), np.float32), np.ones((2, 3, 3, 3), np.float32)
    )
    with pytest.raises(ModelFileError, match=r"MOD-007.*Nothing was encoded"):
        next(encode_scans(model, [scan]))


def test_the_table_needs_its_ending_and_its_place(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    assert ".tsv" in run(scan, "--out", tmp_path / "latents.csv", code=2).stderr
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "latents.tsv"
    assert "[OUT-002]" in run(scan, "--out", out, "--model", tiny_model_path, code=1).stderr
