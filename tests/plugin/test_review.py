"""The dock "Review" without Qt: decisions, edits and places, and what the file then holds."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest

from desks import desk_for
from napari_normative.layers.spec import facts_of
from napari_normative.plugin.controllers.review_files import ReviewFilesController
from napari_normative.review.assign import Plan
from napari_normative.review.book import Book
from napari_normative.review.create import add_readers, create_reviews
from napari_normative.review.export import export_review
from napari_normative.review.masks import decode_mask
from placed import TILTED
from reviewed import PLACES, decide_all, material, write_detection


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with scans, detections and a review of them."""
    root = tmp_path_factory.mktemp("study")
    plan = Plan(order="evidence", repeats=0, labels=("infarct", "other"), title="strokes")
    create_reviews(root / "study", ["anna"], material(root, 3), plan)
    return root


@pytest.fixture
def made(study, tmp_path):
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    desk = desk_for(tmp_path)
    desk.path = path = tmp_path / "study" / "anna.review"
    desk.review.open(str(path))
    yield desk
    desk.review.close()


def decide(made, *words):
    for word in words:
        made.requests.decide.emit(word)


def events(made):
    """What the file holds, read by itself."""
    with Book.open(made.path, read_only=True) as book:
        assert book.store.verify() == ()
        return [(e.action, e.candidate) for e in book.store.events()]


def stored(made, candidate):
    with Book.open(made.path, read_only=True) as book:
        for at in book.reading.passes.values():
            if (read := at.read(candidate)) is not None:
                return read, decode_mask(book.mask(read.mask), read.mask)
    raise AssertionError(candidate)


def row(made, candidate=None):
    wanted = candidate or made.state.selected
    return next(r for r in made.state.rows if r.candidate == wanted)


def test_a_review_opens_with_the_first_candidate_and_hides_what_is_blind(made):
    state = made.state
    assert state.headline == "strokes · anna · blind"
    assert state.case_line == "Scan 1 of 3 · 3 candidates"
    assert state.selected == "case-003-c1"
    assert [layer.name for layer in made.viewer.layers] == ["case-003", "case-003 · review"]
    assert {r.z for r in state.rows} == {None} and {r.p for r in state.rows} == {None}
    assert row(made).place.startswith("left 40, anterior 20, superior 10")
    assert state.saved == "Saved"
    assert not any("sub-" in layer.name for layer in made.viewer.layers)


def test_decisions_lead_from_candidate_to_candidate_and_scan_to_scan(made):
    made.viewer.scene.camera.zoom = 3.5
    for n, (word, place) in enumerate(zip(("accept", "reject", "uncertain"), PLACES, strict=False)):
        superior, anterior, right = made.viewer.dims.point
        np.testing.assert_allclose((right, anterior, superior), place, atol=4)
        assert made.review.desk.labels.selected_label == n + 1
        decide(made, word)
    assert made.state.case_line.startswith("Scan 2 of 3")
    assert made.viewer.scene.camera.zoom == 3.5
    assert [layer.name for layer in made.viewer.layers] == ["case-002", "case-002 · review"]
    assert events(made) == [
        ("open", "case-003-c1"), ("accept", "case-003-c1"), ("open", "case-003-c2"),
        ("reject", "case-003-c2"), ("open", "case-003-c3"), ("uncertain", "case-003-c3"),
        ("open", "case-002-c1"),
    ]  # fmt: skip
    assert made.state.progress_line.startswith("3 of 9 candidates · 1 of 3 scans")


def test_the_readers_window_stays_from_scan_to_scan(made):
    scan = made.review.desk.scan
    low, high = scan.contrast_limits
    scan.contrast_limits = low + 0.25 * (high - low), low + 0.5 * (high - low)
    before = made.review.desk.case.specs[0].attributes["contrast_limits"]
    decide(made, "accept", "accept", "accept")
    default = made.review.desk.case.specs[0].attributes["contrast_limits"]
    assert default != before
    got = (np.array(made.review.desk.scan.contrast_limits) - default[0]) / np.ptp(default)
    np.testing.assert_allclose(got, (0.25, 0.5))


def test_skipped_candidates_come_again_and_the_end_is_said(made):
    decide(made, "skip", *["accept"] * 8)
    assert made.state.selected == "case-003-c1"
    assert row(made).marks == "↷"
    decide(made, "reject")
    assert "Everything is decided" in made.state.note
    assert made.state.fraction == 1.0


def test_undo_takes_back_goes_there_and_reaches_back_over_a_closed_window(made, tmp_path):
    decide(made, "accept", "reject", "accept", "accept")
    assert made.state.selected == "case-002-c2"
    made.review.close()
    again = desk_for(tmp_path)
    again.path = made.path
    again.review.open(str(made.path))
    assert again.state.selected == "case-002-c2"  # where the reader stopped
    again.requests.undo.emit()
    assert again.state.selected == "case-002-c1"
    again.requests.undo.emit()
    assert again.state.selected == "case-003-c3" and row(again).decision == ""
    again.requests.redo.emit()
    assert row(again).decision == "accept"
    again.requests.redo.emit()
    assert again.state.redo_blocked
    again.review.close()
    assert stored(again, "case-002-c1")[0].decision == "accept"


def test_time_per_candidate_is_kept_and_pauses_are_cut(made):
    made.clock.now += 12
    decide(made, "accept")
    made.clock.now += 4000
    decide(made, "accept")
    assert stored(made, "case-003-c1")[0].seconds == 12
    assert stored(made, "case-003-c2")[0].seconds == 300


def test_flags_labels_and_comments(made):
    made.requests.flag.emit()
    made.requests.label.emit("infarct")
    made.requests.comment.emit("near the insula")
    assert (row(made).marks, row(made).label, row(made).comment) == (
        "⚑", "infarct", "near the insula"
    )  # fmt: skip
    made.requests.comment.emit("near the insula")
    assert [e for e, _ in events(made)].count("comment") == 1  # nothing new was said
    made.requests.flag.emit()
    assert not row(made).marks
    read, _ = stored(made, made.state.selected)
    assert (read.label, read.comment, read.flagged) == ("infarct", "near the insula", False)


def paint(made, voxels, value):
    """Paint display voxels (S, A, R) as napari's brush does: as one stroke."""
    layer = made.review.desk.labels
    with layer.block_history():
        layer.data_setitem(tuple(np.array(voxels).T), value)


def test_what_is_painted_is_an_event_before_the_decision_and_on_the_scans_own_voxels(made):
    layer = made.review.desk.labels
    voxels = np.argwhere(layer.data == 1)
    grown = voxels + np.array([0, 0, 2])
    paint(made, grown, 1)
    decide(made, "accept")
    read, mask = stored(made, "case-003-c1")
    assert read.edited and read.decision == "accept"
    assert mask.sum() == len(np.unique(np.concatenate([voxels, grown]), axis=0))
    shown = np.zeros(layer.data.shape, bool)
    shown[tuple(np.concatenate([voxels, grown]).T)] = True
    np.testing.assert_array_equal(mask, shown.transpose(2, 1, 0))  # the scan is stored in RAS
    assert [e for e, _ in events(made)] == ["open", "edit_mask", "accept", "open"]


def test_undo_brings_the_former_mask_back_also_after_it_was_saved(made):
    before = made.review.desk.labels.data.copy()
    paint(made, np.argwhere(before == 1)[:20], 0)
    made.requests.step.emit(1)
    made.requests.undo.emit()
    np.testing.assert_array_equal(made.review.desk.labels.data, before)
    assert not row(made, "case-003-c1").marks
    made.requests.redo.emit()
    assert (made.review.desk.labels.data == 1).sum() == (before == 1).sum() - 20


def test_painting_one_candidate_leaves_the_others(made):
    layer = made.review.desk.labels
    assert layer.preserve_labels


def test_a_missed_finding_is_painted_or_grown_and_accepted_at_once(made):
    made.requests.new_finding.emit()
    layer = made.review.desk.labels
    assert layer.selected_label == 4 and str(layer.mode) == "paint"
    paint(made, [(20, 20, 20), (20, 20, 21)], 4)
    made.review.editing.settled(lambda: None)  # as when the reader pauses
    added = next(r for r in made.state.rows if r.number == 4)
    assert (added.decision, added.marks) == ("accept", "＋")
    assert added.volume_ml == pytest.approx(2 * 0.064)
    made.state.growing = True
    made.review._on_click((0.0, 60.0, 0.0))
    grown = next(r for r in made.state.rows if r.number == 5)
    assert grown.volume_ml > 0.05 and not made.state.growing
    assert row(made).number == 5
    made.state.growing = True
    made.review._on_click((-40.0, 20.0, 10.0))
    assert "REV-022" in made.state.note


def test_candidates_are_split_and_merged_and_their_voxels_stay(made):
    before = made.review.desk.labels.data.copy()
    made.requests.split.emit()
    after = made.review.desk.labels.data
    np.testing.assert_array_equal(before > 0, after > 0)
    assert set(np.unique(after)) == {0, 1, 2, 3, 4}
    names = tuple(r.candidate for r in made.state.rows if r.number in {1, 4})
    made.requests.merge.emit(names)
    np.testing.assert_array_equal(made.review.desk.labels.data, before)
    assert len(made.state.rows) == 3
    made.requests.undo.emit()
    np.testing.assert_array_equal(made.review.desk.labels.data, after)


def test_the_outline_says_what_was_decided(made):
    decide(made, "accept", "reject")
    colours = made.review.desk.labels.colormap.color_dict
    green, grey, yellow = (tuple(np.round(colours[n][:3], 1)) for n in (1, 2, 3))
    assert (green, grey, yellow) == ((0.3, 0.9, 0.4), (0.6, 0.6, 0.6), (1.0, 0.8, 0.2))


def test_a_scan_without_candidates_is_closed_with_space(tmp_path):
    write_detection(tmp_path, "a", candidates=0)
    from reviewed import read_material

    (path,) = create_reviews(tmp_path / "s", ["anna"], read_material(tmp_path), Plan(repeats=0))
    made = desk_for(tmp_path)
    made.review.open(str(path))
    assert made.state.case_line == "Scan 1 of 1 · no candidate"
    decide(made, "accept")
    assert "Space" in made.state.note
    decide(made, "skip")
    assert made.state.case_line.endswith("done")
    made.review.close()


def test_filters_lead_next_and_before(made):
    decide(made, "accept", "reject", "uncertain")
    made.state.show = "reject"
    made.requests.step.emit(1)
    assert made.state.selected == "case-003-c2"
    made.state.show = "open"
    made.requests.step.emit(-1)
    assert made.state.selected == "case-001-c3"
    made.state.show = "flagged"
    made.requests.step.emit(1)
    assert made.state.note == "No candidate fits the filter."
    made.requests.step_case.emit(1)
    assert made.state.selected == "case-003-c1"


def test_submitting_asks_once_then_ends_reading_and_shows_scores_and_maps(made):
    made.viewer.scene.camera.zoom = zoom = 3.5
    decide(made, "accept")
    made.requests.submit.emit()
    assert "8 candidates have none" in made.state.note
    decide(made, "accept")  # something else in between: it must be asked again
    made.requests.submit.emit()
    assert not made.review.book.reading.submitted
    made.requests.submit.emit()
    assert made.review.book.reading.submitted
    assert made.state.headline.endswith("submitted")
    assert all(r.z is not None for r in made.state.rows)
    roles = [facts_of(layer).role for layer in made.viewer.layers]
    assert roles == ["scan", "reconstruction", "anomaly z", "review"]
    assert made.viewer.scene.camera.zoom == zoom
    decide(made, "reject")
    assert "final" in made.state.note
    assert [e for e, _ in events(made)][-1] == "submit"


def test_a_second_window_can_look_and_says_why_it_cannot_decide(made, tmp_path):
    other = desk_for(tmp_path)
    other.review.open(str(made.path))
    assert "Read only: open elsewhere" in other.state.warning
    assert other.state.decide_blocked == "The review is open for reading only."
    decide(other, "accept")
    assert other.state.note == other.state.decide_blocked
    other.requests.step.emit(1)
    assert other.state.selected == "case-003-c2"
    other.review.close()
    decide(made, "accept")
    assert events(made)[-2] == ("accept", "case-003-c1")


def test_a_full_disk_is_loud_blocks_what_follows_and_nothing_is_lost(made, monkeypatch):
    from napari_normative.errors import ReviewError

    store = made.review.book.store
    append = store.append

    def full(*_):
        raise ReviewError("REV-025", "the disk is full", "Free space.")

    monkeypatch.setattr(store, "append", full)
    decide(made, "accept")
    assert made.state.saved == ""
    assert "NOT SAVED" in made.state.not_saved and "disk is full" in made.notes[0]
    decide(made, "reject")
    assert made.state.note == "Save what waits first."
    monkeypatch.setattr(store, "append", append)
    made.requests.save_again.emit()
    assert (made.state.saved, made.state.not_saved) == ("Saved", "")
    assert ("accept", "case-003-c1") in events(made)
    decide(made, "reject")
    assert ("reject", "case-003-c2") in events(made)


def test_a_scan_that_is_gone_is_said_and_the_others_can_be_read(made, tmp_path):
    (tmp_path / "scans/sub-00_T1w.nii.gz").unlink()  # case-001, the last in the queue
    made.requests.step_case.emit(-1)
    assert "NIF-001" in made.state.note
    made.requests.step_case.emit(-1)
    assert made.state.case_line.startswith("Scan 2 of 3")
    decide(made, "accept")
    assert stored(made, "case-002-c1")[0].decision == "accept"


def test_a_tilted_scan_is_edited_on_its_own_voxels(tmp_path):
    write_detection(tmp_path, "tilted", tilt=nib.affines.from_matvec(TILTED_ROTATION), codes="PIR")
    from reviewed import read_material

    (path,) = create_reviews(tmp_path / "s", ["anna"], read_material(tmp_path), Plan(repeats=0))
    made = desk_for(tmp_path)
    made.path = path
    made.review.open(str(path))
    name = "case-001-c2"
    _, before = stored(made, name)
    layer = made.review.desk.labels
    voxels = np.argwhere(layer.data == 2)
    paint(made, voxels[voxels[:, 0] == voxels[:, 0].max()], 0)  # its top slice
    made.requests.step.emit(1)
    read, after = stored(made, name)
    assert read.edited and 0 < after.sum() < before.sum()
    assert not (after & ~before).any()
    for other in ("case-001-c1", "case-001-c3"):
        assert not stored(made, other)[0].edited
    made.review.close()


TILTED_ROTATION = TILTED[:3, :3] / np.linalg.norm(TILTED[:3, :3], axis=0)


def test_a_review_is_made_of_detections_and_opened(tmp_path):
    for n in range(2):
        write_detection(tmp_path, f"sub-{n:02d}_T1w")
    made = desk_for(tmp_path)
    files = made.context.get(ReviewFilesController)
    assert files.state.run_blocked == "Choose the folder of detections or scans."
    files.state.source = str(tmp_path / "detections")
    files.state.scans = str(tmp_path / "scans")
    files.state.target = str(tmp_path / "study")
    assert files.state.run_blocked == "Say who reads."
    files.state.reader = "Anna B."
    files.state.words = "infarct, other"
    files.requests.run.emit()
    assert files.state.error == ""
    assert files.state.summary == "2 scans with 6 candidates."
    assert made.state.is_open and made.state.labels == ("infarct", "other")
    assert made.review.book.store.path.name == "Anna-B.review"
    decide(made, "accept", "accept", "accept")
    files.state.format = "tables"
    files.requests.export.emit(str(tmp_path / "out"))
    assert files.state.summary.startswith("5 files")
    made.review.close()


def test_a_detection_in_the_window_leaves_an_edited_mask_alone(made, tiny_model_path):
    from napari_normative.plugin.controllers.anomaly import AnomalyController

    before = made.review.desk.labels.data.copy()
    paint(made, np.argwhere(before == 1)[:20], 0)
    edited = made.review.desk.labels.data.copy()
    anomaly = made.context.get(AnomalyController)
    made.context.models.add_file(str(tiny_model_path))
    made.context.models.state.device = "cpu"
    anomaly.choose(made.review.desk.scan)
    anomaly.state.force = True
    anomaly.run()
    assert anomaly.state.error == ""
    np.testing.assert_array_equal(made.review.desk.labels.data, edited)
    made.requests.step.emit(1)
    assert (stored(made, "case-003-c1")[1]).sum() == (edited == 1).sum()


def test_what_a_window_holds_is_what_is_exported(made, tmp_path):
    paint(made, np.argwhere(made.review.desk.labels.data == 1)[:9], 0)
    decide(made, "accept", "reject", "accept")
    export_review(made.path, tmp_path / "out", "labels")
    image = nib.load(tmp_path / "out" / "case-003_findings.nii.gz")
    labels = np.asarray(image.dataobj)
    assert set(np.unique(labels)) == {0, 1, 3}
    assert (labels == 1).sum() == stored(made, "case-003-c1")[1].sum()


def test_masks_edited_elsewhere_come_back_in_the_window(made, tmp_path):
    decide(made, "accept", "reject", "accept")
    export_review(made.path, tmp_path / "out", "labels")
    path = tmp_path / "out" / "case-003_findings.nii.gz"
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    data[tuple(np.argwhere(data == 1)[:4].T)] = 0
    data[2:4, 2:4, 2:4] = 9
    nib.save(nib.Nifti1Image(data, image.affine), path)
    made.requests.step_case.emit(-1)
    files = made.context.get(ReviewFilesController)
    files.requests.import_masks.emit(str(path))
    assert made.state.note == ""
    assert stored(made, "case-003-c1")[1].sum() == (data == 1).sum()
    assert not stored(made, "case-003-c2")[0].edited  # rejected, so not in the file
    added = next(r for r in made.state.rows if "＋" in r.marks)
    assert added.volume_ml == pytest.approx(8 * 0.064)
    np.testing.assert_array_equal(
        made.review.desk.labels.data == added.number, (data == 9).transpose(2, 1, 0)
    )
    files.requests.import_masks.emit(str(tmp_path / "scans" / "sub-00_T1w.nii.gz"))
    assert "IMP-030" in made.state.note


def test_readers_are_compared_and_adjudicated_in_the_window(study, tmp_path):
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "study"
    (ben,) = add_readers(folder, ["ben"])
    decide_all(folder / "anna.review", lambda c, again: "accept")
    decide_all(ben, lambda c, again: "reject" if c.endswith("c2") else "accept")
    made = desk_for(tmp_path)
    files = made.context.get(ReviewFilesController)
    files.requests.compare.emit(str(folder))
    assert files.state.summary.startswith("3 of 9 candidates are disputed.")
    assert "Krippendorff" in files.state.summary
    assert (folder / "agreement" / "agreement.html").is_file()
    assert files.state.adjudicate_blocked == "Say who adjudicates."
    files.state.reader = "carla"
    files.requests.adjudicate.emit(str(folder))
    assert made.state.headline == "strokes · carla · adjudication"
    assert [(r.candidate[-2:], r.others) for r in made.state.rows] == [
        ("c2", "1 accepted, 1 rejected")
    ]
    decide(made, "accept", "accept", "reject")
    assert made.state.fraction == 1.0
    made.review.close()


def test_an_assignment_list_says_what_is_read(study, tmp_path):
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    made = desk_for(tmp_path)
    files = made.context.get(ReviewFilesController)
    state = files.state
    state.source, state.scans = str(tmp_path / "detections"), str(tmp_path / "scans")
    state.target, state.reader, state.order = str(tmp_path / "new"), "anna", "list"
    assert state.run_blocked == "Choose the assignment list."
    state.listed = str(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("sub-01_T1w\n")
    files.requests.run.emit()
    assert state.error == ""
    assert made.state.case_line.startswith("Scan 1 of 1")
    assert made.state.selected == "case-002-c1"
    made.review.close()
