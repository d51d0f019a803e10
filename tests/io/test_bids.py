"""A review as a BIDS derivatives dataset, judged by the official validator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_normative.errors import OutputError
from napari_normative.io.bids import BidsCase, write_bids
from napari_normative.io.labelfile import read_labels
from napari_normative.io.lookup import COLUMNS
from regions import GRIDS, assert_same, regions

PROVENANCE = {
    "software": "napari-normative 9.9",
    "model_digest": "ab" * 32,
    "threshold_z": 5.75,
    "reader": "reader-1a2b3c4d",
    "created_utc": "2026-01-02T03:04:05.678+00:00",
}


def case(subject: str = "case001", grid: str = "LAS", **provenance: object) -> BidsCase:
    labels, segments = regions(GRIDS[grid])
    return BidsCase(subject, labels, tuple(segments), {**PROVENANCE, **provenance})


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def issues(folder: Path, tmp_path: Path) -> dict[str, set[str]]:
    """What the validator finds, by severity."""
    beside = Path(sys.executable).with_name("bids-validator-deno")
    program = str(beside) if beside.exists() else shutil.which("bids-validator-deno")
    if program is None:
        pytest.skip("the BIDS validator is not installed (pip install bids-validator-deno)")
    done = subprocess.run(
        [program, str(folder), "--format", "json"],
        capture_output=True, text=True, env={**os.environ, "DENO_DIR": str(tmp_path / "deno")},
    )  # fmt: skip
    found: dict[str, set[str]] = {"error": set(), "warning": set()}
    for issue in json.loads(done.stdout)["issues"]["issues"]:
        found[issue["severity"]].add(issue["code"])
    return found


def test_the_official_validator_finds_no_error(tmp_path):
    cases = [case(f"case00{n}", grid) for n, grid in enumerate(GRIDS, start=1)]
    cases.append(BidsCase("empty", cases[0].labels.with_data(cases[0].labels.data * 0), (), {}))
    folder = write_bids(tmp_path / "review", cases)
    # authors are for the person who shares it to add
    assert issues(folder, tmp_path) == {"error": set(), "warning": {"TOO_FEW_AUTHORS"}}
    (folder / "sub-case001" / "anat" / "sub-case001_desc-anomaly_dseg.tsv").write_text("index\n1\n")
    (folder / "desc-anomaly_dseg.json").unlink()
    assert "TSV_COLUMN_MISSING" in issues(folder, tmp_path)["error"], "it does look"
    assert "TSV_ADDITIONAL_COLUMNS_UNDEFINED" in issues(folder, tmp_path)["warning"]


@pytest.mark.parametrize("grid", GRIDS)
def test_labels_lie_where_they_lay_and_mean_what_they_meant(tmp_path, grid):
    made = case(grid=grid)
    anat = write_bids(tmp_path / "d", [made]) / "sub-case001" / "anat"
    assert sorted(path.name for path in anat.iterdir()) == [
        f"sub-case001_desc-anomaly_dseg.{ending}" for ending in ("json", "nii.gz", "tsv")
    ]
    path, table = (anat / f"sub-case001_desc-anomaly_dseg.{e}" for e in ("nii.gz", "tsv"))
    found, meanings = read_labels(path, table)
    np.testing.assert_array_equal(found.data, made.labels.data)
    np.testing.assert_allclose(found.corners_mm(), made.labels.corners_mm(), atol=1e-3)
    np.testing.assert_allclose(nib.load(path).affine, made.labels.affine, atol=1e-4)
    assert_same(meanings, list(made.segments))


def test_what_the_dataset_says_of_itself(tmp_path):
    files = content(write_bids(tmp_path / "d", [case(scan="/home/jane/doe.nii.gz")]))
    sidecar = json.loads(files["sub-case001/anat/sub-case001_desc-anomaly_dseg.json"])
    assert sidecar == {
        "Description": "Candidates of a normative model, judged by a reader.",
        "Notice": "Research use only, not for diagnosis.",
        "SpatialReference": "orig",
        "Software": "napari-normative 9.9",
        "ModelDigest": "ab" * 32,
        "ThresholdZ": 5.75,
        "Reader": "reader-1a2b3c4d",
        "CreatedUTC": "2026-01-02T03:04:05.678+00:00",
    }
    description = json.loads(files["dataset_description.json"])
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "napari-normative"
    assert list(json.loads(files["desc-anomaly_dseg.json"])) == list(COLUMNS)[3:]
    assert b"Research use only, not for diagnosis." in files["README.md"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("reader", "Jane Roe"),
        ("reader", "reader-jane"),
        ("model_digest", "/home/jane/model.safetensors"),
        ("software", "C:\\Users\\jane\\n.exe"),
        ("created_utc", "yesterday, by Jane"),
        ("threshold_z", "five"),
    ],
)
def test_a_value_that_could_tell_who_it_was_is_not_written(tmp_path, key, value):
    with pytest.raises(ValueError, match=key) as caught:
        write_bids(tmp_path / "d", [case(**{key: value})])
    assert value not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("subject", ["case-001", "", "../x", "a b", "é", "sub_1", "x" * 65])
def test_subject_codes_are_letters_and_digits(tmp_path, subject):
    with pytest.raises(OutputError, match="OUT-031"):
        write_bids(tmp_path / "d", [case(), case(subject)])
    assert list(tmp_path.iterdir()) == []


def test_two_cases_with_one_code_and_none_at_all(tmp_path):
    for cases in ([case("case1"), case("Case1")], []):  # some disks do not tell A from a
        with pytest.raises(OutputError, match="OUT-031"):
            write_bids(tmp_path / "d", cases)
    assert list(tmp_path.iterdir()) == []


def test_equal_reviews_give_equal_bytes(tmp_path):
    first = content(write_bids(tmp_path / "a", [case("one"), case("two", "oblique")]))
    second = content(write_bids(tmp_path / "b", [case("one"), case("two", "oblique")]))
    assert first == second


def test_a_new_export_replaces_the_old_one_as_a_whole(tmp_path):
    write_bids(tmp_path / "d", [case(threshold_z=4)])
    before = content(tmp_path / "d")
    with pytest.raises(ValueError, match="reader"):
        write_bids(tmp_path / "d", [case(), case("case002", reader="Jane")])
    assert content(tmp_path / "d") == before
    after = content(write_bids(tmp_path / "d", [case(threshold_z=5)]))
    assert after.keys() == before.keys()
    assert after != before


def test_files_of_others_are_never_lost(tmp_path):
    folder = write_bids(tmp_path / "d", [case()])
    note = folder / "sub-case001" / "anat" / "notes.txt"
    note.write_text("mine")
    with pytest.raises(OutputError, match=r"OUT-010.*notes\.txt"):
        write_bids(folder, [case()])
    assert note.read_text() == "mine"
    raw = tmp_path / "raw"  # the beginning of somebody's own dataset
    raw.mkdir()
    (raw / "dataset_description.json").write_text("{}")
    (raw / "README.md").write_text("years")
    before = content(raw)
    with pytest.raises(OutputError, match="OUT-010"):
        write_bids(raw, [case()])
    assert content(raw) == before
