# ruff: noqa: E402
"""DICOM segments lie where the labels lie, and refer to the series that they were given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

from pydicom.data import get_testdata_file

from dicoms import (
    ACQUISITIONS,
    AXIAL,
    BY,
    OBLIQUE,
    PATIENT,
    SAGITTAL,
    SCANNED,
    STORED,
    changed,
    findings,
    real,
    refused,
    scanned,
    shifted,
    stored,
    world,
    world_of_segment,
    write_frames,
    write_slices,
)
from napari_normative.errors import DicomError
from napari_normative.io.dicom import read_seg, write_seg
from napari_normative.io.dicom_report import write_report
from napari_normative.io.dicom_series import DicomSeries, read_series
from napari_normative.volume import Volume


@pytest.fixture
def series(tmp_path: Path) -> DicomSeries:
    write_slices(tmp_path / "series", scanned(AXIAL))
    return read_series(tmp_path / "series")


@pytest.mark.parametrize("name", ["axial", "sagittal", "oblique"])
@pytest.mark.parametrize(("order", "signs"), STORED)
def test_segments_lie_where_the_labels_lie(
    tmp_path: Path, name: str, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    scan = scanned(ACQUISITIONS[name])
    write_slices(tmp_path / "series", scan, reverse=True)
    labels, segments = findings(stored(scan, order, signs))
    path = write_seg(tmp_path / "seg.dcm", labels, segments, read_series(tmp_path / "series"), **BY)
    for number, value in enumerate((3, 7, 12), start=1):
        expected = world(labels.data == value, labels.affine)
        found = world_of_segment(path, number)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["axial", "oblique sagittal"])
@pytest.mark.parametrize("shared", [True, False])
def test_segments_of_a_multi_frame_image_lie_where_the_labels_lie(
    tmp_path: Path, name: str, shared: bool
) -> None:
    scan = scanned(ACQUISITIONS[name])
    series = read_series(write_frames(tmp_path / "all", scan, shared=shared))
    np.testing.assert_allclose(series.affine, scan.affine, atol=1e-9)
    labels, segments = findings(scan)
    path = write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY)
    for number, value in enumerate((3, 7, 12), start=1):
        expected = world(labels.data == value, labels.affine)
        np.testing.assert_allclose(world_of_segment(path, number), expected, atol=1e-3)
    for groups in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        frame = series.images[0].PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1]
        there = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(position, there, atol=1e-9)


def test_segments_of_a_tilted_gantry_lie_where_the_labels_lie(tmp_path: Path) -> None:
    tilted = AXIAL.copy()
    tilted[1, 2] = 0.3
    write_slices(tmp_path / "series", scanned(tilted))
    labels, segments = findings(scanned(tilted))
    path = write_seg(tmp_path / "seg.dcm", labels, segments, read_series(tmp_path / "series"), **BY)
    expected = world(labels.data == 7, labels.affine)
    np.testing.assert_allclose(world_of_segment(path, 2), expected, atol=1e-3)
    np.testing.assert_array_equal(read_seg(path, labels)[0].data == 2, labels.data == 7)


def test_each_frame_refers_to_the_slice_it_lies_on(tmp_path: Path, series: DicomSeries) -> None:
    labels, segments = findings(stored(scanned(AXIAL), (0, 1, 2), (1, -1, 1)))
    data = pydicom.dcmread(write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY))
    places = {i.SOPInstanceUID: i.ImagePositionPatient for i in series.images}
    assert len(data.PerFrameFunctionalGroupsSequence) == 3 + 1 + 1
    for groups in data.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        assert places[source.ReferencedSOPInstanceUID] == position
    assert data.ReferencedSeriesSequence[0].SeriesInstanceUID == series.uid
    assert data.FrameOfReferenceUID == series.images[0].FrameOfReferenceUID
    assert data.StudyInstanceUID == series.images[0].StudyInstanceUID
    assert data.SeriesInstanceUID != series.uid


def test_segments_say_what_they_are_and_no_disease(tmp_path: Path, series: DicomSeries) -> None:
    labels, segments = findings(scanned(AXIAL))
    data = highdicom.seg.segread(write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY))
    assert data.segmentation_type.value == "BINARY"
    assert data.SeriesDescription == data.ContentDescription
    assert data.SeriesDescription == "Research use only, not for diagnosis"
    assert str(data.ContentCreatorName) == "reader-1a2b3c4d^"
    described = [data.get_segment_description(n) for n in (1, 2, 3)]
    assert [d.segment_label for d in described] == ["finding 3", "finding 7", "finding 12"]
    assert [d.tracking_id for d in described] == ["cand-3", "cand-7", "cand-12"]
    kinds = [d.segmented_property_type.value for d in described]
    assert kinds == ["49755003", "49755003", "111030"]  # the last is not accepted: a region
    assert {d.algorithm_type.value for d in described} == {"SEMIAUTOMATIC"}
    algorithm = described[0].algorithm_identification[0]
    assert algorithm.AlgorithmName == "napari-normative"
    assert algorithm.AlgorithmVersion == BY["software"]
    assert algorithm.AlgorithmParameters == f"model={BY['model']}"


def test_the_distance_of_slices_is_that_of_their_positions(tmp_path: Path) -> None:
    for path in write_slices(tmp_path / "s", scanned(AXIAL)):
        changed(path, SpacingBetweenSlices=-9)  # as some scanners write it
    labels, segments = findings(scanned(AXIAL))
    series = read_series(tmp_path / "s")
    data = pydicom.dcmread(write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY))
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(2.7)


def test_a_finding_keeps_its_tracking_uid(tmp_path: Path, series: DicomSeries) -> None:
    labels, segments = findings(scanned(AXIAL))
    first, again = (
        pydicom.dcmread(write_seg(tmp_path / name, labels, segments, series, **BY))
        for name in ("first", "again")
    )
    assert first.SOPInstanceUID != again.SOPInstanceUID
    tracked = [s.TrackingUID for s in first.SegmentSequence]
    assert tracked == [s.TrackingUID for s in again.SegmentSequence]
    assert len(set(tracked)) == 3


def test_patient_and_study_come_from_the_series_and_nothing_else_goes_out(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "private-folder"
    for path in write_slices(folder, scanned(AXIAL)):
        data = pydicom.dcmread(path)
        data.InstitutionName = data.StationName = data.OperatorsName = "planted-hospital"
        data.add_new((0x0011, 0x0010), "LO", "planted-private")
        data.ImageComments = data.RequestedProcedureDescription = "planted-comment"
        data.save_as(path)
    series = read_series(folder)
    labels, segments = findings(scanned(AXIAL))
    seg = write_seg(folder / "planted-output.dcm", labels, segments, series, **BY)
    report = write_report(folder / "planted-report.dcm", seg, segments, series, **BY)
    for path in (seg, report):
        content = path.read_bytes()
        for secret in (b"planted", SCANNED.encode(), b"private-folder", b"IM0001", b"Maker"):
            assert secret not in content
        data = pydicom.dcmread(path)
        assert str(data.PatientName) == PATIENT  # in another character set than the series
        assert (data.PatientID, data.SpecificCharacterSet) == ("MRN-4711", "ISO_IR 192")
        assert not any(element.tag.is_private for element in data.iterall())
    assert "PixelData" not in pydicom.dcmread(report)
    assert len(pydicom.dcmread(seg).PixelData) <= 5 * 13 * 11 / 8 + 2  # a bit a voxel, 5 slices
    assert all("PixelData" not in image for image in series.images)


def test_a_seg_comes_back_onto_the_scan(tmp_path: Path) -> None:
    scan = scanned(OBLIQUE @ SAGITTAL)
    write_slices(tmp_path / "series", scan)
    labels, segments = findings(stored(scan, (2, 0, 1), (1, -1, -1)))
    path = write_seg(tmp_path / "seg.dcm", labels, segments, read_series(tmp_path / "series"), **BY)
    for order, signs in (((0, 1, 2), (1, 1, 1)), ((1, 2, 0), (-1, 1, -1))):
        like = stored(labels, order, signs)
        back, meanings = read_seg(path, like)
        assert back.source.is_label
        assert back.same_grid(like)
        for number, value in enumerate((3, 7, 12), start=1):
            np.testing.assert_array_equal(back.data == number, like.data == value)
        assert [s.id for s in meanings] == ["cand-3", "cand-7", "cand-12"]
        for found in meanings:
            given = next(s for s in segments if s.id == found.id)
            assert (found.name, found.decision, found.label) == (given.name, "", "")
            assert found.volume_ml == pytest.approx(given.volume_ml)
            np.testing.assert_allclose(found.centroid_mm, given.centroid_mm, atol=1e-3)


def test_a_seg_of_another_grid_does_not_come_back(tmp_path: Path, series: DicomSeries) -> None:
    scan = scanned(AXIAL)
    path = write_seg(tmp_path / "seg.dcm", *findings(scan), series, **BY)
    finer = np.diag([0.5, 0.5, 0.5, 1])
    half = Volume.from_array(np.zeros((26, 22, 14)), scan.affine @ finer, "half")
    thinner = np.diag([1, 1, 0.5, 1])
    thin = Volume.from_array(np.zeros((13, 11, 14)), scan.affine @ thinner, "thin")
    later = scan.affine.copy()
    later[:3, 3] += 2 * later[:3, 0]
    small = Volume.from_array(scan.data[:, :4], scan.affine, "cropped")
    start = Volume.from_array(scan.data[2:], later, "cropped")
    for like in (shifted(scan, 0.1), half, thin, small, start):
        assert refused(read_seg, path, like) == "DCM-015"


def test_overlapping_segments_do_not_come_back(tmp_path: Path, series: DicomSeries) -> None:
    scan = scanned(AXIAL)
    labels, segments = findings(scan)
    data = pydicom.dcmread(write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY))
    for groups in data.PerFrameFunctionalGroupsSequence:
        groups.PlanePositionSequence[0].ImagePositionPatient = series.images[0].ImagePositionPatient
    data.PixelData = b"\xff" * len(data.PixelData)
    data.save_as(tmp_path / "overlap.dcm")
    assert refused(read_seg, tmp_path / "overlap.dcm", scan) == "DCM-016"


def test_without_a_series_nothing_is_invented(tmp_path: Path) -> None:
    labels, segments = findings(scanned(AXIAL))
    with pytest.raises(DicomError, match=r"DCM-001.*never invented.*--dicom FOLDER"):
        write_seg(tmp_path / "seg.dcm", labels, segments, None, **BY)
    assert list(tmp_path.iterdir()) == []


def test_voxels_that_are_not_those_of_the_series_are_refused(
    tmp_path: Path, series: DicomSeries
) -> None:
    scan = scanned(AXIAL)
    turn = np.eye(4)
    turn[:3, :3] = OBLIQUE
    others = {
        "a tenth of a millimetre away": shifted(scan, 0.1),
        "a fiftieth away": shifted(scan, 0.02),
        "mirrored": Volume.from_array(scan.data, scan.affine @ np.diag([-1, 1, 1, 1])),
        "other spacing": Volume.from_array(scan.data, scan.affine @ np.diag([1, 1.005, 1, 1])),
        "turned": Volume.from_array(scan.data, turn @ scan.affine),
        "cropped": Volume.from_array(scan.data[1:], scan.affine),
    }
    for name, other in others.items():
        labels, segments = findings(other)
        code = refused(write_seg, tmp_path / "seg.dcm", labels, segments, series, **BY)
        assert code == "DCM-012", name
    assert not (tmp_path / "seg.dcm").exists()


def test_nothing_to_write_is_refused(tmp_path: Path, series: DicomSeries) -> None:
    labels, segments = findings(scanned(AXIAL))
    empty = labels.with_data(np.zeros(labels.shape))
    assert refused(write_seg, tmp_path / "s.dcm", empty, segments, series, **BY) == "DCM-013"
    assert refused(write_seg, tmp_path / "s.dcm", labels, [], series, **BY) == "DCM-013"


def test_values_without_a_segment_are_background(tmp_path: Path, series: DicomSeries) -> None:
    labels, segments = findings(scanned(AXIAL))
    path = write_seg(tmp_path / "seg.dcm", labels, segments[:1], series, **BY)
    assert len(pydicom.dcmread(path).SegmentSequence) == 1
    np.testing.assert_array_equal(read_seg(path, labels)[0].data, labels.data == 7)


def test_a_header_that_breaks_the_standard_is_not_passed_on(tmp_path: Path) -> None:
    for path in write_slices(tmp_path / "s", scanned(AXIAL)):
        changed(path, PatientSex="X")
    labels, segments = findings(scanned(AXIAL))
    series = read_series(tmp_path / "s")
    assert refused(write_seg, tmp_path / "o.dcm", labels, segments, series, **BY) == "DCM-011"
    assert not (tmp_path / "o.dcm").exists()


def test_what_an_anonymiser_removed_stays_empty(tmp_path: Path) -> None:
    gone = (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
        "StudyID", "AccessionNumber", "ReferringPhysicianName", "SpecificCharacterSet",
        "SeriesNumber", "SliceThickness",
    )  # fmt: skip
    for path in write_slices(tmp_path / "s", scanned(AXIAL)):
        data = pydicom.dcmread(path)
        for keyword in gone:
            delattr(data, keyword)
        data.save_as(path)
    series = read_series(tmp_path / "s")
    labels, segments = findings(scanned(AXIAL))
    seg = write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY)
    data = pydicom.dcmread(write_report(tmp_path / "sr.dcm", seg, segments, series, **BY))
    assert (str(data.PatientName), data.PatientID, data.PatientBirthDate) == ("", "", "")


def test_no_value_of_a_header_is_printed(
    tmp_path: Path,
    recwarn: pytest.WarningsRecorder,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for path in write_slices(tmp_path / "s", scanned(AXIAL)):
        changed(path, PatientName="Meier")  # in one part, which highdicom would quote
    recwarn.clear()
    caplog.clear()
    capfd.readouterr()
    series = read_series(tmp_path / "s")
    labels, segments = findings(scanned(AXIAL))
    seg = write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY)
    write_report(tmp_path / "sr.dcm", seg, segments, series, **BY)
    read_seg(seg, labels)
    path.write_bytes(path.read_bytes().replace(b"1.2.", b"1.x.", 20))  # which pydicom would
    assert refused(read_series, path) in ("DCM-003", "DCM-004", "DCM-007")
    assert [str(w.message) for w in recwarn if "dicom" in str(w.filename)] == []
    assert caplog.text == ""
    assert "".join(capfd.readouterr()) == ""


def test_a_real_series_takes_a_seg(tmp_path: Path) -> None:
    series = read_series(real("98892001", "CT5N"))
    assert series.shape == (16, 16, 5)
    np.testing.assert_allclose(series.affine[:3, 2], [0, 0, 2.5], atol=1e-6)
    np.testing.assert_allclose(series.affine[:3, 3], [72.199997, 143, -1.2375], atol=1e-6)
    scan = stored(Volume.from_array(np.zeros(series.shape), series.affine), (0, 1, 2), (1, -1, 1))
    labels, segments = findings(scan)
    seg = write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY)
    expected = world(labels.data == 7, labels.affine)
    np.testing.assert_allclose(world_of_segment(seg, 2), expected, atol=1e-3)
    write_report(tmp_path / "sr.dcm", seg, segments, series, **BY)


def _damaged_series(folder: Path, trials: int, seed: int) -> int:
    """Return how many of so many damaged series gave a SEG and a report."""
    random = np.random.default_rng(seed)
    scan = scanned(AXIAL, (13, 11, 3))
    labels, segments = findings(scan)
    paths = write_slices(folder / "s", scan)
    originals = [path.read_bytes() for path in paths]
    survived = 0
    for _ in range(trials):
        which = int(random.integers(3))
        content = bytearray(originals[which])
        if random.random() < 0.3:
            content = content[: int(random.integers(len(content)))]
        else:
            for at in random.integers(0, len(content) - 300, random.integers(1, 5)):
                content[at] = int(random.integers(256))
        paths[which].write_bytes(content)
        try:
            series = read_series(folder / "s")
            seg = write_seg(folder / "seg.dcm", labels, segments, series, **BY)
            write_report(folder / "sr.dcm", seg, segments, series, **BY)
            survived += 1
        except DicomError:
            pass
        paths[which].write_bytes(originals[which])
    return survived


def test_damaged_slices_give_our_errors_alone(tmp_path: Path) -> None:
    assert 0 < _damaged_series(tmp_path, 60, seed=1) < 60  # a header has no checksum


@pytest.mark.slow
def test_many_damaged_slices_give_our_errors_alone(tmp_path: Path) -> None:
    assert 0 < _damaged_series(tmp_path, 2000, seed=2) < 2000


def _damaged_segs(folder: Path, series: DicomSeries, trials: int, seed: int) -> set[str]:
    labels, segments = findings(scanned(AXIAL))
    original = write_seg(folder / "seg.dcm", labels, segments, series, **BY).read_bytes()
    random = np.random.default_rng(seed)
    damaged = folder / "damaged.dcm"
    outcomes = set()
    for trial in range(trials):
        content = bytearray(original)
        if trial % 2:
            content = content[: int(random.integers(len(content)))]
        for at in random.integers(0, len(content), 3) if trial % 3 and content else ():
            content[at] = int(random.integers(256))
        damaged.write_bytes(content)
        try:
            read_seg(damaged, labels)
            outcomes.add("read")
        except DicomError as error:
            outcomes.add(error.code)
    return outcomes


def test_a_damaged_seg_gives_our_errors_alone(tmp_path: Path, series: DicomSeries) -> None:
    outcomes = _damaged_segs(tmp_path, series, 80, seed=3)
    assert {"DCM-004", "DCM-014"} <= outcomes
    labels, _ = findings(scanned(AXIAL))
    other = get_testdata_file("CT_small.dcm", download=False)
    assert refused(read_seg, other, labels) == "DCM-014"
    (tmp_path / "text").write_text("no DICOM")
    assert refused(read_seg, tmp_path / "text", labels) == "DCM-014"


@pytest.mark.slow
def test_many_damaged_segs_give_our_errors_alone(tmp_path: Path, series: DicomSeries) -> None:
    assert {"DCM-004", "DCM-014"} <= _damaged_segs(tmp_path, series, 2000, seed=4)
