# ruff: noqa: E402
"""A folder of DICOM slices is one stack whose place is known, or it is refused."""

from __future__ import annotations

import itertools
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from pydicom.data import get_testdata_file

from dicoms import (
    ACQUISITIONS,
    AXIAL,
    BY,
    CORONAL,
    OBLIQUE,
    SAGITTAL,
    changed,
    findings,
    real,
    refused,
    scanned,
    stored,
    write_frames,
    write_slices,
)
from napari_normative.errors import DicomError
from napari_normative.io import dicom_files
from napari_normative.io.dicom import write_seg
from napari_normative.io.dicom_planes import signed_axes
from napari_normative.io.dicom_series import on_slices, read_series
from napari_normative.volume import Volume


@pytest.mark.parametrize("name", ACQUISITIONS)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_series_lies_where_its_slices_lie(tmp_path: Path, name: str, reverse: bool) -> None:
    scan = scanned(ACQUISITIONS[name])
    write_slices(tmp_path, scan, reverse=reverse)
    series = read_series(tmp_path)
    assert series.shape == scan.shape == (13, 11, 7)
    np.testing.assert_allclose(series.affine, scan.affine, atol=1e-9)
    assert [int(image.InstanceNumber) for image in series.images] == [1, 2, 3, 4, 5, 6, 7]


def test_slices_numbered_against_their_normal_are_put_in_order(tmp_path: Path) -> None:
    scan = stored(scanned(OBLIQUE @ SAGITTAL), (0, 1, 2), (1, 1, -1))
    write_slices(tmp_path, scan)
    series = read_series(tmp_path)
    assert [int(image.InstanceNumber) for image in series.images] == [7, 6, 5, 4, 3, 2, 1]
    np.testing.assert_array_equal(on_slices(scan, series)[0], scan.data[:, :, 6].T)


@pytest.mark.parametrize("decimals", [5, 6])
def test_rounding_of_scanners_and_of_single_precision_is_no_other_grid(
    tmp_path: Path, decimals: int
) -> None:
    scan = scanned(OBLIQUE @ AXIAL, (256, 224, 9), (0.46875, 0.46875, 3.3))
    write_slices(tmp_path, scan, decimals=decimals)
    single = Volume.from_array(scan.data, scan.affine.astype(np.float32), "scan")
    series = read_series(tmp_path)
    apart = np.abs((series.affine - single.affine) @ [255, 223, 8, 1]).max()
    assert 0 < apart < 0.005
    assert on_slices(single, series).shape == (9, 224, 256)


def test_a_tilted_gantry_shears_the_stack(tmp_path: Path) -> None:
    tilted = AXIAL.copy()
    tilted[1, 2] = 0.3  # each slice lies a little behind the one below
    scan = scanned(tilted)
    write_slices(tmp_path, scan)
    series = read_series(tmp_path)
    np.testing.assert_allclose(series.affine[:, 2], scan.affine[:, 2], atol=1e-9)
    assert series.affine[1, 2] == pytest.approx(-0.3 * 2.7)


def test_a_single_slice_has_the_distance_its_header_has(tmp_path: Path) -> None:
    scan = scanned(OBLIQUE @ CORONAL, (13, 11, 1))
    (path,) = write_slices(tmp_path, scan)
    np.testing.assert_allclose(read_series(path).affine, scan.affine, atol=1e-9)
    changed(path, SpacingBetweenSlices=3.1)
    np.testing.assert_allclose(np.linalg.norm(read_series(path).affine[:3, 2]), 3.1)
    changed(path, SliceThickness=None, SpacingBetweenSlices=None)
    assert refused(read_series, path) == "DCM-007"


def test_several_series_are_counted_and_one_can_be_chosen(tmp_path: Path) -> None:
    write_slices(tmp_path / "a", scanned(AXIAL), uids="a")
    write_slices(tmp_path / "b", scanned(SAGITTAL), uids="b")
    with pytest.raises(DicomError, match=r"DCM-005.*2 series \(numbers 3, 3\)"):
        read_series(tmp_path)
    chosen = read_series(tmp_path / "b").uid
    assert read_series(tmp_path, series_uid=chosen).uid == chosen
    assert refused(read_series, tmp_path, series_uid="1.2.3") == "DCM-006"


def test_other_files_and_other_dicom_objects_are_passed_over(tmp_path: Path) -> None:
    write_slices(tmp_path, scanned(AXIAL))
    series = read_series(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").touch()
    write_seg(tmp_path / "sub" / "seg.dcm", *findings(scanned(AXIAL)), series, **BY)
    assert read_series(tmp_path).shape == series.shape
    assert read_series(sorted(tmp_path.glob("IM*"))).uid == series.uid


def test_what_is_no_series_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no DICOM")
    for source in (tmp_path, tmp_path / "a.txt", tmp_path / "missing", []):
        assert refused(read_series, source) == "DCM-003"
    assert refused(read_series, [tmp_path / "missing"]) == "DCM-004"


def test_a_missing_slice_and_a_copy_are_refused(tmp_path: Path) -> None:
    paths = write_slices(tmp_path, scanned(AXIAL))
    shutil.copy(paths[2], tmp_path / "copy")
    with pytest.raises(DicomError, match=r"DCM-009\] slices lie at the same place, 1 too many"):
        read_series(tmp_path)
    (tmp_path / "copy").unlink()
    paths[3].unlink()
    with pytest.raises(DicomError, match=r"DCM-010.*2\.7 to 5\.4 mm apart"):
        read_series(tmp_path)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, 1]}, "DCM-008"),
        ({"PixelSpacing": [1.3, 0.91]}, "DCM-008"),
        ({"Rows": 12}, "DCM-008"),
        ({"PatientID": "somebody else"}, "DCM-008"),
        ({"FrameOfReferenceUID": "1.2.3.4"}, "DCM-008"),
        ({"ImagePositionPatient": [0, 0, 0]}, "DCM-010"),
        ({"ImagePositionPatient": [31.7, -12.3, 45.6 + 3 * 2.7 + 0.05]}, "DCM-010"),
        ({"ImagePositionPatient": None}, "DCM-007"),
        ({"PixelSpacing": [0, 0.9]}, "DCM-007"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "DCM-007"),
    ],
)
def test_a_slice_unlike_the_others_is_refused(
    tmp_path: Path, values: dict[str, object], code: str
) -> None:
    changed(write_slices(tmp_path, scanned(AXIAL))[3], **values)
    assert refused(read_series, tmp_path) == code


def test_two_multi_frame_images_are_two_volumes(tmp_path: Path) -> None:
    changed(write_frames(tmp_path / "a", scanned(AXIAL)), SOPInstanceUID="1.2.3.4.5")
    write_frames(tmp_path / "b", scanned(AXIAL))
    assert refused(read_series, tmp_path) == "DCM-009"
    changed(tmp_path / "b", NumberOfFrames=6)
    assert refused(read_series, tmp_path / "b") == "DCM-007"


def test_the_packages_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(DicomError, match=r"DCM-002.*napari-normative\[dicom\]"):
        dicom_files.require_packages()
    assert refused(read_series, tmp_path) == "DCM-002"


def test_the_message_names_no_folder(tmp_path: Path) -> None:
    (path, *_) = write_slices(tmp_path / "secret", scanned(AXIAL))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DicomError, match=r"DCM-004\] IM0000: ") as caught:
        read_series(tmp_path / "secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "damaged", "code"),
    [
        (b"\x08\x00\x16\x00UI", b"\x08\x00\x16\x00FD", "DCM-004"),  # the class is no number
        (b"\x20\x00\x0d\x00UI\x40\x001.2", b"\x20\x00\x0d\x00UI\x40\x001.x", "DCM-007"),
    ],
)
def test_damaged_uids_are_not_handed_on(
    tmp_path: Path, found: bytes, damaged: bytes, code: str
) -> None:
    for path in write_slices(tmp_path, scanned(AXIAL)):
        content = path.read_bytes()
        assert content.count(found) == 1
        path.write_bytes(content.replace(found, damaged))
    assert refused(read_series, tmp_path) == code


def test_what_may_inflate_to_any_size_is_not_inflated(tmp_path: Path) -> None:
    (path, *_) = write_slices(tmp_path, scanned(AXIAL))
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(path)
    assert refused(read_series, tmp_path) == "DCM-004"


@pytest.mark.parametrize(
    ("patient", "series", "code"),
    [
        ("77654033", "CT2", "DCM-010"),  # four slices of a long series
        ("98892001", "CT2N", "DCM-008"),  # two localisers
        ("98892003", "MR700", "DCM-008"),  # projections about an axis
        ("98892003", "MR1", "DCM-005"),
        ("77654033", "CR1", "DCM-003"),  # radiographs
    ],
)
def test_real_files_that_are_no_stack_are_refused(patient: str, series: str, code: str) -> None:
    assert refused(read_series, real(patient, series)) == code


def test_every_file_that_pydicom_tests_with_is_read_or_refused() -> None:
    folder = Path(get_testdata_file("CT_small.dcm", download=False)).parent
    outcomes = set()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            outcomes.add(read_series(path).shape)
        except DicomError as error:
            outcomes.add(error.code)
    assert {(128, 128, 1), (64, 64, 1), "DCM-003", "DCM-004"} <= outcomes


def test_signed_axes_are_found_for_every_order_and_no_other_matrix() -> None:
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.eye(3)[:, order] * signs
            np.testing.assert_array_equal(signed_axes(matrix), matrix)
            np.testing.assert_array_equal(signed_axes(matrix[:, :2]), matrix[:, :2])
    for matrix in (2 * np.eye(3), np.ones((3, 3)), OBLIQUE, np.eye(3)[:, [0, 0, 1]]):
        assert signed_axes(matrix) is None
