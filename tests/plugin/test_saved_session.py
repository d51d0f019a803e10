"""A saved session is small, says nothing private, and brings everything back, or says what not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel

import napari_normative as nn
from napari_normative.engine.model import NormativeModel
from napari_normative.errors import SessionError
from napari_normative.io.nifti import write_volume
from napari_normative.io.session_file import read_session
from napari_normative.layers.sources import snapshot, volume_of
from napari_normative.review.assign import Plan
from napari_normative.review.create import create_reviews
from phantoms import phantom
from reviewed import material


def headless(saved=None, **options):
    return nn.open_session(saved, viewer=ViewerModel(), **options)


def seen(session):
    """What a person sees: layers in order with their looks, and the view."""
    looks = [
        (
            layer.name, layer.visible, layer.opacity, str(layer.colormap.name)[:9],
            tuple(getattr(layer, "contrast_limits", ())), getattr(layer, "contour", None),
        )
        for layer in session.viewer.layers
    ]  # fmt: skip
    camera = session.viewer.scene.camera
    view = session.layout(), session.convention(), session.position_mm, session.window()
    return looks, view, (camera.center, camera.zoom), session.viewer.dims.order


@pytest.fixture(scope="module")
def home(tmp_path_factory, tiny_model_path) -> Path:
    """A folder with scans, a model, and a session of a morning's work."""
    home = tmp_path_factory.mktemp("anna-schmidt")
    write_volume(home / "scans" / "sub-07_T1w.nii.gz", phantom(7, lesion_ml=20.0))
    shutil.copy(tiny_model_path, home / "tiny.safetensors")
    with headless() as session:
        found = session.detect(
            home / "scans" / "sub-07_T1w.nii.gz", model=home / "tiny.safetensors",
            device="cpu", samples=1, seed=3,
        )  # fmt: skip
        session.sample(2, about=session.scan, seed=5, device="cpu")
        session.threshold(found.threshold_z - 0.5)
        session.window(level=60, width=90)
        session.overlay(opacity=0.4)
        session.layers["reconstruction"].colormap = "magma"
        session.layers["candidates"].contour = 0
        session.viewer.layers.move(0, 3)  # the scan above some of its results
        session.convention("neurological")
        session.layout("planes")
        session.go_to(1)
        session.save(home / "morning.session.json")
        (home / "seen.json").write_text(json.dumps([str(part) for part in seen(session)]))
    return home


@pytest.fixture(scope="module")
def plain(home) -> Path:
    """In the same folder a session of one detection, which opens in half a second."""
    with headless() as session:
        session.detect(
            home / "scans" / "sub-07_T1w.nii.gz", model=home / "tiny.safetensors", device="cpu"
        )
        return session.save(home / "plain.session.json")


@pytest.fixture
def study(home, plain, tmp_path) -> Path:
    """A copy in another place, to be changed."""
    shutil.copytree(home, tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def change(path, **parts):
    content = json.loads(path.read_text())
    content.update(parts)
    path.write_text(json.dumps(content))
    return path


# ---- what comes back


def test_a_session_that_was_moved_with_its_files_is_as_it_was(study):
    with headless(study / "morning.session.json") as session:
        assert [str(part) for part in seen(session)] == json.loads(
            (study / "seen.json").read_text()
        )
        assert str(session.reopened).splitlines() == [
            "detection of sub-07_T1w: equal in every value",
            "samples: equal in every value",
        ]
        assert session.reopened.equal and not session.reopened.differs
        assert session.detection.provenance["seed"] == 3
        again = session.save(study / "evening.session.json")
    first, second = (
        json.loads(p.read_text()) | {"created_utc": ""}
        for p in (study / "morning.session.json", again)
    )
    assert first == second


def test_it_holds_no_voxel_and_no_path_of_the_machine(home):
    text = (home / "morning.session.json").read_text()
    assert len(text) < 20_000
    assert str(home) not in text and "anna-schmidt" not in text
    record = json.loads(text)
    assert record["scans"][0]["path"] == "scans/sub-07_T1w.nii.gz"
    assert record["detections"][0]["model"]["path"] == "tiny.safetensors"
    assert record["notice"] == "Research use only, not for diagnosis."


def test_what_is_hidden_for_a_moment_is_not_hidden_for_good(study):
    path = study / "plain.session.json"

    def visible(session):
        return {role: layer.visible for role, layer in session.layers.items()}

    with headless(path) as session:
        planes = visible(session)
        session.overlay(visible=False)
        session.viewer.dims.ndisplay = 3
        solid = visible(session)
        session.save(path)
    with headless(path) as session:
        assert session.viewer.dims.ndisplay == 3
        assert visible(session) == solid
        session.viewer.dims.ndisplay = 2
        assert not session.layers["anomaly z"].visible
        session.overlay(visible=True)
        assert visible(session) == planes


# ---- results that differ


def test_other_values_within_rounding_are_said_to_be_that(study):
    path = study / "plain.session.json"
    content = json.loads(path.read_text())
    results = content["detections"][0]["results"]
    results["sha256"]["anomaly z"] = "0" * 64
    results["scan_score"] *= 1.001
    with headless(change(path, detections=content["detections"])) as session:
        assert not session.reopened.equal and not session.reopened.differs
        assert "the same within rounding" in str(session.reopened)


@pytest.mark.parametrize(
    ("change_results", "said"),
    [
        (lambda r: r.update(scan_score=r["scan_score"] * 1.1), "the scan score is"),
        (lambda r: r["candidates"].pop(), "there are 1 candidates, there were 0"),
        (lambda r: r["candidates"][0].update(centroid_mm=[9.0, 9.0, 9.0]), "candidate 1 is an"),
        (lambda r: r["spread"].__setitem__(0, r["spread"][0] - 0.1), "spread differently"),
        (lambda r: r["sha256"].pop("sample 1"), "other results were made"),
    ],
)
def test_what_differs_is_said(home, change_results, said):
    from napari_normative.io.session_file import ResultRecord
    from napari_normative.plugin.scripting.results import difference

    record = json.loads((home / "morning.session.json").read_text())
    now = record["detections"][0]["results"]
    now["candidates"] = now["candidates"][:1]
    before = json.loads(json.dumps(now))
    before["sha256"]["anomaly z"] = "0" * 64
    change_results(before)
    one, other = (ResultRecord.model_validate_json(json.dumps(r)) for r in (before, now))
    assert said in difference(one, other)
    assert difference(other, other) == ""


def test_another_model_is_refused_unless_said(study):
    path, model = study / "plain.session.json", study / "tiny.safetensors"
    other = NormativeModel.load(model)
    other.card = other.card.model_copy(update={"title": "Another"})
    other.save(model)
    with pytest.raises(SessionError, match=r"\[SES-032\] plain\.session\.json: the model"):
        headless(path)
    with headless(path, any_model=True) as session:
        assert session.reopened.equal  # its weights are those of the other


# ---- what is missing or changed: nothing is half open


def refused(path, code, **options):
    viewer = ViewerModel()
    with pytest.raises(SessionError, match=rf"\[{code}\]") as error:
        nn.open_session(path, viewer=viewer, **options)
    assert len(viewer.layers) == 0
    return str(error.value)


def test_a_missing_scan_is_named_and_looked_for_elsewhere(study, tmp_path):
    path, there = study / "plain.session.json", tmp_path / "archive"
    shutil.move(study / "scans", there)
    said = refused(path, "SES-030")
    assert "sub-07_T1w.nii.gz is not there" in said and str(tmp_path) not in said
    with headless(path, search=[there]) as session:
        assert session.reopened.equal


def test_a_changed_scan_is_refused(study):
    write_volume(study / "scans" / "sub-07_T1w.nii.gz", phantom(8))
    assert "sub-07_T1w.nii.gz: the file is not the one" in refused(
        study / "morning.session.json", "SES-031"
    )


def test_a_missing_model_is_named(study):
    (study / "tiny.safetensors").unlink()
    assert "tiny.safetensors is not there" in refused(study / "morning.session.json", "SES-030")


def test_a_run_that_fails_leaves_an_empty_viewer(study):
    path = study / "plain.session.json"
    content = json.loads(path.read_text())
    content["detections"][0]["threshold_z"] = 500.0
    said = refused(change(path, detections=content["detections"]), "SES-001")
    assert "Choose |z| between" in said


def test_a_viewer_with_layers_keeps_them(study):
    viewer = ViewerModel()
    viewer.add_points(np.zeros((1, 3)))
    with pytest.raises(SessionError, match="SES-034"):
        nn.open_session(study / "morning.session.json", viewer=viewer)
    assert len(viewer.layers) == 1


# ---- the file


def test_another_version_says_what_to_do(study):
    path = change(study / "morning.session.json", format="napari-normative-session/9")
    assert "Open it with the version" in refused(path, "SES-011")


@pytest.mark.parametrize(
    "parts",
    [
        {"macro": "import os"},
        {"notice": "Cleared for clinical use."},
        {"scans": []},  # the runs are about a scan that is not there
        {"created_utc": 7},
        {"view": None},
        {"review": {"path": "", "project": "p"}},
    ],
)
def test_what_the_format_does_not_know_is_refused(study, parts):
    refused(change(study / "morning.session.json", **parts), "SES-012")


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"format": 7}', "\x00", "[" * 100_000])
def test_what_is_no_session_is_refused(tmp_path, content):
    path = tmp_path / "x.session.json"
    path.write_text(content)
    refused(path, "SES-010")
    refused(tmp_path / "none.session.json", "SES-010")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_file_is_read_as_it_was_or_refused(home, tmp_path, data):
    content = bytearray((home / "morning.session.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.session.json"
    path.write_bytes(bytes(content))
    try:
        read_session(path)
    except SessionError as error:
        assert error.code in {"SES-010", "SES-011", "SES-012"}


# ---- what would be lost


def test_edited_candidates_are_never_lost_in_silence(study):
    with headless(study / "plain.session.json") as session:
        session.layers["candidates"].data[0, 0, 0] = 9
        session.viewer.add_points(np.zeros((1, 3)), name="my points")
        with pytest.raises(SessionError, match=r"\[SES-020\] .*candidates, my points\."):
            session.save(study / "new.session.json")
        assert not (study / "new.session.json").exists()
        names = ["sub-07_T1w · candidates", "my points"]
        session.save(study / "new.session.json", leave_out=names)
    with headless(study / "new.session.json") as session:
        assert "candidates" not in session.layers
        assert len(session.candidates) > 0, "they are still in the list"


def test_edited_labels_come_back_once_they_are_in_a_file(study):
    with headless(study / "plain.session.json") as session:
        layer = session.layers["candidates"]
        layer.data[0, 0, 0] = 9
        edited = volume_of(snapshot(layer))
        write_volume(study / "edited_mask.nii.gz", edited.with_data(edited.data, is_label=True))
        session.viewer.layers.remove(layer)
        kept = session.open(study / "edited_mask.nii.gz")
        assert type(kept).__name__ == "Labels"
        session.save(study / "new.session.json")
    with headless(study / "new.session.json") as session:
        (labels,) = (x for x in session.viewer.layers if x.name == "edited_mask")
        assert labels.data[0, 0, 0] == 9


def test_a_scan_without_a_file_is_refused(tmp_path):
    with headless() as session:
        session.open(phantom(3))
        with pytest.raises(SessionError, match=r"\[SES-021\] phantom-3: .*never saved"):
            session.save(tmp_path / "x.session.json")
    assert list(tmp_path.glob("*.json*")) == []


def test_a_scan_that_changed_on_the_disk_is_noticed_when_saving(study):
    with headless() as session:
        session.open(study / "scans" / "sub-07_T1w.nii.gz")
        write_volume(study / "scans" / "sub-07_T1w.nii.gz", phantom(8))
        with pytest.raises(SessionError, match=r"\[SES-023\] sub-07_T1w\.nii\.gz"):
            session.save(study / "new.session.json")


def test_a_mask_is_a_reference_too(study, tmp_path):
    scan = nn.read_volume(study / "scans" / "sub-07_T1w.nii.gz")
    mask = scan.with_data(scan.data > 0, is_label=True)
    path, model = study / "masked.session.json", study / "tiny.safetensors"
    with headless() as session:
        session.detect(scan.source.path, model=model, device="cpu", mask=mask)
        with pytest.raises(SessionError, match=r"\[SES-023\] sub-07_T1w"):
            session.save(path)
    # Neither its name nor its header says that it is a mask.
    write_volume(study / "gold.nii.gz", mask.with_data(mask.data, is_label=False))
    with headless() as session:
        labels = session.open(study / "gold.nii.gz", labels=True)
        session.detect(scan.source.path, model=model, device="cpu", mask=labels)
        session.save(path)
    record = read_session(path)
    assert record.detections[0].mask == "scan-1" and record.scans[0].kind == "labels"
    with headless(path) as session:
        assert session.reopened.equal
        assert session.detection.provenance["mask_sha256"] is not None


def test_filled_scans_are_filled_again(study, tmp_path):
    """One by slices, one by a mask that is a reference; an older version reads what has none."""
    scans, plain = study / "scans", json.loads((study / "plain.session.json").read_text())
    assert "fills" not in plain
    painted = np.zeros(phantom(7).shape, np.float32)
    painted[15:20, 20:25, 18:22] = 1
    write_volume(scans / "ink.nii.gz", phantom(7).with_data(painted, is_label=True))
    write_volume(scans / "sub-08_T1w.nii.gz", phantom(8))
    options = {"model": study / "tiny.safetensors", "device": "cpu"}
    with headless() as session:
        first = session.fill(scans / "sub-07_T1w.nii.gz", slices=["k:20-21"], **options)
        ink = session.open(scans / "ink.nii.gz", labels=True)
        second = session.fill(scans / "sub-08_T1w.nii.gz", missing=ink, **options)
        session.layers["made voxels"].contour = 0
        with pytest.raises(SessionError, match="labels or slices"):
            session.fill(slices=["k:1"], missing=ink)
        names = {layer.name for layer in session.viewer.layers}
        session.save(study / "filled.session.json")
    told = json.loads((study / "filled.session.json").read_text())["fills"]
    assert [(run["slices"], run["mask"] is None) for run in told] == [
        (["k:20-21"], True),
        ([], False),
    ]
    with headless(study / "filled.session.json") as session:
        assert str(session.reopened).splitlines() == [
            "sub-07_T1w, filled: equal in every value",
            "sub-08_T1w, filled: equal in every value",
        ]
        assert {layer.name for layer in session.viewer.layers} == names
        again = session.viewer.layers["sub-08_T1w · filled (synthetic)"]
        np.testing.assert_array_equal(again.data, second.filled.data.transpose(2, 1, 0))
        assert session.viewer.layers["sub-08_T1w · made (synthetic)"].contour == 0
        assert session.viewer.layers["sub-07_T1w · made (synthetic)"].contour == 2
    assert first.record["slices"] == ["k:20-21"]


def test_one_volume_of_a_series_is_remembered(study):
    import nibabel as nib

    one = phantom(7, lesion_ml=20.0)
    data = np.stack([one.data, one.data[:, ::-1], one.data], axis=-1)
    nib.save(nib.Nifti1Image(data, one.affine), study / "bold.nii.gz")
    path = study / "series.session.json"
    with headless() as session:
        session.detect(
            study / "bold.nii.gz", volume=2, model=study / "tiny.safetensors", device="cpu"
        )
        session.save(path)
    assert read_session(path).detections[0].volume == 2
    with headless(path) as session:
        assert str(session.reopened) == "detection of bold: equal in every value"


def test_a_review_is_opened_where_its_reader_stopped(study):
    root = study / "more"
    create_reviews(root / "study", ["anna"], material(root, 2, candidates=2), Plan())
    path = study / "review.session.json"
    with headless() as session, session.review(root / "study" / "anna.review") as review:
        review.accept()
        place = review.current.candidate
        session.save(path)
    assert read_session(path).review.path == "more/study/anna.review"
    with headless(path) as session:
        assert session.open_review.current.candidate == place
        assert session.open_review.progress.decided == 1
    shutil.rmtree(root / "study")
    create_reviews(root / "study", ["anna"], material(root, 2, candidates=2), Plan())
    refused(path, "SES-033")
