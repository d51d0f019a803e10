"""Scans that were read to their end, as material to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_normative.core.reviewed import ReviewedScan
from napari_normative.io.names import stem
from napari_normative.review.book import Book
from napari_normative.review.readers import files_in
from napari_normative.review.results import results, reviewed_case


def reviewed_scans(reviews: Sequence[str | Path]) -> Iterator[ReviewedScan]:
    """Yield the scans of reviews whose candidates are all decided, with what was decided.

    Regions are those that stand: edited masks as edited, findings that a reader added among
    the accepted. What is uncertain is left out. Scans are read one at a time. Whoever was read
    by two readers comes twice; merge their reviews first where they disagree.

    Parameters
    ----------
    reviews : sequence of paths
        Review files, or folders of them.

    Yields
    ------
    ReviewedScan
        A person is told by the file name up to its first ``_``.

    Raises
    ------
    ReviewError
        If a file is no review, or a scan is not the one it was made of.

    Examples
    --------
    >>> with open_review("study/anna.review") as book:  # doctest: +SKIP
    ...     for read in book.reads():
    ...         book.decide(read, "accept")
    >>> [scan.accepted for scan in reviewed_scans(["study/anna.review"])]  # doctest: +SKIP
    [{1: True}]
    """
    for path in files_in([Path(review) for review in reviews]):
        with Book.open(path, read_only=True) as book:
            found = results(book)
            for image in book.project.images:
                said = {
                    each.value: each.decision == "accept"
                    for each in found.get(image.id, ())
                    if each.decision in ("accept", "reject")
                }
                if not said:
                    continue
                case = reviewed_case(book, image, found[image.id], ("accept", "reject"))
                present = {segment.value for segment in case.segments}
                yield ReviewedScan(
                    scan=case.scan,
                    regions=case.labels,
                    accepted={label: yes for label, yes in said.items() if label in present},
                    person=stem(Path(image.path)).split("_")[0],
                    name=f"{path.stem} {image.id}",
                )
