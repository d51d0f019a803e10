"""DICOM series made of volumes, as a scanner would have written them, and where segments lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from napari_normative.core.segments import Segment, measure
from napari_normative.errors import DicomError
from napari_normative.volume import Affine, Volume
from strategies import turn

PATIENT = "Müller^Grete"
SCANNED = "planted-protocol"
"""In the series' own headers, which are not the patient's or the study's."""

OBLIQUE = turn(0.31, -0.22, 0.17)
AXIAL = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
SAGITTAL = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0.0]])
CORONAL = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])
"""Columns: where DICOM columns, rows and slices run, in DICOM's own axes (LPS)."""


def scanned(
    directions: np.ndarray,
    shape: tuple[int, int, int] = (13, 11, 7),
    spacing_mm: tuple[float, float, float] = (0.9, 1.3, 2.7),
    first_mm: tuple[float, float, float] = (-31.7, 12.3, 45.6),
) -> Volume:
    """Return noise on the grid (column, row, slice) of a series, in world RAS+ mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ directions * spacing_mm
    affine[:3, 3] = first_mm
    values = np.random.default_rng(5).integers(1, 4000, shape)
    return Volume.from_array(values, affine, "scan")


ACQUISITIONS = {
    "axial": AXIAL,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "oblique": OBLIQUE @ AXIAL,
    "oblique sagittal": OBLIQUE @ SAGITTAL,
}


def number(value: float, decimals: int | None = None) -> str:
    """Return a decimal string as precise as its 16 characters allow, or rounded."""
    return format_number_as_ds(float(value)) if decimals is None else f"{value:.{decimals}f}"


def _lps(affine: Affine) -> Affine:
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _numbers(values: Sequence[float], decimals: int | None) -> list[str]:
    return [number(v, decimals) for v in values]


def _study(volume: Volume, uids: str) -> Dataset:
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 100"
    data.PatientName, data.PatientID = PATIENT, "MRN-4711"
    data.PatientBirthDate, data.PatientSex = "19700102", "F"
    data.StudyDate, data.StudyTime = "20240305", "101112"
    data.StudyID, data.AccessionNumber, data.ReferringPhysicianName = "S1", "", ""
    data.StudyInstanceUID = generate_uid(entropy_srcs=[uids, "study"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[uids, "series"])
    data.FrameOfReferenceUID = generate_uid(entropy_srcs=[uids, "frame"])
    data.PositionReferenceIndicator = ""
    data.Modality, data.Manufacturer, data.SeriesNumber = "MR", "Maker", 3
    data.SeriesDescription = data.ProtocolName = SCANNED
    data.Columns, data.Rows = volume.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    return data


def _save(data: Dataset, path: Path) -> Path:
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)
    return path


def write_slices(
    folder: Path,
    volume: Volume,
    *,
    uids: str = "a",
    decimals: int | None = None,
    reverse: bool = False,
) -> list[Path]:
    """Write one MR image a slice; names run against the slices if ``reverse``."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = _lps(volume.affine)
    spacing = volume.spacing_mm
    paths = []
    count = volume.shape[2]
    for k in range(count):
        data = _study(volume, uids)
        data.SOPClassUID = MRImageStorage
        data.SOPInstanceUID = generate_uid(entropy_srcs=[uids, str(k)])
        data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        data.ScanningSequence, data.SequenceVariant, data.MRAcquisitionType = "SE", "NONE", "2D"
        data.ScanOptions, data.EchoTime, data.EchoTrainLength, data.RepetitionTime = "", 9, 1, 500
        data.InstanceNumber = k + 1
        data.ImagePositionPatient = _numbers(affine[:3, 3] + k * affine[:3, 2], decimals)
        directions = (affine[:3, :2] / spacing[:2]).T.ravel()
        data.ImageOrientationPatient = _numbers(directions, decimals)
        data.PixelSpacing = _numbers((spacing[1], spacing[0]), decimals)
        data.SliceThickness = number(spacing[2], decimals)
        data.PixelData = volume.data[:, :, k].T.astype("<u2").tobytes()
        paths.append(_save(data, folder / f"IM{count - k if reverse else k:04d}"))
    return paths


def write_frames(path: Path, volume: Volume, *, uids: str = "a", shared: bool = True) -> Path:
    """Write one enhanced MR image whose frames run against the slices."""
    affine, spacing = _lps(volume.affine), volume.spacing_mm
    data = _study(volume, uids)
    data.SOPClassUID = EnhancedMRImageStorage
    data.SOPInstanceUID = generate_uid(entropy_srcs=[uids, "all"])
    data.ImageType, data.InstanceNumber = ["ORIGINAL", "PRIMARY", "M", "NONE"], 1
    orientation, measures, common = Dataset(), Dataset(), Dataset()
    directions = (affine[:3, :2] / spacing[:2]).T.ravel()
    orientation.ImageOrientationPatient = _numbers(directions, None)
    measures.PixelSpacing = _numbers((spacing[1], spacing[0]), None)
    measures.SliceThickness = number(spacing[2])
    data.SharedFunctionalGroupsSequence = Items([common])
    frames = []
    for k in reversed(range(volume.shape[2])):
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = _numbers(affine[:3, 3] + k * affine[:3, 2], None)
        frame.PlanePositionSequence = Items([position])
        for where in [common] if shared else [frame]:
            where.PlaneOrientationSequence = Items([orientation])
            where.PixelMeasuresSequence = Items([measures])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Items(frames)
    data.NumberOfFrames = len(frames)
    data.PixelData = volume.data[:, :, ::-1].T.astype("<u2").tobytes()
    return _save(data, path)


BY = {
    "software": "napari-normative 9.9",
    "model": "brain-t1 sha256:" + "ab" * 32,
    "reader": "reader-1a2b3c4d",
}
STORED = [
    ((0, 1, 2), (1, 1, 1)), ((0, 1, 2), (1, -1, 1)), ((0, 1, 2), (-1, 1, -1)),
    ((2, 0, 1), (1, 1, 1)), ((2, 0, 1), (1, -1, -1)), ((1, 0, 2), (1, 1, 1)),
    ((1, 2, 0), (-1, -1, -1)), ((0, 2, 1), (1, 1, -1)),
]  # fmt: skip
"""Order and direction of the scan's axes, of those of the series: as converters leave them."""


def stored(volume: Volume, order: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """Return the same voxels with axes in another order and direction."""
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        change[old, new] = sign
        change[old, 3] = volume.shape[old] - 1 if sign < 0 else 0
    data = np.flip(volume.data.transpose(order), [n for n in range(3) if signs[n] < 0])
    return Volume.from_array(data, volume.affine @ change, "scan")


def findings(scan: Volume) -> tuple[Volume, list[Segment]]:
    """Return two findings without any symmetry, one of them on a corner, and one uncertain."""
    labels = np.zeros(scan.shape)
    i, j, k = scan.shape
    labels[: i // 3, : j // 2, : k // 2] = 7
    labels[1, 0, 0] = 0
    labels[i // 2 : -1, 2:-2, k // 2 + 1] = 3
    labels[-2, -3, 2] = 12
    decided = [(7, "accept", "zyste ö β"), (3, "accept", ""), (12, "uncertain", "")]
    segments = [
        Segment(value, f"cand-{value}", f"finding {value}", decision, label,
                *measure(labels == value, scan))
        for value, decision, label in decided
    ]  # fmt: skip
    return scan.with_data(labels, is_label=True), segments


_NO_PLANE = np.array([1, 0.7310586, 0.3183099])  # normal to no plane of a grid: sorts uniquely


def world(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the sorted world positions of the voxels of a mask."""
    points = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return points[np.argsort(points @ _NO_PLANE)]


def world_of_segment(path: Path, number: int) -> np.ndarray:
    """Return the same from the DICOM attributes alone, RAS+."""
    data = pydicom.dcmread(path)
    shared = data.SharedFunctionalGroupsSequence[0]
    points = []
    frames = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    for frame, groups in zip(frames, data.PerFrameFunctionalGroupsSequence, strict=True):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        row, column = np.nonzero(frame)
        x = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
        down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
        first = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        points.append(first + np.outer(column * across, x[:3]) + np.outer(row * down, x[3:]))
    found = np.concatenate(points) * (-1, -1, 1)
    return found[np.argsort(found @ _NO_PLANE)]


def shifted(scan: Volume, mm: float) -> Volume:
    """Return the scan elsewhere."""
    affine = scan.affine.copy()
    affine[1, 3] += mm
    return Volume.from_array(scan.data, affine, "shifted")


def refused(function: Callable[..., object], *args: object, **keywords: object) -> str:
    """Return the code with which a call is refused."""
    with pytest.raises(DicomError) as caught:
        function(*args, **keywords)
    return caught.value.code


def changed(path: Path, **values: object) -> None:
    """Change values in a header."""
    data = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.save_as(path)


def real(patient: str, series: str) -> list[Path]:
    """Return the headers of a real series, as pydicom has them for its own tests."""
    first = get_testdata_file("dicomdirtests/DICOMDIR", download=False)
    return sorted((Path(first).parent / patient / series).iterdir())
