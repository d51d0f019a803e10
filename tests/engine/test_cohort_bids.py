"""A BIDS dataset in, a BIDS derivatives dataset out, judged by the official validator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from napari_normative.engine.cluster import Shard, run_cohort
from napari_normative.engine.cohort_scans import list_scans
from napari_normative.errors import ClusterError, CohortError
from napari_normative.io.nifti import read_volume, write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model

IMAGES = (
    "sub-01/ses-a/anat/sub-01_ses-a_run-1_T1w.nii.gz",
    "sub-01/ses-a/anat/sub-01_ses-a_run-2_T1w.nii.gz",
    "sub-02/anat/sub-02_T1w.nii.gz",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bids") / "study"
    for n, name in enumerate(IMAGES):
        lesion = 20.0 if "sub-02" in name else 0.0
        write_volume(root / name, phantom(30 + n, spacing_mm=6.0, lesion_ml=lesion))
    write_volume(root / "sub-02" / "anat" / "sub-02_FLAIR.nii.gz", phantom(35, spacing_mm=8.0))
    write_volume(root / "sub-02" / "anat" / "._sub-02_T1w.nii.gz", phantom(35, spacing_mm=8.0))
    write_volume(root / "derivatives" / "other" / IMAGES[2], phantom(35, spacing_mm=8.0))
    (root / "participants.tsv").write_text(
        "participant_id\tage\tsite\nsub-02\t44\tsouth\nsub-01\tn/a\tnorth\n"
    )
    facts = {"Name": "Study", "BIDSVersion": "1.10.0", "DatasetDOI": "doi:10.1234/study"}
    (root / "dataset_description.json").write_text(json.dumps(facts))
    return root


@pytest.fixture(scope="module")
def derived(dataset: Path, tiny_model_path: Path) -> Path:
    out = dataset / "derivatives" / "normative"
    found = list(run_cohort(tiny_model_path, dataset, out, bids=True, workers=1, device="cpu"))
    assert [o.state for o in found] == ["done"] * 3
    return out


def issues(folder: Path, tmp_path: Path) -> dict[str, set[str]]:
    """What the validator finds, by severity."""
    beside = Path(sys.executable).with_name("bids-validator-deno")
    program = str(beside) if beside.exists() else shutil.which("bids-validator-deno")
    if program is None:
        pytest.skip("the BIDS validator is not installed (pip install bids-validator-deno)")
    environment = {**os.environ, "DENO_DIR": str(tmp_path / "deno")}
    program_line = [program, str(folder), "--format", "json"]
    done = subprocess.run(program_line, capture_output=True, text=True, env=environment)
    found: dict[str, set[str]] = {"error": set(), "warning": set()}
    for issue in json.loads(done.stdout)["issues"]["issues"]:
        found[issue["severity"]].add(issue["code"])
    return found


def test_subjects_sessions_and_participants_are_those_of_the_dataset(dataset: Path) -> None:
    found = list_scans(dataset, leave_out=dataset / "derivatives")
    assert [(s.subject, s.session, s.site) for s in found.scans] == [
        ("01", "a", "north"), ("01", "a", "north"), ("02", "", "south"),
    ]  # fmt: skip
    assert found.more.to_dict("list") == {"age": ["", "", "44"]}
    assert [s.name for s in list_scans(dataset, leave_out=dataset, suffix="FLAIR").scans] == [
        "sub-02_FLAIR"
    ]
    with pytest.raises(CohortError, match=r"COH-008.*_T2w"):
        list_scans(dataset, leave_out=dataset, suffix="T2w")


def test_a_person_twice_in_participants_is_refused(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset / "sub-02", tmp_path / "sub-02")
    shutil.copy(dataset / "dataset_description.json", tmp_path)
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-02\t1\nsub-02\t2\n")
    with pytest.raises(CohortError, match=r"COH-009.*two rows for sub-02"):
        list_scans(tmp_path, leave_out=tmp_path / "o")


def test_images_of_a_session_belong_to_one_shard(dataset: Path) -> None:
    scans = list_scans(dataset, leave_out=dataset / "derivatives").scans
    for count in range(2, 20):
        homes = {
            s.name: [i for i in range(1, count + 1) if s.within(Shard(i, count))] for s in scans
        }
        assert homes["sub-01_ses-a_run-1_T1w"] == homes["sub-01_ses-a_run-2_T1w"]
        assert all(len(home) == 1 for home in homes.values())


def test_the_official_validator_finds_no_error(derived: Path, tmp_path: Path) -> None:
    # authors are for the person who shares it to add
    assert issues(derived, tmp_path) == {"error": set(), "warning": {"TOO_FEW_AUTHORS"}}
    copy = tmp_path / "copy"
    shutil.copytree(derived, copy)
    (copy / ".bidsignore").unlink()
    assert "NOT_INCLUDED" in issues(copy, tmp_path)["error"], "it does look"


def test_files_are_named_after_the_image_and_lie_on_its_grid(dataset: Path, derived: Path) -> None:
    anat = derived / "sub-02" / "anat"
    assert sorted(p.name for p in anat.iterdir()) == sorted(
        f"sub-02_desc-{name}"
        for name in (
            "anomaly_dseg.json", "anomaly_dseg.nii.gz", "anomaly_dseg.tsv",
            *(f"{map_}_T1w.{end}" for end in ("json", "nii.gz")
              for map_ in ("reconstruction", "residual", "anomalyz", "anomalyp")),
        )
    )  # fmt: skip
    image = nib.load(dataset / IMAGES[2])
    for path in anat.glob("*.nii.gz"):
        assert nib.load(path).shape == image.shape
        assert np.allclose(nib.load(path).affine, image.affine)
    labels = read_volume(anat / "sub-02_desc-anomaly_dseg.nii.gz")
    rows = pd.read_csv(anat / "sub-02_desc-anomaly_dseg.tsv", sep="\t")
    assert set(np.unique(labels.data)) - {0} == set(rows["index"])
    strongest = rows.loc[rows["rank"] == 1].iloc[0]
    ml = float((labels.data == strongest["index"]).sum()) * labels.voxel_ml
    assert strongest["volume_ml"] == pytest.approx(ml, rel=1e-3)
    assert strongest["sign"] == -1, "the lesion is darker"
    words = json.loads((derived / "desc-anomaly_dseg.json").read_text())
    assert set(rows.columns) == {"index", "name", "color", *words}


def test_a_sidecar_holds_what_made_it_and_no_path(dataset: Path, derived: Path) -> None:
    anat = derived / "sub-01" / "ses-a" / "anat"
    for run in (1, 2):
        sidecar = json.loads((anat / f"sub-01_ses-a_run-{run}_desc-anomaly_dseg.json").read_text())
        record = sidecar["Detection"]
        assert record["model"]["sha256"] == sidecar["ModelDigest"]
        assert len(record["cohort"]["identity"]) == 64
        assert sidecar["Notice"] == "Research use only, not for diagnosis."
    description = json.loads((derived / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "napari-normative"
    assert description["SourceDatasets"] == [{"URL": "../..", "DOI": "doi:10.1234/study"}]
    for path in derived.rglob("*"):
        if path.suffix in {".json", ".jsonl", ".tsv", ".md", ".html"}:
            assert str(dataset.parent) not in path.read_text(encoding="utf-8"), path.name


def test_a_second_run_redoes_only_an_image_that_changed(
    dataset: Path, derived: Path, tiny_model_path: Path
) -> None:
    again = {"bids": True, "workers": 1, "device": "cpu"}
    assert list(run_cohort(tiny_model_path, dataset, derived, **again)) == []
    (derived / "sub-02" / "anat" / ".0123.part").write_text("left by a killed process")
    (derived / "sub-02" / "anat" / "sub-02_desc-anomaly_dseg.json").unlink()  # the record
    (found,) = run_cohort(tiny_model_path, dataset, derived, **again)
    assert (found.scan.name, found.computed) == ("sub-02_T1w", True)
    assert not list(derived.rglob(".*.part"))
    assert (found.folder / "sub-02_desc-anomaly_dseg.json").exists()


def test_no_other_dataset_or_results_are_written_over(
    dataset: Path, derived: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    before = (dataset / "dataset_description.json").read_bytes()
    with pytest.raises(ClusterError, match="CLU-009"):
        list(run_cohort(tiny_model_path, dataset, dataset, bids=True))
    assert (dataset / "dataset_description.json").read_bytes() == before
    with pytest.raises(ClusterError, match="CLU-009"):
        list(run_cohort(tiny_model_path, dataset, derived))
