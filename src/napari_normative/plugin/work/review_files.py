"""The jobs that make reviews and take results out of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_normative.errors import CancelledError
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf
from napari_normative.review.assign import Plan

REPORT = "agreement"
ADJUDICATION = "adjudication.review"


@dataclass(frozen=True, eq=False)
class Made:
    """New review files, and a sentence for each scan that is not in them."""

    files: tuple[Path, ...]
    refused: tuple[str, ...]
    scans: int
    candidates: int


@dataclass(frozen=True, eq=False)
class CreateReview:
    """Make a review of a folder of detections, or of scans, which are compared first.

    Attributes
    ----------
    models : ModelShelf
    model, device : str
        For scans.
    source : Path
    scans : Path
        Where the scans of detections lie.
    target : Path
    readers : tuple of str
    plan : Plan
    listed : Path or None
        Assignment list.
    """

    models: ModelShelf
    model: str
    device: str
    source: Path
    scans: Path
    target: Path
    readers: tuple[str, ...]
    plan: Plan
    listed: Path | None = None

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Made:
        """Do it."""
        from napari_normative.review.create import create_reviews, listed_in
        from napari_normative.review.material import RECORD, find_detections, gather

        names = () if self.listed is None else listed_in(self.listed)
        detections, failed = self.source, []
        if not any(self.source.rglob(RECORD)):
            detections = self.target / "detections"
            failed = self._detect(detections, progress, cancelled)
        progress("looking for the scans", 0.0)
        found, alone = find_detections(detections, [self.scans])
        material = gather(found, self.target, refused=[*failed, *alone], progress=progress)
        if cancelled():
            raise CancelledError
        files = create_reviews(self.target, self.readers, material, self.plan, listed=names)
        return Made(tuple(files), material.refused, len(material.images), len(material.candidates))

    def _detect(self, out: Path, progress: Progress, cancelled: Cancelled) -> list[str]:
        from napari_normative.engine.batch import detect_scans, named
        from napari_normative.io.folders import expand_scans

        model = self.models.load(self.model)
        jobs = list(named(expand_scans([self.source], leave_out=self.target)))
        failed = []
        outcomes = detect_scans(model, jobs, out, device=self.device, cancel=cancelled)
        for done, made in enumerate(outcomes, start=1):
            progress(f"compared {made.scan.name}", done / len(jobs))
            if made.error is not None:
                failed.append(str(made.error))
        return failed


@dataclass(frozen=True, eq=False)
class ExportReview:
    """Write the results of a review file into a folder."""

    review: Path
    out: Path
    format: str
    dicom: Path | None

    def __call__(self, progress: Progress, cancelled: Cancelled) -> tuple[Path, int, list[str]]:
        """Return the folder, the number of files, and a sentence for each scan that failed."""
        from napari_normative.review.export import export_review

        made = export_review(
            self.review, self.out, self.format, dicom=self.dicom, progress=progress
        )
        return self.out, len(made.files), list(made.refused)


@dataclass(frozen=True, eq=False)
class CompareReaders:
    """Say how far the readers of a project agree, and write a report beside their files."""

    folder: Path

    def __call__(self, progress: Progress, cancelled: Cancelled) -> tuple[str, ...]:
        """Return the figures in lines."""
        from napari_normative.review.agreement import ALL
        from napari_normative.review.readers import compare

        out = self.folder / REPORT
        made = compare([self.folder], out)
        rows = [row for row in made.agreement.rows if row.readers == ALL]
        lines = [f"{row.figure}: {row.in_words()}" for row in rows]
        disputed = f"{made.disputed} of {made.candidates} candidates are disputed."
        return (disputed, *lines, f"Report: {out.name}/agreement.html")


@dataclass(frozen=True, eq=False)
class Adjudicate:
    """Make the review of what the readers of a project dispute."""

    folder: Path
    reader: str

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Path:
        """Return its file."""
        from napari_normative.review.readers import adjudicate

        out = self.folder / ADJUDICATION
        adjudicate([self.folder], out, self.reader)
        return out
