"""What a review came to: the decision that stands for each candidate, scan by scan."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from napari_normative.core.segments import Segment, measure
from napari_normative.review.book import Book
from napari_normative.review.masks import mask_in_box
from napari_normative.review.material import read_scan
from napari_normative.review.reading import Read
from napari_normative.review.records import Image, Run
from napari_normative.volume import Volume


@dataclass(frozen=True)
class Result:
    """The decision that stands for a candidate.

    Attributes
    ----------
    candidate, image : str
    value : int
    decision, label, comment : str
    mask : str
        Digest.
    origin : str
        ``model``, ``added`` or ``split``.
    by : str
        ``reader``, ``adjudicator``, or ``readers`` where all of them agreed.
    edited, flagged : bool
    seconds : float
    """

    candidate: str
    image: str
    value: int
    decision: str
    label: str
    comment: str
    mask: str
    origin: str
    by: str
    edited: bool = False
    flagged: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class ReviewedCase:
    """A scan that was read to its end, with its findings.

    Attributes
    ----------
    image : Image
    run : Run or None
    scan : Volume
    labels : Volume
        On the scan's grid.
    segments : tuple of Segment
        One for each value of the labels.
    """

    image: Image
    run: Run | None
    scan: Volume
    labels: Volume
    segments: tuple[Segment, ...]


def results(book: Book) -> dict[str, tuple[Result, ...]]:
    """Return what stands for the candidates of each scan that is done, by scan."""
    adjudicates = book.project.role == "adjudicator"
    by = "adjudicator" if adjudicates else "reader"
    found = {
        image: tuple(_result(read, by) for read in at.reads)
        for image, at in book.reading.first_passes().items()
        if at.done
    }
    if adjudicates:
        found = _with_agreed(book, found)
    return {image.id: found[image.id] for image in book.project.images if image.id in found}


def is_done(book: Book, image: Image) -> bool:
    """Whether everything of a scan that its reader has to decide is decided."""
    at = book.reading.first_passes().get(image.id)
    return at.done if at is not None else book.project.role == "adjudicator"


def reviewed_case(
    book: Book, image: Image, results_of: tuple[Result, ...], decisions: Collection[str]
) -> ReviewedCase:
    """Return a scan with the candidates that have one of some decisions.

    Raises
    ------
    NormativeError
        If the scan cannot be read, or is another one now.
    """
    scan = read_scan(image, book.root)
    labels = np.zeros(scan.shape, dtype=np.float32)
    wanted = [result for result in results_of if result.decision in decisions]
    for result in wanted:
        mask, box = mask_in_box(book.mask(result.mask))
        labels[box][mask] = result.value
    segments = []
    for result in wanted:
        where = labels == result.value
        if where.any():
            word = "finding" if result.decision == "accept" else "candidate"
            ml, centroid = measure(where, scan)
            segments.append(
                Segment(
                    value=result.value,
                    id=result.candidate,
                    name=f"{word} {result.value}",
                    decision=result.decision,
                    label=result.label,
                    volume_ml=ml,
                    centroid_mm=centroid,
                )
            )
    run = next((run for run in book.project.runs if run.image == image.id), None)
    marked = scan.with_data(labels, is_label=True)
    return ReviewedCase(image, run, scan, marked, tuple(segments))


def _result(read: Read, by: str) -> Result:
    return Result(
        read.candidate, read.image, read.value, read.decision, read.label, read.comment, read.mask,
        read.origin, by, read.edited, read.flagged, read.seconds,
    )  # fmt: skip


def _with_agreed(book: Book, found: dict[str, tuple[Result, ...]]) -> dict[str, tuple[Result, ...]]:
    """Add what the readers agreed about, to scans whose disputes are settled."""
    disputed = {name for a in book.project.assignments for name in a.candidates}
    merged = {image.id: found.get(image.id, ()) for image in book.project.images}
    for result in _agreed(book):
        if result.candidate not in disputed:
            merged[result.image] = (*merged[result.image], result)
    return {image.id: merged[image.id] for image in book.project.images if is_done(book, image)}


def _agreed(book: Book) -> Iterator[Result]:
    said: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    for read in book.project.reads:
        if read.decision:
            said.setdefault(read.candidate, []).append(read.decision)
        if read.label:
            labels.setdefault(read.candidate, []).append(read.label)
    for made in book.project.candidates:
        decisions = set(said.get(made.id, ()))
        words = labels.get(made.id, [])
        label = words[0] if len(set(words)) == 1 else ""
        if len(decisions) == 1:
            yield Result(
                made.id, made.image, made.value, decisions.pop(), label, "", made.mask, "model",
                "readers",
            )  # fmt: skip
