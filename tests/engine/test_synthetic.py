"""Sets of synthetic volumes: equal for a seed, gone on with, labelled, and compared with people."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from napari_normative.engine import recipes
from napari_normative.engine.draws import interpolation, posterior_draws, prior_draws
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.synthetic import augment
from napari_normative.errors import CancelledError, GenerationError
from napari_normative.io.bids_dataset import find_scans, read_participants
from napari_normative.io.nifti import read_volume
from phantoms import phantom

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    return NormativeModel.load(tiny_model_path)


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of a set, but the one with the time of day."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in {"synthetic.json", ".lock"}
    }


def test_the_volumes_are_those_of_sample_and_each_says_what_it_is(
    model: NormativeModel, tmp_path: Path
) -> None:
    made = model.augment(3, tmp_path / "set", seed=5, temperature=0.8, **CPU)
    assert (made.made, made.found) == (3, 0)
    drawn = prior_draws(model, 3, seed=5, temperature=0.8, device="cpu")
    for number, (path, volume) in enumerate(zip(made.files, drawn, strict=True), start=1):
        read = read_volume(path)
        np.testing.assert_array_equal(read.data, volume.data)
        assert read.same_grid(volume)
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_bytes())
        assert sidecar["Synthetic"] is True
        assert sidecar["ModelDigest"] == model.digest
        assert (sidecar["Kind"], sidecar["Seed"], sidecar["Number"]) == ("prior", 5, number)
        assert sidecar["Scans"] == []
        assert "not for diagnosis" in sidecar["Notice"]
    found = find_scans(tmp_path / "set")
    assert [scan.subject for scan in found] == ["synth0001", "synth0002", "synth0003"]
    people = read_participants(tmp_path / "set")
    assert people is not None
    assert set(people["synthetic"]) == {"true"}
    about = json.loads((tmp_path / "set" / "dataset_description.json").read_bytes())
    assert about["DatasetType"] == "derivative"
    assert about["License"] == model.card.license


def test_a_seed_gives_the_same_bytes_whether_at_once_or_in_parts(
    model: NormativeModel, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    augment(model, 4, whole, seed=1, **CPU)
    asked = iter([False, False, True])
    with pytest.raises(CancelledError):
        augment(model, 3, parts, seed=1, cancel=lambda: next(asked, True), **CPU)
    assert augment(model, 3, parts, seed=1, **CPU).found == 2
    lost = parts / "sub-synth0002" / "anat" / "sub-synth0002_desc-synthetic_T1w.nii.gz"
    lost.write_bytes(lost.read_bytes()[:-9])
    (lost.parent / ".0123.part").write_bytes(b"of a killed run")
    again = augment(model, 4, parts, seed=1, **CPU)
    assert (again.made, again.found) == (2, 2), "the damaged one and the new one"
    assert content(parts) == content(whole)
    other = tmp_path / "other"
    augment(model, 1, other, seed=2, **CPU)
    first = "sub-synth0001/anat/sub-synth0001_desc-synthetic_T1w.nii.gz"
    assert content(other)[first] != content(whole)[first]


def test_around_a_scan_volumes_lie_on_its_grid_and_name_it_by_digest(
    model: NormativeModel, tmp_path: Path
) -> None:
    scan = phantom(7)
    made = model.augment(2, tmp_path / "set", around=scan, seed=3, **CPU)
    drawn = posterior_draws(model, scan, 2, seed=3, device="cpu")
    for path, volume in zip(made.files, drawn, strict=True):
        read = read_volume(path)
        assert read.same_grid(scan)
        np.testing.assert_array_equal(read.data, volume.data)
    assert made.record["scans"] == [{"sha256": scan.source.digest}]
    assert "phantom-7" not in (tmp_path / "set" / "synthetic.json").read_text()


def test_between_two_scans_the_ends_are_left_out(model: NormativeModel, tmp_path: Path) -> None:
    first, second = phantom(7), phantom(8)
    made = model.augment(2, tmp_path / "set", between=(first, second), **CPU)
    steps = interpolation(model, first, second, 4, device="cpu").volumes
    for path, step in zip(made.files, steps[1:-1], strict=True):
        np.testing.assert_array_equal(read_volume(path).data, step.data)
    assert [s["sha256"] for s in made.record["scans"]] == [
        first.source.digest, second.source.digest
    ]  # fmt: skip


def test_like_a_group_draws_lie_about_that_group(
    model: NormativeModel, tmp_path: Path, phantom_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(recipes, "LEAST_GROUP", 3)
    paths = sorted(phantom_cohort.glob("*.nii.gz"))[:4]
    rows = [f"{p}\t{'F' if n < 3 else 'M'}" for n, p in enumerate(paths)]
    table = tmp_path / "people.tsv"
    table.write_text("path\tsex\n" + "\n".join(rows) + "\n")
    made = model.augment(2, tmp_path / "set", like="sex=F", cohort=table, temperature=0.0, **CPU)
    means = [model.encode(p, device="cpu").mean for p in paths[:3]]
    middle = model.decode(np.mean(means, axis=0), device="cpu").data
    np.testing.assert_allclose(read_volume(made.files[0]).data, middle, atol=2e-3)
    assert (made.record["like"], made.record["people"]) == ("sex=F", 3)
    for like, code in (("sex=M", "GEN-007"), ("sex=X", "GEN-006"), ("age=3", "GEN-006")):
        with pytest.raises(GenerationError, match=code):
            model.augment(2, tmp_path / "none", like=like, cohort=table, **CPU)
    assert not (tmp_path / "none").exists()


def test_a_folder_holds_one_set(model: NormativeModel, tmp_path: Path) -> None:
    out = tmp_path / "set"
    augment(model, 2, out, seed=1, **CPU)
    before = content(out)
    with pytest.raises(GenerationError, match="GEN-002"):
        augment(model, 2, out, seed=2, **CPU)
    with pytest.raises(GenerationError, match=r"GEN-003.*holds 2"):
        augment(model, 1, out, seed=1, **CPU)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("all of it")
    with pytest.raises(GenerationError, match="GEN-002"):
        augment(model, 2, foreign, **CPU)
    with pytest.raises(GenerationError, match="GEN-001"):
        augment(model, 2, tmp_path / "x", around=phantom(1), like="sex=F", cohort="t.tsv", **CPU)
    assert content(out) == before
    assert [p.name for p in foreign.iterdir()] == ["thesis.txt"]


def test_the_report_compares_with_the_people_it_is_given_and_knows_the_models_own(
    model: NormativeModel, tmp_path: Path, phantom_cohort: Path
) -> None:
    out, table = tmp_path / "set", tmp_path / "people.tsv"
    paths = sorted(phantom_cohort.glob("*.nii.gz"))[:9]
    table.write_text("path\n" + "\n".join(map(str, paths)) + "\n")
    made = model.augment(12, out, seed=1, compare_with=table, **CPU)
    quality = made.quality
    assert quality is not None
    assert (quality["samples_compared"], quality["real_people"]) == (12, 9)
    stored = json.loads((out / "quality.json").read_bytes())
    assert stored["figures"] == json.loads(json.dumps(quality["figures"]))
    figures = {row["figure"]: row for row in quality["figures"]}
    assert abs(figures["MMD²"]["real"]) < 0.2
    tests = {test["test"]: test for test in quality["tests"]}
    assert tests["latents"]["real_scans_of_the_models_people"] >= 7  # all but test people
    assert tests["latents"]["training_people"] >= 8
    table = pd.read_csv(out / "quality.tsv", sep="\t")
    assert list(table["participant_id"])[:2] == ["sub-synth0001", "sub-synth0002"]
    nearest = figures["median distance to the nearest real scan"]["samples"]
    assert table["nearest_distance"].median() == pytest.approx(nearest, rel=1e-5)
    assert set(table["nearest_sha256"]) <= {
        read_volume(p).source.digest for p in phantom_cohort.iterdir()
    }
    page = (out / "quality.html").read_text()
    assert "12 synthetic volumes beside 9 real people" in page
    assert "sub-00" not in page
    with pytest.raises(GenerationError, match="GEN-008"):
        model.augment(12, out, seed=1, compare_with=paths[0], **CPU)


def test_the_header_tells_nothing_of_the_machine(model: NormativeModel, tmp_path: Path) -> None:
    made = model.augment(1, tmp_path / "set", **CPU)
    header = nib.load(made.files[0]).header
    assert bytes(header["descrip"]).strip(b"\0") == b""
    for path in (tmp_path / "set").rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
