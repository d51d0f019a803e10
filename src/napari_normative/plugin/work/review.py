"""The jobs of the dock "Review": reading a scan with its candidates, and what an edit changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.place import middle_of
from napari_normative.errors import CancelledError
from napari_normative.layers.grid import DisplayGrid
from napari_normative.layers.spec import (
    ANOMALY_Z,
    RECONSTRUCTION,
    REVIEW,
    SCAN,
    LayerSpec,
    origin_of,
    signed_spec,
    spec_of,
)
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.looks import decision_colours
from napari_normative.plugin.work.plots import LoadPlots
from napari_normative.review.masks import mask_in_box
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
class Rank:
    """Order what is left of a review by what was decided."""

    book: Book

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Reranking:
        """Do it."""
        from napari_normative.review.ranking import rank

        return rank(self.book)
