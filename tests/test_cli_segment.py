"""``segment`` and ``review train-head`` from the outside, on phantoms with a lesion."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from napari_normative.cli import app
from napari_normative.core.candidates import Candidate
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.io.nifti import read_volume, write_volume
from napari_normative.review.assign import Plan
from napari_normative.review.book import Book
from napari_normative.review.create import create_reviews
from napari_normative.review.material import find_detections, gather
from napari_normative.review.reviewed import reviewed_scans
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model

PLACES = {1: (-38.0, 15.0, 15.0), 2: (30.0, -20.0, 30.0)}
"""A dark lesion, and a place that is healthy; world mm."""


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    return load_model(tiny_model_path)


@pytest.fixture(scope="module")
def study(model: NormativeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Detections of seven people with two candidates each, and a review of them by Anna."""
    root = tmp_path_factory.mktemp("study")
    for n in range(7):
        name = f"sub-{n:02d}_T1w"
        path = write_volume(root / "scans" / f"{name}.nii.gz", phantom(70 + n, lesion_ml=30))
        scan = read_volume(path)
        index = np.indices(scan.shape).reshape(3, -1).T
        world = index @ scan.affine[:3, :3].T + scan.affine[:3, 3]
        labels, found = np.zeros(scan.shape, np.float32), []
        for label, place in PLACES.items():
            labels[(((world - place) ** 2).sum(1) < 15**2).reshape(scan.shape)] = label
            found.append(
                Candidate(f"c{label}", label, label, -1, -9.0, -6.0, 3e3, place, ((0, 1),) * 3, 0.2)
            )
        made = dataclasses.replace(
            model.detect(scan, device="cpu"),
            candidate_labels=scan.with_data(labels, is_label=True),
            candidates=tuple(found),
        )
        made.save(root / "detections" / name)
    listed, alone = find_detections(root / "detections", [root / "scans"])
    create_reviews(
        root / "study", ["anna"], gather(listed, root / "study", refused=alone), Plan(repeats=0)
    )
    return root


def review_of(study: Path) -> Path:
    return next((study / "study").glob("*.review"))


def test_scans_are_segmented_one_by_one_and_a_bad_one_is_a_line(
    study: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    good, bad = study / "scans" / "sub-00_T1w.nii.gz", tmp_path / "bad.nii.gz"
    out = tmp_path / "out"
    made = run(
        "segment", good, bad, "--model", tiny_model_path, "--out", out, "--rate", 0.9, "--json",
        "--device", "cpu", code=1,
    )  # fmt: skip
    first, second = (json.loads(line) for line in made.stdout.splitlines())
    assert first["scan"] == good.name
    assert first["kept"] == len([row for row in first["table"] if row["kept"]]) >= 1
    assert first["table"][0]["place"].startswith("left")
    assert second["code"].startswith("NIF-")
    labels = read_volume(out / "sub-00_T1w" / "segmentation.nii.gz")
    assert labels.same_grid(read_volume(good))
    assert len(np.unique(labels.data)) == first["kept"] + 1
    said = run("segment", good, "--model", tiny_model_path, "--out", out, "--device", "cpu").stdout
    assert "candidates kept" in said
    assert "as found" in said


def test_a_rule_that_few_people_cannot_tell_is_refused_before_any_scan(
    study: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    made = run(
        "segment", study / "scans", "--model", tiny_model_path, "--out", tmp_path / "out",
        "--fdr", 0.001, code=1,
    )  # fmt: skip
    assert "SEG-001" in made.stderr
    assert not (tmp_path / "out").exists()


def test_a_review_teaches_a_head_which_segment_uses(
    study: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    review, head = review_of(study), tmp_path / "head.safetensors"
    common = ("--model", tiny_model_path, "--device", "cpu")
    early = run("review", "train-head", review, "--out", head, *common, code=1)
    assert "SEG-002" in early.stderr
    assert "No head was trained" in early.stderr
    with Book.open(review) as book:
        signs = {c.id: c.value for c in book.project.candidates}
        for read in book.reads():
            book.decide(read, "accept" if signs[read.candidate] == 1 else "reject")
    found = list(reviewed_scans([review]))
    assert [scan.accepted for scan in found] == [{1: True, 2: False}] * 7
    assert len({scan.person for scan in found}) == 7
    made = json.loads(run("review", "train-head", review, "--out", head, "--json", *common).stdout)
    assert (made["people"], made["accepted"], made["rejected"]) == (7, 7, 7)
    assert made["figures"]["candidate_auroc"] == 1.0
    facts = json.loads(
        run(
            "segment", study / "scans" / "sub-03_T1w.nii.gz", "--out", tmp_path / "out",
            "--head", head, "--json", *common,
        ).stdout
    )  # fmt: skip
    assert facts["rule"]["head_sha256"] == made["head_sha256"]
    assert facts["table"][0]["head"] > 0.5
