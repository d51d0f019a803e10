"""DICOM files that may be damaged, and packages that may be missing."""

from __future__ import annotations

import contextlib
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_normative.errors import DicomError


def damage() -> tuple[type[Exception], ...]:
    """Return what pydicom and highdicom raise over a file that is not as it should be."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (
        ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError,
        OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
        BytesLengthException, InvalidDicomError,
    )  # fmt: skip


def require_packages() -> None:
    """Refuse if highdicom and pydicom are not installed.

    Raises
    ------
    DicomError
        ``DCM-002``.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise DicomError(
            "DCM-002",
            "DICOM needs the packages highdicom and pydicom, which are not installed",
            'Install them with: pip install "napari-normative[dicom]"',
        ) from error


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Keep pydicom and highdicom from telling values of a header, such as a patient's name."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def read_dataset(path: Path, *, pixels: bool) -> Any:
    """Return a DICOM file as a dataset, or None if it is none; its elements are decoded later.

    Raises
    ------
    DicomError
        ``DCM-004`` if it is one and cannot be read.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    try:
        with path.open("rb") as handle:
            if handle.read(132)[128:] != b"DICM":
                return None
        with without_warnings():
            if read_file_meta_info(path).TransferSyntaxUID.is_deflated:
                raise ValueError("deflated: it may inflate to any size")
            data = dcmread(path, stop_before_pixels=not pixels)
            data.get("SOPClassUID")  # decoded here, where damage has a file's name
    except damage() as error:
        raise DicomError(
            "DCM-004",
            "the DICOM file is damaged, or stored in a way that is not read",
            "Copy the file again from its source.",
            subject=path.name,
        ) from error
    return data
