"""A review is made of detections on disk, each with the scan that its digest names."""

import json

import numpy as np
import pytest

from napari_normative.errors import ReviewError
from napari_normative.io.nifti import read_volume
from napari_normative.review.masks import decode_mask
from napari_normative.review.material import find_detections, gather, read_scan
from reviewed import PLACES, material, read_material, write_detection


def test_candidates_come_with_their_masks_and_places(tmp_path):
    made = material(tmp_path, 2, codes="LAS")
    assert [image.id for image in made.images] == ["case-001", "case-002"]
    assert not made.refused
    first = made.candidates[0]
    assert first.image == "case-001" and first.value == 1 and first.sign == 1
    # Half a voxel of 4 mm is the most that a ball's centroid is off.
    assert np.allclose(first.centroid_mm, PLACES[0], atol=2)
    mask = decode_mask(made.masks[first.mask], first.mask)
    labels = read_volume(tmp_path / "detections/sub-00_T1w/candidates.nii.gz")
    assert np.array_equal(mask, labels.data == 1)
    assert made.images[0].shape == labels.shape
    assert np.array_equal(made.images[0].affine, labels.affine)


def test_a_scan_is_found_by_its_digest_whatever_its_name(tmp_path):
    write_detection(tmp_path, "a")
    (tmp_path / "scans/a.nii.gz").rename(tmp_path / "scans/renamed.nii.gz")
    made = read_material(tmp_path)
    assert made.images[0].path == "../scans/renamed.nii.gz"
    assert read_scan(made.images[0], tmp_path / "study").source.digest == made.images[0].digest


def test_bad_detections_are_named_and_the_others_reviewed(tmp_path):
    for name in ("a", "b", "c", "d", "e"):
        write_detection(tmp_path, name)
    (tmp_path / "scans/a.nii.gz").unlink()
    record = tmp_path / "detections/b/detection.json"
    record.write_text("{}")
    (tmp_path / "detections/c/candidates.nii.gz").write_bytes(b"not a volume")
    table = tmp_path / "detections/d/candidates.tsv"
    table.write_text(table.read_text().replace("rank", "rang"))
    made = read_material(tmp_path)
    assert [made.names[image.id] for image in made.images] == ["e"]
    said = "\n".join(made.refused)
    assert len(made.refused) == 4
    for code, name in (
        ("REV-031", "a"),
        ("REV-034", "b"),
        ("REV-034", "d"),
        ("NIF-", "candidates"),
    ):
        assert f"[{code}" in said and name in said


def test_nothing_to_review_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReviewError, match="REV-030"):
        find_detections(tmp_path / "empty", [])
    write_detection(tmp_path, "a")
    found, alone = find_detections(tmp_path / "detections", [])
    with pytest.raises(ReviewError, match="REV-032"):
        gather(found, tmp_path, refused=alone)


def test_a_scan_that_was_changed_since_is_not_shown(tmp_path):
    made = material(tmp_path, 1)
    write_detection(tmp_path, "sub-00_T1w", candidates=2, spacing_mm=(5.0, 4.0, 4.0))
    with pytest.raises(ReviewError, match="REV-033"):
        read_scan(made.images[0], tmp_path / "study")


def test_candidates_on_another_grid_are_refused(tmp_path):
    write_detection(tmp_path, "a")
    write_detection(tmp_path, "b", spacing_mm=(5.0, 4.0, 4.0))
    a, b = (tmp_path / "detections" / n for n in "ab")
    (b / "candidates.nii.gz").replace(a / "candidates.nii.gz")
    made = read_material_or_lines(tmp_path)
    assert any("GEO-001" in line for line in made)


def read_material_or_lines(root):
    try:
        return read_material(root).refused
    except ReviewError as error:
        return (str(error),)


def test_the_record_keeps_no_name_of_the_scan(tmp_path):
    folder = write_detection(tmp_path, "doe-jane")
    assert "doe" not in json.dumps(json.loads((folder / "detection.json").read_text()))
