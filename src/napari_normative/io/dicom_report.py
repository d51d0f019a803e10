"""DICOM SR: what a reader decided of each segment of a SEG, and its volume (template TID 1500)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_normative.core.segments import Segment
from napari_normative.errors import DicomError
from napari_normative.io.dicom import (
    PROGRAM,
    conforming,
    long_string,
    new_object,
    save,
    what_it_is,
)
from napari_normative.io.dicom_files import damage, read_dataset, require_packages, without_warnings
from napari_normative.io.dicom_series import DicomSeries, require_series

_SERIES_NUMBER = 9002
_SCHEME = "99NORMATIVE"
_DECISIONS = {"accept": "accepted", "reject": "rejected", "uncertain": "uncertain"}


def write_report(
    path: str | Path,
    seg: str | Path,
    segments: Sequence[Segment],
    series: DicomSeries | None,
    *,
    software: str,
    model: str,
    reader: str,
) -> Path:
    """Write a measurement report (TID 1500) on the segments of a SEG.

    Each has its volume (mm³), the decision and the label of the reader, and refers to its
    segment and to the slices below it.

    Parameters
    ----------
    path : str or Path
    seg : str or Path
        What :func:`~napari_normative.io.dicom.write_seg` wrote for the same segments.
    segments : sequence of Segment
        Those that are not in the SEG are left out, as they were there.
    series, software, model, reader
        As for :func:`~napari_normative.io.dicom.write_seg`.

    Raises
    ------
    DicomError
        If there is no series, or the SEG is of another one or of other segments.
    OutputError
        If the disk does not allow it.
    """
    require_packages()
    series = require_series(series)
    data = read_dataset(Path(seg), pixels=False)
    try:
        with without_warnings():
            sources = {str(item.SeriesInstanceUID) for item in data.ReferencedSeriesSequence}
            described = {str(item.TrackingID): item for item in data.SegmentSequence}
    except damage():  # also None: no DICOM file
        sources, described = set(), {}
    meanings = {segment.id: segment for segment in segments}
    if sources != {series.uid} or not described or not described.keys() <= meanings.keys():
        raise DicomError(
            "DCM-017",
            "the SEG is of another series or of other findings than the report",
            "Write the SEG again, then the report.",
            subject=Path(seg).name,
        )
    with conforming():
        groups = [
            _group(data, item, meanings[id_], software, model) for id_, item in described.items()
        ]
        return save(_report(groups, [*series.images, data], software, reader), path)


def _group(seg: Any, described: Any, segment: Segment, software: str, model: str) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    evaluations = []
    if segment.decision:
        decided = _code(segment.decision, _DECISIONS[segment.decision])
        evaluations.append((_code("decision", "Decision of the reader"), decided))
    if segment.label:
        word = hashlib.sha256(segment.label.encode()).hexdigest()[:8]
        labelled = _code(f"label-{word}", long_string(segment.label))
        evaluations.append((_code("label", "Label given by the reader"), labelled))
    volume_mm3 = round(1000 * segment.volume_ml, 6)  # a decimal string has 16 characters
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=described.TrackingUID, identifier=segment.id),
        referenced_segment=sr.ReferencedSegment.from_segmentation(seg, described.SegmentNumber),
        finding_type=what_it_is(segment)[1],
        algorithm_id=sr.AlgorithmIdentification(PROGRAM, software, parameters=[f"model={model}"]),
        measurements=[sr.Measurement(codes.SCT.Volume, volume_mm3, codes.UCUM.CubicMillimeter)],
        qualitative_evaluations=[sr.QualitativeEvaluation(*pair) for pair in evaluations],
    )


def _report(groups: list[Any], evidence: list[Any], software: str, reader: str) -> Any:
    from highdicom import sr
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    program = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[PROGRAM, software]),
        name=PROGRAM,
        manufacturer_name=PROGRAM,
        model_name=software,
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_person_context=sr.ObserverContext(
                codes.DCM.Person, sr.PersonObserverIdentifyingAttributes(f"{reader}^")
            ),
            observer_device_context=sr.ObserverContext(codes.DCM.Device, program),
        ),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
    )
    scheme = CodingSchemeIdentificationItem(
        _SCHEME, name=f"Codes of {PROGRAM}", responsible_organization=PROGRAM
    )
    return sr.Comprehensive3DSR(
        evidence=evidence,
        content=report,
        is_complete=True,
        coding_schemes=[scheme],
        **new_object(software, _SERIES_NUMBER),
    )


def _code(value: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value, _SCHEME, meaning)
