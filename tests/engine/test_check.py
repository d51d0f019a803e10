"""The look at a cohort before training: one row for every file, whatever it is."""

from __future__ import annotations

import gzip
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from napari_normative.engine.check import check_cohort, split_table
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.thumbnails import montage, three_planes
from napari_normative.errors import CancelledError, CohortError
from napari_normative.io.nifti import write_volume
from napari_normative.volume import Volume
from phantoms import phantom


@pytest.fixture
def cohort(phantom_cohort: Path, tmp_path: Path) -> Path:
    """A copy of the phantoms to add bad files to."""
    folder = tmp_path / "site-b"
    shutil.copytree(phantom_cohort, folder)
    return folder


def test_a_good_cohort_has_no_problems_and_the_split_of_training(phantom_cohort: Path) -> None:
    made = check_cohort(phantom_cohort)
    assert made.problems == []
    assert [f.person for f in made.files] == read_cohort(phantom_cohort)
    assert [(row.group, row.people) for row in made.split] == [
        ("site-a", (8, 2, 2, 2)),
        ("all people", (8, 2, 2, 2)),
    ]
    first = made.files[0]
    assert (first.shape, first.spacing_mm, first.orientation) == ((42, 50, 42), (4, 4, 4), "RAS")
    assert (first.refused, first.warnings) == ("", ())
    assert first.picture is not None
    assert first.picture.shape == (72, 216)


def test_every_bad_file_is_a_row_with_its_reason(cohort: Path) -> None:
    good = (cohort / "sub-00_T1w.nii.gz").read_bytes()
    flat = phantom(1)
    (cohort / "sub-90_T1w.nii.gz").write_bytes(good[: len(good) // 2])
    (cohort / "sub-91_T1w.nii").write_bytes(b"")
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 0x10
    (cohort / "sub-92_T1w.nii.gz").write_bytes(bytes(damaged))
    write_volume(cohort / "sub-93_T1w.nii.gz", flat.with_data(np.full(flat.shape, 5.0)))
    (cohort / "sub-94_T1w.nii").symlink_to(cohort / "nowhere.nii")
    (cohort / "._sub-95_T1w.nii.gz").write_bytes(b"\0\5\x16\7")
    (cohort / "sub-96_T1w.nii.gz").write_bytes(gzip.compress(b"not a volume" * 100))
    made = check_cohort(cohort)
    refused = {f.person.path.name: f.refused for f in made.files if f.refused}
    assert set(refused) == {
        "sub-90_T1w.nii.gz",
        "sub-91_T1w.nii",
        "sub-92_T1w.nii.gz",
        "sub-93_T1w.nii.gz",
        "sub-96_T1w.nii.gz",
    }
    assert all(text.startswith("[NIF-") and text.endswith(".") for text in refused.values())
    assert "[NIF-026]" in refused["sub-93_T1w.nii.gz"]
    assert len(made.usable) == 14
    assert "COH-005" in made.problems[0]  # 5 of 19 are more than a fifth


def test_the_same_content_under_two_names_is_warned_of(cohort: Path) -> None:
    shutil.copy(cohort / "sub-00_T1w.nii.gz", cohort / "sub-99_T1w.nii.gz")
    made = check_cohort(cohort)
    (twin,) = [f for f in made.files if f.person.subject == "sub-99"]
    text = " ".join(twin.warnings)
    assert "The same content as sub-00_T1w.nii.gz" in text
    assert "One person under two names (sub-00, sub-99)" in text
    assert [f.warnings for f in made.files if f is not twin] == [()] * 14


def test_a_person_in_two_splits_is_marked_in_both_rows(phantom_cohort: Path) -> None:
    lines = ["path\tsubject\tsplit"]
    for n, path in enumerate(sorted(phantom_cohort.glob("*.nii.gz"))):
        subject = "sub-00" if n == 1 else f"sub-{n:02d}"
        split = {0: "train", 1: "test"}.get(n, "")
        lines.append(f"{path.name}\t{subject}\t{split}")
    table = phantom_cohort / "people.tsv"
    table.write_text("\n".join(lines) + "\n")
    try:
        made = check_cohort(table)
        with pytest.raises(CohortError, match="COH-003"):
            read_cohort(table)
    finally:
        table.unlink()
    assert [p[:9] for p in made.problems] == ["[COH-003]"]
    marked = [f for f in made.files if f.warnings]
    assert [f.person.split for f in marked] == ["train", "test"]
    assert all("in several splits (train, test)" in f.warnings[0] for f in marked)


def test_too_few_people_are_said_and_still_listed(phantom_cohort: Path, tmp_path: Path) -> None:
    for path in sorted(phantom_cohort.glob("*.nii.gz"))[:6]:
        shutil.copy(path, tmp_path)
    made = check_cohort(tmp_path)
    assert "COH-004" in made.problems[0]
    assert "ten people are the least" in made.problems[0]
    assert (len(made.files), len(made.usable)) == (6, 6)


def test_groups_of_the_split_are_those_of_the_draws(phantom_cohort: Path) -> None:
    table = phantom_cohort / "groups.tsv"
    rows = [f"{p.name}\t{'fm'[n % 2]}" for n, p in enumerate(sorted(phantom_cohort.glob("*.gz")))]
    table.write_text("\n".join(["path\tsex", *rows]))
    try:
        people = read_cohort(table)
        made = check_cohort(table, balance_by=("age",))
    finally:
        table.unlink()
    found = split_table(people, ("sex",))
    assert [row.group for row in found] == ["f", "m", "all people"]
    assert sum(found[0].people) == sum(found[1].people) == 7
    assert "COH-007" in made.problems[0]
    assert [row.group for row in made.split] == ["all", "all people"]


def test_it_stops_when_asked(phantom_cohort: Path) -> None:
    seen: list[str] = []
    with pytest.raises(CancelledError):
        check_cohort(
            phantom_cohort,
            progress=lambda name, fraction: seen.append(name),
            cancel=lambda: len(seen) >= 3,
        )
    assert len(seen) == 3


@pytest.mark.parametrize("codes", ["RAS", "LPI", "PSR", "ILA"])
def test_thumbnails_show_the_right_side_on_the_left_however_a_scan_is_stored(codes: str) -> None:
    import nibabel as nib

    head = phantom(3)
    data = head.data.copy()
    half = data.shape[0] // 2
    data[half:] *= 0.3  # the patient's right is dark
    data[:, data.shape[1] // 2 :] *= 0.6  # and the front
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(head.affine), nib.orientations.axcodes2ornt(codes)
    )
    stored = nib.orientations.apply_orientation(data, turn)
    affine = head.affine @ nib.orientations.inv_ornt_aff(turn, data.shape)
    picture = three_planes(Volume.from_array(stored, affine)).astype(float)
    axial, coronal, sagittal = np.hsplit(picture, 3)
    for plane in (axial, coronal):
        left, right = np.hsplit(plane, 2)
        assert left.mean() < 0.6 * right.mean()
    top, bottom = np.vsplit(axial, 2)
    assert top.mean() < 0.8 * bottom.mean()
    front, back = np.hsplit(sagittal, 2)
    assert front.mean() < 0.9 * back.mean()


def test_a_montage_has_scan_and_reconstruction_side_by_side() -> None:
    image = np.zeros((20, 24, 16), np.float32)
    mask = np.zeros(image.shape, bool)
    mask[4:16, 4:20, 3:13] = True
    image[mask] = np.linspace(0, 1, int(mask.sum()))
    made = montage([image, image], [image * 0, image], [mask, mask])
    assert made.shape == (2 * 24, 2 * (22 + 22))
    first, second = np.vsplit(made, 2)
    assert first[:, :22].max() > 200
    assert first[:, 22:44].max() == 0
    np.testing.assert_array_equal(second[:, :22], second[:, 22:44])


@pytest.mark.shared
def test_a_hundred_real_scans_take_seconds(shared_data: Path) -> None:
    began = time.monotonic()
    made = check_cohort(shared_data / "ixi-t1-2mm")
    seconds = time.monotonic() - began
    assert (len(made.files), len(made.usable), made.problems) == (141, 141, [])
    assert made.split[-1].people == (99, 14, 14, 14)
    assert seconds < 30


@pytest.mark.shared
def test_no_file_of_the_zoo_ends_the_look(shared_data: Path) -> None:
    made = check_cohort(shared_data / "zoo")
    assert len(made.files) > 200
    assert all(f.refused or f.picture is not None for f in made.files)
