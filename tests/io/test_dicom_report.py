# ruff: noqa: E402
"""A DICOM report measures the segments that it refers to."""

from __future__ import annotations

from pathlib import Path

import pytest

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

from dicoms import AXIAL, BY, findings, refused, scanned, stored, world_of_segment, write_slices
from napari_normative.io.dicom import write_seg
from napari_normative.io.dicom_report import write_report
from napari_normative.io.dicom_series import DicomSeries, read_series


@pytest.fixture
def series(tmp_path: Path) -> DicomSeries:
    write_slices(tmp_path / "series", scanned(AXIAL))
    return read_series(tmp_path / "series")


def test_volumes_and_decisions_are_those_of_the_segments(
    tmp_path: Path, series: DicomSeries
) -> None:
    labels, segments = findings(stored(scanned(AXIAL), (2, 0, 1), (1, -1, -1)))
    seg = write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY)
    report = highdicom.sr.srread(write_report(tmp_path / "sr.dcm", seg, segments, series, **BY))
    data = pydicom.dcmread(seg)
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [g.tracking_identifier for g in groups] == ["cand-3", "cand-7", "cand-12"]
    for group, described in zip(groups, data.SegmentSequence, strict=True):
        segment = next(s for s in segments if s.id == group.tracking_identifier)
        assert group.tracking_uid == described.TrackingUID
        (volume,) = group.get_measurements()
        assert (volume.name.value, volume.unit.value) == ("118565006", "mm3")
        voxels = len(world_of_segment(seg, described.SegmentNumber))
        assert volume.value == pytest.approx(voxels * 0.9 * 1.3 * 2.7, abs=1e-4)
        said = {e.name.value: e.value.meaning for e in group.get_qualitative_evaluations()}
        decided = {"accept": "accepted", "uncertain": "uncertain"}[segment.decision]
        assert said == {"decision": decided} | ({"label": segment.label} if segment.label else {})


def test_references_are_those_of_the_seg_and_its_slices(
    tmp_path: Path, series: DicomSeries
) -> None:
    labels, segments = findings(scanned(AXIAL))
    seg = write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY)
    report = highdicom.sr.srread(write_report(tmp_path / "sr.dcm", seg, segments, series, **BY))
    data = pydicom.dcmread(seg)
    below = {3: [4], 7: [0, 1, 2], 12: [2]}  # the slices of each finding
    groups = report.content.get_volumetric_roi_measurement_groups()
    for number, (group, value) in enumerate(zip(groups, (3, 7, 12), strict=True), start=1):
        reference, *sources = group.referenced_segment
        item = reference.ReferencedSOPSequence[0]
        assert item.ReferencedSOPInstanceUID == data.SOPInstanceUID
        assert item.ReferencedSegmentNumber == number
        named = {s.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for s in sources}
        assert named == {series.images[k].SOPInstanceUID for k in below[value]}
    images = {(str(series.uid), str(image.SOPInstanceUID)) for image in series.images}
    evidence = {(str(s), str(uid)) for _, s, uid, _ in report.get_evidence()}
    assert evidence == images | {(str(data.SeriesInstanceUID), str(data.SOPInstanceUID))}
    assert report.StudyInstanceUID == series.images[0].StudyInstanceUID


def test_the_observers_are_a_code_and_the_program(tmp_path: Path, series: DicomSeries) -> None:
    labels, segments = findings(scanned(AXIAL))
    seg = write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY)
    data = pydicom.dcmread(write_report(tmp_path / "sr.dcm", seg, segments, series, **BY))
    names = [str(e.value) for e in data.iterall() if e.keyword == "PersonName"]
    assert names == ["reader-1a2b3c4d^"]
    texts = {str(e.value) for e in data.iterall() if e.keyword == "TextValue"}
    assert {"napari-normative", BY["software"], f"model={BY['model']}"} <= texts
    assert (data.VerificationFlag, data.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert data.SeriesDescription == "Research use only, not for diagnosis"


def test_a_report_needs_the_seg_of_its_series_and_findings(
    tmp_path: Path, series: DicomSeries
) -> None:
    labels, segments = findings(scanned(AXIAL))
    seg = write_seg(tmp_path / "seg.dcm", labels, segments, series, **BY)
    write_slices(tmp_path / "other", scanned(AXIAL), uids="b")
    other = read_series(tmp_path / "other")
    (tmp_path / "text").write_text("no DICOM")
    out = tmp_path / "sr.dcm"
    assert refused(write_report, out, seg, segments, None, **BY) == "DCM-001"
    assert refused(write_report, out, seg, segments, other, **BY) == "DCM-017"
    assert refused(write_report, out, seg, segments[:2], series, **BY) == "DCM-017"
    assert refused(write_report, out, tmp_path / "text", segments, series, **BY) == "DCM-017"
    assert not out.exists()
