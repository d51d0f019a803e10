"""Findings as DICOM SEG and SR, beside the series that the scans were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_normative.errors import NormativeError
from napari_normative.io.dicom import write_seg
from napari_normative.io.dicom_report import write_report
from napari_normative.io.dicom_series import read_series, require_series
from napari_normative.review.results import ReviewedCase


def write_dicom(
    cases: Iterable[ReviewedCase],
    folder: Path,
    source: Path | None,
    told: Callable[[ReviewedCase], Mapping[str, Any]],
    refused: list[str],
) -> int:
    """Write ``case-001_seg.dcm`` and ``case-001_sr.dcm`` for each scan with findings.

    Parameters
    ----------
    cases : iterable of ReviewedCase
    folder : Path
    source : Path or None
        Folder with the series of the scan; of several scans, with a folder for each, named by
        its code.
    told : callable of (case)
        Provenance.
    refused : list of str
        Gets a sentence for each scan whose series does not fit.

    Returns
    -------
    int
        Scans that could be written; those without findings are among them and have no file.

    Raises
    ------
    DicomError
        ``DCM-001`` without a source: UIDs are never invented.
    """
    if source is None:
        require_series(None)
    assert source is not None
    done = 0
    for case in cases:
        name, facts = case.image.id, told(case)
        if not case.segments:
            done += 1
            continue
        by = {
            "software": facts["software"],
            "model": facts.get("model_digest", ""),
            "reader": facts["reader"],
        }
        own = source / name
        try:
            series = read_series(own if own.is_dir() else source)
            seg = write_seg(folder / f"{name}_seg.dcm", case.labels, case.segments, series, **by)
            write_report(folder / f"{name}_sr.dcm", seg, case.segments, series, **by)
        except NormativeError as error:
            refused.append(f"{name}: {error}")
            continue
        done += 1
    return done
