"""The reads of several readers side by side, and what an adjudicator decides of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_normative.core.segments import measure
from napari_normative.errors import ReviewError
from napari_normative.review.agreement import Ratings
from napari_normative.review.book import Book
from napari_normative.review.masks import decode_mask, encode_mask
from napari_normative.review.reading import Pass, Read
from napari_normative.review.records import (
    Assignment,
    EarlierRead,
    Project,
    ReviewCandidate,
    utc_now,
)
from napari_normative.volume import Mask, Volume

SHARED = 1 / 3
"""Findings that two readers added are one if they share so much of the smaller."""


@dataclass(frozen=True, eq=False)
class Unit:
    """A region that is compared: a candidate of the model, or findings that readers added.

    Attributes
    ----------
    candidate : ReviewCandidate
        Its mask is the model's; of what was added, where most who added it agree.
    reads : tuple of Read or None
        One a reader; None where a reader has nothing there.
    answers : tuple of str
        One a reader: a decision, or empty. Who finished a scan without adding what others
        added has rejected it.
    """

    candidate: ReviewCandidate
    reads: tuple[Read | None, ...]
    answers: tuple[str, ...]

    @property
    def disputed(self) -> bool:
        """Whether answers differ, or somebody was uncertain."""
        said = {answer for answer in self.answers if answer}
        return len(said) > 1 or said == {"uncertain"}


@dataclass(frozen=True, eq=False)
class Combined:
    """Reads of one project.

    Attributes
    ----------
    books : tuple of Book
    readers : tuple of str
        Codes.
    units : tuple of Unit
    masks : mapping of str to bytes
        By digest: what the units were given.
    """

    books: tuple[Book, ...]
    readers: tuple[str, ...]
    units: tuple[Unit, ...]
    masks: Mapping[str, bytes] = field(repr=False)

    def ratings(self) -> Ratings:
        """Return who said what of which unit."""
        return Ratings(
            self.readers,
            tuple(unit.candidate.image for unit in self.units),
            tuple(unit.candidate.id for unit in self.units),
            tuple(unit.answers for unit in self.units),
        )

    def findings(self, reader: int) -> dict[str, Mask]:
        """Return the union of a reader's findings in each scan that the reader finished."""
        book = self.books[reader]
        passes = book.reading.first_passes()
        return {image: _union(book, at) for image, at in passes.items() if at.done}

    def dice(self) -> dict[tuple[str, str], dict[str, float]]:
        """Return Dice of each two readers' findings by scan; nan where both found nothing."""
        from napari_normative.review.agreement import dice_by_image

        masks = [self.findings(n) for n in range(len(self.readers))]
        return {
            (self.readers[a], self.readers[b]): dice_by_image(masks[a], masks[b])
            for a in range(len(masks))
            for b in range(a + 1, len(masks))
        }


def combine(books: Sequence[Book]) -> Combined:
    """Put the reads of several readers of one project side by side.

    Raises
    ------
    ReviewError
        ``REV-040`` for fewer than two reviews, or of different projects or one reader.
    """
    projects = [book.project for book in books]
    readers = tuple(project.reader_code for project in projects)
    why = ""
    if len(books) < 2:
        why = "there is one review only"
    elif len({project.id for project in projects}) > 1:
        why = "they belong to different projects"
    elif len(set(readers)) < len(readers):
        why = "two of them are of the same reader"
    elif any(project.role != "reader" for project in projects):
        why = "one of them is an adjudication"
    if why:
        raise ReviewError(
            "REV-040", f"the reviews cannot be combined: {why}",
            "Name the files of two or more readers of one project.",
        )  # fmt: skip
    passes = [book.reading.first_passes() for book in books]
    units: list[Unit] = []
    masks: dict[str, bytes] = {}
    for candidate in projects[0].candidates:
        reads = [_read_of(at.get(candidate.image), candidate.id) for at in passes]
        answers = tuple("" if read is None else read.decision for read in reads)
        units.append(Unit(candidate, tuple(reads), answers))
        masks[candidate.mask] = books[0].mask(candidate.mask)
    for image in projects[0].images:
        own = [at.get(image.id) for at in passes]
        taken = [c.value for c in projects[0].candidates if c.image == image.id]
        added, blobs = _added(books, own, image.id, max(taken, default=0))
        units += added
        masks |= blobs
    return Combined(tuple(books), readers, tuple(units), masks)


def own_repeats(book: Book) -> tuple[Ratings, dict[tuple[str, str], dict[str, float]]]:
    """Return a reader's first and second look at scans as if they were two readers'.

    Raises
    ------
    ReviewError
        ``REV-042`` if no scan was read twice yet.
    """
    from napari_normative.review.agreement import dice_by_image

    rows: list[tuple[str, str, tuple[str, str]]] = []
    masks: tuple[dict[str, Mask], dict[str, Mask]] = ({}, {})
    for first, second in book.reading.repeats():
        if not (first.done and second.done):
            continue
        for candidate in book.project.candidates:
            if candidate.image == first.image:
                reads = [_read_of(at, candidate.id) for at in (first, second)]
                one, two = ("" if read is None else read.decision for read in reads)
                rows.append((first.image, candidate.id, (one, two)))
        for at, found in zip((first, second), masks, strict=True):
            found[at.image] = _union(book, at)
    if not rows:
        raise ReviewError(
            "REV-042", "no scan was read twice to the end yet",
            "Read on: a share of the scans comes again. Or name the files of several readers.",
        )  # fmt: skip
    images, units, values = zip(*rows, strict=True)
    looks = ("first look", "second look")
    return Ratings(looks, images, units, values), {looks: dice_by_image(*masks)}


def adjudication(combined: Combined, adjudicator: str) -> tuple[Project, dict[str, bytes]]:
    """Return the project in which an adjudicator decides what readers disagree about.

    Where readers agree there is nothing to decide; their decision stands in exports.

    Raises
    ------
    ReviewError
        ``REV-041`` if nothing is disputed.
    """
    base = combined.books[0].project
    masks = dict(combined.masks)
    candidates, reads = [], []
    for unit in combined.units:
        made = unit.candidate
        for reader, read, answer in zip(combined.readers, unit.reads, unit.answers, strict=True):
            label = "" if read is None else read.label
            reads.append(EarlierRead(reader, made.id, answer, label))
        candidates.append(_proposed(combined, unit, masks))
    disputed = {unit.candidate.id for unit in combined.units if unit.disputed}
    assignments: list[Assignment] = []
    for image in base.images:
        own = tuple(c.id for c in candidates if c.image == image.id and c.id in disputed)
        if own:
            assignments.append(Assignment(len(assignments) + 1, image.id, False, own))
    if not assignments:
        raise ReviewError(
            "REV-041", "the readers agree about everything", "Export the review of any of them.",
        )  # fmt: skip
    project = Project(
        id=base.id, title=base.title, reader=adjudicator.strip(), role="adjudicator",
        order="evidence", seed=base.seed, blind=False, labels=base.labels, created_utc=utc_now(),
        images=base.images, runs=base.runs, candidates=tuple(candidates),
        assignments=tuple(assignments), reads=tuple(reads),
    )  # fmt: skip
    return project, masks


def _proposed(combined: Combined, unit: Unit, masks: dict[str, bytes]) -> ReviewCandidate:
    """Return the unit with the mask on which most who accepted it agree."""
    drawn = [
        decode_mask(book.mask(read.mask))
        for book, read in zip(combined.books, unit.reads, strict=True)
        if read is not None and read.decision == "accept"
    ]
    if not drawn:
        return unit.candidate
    digest, data, mask = _majority(drawn)
    masks[digest] = data
    ml, centroid = measure(mask, _grid(combined.books[0], unit.candidate.image))
    return dataclasses.replace(unit.candidate, mask=digest, volume_ml=ml, centroid_mm=centroid)


def _union(book: Book, at: Pass) -> Mask:
    """Return the voxels of all findings of a pass."""
    union = np.zeros(book.images[at.image].shape, dtype=bool)
    for read in at.reads:
        if read.decision == "accept":
            union |= decode_mask(book.mask(read.mask))
    return union


def _read_of(at: Pass | None, candidate: str) -> Read | None:
    """Return a reader's read of a candidate, also when it was merged into another."""
    if at is None:
        return None
    return at.read(at.merged.get(candidate, candidate))


def _added(
    books: Sequence[Book], passes: Sequence[Pass | None], image: str, used: int
) -> tuple[list[Unit], dict[str, bytes]]:
    """Return what readers added to a scan, each thing once."""
    own: list[tuple[int, Read, Mask]] = []
    for n, (book, at) in enumerate(zip(books, passes, strict=True)):
        for read in () if at is None else at.reads:
            if read.origin != "model" and read.decision:
                mask = decode_mask(book.mask(read.mask))
                if mask.any():
                    own.append((n, read, mask))
    units, masks = [], {}
    for number, group in enumerate(_groups([mask for _, _, mask in own]), start=1):
        drawn = [own[n][2] for n in group]
        digest, data, mask = _majority(drawn)
        masks[digest] = data
        ml, centroid = measure(mask, _grid(books[0], image))
        made = ReviewCandidate(
            f"{image}-added-{number}", image, used + number, 0, 0.0, 0.0, ml, centroid, None, digest
        )
        reads: list[Read | None] = [None] * len(books)
        for n in group:
            reads[own[n][0]] = own[n][1]
        answers = tuple(
            read.decision if read is not None else "reject" if at is not None and at.done else ""
            for read, at in zip(reads, passes, strict=True)
        )
        units.append(Unit(made, tuple(reads), answers))
    return units, masks


def _groups(masks: Sequence[Mask]) -> list[list[int]]:
    """Return which masks are of one thing: chained by what they share, in order."""
    groups: list[list[int]] = []
    for n, mask in enumerate(masks):
        touching = [
            group
            for group in groups
            if any(
                (mask & masks[m]).sum() >= SHARED * min(mask.sum(), masks[m].sum()) for m in group
            )
        ]
        joined = sorted([n, *(m for group in touching for m in group)])
        groups = [group for group in groups if group not in touching] + [joined]
    return sorted(groups)


def _majority(masks: Sequence[Mask]) -> tuple[str, bytes, Mask]:
    """Return the voxels that at least half of the masks have, with digest and bytes."""
    votes = np.sum(masks, axis=0, dtype=np.int16)
    mask = np.asarray(votes * 2 >= len(masks))
    return (*encode_mask(mask), mask)


def _grid(book: Book, image: str) -> Volume:
    found = book.images[image]
    return Volume(np.empty((0, 0, 0), np.float32), np.array(found.affine))
