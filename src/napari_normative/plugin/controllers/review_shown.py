"""What the dock "Review" says of a review: rows and lines of words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_normative.core.place import describe_place
from napari_normative.plugin.state.review import ReviewRow, ReviewState
from napari_normative.review.records import DECISIONS

if TYPE_CHECKING:
    from napari_normative.plugin.work.review import Case
    from napari_normative.review.book import Book
    from napari_normative.review.reading import Pass, Read

WORDS = {"accept": "accepted", "reject": "rejected", "uncertain": "uncertain", "": "no decision"}


def scores_shown(book: Book) -> bool:
    """Whether scores and others' reads may be seen."""
    project = book.project
    return not project.blind or book.reading.submitted or project.role == "adjudicator"


def show(
    state: ReviewState, book: Book | None, at: Pass | None, case: Case | None, candidate: str
) -> None:
    """Write what is reviewed, how far it is, and the candidates at hand into the dock's state.

    Parameters
    ----------
    state : ReviewState
    book : Book or None
    at : Pass or None
        At hand.
    case : Case or None
        Its scan, once it was read.
    candidate : str
        That is selected; empty for the scan.
    """
    if book is None:
        state.headline = state.warning = state.case_line = state.progress_line = ""
        state.rows, state.selected, state.labels = (), "", ()
        return
    state.headline, state.warning = headline(book), warning(book)
    state.progress_line, state.fraction = progress_line(book)
    if at is not None:
        state.case_line, state.rows = case_line(book, at), rows(book, at, case)
    state.selected = candidate


def show_blocked(state: ReviewState, book: Book | None, *, editable: bool) -> None:
    """Write into the dock's state what cannot be done now, and why."""
    reason = blocked(book, state)
    undoable = book is not None and book.reading.undoable is not None
    redoable = book is not None and book.reading.redoable is not None
    state.decide_blocked = state.submit_blocked = state.rank_blocked = reason
    state.undo_blocked = reason or ("" if undoable else "Nothing was decided yet.")
    state.redo_blocked = reason or ("" if redoable else "Nothing was undone.")
    state.edit_blocked = reason or ("" if editable else "No scan is shown.")


def blocked(book: Book | None, state: ReviewState) -> str:
    """Return why nothing can be decided now; empty when it can."""
    if book is None:
        return "Open a review first."
    if book.store.read_only:
        return "The review is open for reading only."
    if book.reading.submitted:
        return "The review is submitted; its decisions are final."
    if state.not_saved:
        return "Save what waits first."
    return "The scan is being read." if state.loading else ""


def rows(book: Book, at: Pass, case: Case | None) -> tuple[ReviewRow, ...]:
    """Return the candidates of a pass as rows."""
    return tuple(_row(book, read, case) for read in at.reads)


def _row(book: Book, read: Read, case: Case | None) -> ReviewRow:
    measured = None if case is None else case.measured.get(read.mask)
    place = ""
    if case is not None and measured is not None and measured.centroid_mm is not None:
        pairs = zip(measured.centroid_mm, case.middle_mm, strict=True)
        place = describe_place(at - middle for at, middle in pairs)
    made = book.candidate(read.candidate) if scores_shown(book) else None
    marks = {"⚑": read.flagged, "✎": read.edited, "＋": read.origin != "model", "↷": read.skipped}
    return ReviewRow(
        candidate=read.candidate,
        number=read.value,
        decision=read.decision,
        marks="".join(mark for mark, on in marks.items() if on),
        volume_ml=0.0 if measured is None else measured.volume_ml,
        place=place,
        label=read.label,
        comment=read.comment,
        z=None if made is None else made.peak_z,
        p=None if made is None else made.p,
        others=_others(book, read),
    )


def _others(book: Book, read: Read) -> str:
    """Return what readers decided of a candidate that is adjudicated."""
    said = [earlier for earlier in book.project.reads if earlier.candidate == read.candidate]
    counts = [(word, sum(e.decision == word for e in said)) for word in (*DECISIONS, "")]
    return ", ".join(f"{count} {WORDS[word]}" for word, count in counts if count)


def headline(book: Book) -> str:
    """Return what is reviewed, by whom, and how blind."""
    project = book.project
    phase = "submitted" if book.reading.submitted else "blind" if project.blind else "scores shown"
    if project.role == "adjudicator":
        phase = "adjudication" + (", submitted" if book.reading.submitted else "")
    return f"{project.title} · {project.reader} · {phase}"


def warning(book: Book) -> str:
    """Return what the reader must know of the file before going on."""
    lines = list(book.store.notes)
    if book.store.read_only:
        holder = book.store.holder
        lines.insert(0, f"Read only: open elsewhere ({holder})." if holder else "Read only.")
    return "\n".join(lines)


def case_line(book: Book, at: Pass) -> str:
    """Return which scan of how many; a second look does not show."""
    numbers = list(book.reading.passes)
    count = len(at.reads)
    words = f"{count} candidate{'' if count == 1 else 's'}" if count else "no candidate"
    flagged = " · ⚑" if at.flagged else ""
    done = " · done" if at.done else ""
    return f"Scan {numbers.index(at.number) + 1} of {len(numbers)} · {words}{flagged}{done}"


def progress_line(book: Book) -> tuple[str, float]:
    """Return how far the reader is, in words and as a share."""
    told = book.reading.progress()
    line = (
        f"{told.decided} of {told.candidates} candidates · {told.done} of {told.passes} scans · "
        f"{_minutes(told.seconds)}"
    )
    left = told.candidates - told.decided
    if told.decided >= 5 and left:
        line += f" · about {_minutes(told.seconds / told.decided * left)} left"
    return line, told.decided / told.candidates if told.candidates else 1.0


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
