"""One DICOM image series: where its slices lie, and which labels lie on them.

Headers alone are read. What new objects refer to, and whose patient and study they belong
to, comes from here and is never invented.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.errors import DicomError
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
    plane_of,
    signed_axes,
)
from napari_normative.volume import Affine, Volume

_SLICES = {
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # legacy converted enhanced CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.1",  # enhanced MR
    "1.2.840.10008.5.1.4.1.1.4.4",  # legacy converted enhanced MR
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.130",  # enhanced PET
    "1.2.840.10008.5.1.4.1.1.128.1",  # legacy converted enhanced PET
}
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_EQUAL = (
    "PatientID", "PatientName", "StudyInstanceUID", "SOPClassUID", "FrameOfReferenceUID",
    "Rows", "Columns",
)  # fmt: skip
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_UID = re.compile(r"[0-9.]{5,64}")


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """A stack of slices.

    Attributes
    ----------
    uid : str
        Series Instance UID.
    images : tuple of pydicom.Dataset
        Headers without pixels: one for each slice, or a single one with many frames.
    frames : tuple of int
        For each slice along the stack, which image (or frame of the only image) it is.
    affine : float64 array, shape (4, 4)
        Index (column, row, slice) to world mm, right, anterior, superior.
    shape : tuple of 3 int
        Columns, rows, slices.
    """

    uid: str
    images: tuple[Any, ...]
    frames: tuple[int, ...]
    affine: Affine
    shape: tuple[int, int, int]


def read_series(
    source: str | Path | Sequence[str | Path], *, series_uid: str | None = None
) -> DicomSeries:
    """Read the headers of one series of CT, MR or PET slices.

    Parameters
    ----------
    source : str, Path or sequence of them
        A folder, with the folders in it, or files. Other files and other DICOM objects are
        passed over.
    series_uid : str, optional
        Series Instance UID of the one that is meant, where there are several.

    Raises
    ------
    DicomError
        If there is no slice, a file is damaged, or the slices are not one evenly spaced
        stack of one series.
    """
    require_packages()
    images = [image for path in _files(source) for image in _slice_headers(path)]
    if not images:
        raise DicomError(
            "DCM-003",
            "no CT, MR or PET slice was found",
            "Give the folder with the DICOM files that the scan was made from.",
        )
    with _understood():
        found = {
            str(image.SeriesInstanceUID): int(image.get("SeriesNumber") or 0) for image in images
        }
        if series_uid is None and len(found) > 1:
            numbers = ", ".join(map(str, sorted(found.values())))
            raise DicomError(
                "DCM-005",
                f"the files belong to {len(found)} series (numbers {numbers})",
                "Give the files of one alone, or choose it by its Series Instance UID.",
            )
        uid = series_uid or next(iter(found))
        if uid not in found:
            raise DicomError(
                "DCM-006",
                "no slice belongs to the series that was chosen",
                "Choose another, or another folder.",
            )
        return _series(uid, [image for image in images if image.SeriesInstanceUID == uid])


def require_series(series: DicomSeries | None) -> DicomSeries:
    """Return the series, or refuse: DICOM objects cannot be made without it.

    Raises
    ------
    DicomError
        ``DCM-001``.
    """
    if series is None:
        raise DicomError(
            "DCM-001",
            "DICOM objects need the source series; its UIDs are never invented",
            "Give the series' folder with --dicom FOLDER, or choose another format.",
        )
    return series


def on_slices(labels: Volume, series: DicomSeries) -> NDArray[np.float32]:
    """Return labels voxel for voxel as an array (slice, row, column); axes are turned only.

    Raises
    ------
    DicomError
        ``DCM-012`` unless every voxel centre lies within `PLACE_TOLERANCE_MM` of one of the
        series.
    """
    turned = signed_axes(np.linalg.inv(series.affine)[:3, :3] @ labels.affine[:3, :3])
    if turned is None:
        raise _not_on_series("spacings or directions differ")
    axes = np.abs(turned).argmax(axis=1)  # of the labels, for column, row and slice
    if series.shape != tuple(labels.shape[axis] for axis in axes):
        raise _not_on_series(f"{labels.shape} voxels and {series.shape}")
    signs = turned[range(3), axes]
    flipped = [n for n in range(3) if signs[n] < 0]
    step = np.eye(4)
    step[:3, :3] = turned.T
    step[axes[flipped], 3] = np.array(series.shape)[flipped] - 1
    off = labels.affine @ step - series.affine
    corners = np.array([*itertools.product(*[(0, n - 1) for n in series.shape])])
    distance = float(np.abs(corners @ off[:3, :3].T + off[:3, 3]).max())
    if distance > PLACE_TOLERANCE_MM:
        raise _not_on_series(f"voxel centres are up to {distance:.3g} mm apart")
    stack: NDArray[np.float32] = np.flip(labels.data.transpose(axes), tuple(flipped)).transpose(
        2, 1, 0
    )
    return stack


def _files(source: str | Path | Sequence[str | Path]) -> list[Path]:
    if not isinstance(source, str | Path):
        return [Path(path) for path in source]
    folder = Path(source)
    if folder.is_dir():
        return sorted(path for path in folder.rglob("*") if path.is_file())
    return [folder] if folder.is_file() else []


def _slice_headers(path: Path) -> list[Any]:
    data = read_dataset(path, pixels=False)
    return [data] if data is not None and str(data.get("SOPClassUID")) in _SLICES else []


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    try:
        with without_warnings():
            yield
    except damage() as error:
        raise DicomError(
            "DCM-007",
            "the headers of the series are incomplete or make no sense",
            "Copy the series again from its source.",
        ) from error


def _series(uid: str, images: list[Any]) -> DicomSeries:
    for image in images:
        if not all(_UID.fullmatch(str(image[keyword].value)) for keyword in _UIDS):
            raise ValueError("damaged UID")
        for keyword in _MAY_BE_EMPTY:
            if keyword not in image:
                setattr(image, keyword, "")
    different = [key for key in _EQUAL if len({str(i.get(key)) for i in images}) > 1]
    if different:
        raise _unlike(f"in {', '.join(different)}")
    first = images[0]
    framed = "PerFrameFunctionalGroupsSequence" in first
    if framed and len(images) > 1:
        raise _same_place(len(images) - 1, "images")
    planes = frames_of(first) if framed else [plane_of(image, image, image) for image in images]
    size = (int(first.Columns), int(first.Rows))
    order, affine = _stack(planes, size)
    if framed:  # highdicom looks for what all frames share in one place
        for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
            group = functional_group(first, 0, name)
            setattr(first.SharedFunctionalGroupsSequence[0], name, [group])
    else:
        images, order = [images[n] for n in order], list(range(len(order)))
        if not images[0].get("SliceThickness"):  # which highdicom wants
            images[0].SliceThickness = f"{np.linalg.norm(affine[:3, 2]):.8g}"
    return DicomSeries(uid, tuple(images), tuple(order), affine, (*size, len(planes)))


def _stack(planes: list[Plane], size: tuple[int, int]) -> tuple[list[int], Affine]:
    """Return the order of the planes along their normal, and the affine of the stack."""
    steps = np.stack([plane.steps for plane in planes])
    if np.abs((steps - steps[0]) * (np.array(size) - 1)).max() > PLACE_TOLERANCE_MM:
        raise _unlike("in orientation or pixel spacing")
    normal = np.cross(steps[0, :, 0], steps[0, :, 1])
    normal /= np.linalg.norm(normal)
    positions = np.stack([plane.position for plane in planes])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    apart = np.diff(positions @ normal)
    if copies := int((apart <= PLACE_TOLERANCE_MM).sum()):
        raise _same_place(copies, "slices")
    step = normal * planes[0].distance
    if len(apart):
        step = (positions[-1] - positions[0]) / len(apart)
    line = positions[0] + np.arange(len(planes))[:, None] * step
    if np.abs(positions - line).max() > PLACE_TOLERANCE_MM:
        raise DicomError(
            "DCM-010",
            "slices are missing or not evenly spaced along a line: neighbours are "
            f"{apart.min():.4g} to {apart.max():.4g} mm apart",
            "Give the whole series.",
        )
    affine = np.eye(4)
    affine[:3] = np.column_stack([steps[0], step, positions[0]])
    if abs(np.linalg.det(affine)) < 1e-9:
        raise ValueError("no distance between slices")
    return order.tolist(), TO_RAS @ affine


def _unlike(where: str) -> DicomError:
    return DicomError(
        "DCM-008",
        f"the slices of the series differ {where}",
        "Give the files of one stack of slices alone, without localisers.",
    )


def _same_place(count: int, what: str) -> DicomError:
    return DicomError(
        "DCM-009",
        f"{what} lie at the same place, {count} too many: copies, echoes or time points",
        "Give the files of one volume alone.",
    )


def _not_on_series(why: str) -> DicomError:
    return DicomError(
        "DCM-012",
        f"the scan's voxels are not those of the DICOM series: {why}",
        "Give the series that the scan was made from; a scan that was resampled or cropped "
        "cannot be brought back to it.",
    )
