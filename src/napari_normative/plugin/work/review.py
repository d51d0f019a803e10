"""The jobs of the dock "Review": reading a scan with its candidates, and what an edit changed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.place import middle_of
from napari_normative.errors import CancelledError
from napari_normative.plugin.geometry import DisplayGrid, to_display
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.layers import (
    ANOMALY_Z,
    RECONSTRUCTION,
    REVIEW,
    SCAN,
    LayerFacts,
    LayerSpec,
    label_array,
    origin_of,
    signed_spec,
    spec_of,
)
from napari_normative.plugin.looks import decision_colours
from napari_normative.plugin.sources import Snapshot, labels_of
from napari_normative.plugin.work.plots import LoadPlots
from napari_normative.review.masks import encode_mask, mask_in_box
from napari_normative.volume import Mask, Volume

if TYPE_CHECKING:
    from napari_normative.review.book import Book
    from napari_normative.review.feedback import Reranking
    from napari_normative.review.reading import Read
    from napari_normative.review.records import Image

LabelArray = NDArray[np.generic]


@dataclass(frozen=True)
class Measured:
    """A mask in numbers.

    Attributes
    ----------
    volume_ml : float
    centroid_mm : tuple of 3 float or None
        World (RAS+); None for an empty mask.
    inside_mm : tuple of 3 float or None
        Centre of the voxel of the mask that is nearest to its centroid: where to look.
    """

    volume_ml: float
    centroid_mm: tuple[float, float, float] | None
    inside_mm: tuple[float, float, float] | None


@dataclass(eq=False)
class Case:
    """A scan ready to be shown, with its candidates as they are now.

    Attributes
    ----------
    image : Image
    scan : Volume
    labels : Volume
        On the scan's grid; values as :attr:`Read.value`.
    specs : tuple of LayerSpec
        The scan, then maps if scores are shown, then the candidates.
    known : array
        Candidates on the display grid, as the review has them; never the layer's own array.
    drawn : dict of int to str
        Digest of the mask behind each value.
    middle_mm : tuple of 3 float
    measured : dict of str to Measured
        By digest.
    """

    image: Image
    scan: Volume
    labels: Volume
    specs: tuple[LayerSpec, ...]
    known: LabelArray
    drawn: dict[int, str]
    middle_mm: tuple[float, float, float]
    measured: dict[str, Measured] = field(default_factory=dict)

    @property
    def grid(self) -> DisplayGrid:
        """Where it is displayed."""
        return self.specs[-1].facts.grid


@dataclass(frozen=True, eq=False)
class OpenReview:
    """Open a review file, and prepare what napari needs to outline candidates."""

    path: Path

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Book:
        """Do it."""
        from napari_normative.review.book import Book

        book = Book.open(self.path)
        # Otherwise the window would wait for pandas, and for napari to compile its colours: 1 s.
        LoadPlots()(progress, cancelled)
        import_module("pandas")
        decision_colours({1: ""}).map(np.zeros((1, 1), dtype=np.uint8))
        return book


@dataclass(frozen=True, eq=False)
class LoadCase:
    """Read a scan and draw its candidates.

    Attributes
    ----------
    book : Book
    image : Image
    reads : tuple of Read
    maps : bool
        Whether scores may be seen: anomaly map and reconstruction too.
    """

    book: Book
    image: Image
    reads: tuple[Read, ...]
    maps: bool

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Case:
        """Do it."""
        from napari_normative.review.material import read_scan

        scan = read_scan(self.image, self.book.root)
        if cancelled():
            raise CancelledError
        labels, drawn, measured = draw(scan, self.reads, self.book)
        name, origin = self.image.id, origin_of(scan)
        shown = spec_of([scan], name, SCAN, colormap="gray")
        grid = shown.facts.grid
        specs = [shown]
        if self.maps:
            specs += self._maps(scan, grid)
        specs.append(
            spec_of([labels], f"{name} · {REVIEW}", REVIEW, origin=origin, grid=grid, opacity=0.9)
        )
        inside = scan.data > scan.data.mean()
        known = specs[-1].data
        return Case(
            self.image, scan, labels, tuple(specs), known, drawn,
            middle_of(inside, scan.affine), measured,
        )  # fmt: skip

    def _maps(self, scan: Volume, grid: DisplayGrid) -> list[LayerSpec]:
        """Return what the detection left on disk; what is gone is not shown."""
        from napari_normative.errors import NormativeError
        from napari_normative.io.nifti import read_volume
        from napari_normative.review.material import located

        if not self.image.folder:
            return []
        folder, origin = located(self.image.folder, self.book.root), origin_of(scan)
        specs = []
        for stem, role in (("reconstruction", RECONSTRUCTION), ("anomaly_z", ANOMALY_Z)):
            try:
                volume = read_volume(folder / f"{stem}.nii.gz")
            except NormativeError:
                continue
            if not volume.same_grid(scan):
                continue
            name = f"{self.image.id} · {role}"
            if role == ANOMALY_Z:
                specs.append(signed_spec(volume, name, role, origin=origin, grid=grid, opacity=0.6))
            else:
                specs.append(
                    spec_of([volume], name, role, origin=origin, grid=grid, colormap="gray",
                            visible=False)
                )  # fmt: skip
        return specs


def draw(
    scan: Volume, reads: Sequence[Read], book: Book
) -> tuple[Volume, dict[int, str], dict[str, Measured]]:
    """Return candidates as labels on the scan's grid, digests by value, and measures by digest."""
    labels = np.zeros(scan.shape, dtype=np.float32)
    drawn, measured = {}, {}
    for read in reads:
        mask, box = mask_in_box(book.mask(read.mask))
        labels[box][mask] = read.value
        drawn[read.value] = read.mask
        measured[read.mask] = measured_in(mask, tuple(s.start for s in box), scan)
    return scan.with_data(labels, is_label=True), drawn, measured


def measured_in(mask: Mask, start: Sequence[int], scan: Volume) -> Measured:
    """Measure a mask that begins at a voxel of the scan."""
    places = np.argwhere(mask) + np.asarray(start)
    if not len(places):
        return Measured(0.0, None, None)
    middle = places.mean(axis=0)
    nearest = places[((places - middle) ** 2).sum(axis=1).argmin()]

    def world(index: NDArray[np.floating] | NDArray[np.integer]) -> tuple[float, float, float]:
        x, y, z = scan.affine[:3, :3] @ index + scan.affine[:3, 3]
        return float(x), float(y), float(z)

    return Measured(len(places) * scan.voxel_ml, world(middle), world(nearest))


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
        masks, blobs, measured = {}, {}, {}
        for value in (int(v) for v in values if v > 0):
            mask = labels.data == value
            digest, blob = encode_mask(mask)
            if case.drawn.get(value) == digest:
                continue
            masks[value], blobs[digest] = digest, blob
            inside, box = mask_in_box(blob)
            measured[digest] = measured_in(inside, [s.start for s in box], case.scan)
        return Changed(labels, after, masks, blobs, measured)


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


def _region(masks: Sequence[Mask], scan: Volume) -> Region:
    encoded = [encode_mask(mask) for mask in masks]
    measured = {}
    for digest, data in encoded:
        inside, box = mask_in_box(data)
        measured[digest] = measured_in(inside, [s.start for s in box], scan)
    return Region(tuple(digest for digest, _ in encoded), dict(encoded), measured)


@dataclass(frozen=True, eq=False)
class Rank:
    """Order what is left of a review by what was decided."""

    book: Book

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Reranking:
        """Do it."""
        from napari_normative.review.ranking import rank

        return rank(self.book)


def new_id(image: str) -> str:
    """Return an id for a finding that a reader adds."""
    return f"{image}-{uuid.uuid4().hex[:12]}"
