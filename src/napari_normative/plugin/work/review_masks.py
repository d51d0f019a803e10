"""The jobs that change masks under review: what was painted, grown, split, merged, imported."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_normative.layers.grid import to_display
from napari_normative.layers.sources import (
    Snapshot,
    labels_of,
)
from napari_normative.layers.spec import (
    REVIEW,
    LayerFacts,
    label_array,
)
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.work.review import Case, LabelArray, Measured, draw, measured_in
from napari_normative.review.masks import encode_mask, mask_in_box
from napari_normative.volume import Mask, Volume

if TYPE_CHECKING:
    from napari_normative.review.book import Book
    from napari_normative.review.reading import Read
    from napari_normative.review.records import NewEvent


@dataclass(frozen=True, eq=False)
class Changed:
    """What an edit came to.

    Attributes
    ----------
    labels : Volume
    known : array
        The display's values, now known.
    masks : dict of int to str
        New digest of each value that changed.
    blobs : dict of str to bytes
    measured : dict of str to Measured
    """

    labels: Volume
    known: LabelArray
    masks: dict[int, str]
    blobs: dict[str, bytes]
    measured: dict[str, Measured]


@dataclass(frozen=True, eq=False)
class ReadEdit:
    """Find out which candidates somebody's painting changed, on the scan's own voxels.

    Attributes
    ----------
    case : Case
    after : array
        The layer's values; a copy.
    """

    case: Case
    after: LabelArray

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Changed:
        """Do it."""
        case, after = self.case, self.after
        differs = after != case.known
        values = np.union1d(np.unique(after[differs]), np.unique(case.known[differs]))
        facts = LayerFacts((case.labels,), case.grid, REVIEW, "")
        labels = labels_of(Snapshot(REVIEW, after, case.grid.affine, facts))
        labels = case.labels.with_data(labels.data)
        masks, blobs = {}, {}
        for value in (int(v) for v in values if v > 0):
            mask = labels.data == value
            digest, blob = encode_mask(mask)
            if case.drawn.get(value) == digest:
                continue
            masks[value], blobs[digest] = digest, blob
        return Changed(labels, after, masks, blobs, _measured(blobs.items(), case.scan))


@dataclass(frozen=True, eq=False)
class Redraw:
    """Draw the candidates of a scan anew after a split, a merge or an undo."""

    book: Book
    case: Case
    reads: tuple[Read, ...]

    def __call__(
        self, progress: Progress, cancelled: Cancelled
    ) -> tuple[Volume, LabelArray, dict[int, str], dict[str, Measured]]:
        """Return labels, their display values, digests by value and measures by digest."""
        case = self.case
        labels, drawn, measured = draw(case.scan, self.reads, self.book)
        shown = to_display(labels, case.grid, nearest=True)
        return labels, label_array(shown, REVIEW), drawn, measured


@dataclass(frozen=True, eq=False)
class Region:
    """New masks by their digests, with bytes and measures."""

    masks: tuple[str, ...]
    blobs: Mapping[str, bytes]
    measured: Mapping[str, Measured]


@dataclass(frozen=True, eq=False)
class Grow:
    """Grow a region from a place in the scan."""

    case: Case
    world_mm: tuple[float, float, float]

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Region:
        """Do it.

        Raises
        ------
        ReviewError
            ``REV-022`` if the place lies outside of the scan or in a candidate.
        """
        from napari_normative.core.regions import grow
        from napari_normative.errors import ReviewError

        scan = self.case.scan
        index = np.linalg.solve(
            scan.affine[:3, :3], np.array(self.world_mm) - scan.affine[:3, 3]
        ).round().astype(int)  # fmt: skip
        inside = bool((index >= 0).all() and (index < scan.shape).all())
        taken = self.case.labels.data > 0
        if not inside or taken[tuple(index)]:
            where = "in a candidate" if inside else "outside of the scan"
            raise ReviewError(
                "REV-022",
                f"the place lies {where}",
                "Click where nothing is outlined yet.",
                consequence="Nothing was added.",
            )
        i, j, k = (int(n) for n in index)
        mask = grow(scan.data, (i, j, k), scan.spacing_mm, taken=taken)
        return _region([mask], scan)


@dataclass(frozen=True, eq=False)
class Split:
    """Divide a candidate."""

    book: Book
    case: Case
    digest: str

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Region:
        """Do it.

        Raises
        ------
        ReviewError
            ``REV-023`` if it is too small.
        """
        from napari_normative.core.regions import split
        from napari_normative.errors import ReviewError
        from napari_normative.review.masks import decode_mask

        mask = decode_mask(self.book.mask(self.digest))
        parts = split(mask, self.case.scan.spacing_mm)
        if len(parts) < 2:
            raise ReviewError("REV-023", "the candidate is too small to be divided", "Paint it.")
        return _region(parts, self.case.scan)


@dataclass(frozen=True, eq=False)
class Merge:
    """Unite candidates."""

    book: Book
    case: Case
    digests: tuple[str, ...]

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Region:
        """Do it."""
        from napari_normative.review.masks import decode_mask

        masks = [decode_mask(self.book.mask(digest)) for digest in self.digests]
        return _region([np.logical_or.reduce(masks)], self.case.scan)


@dataclass(frozen=True, eq=False)
class TakeMasks:
    """Read the masks of a scan that another program edited."""

    book: Book
    case: Case
    number: int
    path: Path

    def __call__(self, progress: Progress, cancelled: Cancelled) -> tuple[list[NewEvent], Region]:
        """Return the events that make the review hold them, and the masks."""
        from napari_normative.review.imports import changes, read_regions

        scan, at = self.case.scan, self.book.reading.passes[self.number]
        labels, segments = read_regions(self.path, scan)
        events, blobs = changes(self.book, at, labels, segments)
        return events, Region(tuple(blobs), blobs, _measured(blobs.items(), scan))


def _region(masks: Sequence[Mask], scan: Volume) -> Region:
    encoded = [encode_mask(mask) for mask in masks]
    digests = tuple(digest for digest, _ in encoded)
    return Region(digests, dict(encoded), _measured(encoded, scan))


def _measured(encoded: Iterable[tuple[str, bytes]], scan: Volume) -> dict[str, Measured]:
    """Measure encoded masks, by digest."""
    measured = {}
    for digest, data in encoded:
        inside, box = mask_in_box(data)
        measured[digest] = measured_in(inside, [s.start for s in box], scan)
    return measured


def new_id(image: str) -> str:
    """Return an id for a finding that a reader adds."""
    return f"{image}-{uuid.uuid4().hex[:12]}"
