"""The commands ``review …`` as a person types them."""

from __future__ import annotations

import json
import shutil
import sqlite3

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_normative.cli import app
from napari_normative.io.nifti import write_volume
from napari_normative.review.assign import Plan
from napari_normative.review.book import Book
from napari_normative.review.create import create_reviews
from phantoms import phantom
from reviewed import decide_all, material, write_detection


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    made = material(root, 4)
    files = create_reviews(root / "study", ["anna", "ben"], made, Plan(title="strokes"))
    decide_all(files[0], lambda c, again: "accept" if "c1" in c else "reject", submit=True)
    decide_all(files[1], lambda c, again: "reject" if "c3" in c else "accept")
    return root


@pytest.fixture
def study(base, tmp_path):
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    return tmp_path / "study"


def test_a_review_is_made_of_detections(tmp_path):
    for n in range(3):
        write_detection(tmp_path, f"sub-{n:02d}_T1w")
    (tmp_path / "scans/sub-02_T1w.nii.gz").unlink()
    words = ["review", "create", tmp_path / "detections", "--scans", tmp_path / "scans"]
    words += ["--out", tmp_path / "study", "--reader", "anna", "--reader", "ben"]
    result = run(*words, code=1)  # one scan is missing, and said; the others are there
    assert "REV-031] sub-02_T1w" in result.stderr
    assert "2 scans with 6 candidates: " in result.stdout
    assert "Research use only" in result.stdout
    with Book.open(tmp_path / "study/anna.review", read_only=True) as book:
        assert book.project.title == "study" and book.project.blind
    run(*words, code=1)  # a second time would replace what was decided
    result = run("review", "create", "--add", "--out", tmp_path / "study", "--reader", "carla")
    assert "carla.review" in result.stdout


def test_a_review_is_made_of_scans_which_are_compared_first(tmp_path, tiny_model_path):
    for n, ml in enumerate((0.0, 12.0)):
        write_volume(tmp_path / "scans" / f"sub-{n}_T1w.nii.gz", phantom(n + 7, lesion_ml=ml))
    (tmp_path / "scans" / "broken.nii.gz").write_bytes(b"no volume")
    listed = tmp_path / "list.txt"
    listed.write_text("sub-1_T1w\n")
    result = run(
        "review", "create", tmp_path / "scans", "--out", tmp_path / "study", "--reader", "anna",
        "--model", tiny_model_path, "--device", "cpu", "--order", "list", "--list", listed,
        "--labels", "infarct, other", "--no-blind", "--repeats", "0", "--json", code=1,
    )  # fmt: skip
    assert "broken.nii.gz" in result.stderr
    *failures, facts = map(json.loads, result.stdout.splitlines())
    assert [f["scan"] for f in failures] == ["broken.nii.gz"]
    assert facts["scans"] == 2 and len(facts["refused"]) == 1
    with Book.open(facts["files"][0], read_only=True) as book:
        assert [a.image for a in book.project.assignments] == ["case-002"]
        assert book.project.labels == ("infarct", "other") and not book.project.blind
        assert book.project.candidates
    assert (tmp_path / "study/detections/sub-1_T1w/detection.json").is_file()


def test_status_counts_and_reports_what_was_tampered_with(study):
    result = run("review", "status", study)
    assert "anna.review: strokes, anna (reader, reader-" in result.stdout
    assert "15 of 15 candidates decided, 5 of 5 scans done" in result.stdout
    assert "submitted" in result.stdout and result.stdout.count("intact") == 2
    connection = sqlite3.connect(study / "ben.review")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("UPDATE event SET action = 'uncertain' WHERE number = 3")
    connection.commit()
    connection.close()
    result = run("review", "status", study, "--json", code=1)
    lines = result.stdout.splitlines() + result.stderr.splitlines()
    assert any("anna" in line and '"problems": []' in line for line in lines)
    assert any("vent 3" in line for line in lines if "anna" not in line)


def test_export_says_what_it_wrote_and_leaves_out_what_is_not_done(study, tmp_path):
    result = run("review", "export", study / "anna.review", "--out", tmp_path / "out")
    assert "4 scans -> " in result.stdout
    labels = np.asarray(nib.load(tmp_path / "out/case-001_findings.nii.gz").dataobj)
    assert set(np.unique(labels)) == {0, 1}
    for format in ("bids", "tables", "slicer", "masks", "cases"):
        run("review", "export", study / "anna.review", "--out", tmp_path / format, "--format",
            format, "--quiet")  # fmt: skip
        assert any((tmp_path / format).iterdir())


def test_dicom_without_the_source_series_is_refused(study, tmp_path):
    result = run(
        "review", "export", study / "anna.review", "--out", tmp_path / "out", "--format", "dicom",
        code=1,
    )  # fmt: skip
    assert "[DCM-001]" in result.stderr and not (tmp_path / "out").exists()


def test_masks_come_back(study, tmp_path):
    run("review", "export", study / "ben.review", "--out", tmp_path / "out", "--quiet")
    path = tmp_path / "out/case-002_findings.nii.gz"
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    data[data == 1] = 0
    data[1:3, 1:3, 1:3] = 1
    nib.save(nib.Nifti1Image(data, image.affine), path)
    result = run("review", "import", study / "ben.review", "case-002", path)
    assert result.stdout == "case-002: 1 mask changed or added.\n"


def test_readers_are_compared_and_an_adjudicator_gets_the_disputed(study, tmp_path):
    result = run("review", "agreement", study, "--out", tmp_path / "agreement")
    assert "Cohen's kappa" in result.stdout and "4 of 12 candidates are disputed" in result.stdout
    assert (tmp_path / "agreement/agreement.html").is_file()
    assert "anna" not in (tmp_path / "agreement/disagreements.tsv").read_text()
    again = run("review", "agreement", study / "anna.review")
    assert "first look, second look" in again.stdout
    out = tmp_path / "elsewhere" / "adjudication.review"
    result = run("review", "merge", study, "--out", out, "--reader", "carla")
    assert "4 of 12 candidates in 4 scans are for carla to decide" in result.stdout
    decide_all(out, lambda c, again: "accept")
    run("review", "export", out, "--out", tmp_path / "final")  # its paths lead to the scans
    labels = np.asarray(nib.load(tmp_path / "final/case-001_findings.nii.gz").dataobj)
    assert set(np.unique(labels)) == {0, 1, 2}  # agreed, and adjudicated


def test_every_answer_is_an_object_for_programs_and_nothing_when_quiet(study, tmp_path):
    def facts(*words):
        (line,) = run("review", *words, "--json").stdout.splitlines()
        return json.loads(line)

    assert facts("status", study / "anna.review")["problems"] == []
    assert facts("export", study / "ben.review", "--out", tmp_path / "out")["cases"] == 4
    labels = tmp_path / "out/case-002_findings.nii.gz"
    assert facts("import", study / "ben.review", "case-002", labels)["masks"] == 0
    agreement = facts("agreement", study)
    assert (agreement["disputed"], agreement["candidates"]) == (4, 12)
    assert any(row["value"] is not None for row in agreement["figures"])
    merged = facts("merge", study, "--out", tmp_path / "m.review", "--reader", "carla")
    assert (merged["disputed"], merged["scans"]) == (4, 4)
    assert run("review", "status", study, "--quiet").output == ""
    assert run("review", "agreement", study, "--quiet").output == ""


def test_wrong_usage_and_wrong_files_are_one_line(tmp_path):
    (tmp_path / "x.review").write_text("no review")
    result = run("review", "status", tmp_path / "x.review", code=1)
    assert "[REV-002] x.review" in result.stderr and "Traceback" not in result.output
    run("review", "create", "--out", tmp_path, "--reader", "a", code=2)
    run("review", "create", tmp_path, "--out", tmp_path, "--reader", "a", "--order", "list", code=2)
    result = run("review", "merge", tmp_path, "--out", tmp_path / "a", "--reader", "x", code=1)
