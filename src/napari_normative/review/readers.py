"""The reviews of a project's readers, taken together: agreement, and what is to be adjudicated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.review.book import Book
from napari_normative.review.combine import adjudication, combine, own_repeats
from napari_normative.review.create import review_files
from napari_normative.review.material import moved
from napari_normative.review.records import Project
from napari_normative.review.store import Store

if TYPE_CHECKING:
    from napari_normative.review.agreement import Agreement


@dataclass(frozen=True, eq=False)
class Comparison:
    """How far readers agree.

    Attributes
    ----------
    agreement : Agreement
    disputed, candidates : int
    """

    agreement: Agreement
    disputed: int
    candidates: int


def files_in(paths: Sequence[Path]) -> list[Path]:
    """Return review files, and those in folders."""
    return [f for path in paths for f in (review_files(path) if path.is_dir() else [path])]


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[list[Book]]:
    """Open the reviews of readers for reading; adjudications among them are left out.

    Raises
    ------
    ReviewError
        If one cannot be opened.
    """
    with ExitStack() as books:
        found = [books.enter_context(Book.open(path, read_only=True)) for path in files_in(paths)]
        yield [book for book in found if book.project.role == "reader"]


def compare(paths: Sequence[Path], out: Path | None = None) -> Comparison:
    """Return how far readers agree, or one reader with themself on scans that were read twice.

    Parameters
    ----------
    paths : sequence of Path
        Review files, or folders of them.
    out : Path, optional
        Folder for tables and a report.

    Raises
    ------
    ReviewError
        ``REV-040``, ``REV-042``: see :func:`combine` and :func:`own_repeats`.
    """
    from napari_normative.review.agreement import agreement, disagreements

    with opened(paths) as books:
        if len(books) == 1:
            ratings, dice = own_repeats(books[0])
        else:
            combined = combine(books)
            ratings, dice = combined.ratings(), combined.dice()
        project = books[0].project.id
    found, split = agreement(ratings, dice), disagreements(ratings)
    if out is not None:
        from napari_normative.review.agreement_report import save_agreement_report

        save_agreement_report(out, found, split, {"project": project})
    return Comparison(found, len(split), len(ratings.units))


def adjudicate(paths: Sequence[Path], out: Path, adjudicator: str) -> tuple[Project, int]:
    """Write the review in which somebody decides what readers dispute.

    Parameters
    ----------
    paths : sequence of Path
        Review files of the readers, or folders of them.
    out : Path
        The new file.
    adjudicator : str

    Returns
    -------
    Project
        Its assignments hold what is disputed.
    int
        Candidates that were compared.

    Raises
    ------
    ReviewError
        ``REV-040``, ``REV-041``, or if the file cannot be made.
    """
    with opened(paths) as books:
        combined = combine(books)
        project, masks = adjudication(combined, adjudicator)
        project = moved(project, books[0].root, out.parent)
    Store.create(out, project, masks).close()
    return project, len(combined.units)
