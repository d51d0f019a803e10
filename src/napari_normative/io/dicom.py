"""DICOM SEG: findings as segments on their source series, and back onto the scan.

A SEG belongs to the patient's study, so it carries what the source series says of patient and
study. Nothing else of the source goes out, and no pixel of the scan.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.segments import Segment, measure, segments_of
from napari_normative.errors import DicomError
from napari_normative.io.atomic import replace_files
from napari_normative.io.dicom_files import (
    damage,
    read_dataset,
    require_packages,
    without_warnings,
)
from napari_normative.io.dicom_planes import (
    PLACE_TOLERANCE_MM,
    TO_RAS,
    Plane,
    frames_of,
    functional_group,
    signed_axes,
)
from napari_normative.io.dicom_series import DicomSeries, on_slices, require_series
from napari_normative.volume import Mask, Volume

PROGRAM = "napari-normative"
RESEARCH = "Research use only, not for diagnosis"
UTF8 = "ISO_IR 192"
_SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
_SERIES_NUMBER = 9001
_LONGEST = 64  # characters of a DICOM long string


def write_seg(
    path: str | Path,
    labels: Volume,
    segments: Sequence[Segment],
    series: DicomSeries | None,
    *,
    software: str,
    model: str,
    reader: str,
) -> Path:
    """Write findings as a binary DICOM SEG on the series that the scan was made from.

    Voxels are turned and flipped, never resampled. A label value without a segment is
    background; a segment without a voxel is left out.

    Parameters
    ----------
    path : str or Path
    labels : Volume
        On the scan's stored grid.
    segments : sequence of Segment
    series : DicomSeries
    software : str
        Name and version.
    model : str
        Name and digest.
    reader : str
        Code of the reader.

    Raises
    ------
    DicomError
        If there is no series, the labels do not lie on it, or nothing is to be written.
    OutputError
        If the disk does not allow it.
    """
    require_packages()
    series = require_series(series)
    stack = on_slices(labels, series)
    present = segments_of(labels, segments)
    if not present:
        raise DicomError("DCM-013", "there is no finding to write", "Accept a candidate first.")
    values = np.array(sorted(present))
    nearest = np.searchsorted(values, stack).clip(max=len(values) - 1)
    numbers = np.empty(stack.shape, np.uint16)  # in the order of the images, not of the slices
    numbers[list(series.frames)] = np.where(values[nearest] == stack, nearest + 1, 0)
    with conforming():
        meanings = [present[value] for value in values.tolist()]
        seg = _segmentation(numbers, meanings, series, software, model, reader)
        return save(seg, path)


def read_seg(path: str | Path, like: Volume) -> tuple[Volume, tuple[Segment, ...]]:
    """Read a binary DICOM SEG as labels on the grid of a scan made from its series.

    Returns
    -------
    labels : Volume
        Values are the SEG's segment numbers.
    segments : tuple of Segment
        Those with voxels; decision and label are empty.

    Raises
    ------
    DicomError
        If the file is no binary SEG, or does not fit the scan voxel for voxel.
    """
    require_packages()
    path = Path(path)
    data = read_dataset(path, pixels=True)
    values = np.zeros(like.shape, np.uint16)
    try:
        with without_warnings():
            if data.SOPClassUID != _SEG_CLASS or data.SegmentationType != "BINARY":
                raise ValueError("not binary")
            planes = frames_of(data)
            frames = data.pixel_array.reshape(len(planes), int(data.Rows), int(data.Columns))
            identified = [
                functional_group(data, n, "SegmentIdentificationSequence")
                for n in range(len(planes))
            ]
            numbers = [int(item.ReferencedSegmentNumber) for item in identified]
            spacing = functional_group(data, 0, "PixelMeasuresSequence").get("SpacingBetweenSlices")
            named = [
                (int(item.SegmentNumber), str(item.get("TrackingID", "")), str(item.SegmentLabel))
                for item in data.SegmentSequence
            ]
    except damage() as error:
        raise DicomError(
            "DCM-014",
            "the file is no binary DICOM SEG, or is damaged",
            "Give a SEG of the type BINARY.",
            consequence="Nothing was read.",
            subject=path.name,
        ) from error
    for plane, frame, number in zip(planes, frames, numbers, strict=True):
        places = _places(frame.astype(bool), plane, like, float(spacing or 0))
        if places is None:
            raise DicomError(
                "DCM-015",
                "the segments do not lie on the scan's voxels",
                "Give the scan that was made from the SEG's own series, neither resampled nor "
                "cropped.",
                consequence="Nothing was read.",
                subject=path.name,
            )
        if np.setdiff1d(values[places], (0, number)).size:
            raise DicomError(
                "DCM-016",
                "its segments overlap, which labels cannot",
                "Read the segments one by one with another program.",
                consequence="Nothing was read.",
                subject=path.name,
            )
        values[places] = number
    labels = like.with_data(values, is_label=True)
    found = set(np.unique(values).tolist())
    return labels, tuple(
        Segment(number, id_, name, "", "", *measure(values == number, like))
        for number, id_, name in named
        if number in found
    )


@contextlib.contextmanager
def conforming() -> Iterator[None]:
    """Refuse what highdicom refuses: a new object that would break the standard.

    Raises
    ------
    DicomError
        ``DCM-011``.
    """
    try:
        with without_warnings():
            yield
    except damage() as error:
        raise DicomError(
            "DCM-011",
            "the headers of the series break the DICOM standard, and a new object would too",
            "Mend the series, or choose another format.",
        ) from error


def save(data: Any, path: str | Path) -> Path:
    """Write a dataset in one step or not at all."""
    from pydicom import dcmwrite

    # An optional sequence in which highdicom names the scanner and the hospital.
    data.pop("ContributingEquipmentSequence", None)
    buffer = io.BytesIO()
    dcmwrite(buffer, data, enforce_file_format=True)
    replace_files({Path(path): buffer.getvalue()})
    return Path(path)


def new_object(software: str, number: int) -> dict[str, Any]:
    """Return what highdicom wants to know of any new object: its UIDs and who makes it."""
    from highdicom import UID

    return {
        "series_instance_uid": UID(),
        "sop_instance_uid": UID(),
        "series_number": number,
        "instance_number": 1,
        "series_description": RESEARCH,
        "manufacturer": PROGRAM,
        "manufacturer_model_name": PROGRAM,
        "device_serial_number": long_string(software),
        "software_versions": long_string(software),
        "specific_character_set": UTF8,
    }


def long_string(text: str) -> str:
    """Return a text as DICOM keeps a line: 64 characters, and no backslash, which separates."""
    return " ".join(text.replace("\\", " ").split())[:_LONGEST]


def what_it_is(segment: Segment) -> tuple[Any, Any]:
    """Return category and type of a region, as codes that name no disease.

    Only what a reader accepted is called abnormal; all else is a region.
    """
    from pydicom.sr.codedict import codes

    if segment.decision == "accept":
        abnormal = codes.SCT.MorphologicallyAbnormalStructure
        return abnormal, abnormal
    return codes.SCT.SpatialAndRelationalConcept, codes.DCM.ImageRegion


def _segmentation(
    numbers: NDArray[np.uint16],
    segments: Sequence[Segment],
    series: DicomSeries,
    software: str,
    model: str,
    reader: str,
) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid
    from pydicom.valuerep import DSfloat

    algorithm = AlgorithmIdentificationSequence(
        name=PROGRAM,
        family=codes.DCM.ArtificialIntelligence,
        version=long_string(software),
        parameters={"model": model},
    )
    descriptions = []
    for number, segment in enumerate(segments, start=1):
        category, kind = what_it_is(segment)
        descriptions.append(
            SegmentDescription(
                segment_number=number,
                segment_label=long_string(segment.name),
                segmented_property_category=category,
                segmented_property_type=kind,
                algorithm_type="SEMIAUTOMATIC",
                algorithm_identification=algorithm,
                tracking_id=segment.id,
                tracking_uid=generate_uid(entropy_srcs=[series.uid, segment.id]),
                display_color=CIELabColor.from_rgb(*segment.colour),
            )
        )
    seg = Segmentation(
        source_images=series.images,
        pixel_array=numbers,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        content_label="FINDINGS",
        content_description=RESEARCH,
        content_creator_name=f"{reader}^",
        **new_object(software, _SERIES_NUMBER),
    )
    column, row, step = series.affine[:3, :3].T
    normal = np.cross(column, row) / np.linalg.norm(np.cross(column, row))
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = DSfloat(abs(float(normal @ step)), auto_format=True)
    return seg


def _places(
    frame: Mask, plane: Plane, like: Volume, spacing: float
) -> tuple[NDArray[np.int64], ...] | None:
    """Return the voxels of a scan that a frame covers; None unless each is met exactly."""
    steps = TO_RAS[:3, :3] @ plane.steps
    turned = signed_axes(np.linalg.inv(like.affine)[:3, :3] @ steps)
    if turned is None:
        return None
    through = int(np.flatnonzero(~turned.any(axis=1))[0])
    normal = np.cross(*steps.T) / np.linalg.norm(np.cross(*steps.T))
    apart = abs(float(normal @ like.affine[:3, through]))
    if spacing and abs(apart - spacing) > PLACE_TOLERANCE_MM:
        return None
    world = np.argwhere(frame)[:, ::-1] @ steps.T + TO_RAS[:3, :3] @ plane.position
    index = (world - like.affine[:3, 3]) @ np.linalg.inv(like.affine[:3, :3]).T
    voxels = np.rint(index).astype(np.int64)
    off = np.abs((index - voxels) @ like.affine[:3, :3].T)
    if off.max(initial=0) > PLACE_TOLERANCE_MM or not (
        (voxels >= 0).all() and (voxels < like.shape).all()
    ):
        return None
    return tuple(voxels.T)
