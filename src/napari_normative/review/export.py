"""Taking results out of a review: formats that other programs read, without private data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_normative import __version__
from napari_normative.core.card import RESEARCH_USE
from napari_normative.errors import NormativeError, ReviewError
from napari_normative.io.atomic import replace_files
from napari_normative.io.folders import whole_folder
from napari_normative.io.tables import json_bytes
from napari_normative.review import export_tables
from napari_normative.review.book import Book
from napari_normative.review.records import utc_now
from napari_normative.review.results import Result, ReviewedCase, results, reviewed_case

MARKER = "export.json"

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes
    ----------
    files : tuple of Path
        Relative to the folder.
    cases : int
        Scans that are in it.
    unfinished : int
        Scans that are left out because they are not done.
    refused : tuple of str
        A sentence for each scan that could not be exported.
    """

    files: tuple[Path, ...]
    cases: int
    unfinished: int
    refused: tuple[str, ...]


@dataclass(eq=False)
class Job:
    """An export under way.

    Attributes
    ----------
    book : Book
    decisions : collection of str
        Which candidates are taken.
    comments : bool
        Whether what readers wrote leaves the review.
    dicom : Path or None
        Folder of the source series.
    out : Path
        Where the results will lie in the end.
    """

    book: Book
    decisions: Collection[str]
    comments: bool
    dicom: Path | None
    out: Path
    progress: Progress
    refused: list[str] = field(default_factory=list)
    done: int = 0

    def results(self) -> dict[str, tuple[Result, ...]]:
        """Return what stands, by scan."""
        return results(self.book)

    def cases(self) -> Iterator[ReviewedCase]:
        """Yield the scans one by one; what cannot be read is one sentence."""
        found = self.results()
        for at, (image, of_image) in enumerate(found.items()):
            self.progress(f"exporting {image}", at / len(found))
            try:
                case = reviewed_case(self.book, self.book.images[image], of_image, self.decisions)
            except NormativeError as error:
                self.refused.append(f"{image}: {error}")
                continue
            yield case
            self.done += 1

    def provenance(self, case: ReviewedCase | None = None) -> dict[str, Any]:
        """Return what made an export, without names and paths."""
        project = self.book.project
        told: dict[str, Any] = {
            "software": f"napari-normative {__version__}",
            "reader": project.reader_code,
            "created_utc": utc_now(),
        }
        if case is not None and case.run is not None:
            told |= {
                "model_digest": case.run.model_digest,
                "threshold_z": case.run.threshold_z,
            }
        return told

    def record(self, format: str) -> dict[str, Any]:
        """Return what an export says of itself."""
        project, events = self.book.project, self.book.store.events()
        return {
            **self.provenance(),
            "notice": RESEARCH_USE,
            "format": format,
            "project": project.id,
            "role": project.role,
            "decisions": sorted(self.decisions),
            "cases": self.done,
            "events": len(events),
            "last_event": events[-1].digest if events else None,
            "models": sorted({run.model_digest for run in project.runs}),
        }


def export_review(
    review: str | Path,
    out: str | Path,
    format: str,
    *,
    decisions: Collection[str] = ("accept",),
    comments: bool = False,
    dicom: str | Path | None = None,
    progress: Progress = lambda step, fraction: None,
) -> Exported:
    """Write the results of a review into a folder, whole or not at all.

    Scans that are not done are left out and counted. Nothing that is written names files,
    folders or readers; except for the format ``cases``, which leads to the scans and is for
    use beside them, and DICOM, which repeats the patient of the source series.

    Parameters
    ----------
    review : path of a review file
    out : path of a folder
        Missing, empty, or with an earlier export.
    format : str
        One of :data:`FORMATS`.
    decisions : collection of str
        Candidates with one of these decisions become regions.
    comments : bool
        Write readers' comments too; they may hold anything.
    dicom : path, optional
        Folder of the source series, for the format ``dicom``.
    progress : callable of (step, fraction)

    Raises
    ------
    ReviewError
        ``REV-050`` for an unknown format, ``REV-051`` if no scan is done.
    OutputError
        If the folder cannot be written or holds other files.
    """
    if format not in FORMATS:
        raise ReviewError(
            "REV-050", f"there is no format {format!r}", f"Choose one of {', '.join(FORMATS)}."
        )
    target = Path(out)
    with Book.open(review, read_only=True) as book:
        job = Job(
            book,
            frozenset(decisions),
            comments,
            None if dicom is None else Path(dicom),
            target,
            progress,
        )
        count = len(job.results())
        if not count:
            raise ReviewError(
                "REV-051", "no scan of the review is done",
                "Decide every candidate of a scan, or close a scan without any, then export.",
                consequence="Nothing was written.",
            )  # fmt: skip
        writer = FORMATS[format]
        if format == "bids":
            writer(job, target)
        else:
            with whole_folder(target, MARKER) as folder:
                writer(job, folder)
                if not job.done and job.refused:
                    raise ReviewError(
                        "REV-052", f"no scan could be exported (first: {job.refused[0]})",
                        "Mend what is named, and export again.",
                        consequence="Nothing was written.",
                    )  # fmt: skip
                record = job.record(format)
                replace_files({folder / MARKER: json_bytes(record)})
    files = tuple(sorted(p.relative_to(target) for p in target.rglob("*") if p.is_file()))
    return Exported(files, job.done, len(book.images) - count, tuple(job.refused))


def _labels(job: Job, folder: Path) -> None:
    from napari_normative.io.labelfile import write_labels

    for case in job.cases():
        write_labels(
            folder / f"{case.image.id}_findings.nii.gz", case.labels, case.segments, like=case.scan
        )


def _bids(job: Job, folder: Path) -> None:
    from napari_normative.io.bids import BidsCase, write_bids

    write_bids(
        folder,
        (
            BidsCase(
                case.image.id.replace("-", ""), case.labels, case.segments, job.provenance(case)
            )
            for case in job.cases()
        ),
    )


def _slicer(job: Job, folder: Path) -> None:
    from napari_normative.io.markups import markups_bytes
    from napari_normative.io.segnrrd import write_seg_nrrd

    for case in job.cases():
        write_seg_nrrd(folder / f"{case.image.id}.seg.nrrd", case.labels, case.segments)
        replace_files({folder / f"{case.image.id}.mrk.json": markups_bytes(case.segments)})


def _tables(job: Job, folder: Path) -> None:
    export_tables.write_tables(job.book, job.results(), folder, comments=job.comments)
    job.done = len(job.results())


def _masks(job: Job, folder: Path) -> None:
    for case in job.cases():
        export_tables.write_mask(folder / f"{case.image.id}_mask.nii.gz", case)


def _cases(job: Job, folder: Path) -> None:
    """Write the table that ``evaluate`` reads; paths are seen from where it will lie."""
    export_tables.write_cases(job.book, job.cases(), folder, job.out)


def _dicom(job: Job, folder: Path) -> None:
    from napari_normative.review.export_dicom import write_dicom

    job.done = write_dicom(job.cases(), folder, job.dicom, job.provenance, job.refused)


FORMATS: dict[str, Callable[[Job, Path], None]] = {
    "labels": _labels,
    "bids": _bids,
    "tables": _tables,
    "slicer": _slicer,
    "masks": _masks,
    "cases": _cases,
    "dicom": _dicom,
}
"""What can be written."""
