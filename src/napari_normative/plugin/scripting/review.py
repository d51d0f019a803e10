"""A review that a script drives, with what the dock promises: acknowledged is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from napari_normative.plugin.controllers.review import ReviewController

if TYPE_CHECKING:
    from napari_normative.plugin.scripting.session import ScriptedSession
    from napari_normative.plugin.state.review import ReviewRow
    from napari_normative.review.book import Book
    from napari_normative.review.reading import Place, Progress

WHAT = "review"


class ScriptedReview:
    """The review of a session; made by :meth:`ScriptedSession.review`.

    A method that decides returns when the decision is on the disk, and raises if it is not.

    Parameters
    ----------
    session : ScriptedSession
    path : str or Path
        A review file; its reader is the one who decides.
    """

    def __init__(self, session: ScriptedSession, path: str | Path) -> None:
        self._session = session
        self._made = session.controller(ReviewController)
        self._made.open(str(path))
        self._arrive()
        if self._made.ended_with is not None:
            self._made.close()
            raise self._made.ended_with

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- where it is

    @property
    def current(self) -> ReviewRow | None:
        """The candidate at hand; None on a scan without one."""
        state = self._made.state
        return next((row for row in state.rows if row.candidate == state.selected), None)

    @property
    def candidates(self) -> tuple[ReviewRow, ...]:
        """The candidates of the scan at hand."""
        return self._made.state.rows

    @property
    def progress(self) -> Progress:
        """How far the reader is."""
        return self._book.reading.progress()

    @property
    def submitted(self) -> bool:
        """Whether the decisions are final."""
        return self._book.reading.submitted

    def undecided(self) -> Iterator[ReviewRow]:
        """Go to each candidate that has no decision, in reading order.

        One that the script leaves without a decision is passed over.
        """
        left: set[tuple[int, str]] = set()
        while (place := self._next_open(left)) is not None:
            self._made.go(place)
            self._arrive()
            row = self.current
            assert row is not None, "an open place has a candidate"
            left.add((place.assignment, place.candidate))
            yield row

    def _next_open(self, left: set[tuple[int, str]]) -> Place | None:
        """Return the next place without a decision that was not passed over; None at the end."""
        reading = self._book.reading
        place = start = reading.after(None, "open")
        while place is not None and (place.assignment, place.candidate) in left:
            place = reading.after(place, "open")
            if place == start:
                return None
        return place

    def next(self) -> ReviewRow | None:
        """Go to the next candidate and return it."""
        return self._step(1)

    def previous(self) -> ReviewRow | None:
        """Go to the candidate before and return it."""
        return self._step(-1)

    # ---- decisions

    def accept(self, comment: str = "", *, label: str = "") -> None:
        """Call the candidate a finding; go on to the next."""
        self._decide("accept", comment, label)

    def reject(self, comment: str = "", *, label: str = "") -> None:
        """Call the candidate no finding; go on to the next."""
        self._decide("reject", comment, label)

    def uncertain(self, comment: str = "", *, label: str = "") -> None:
        """Leave open what the candidate is; go on to the next."""
        self._decide("uncertain", comment, label)

    def skip(self) -> None:
        """Go on without a decision; a scan without candidates is done with it."""
        self._decide("skip", "", "")

    def comment(self, words: str) -> None:
        """Comment on the candidate; on the scan where it has none."""
        self._record(lambda: self._made.requests.comment.emit(words))

    def label(self, word: str) -> None:
        """Give the candidate a word of the review's label set."""
        self._record(lambda: self._made.requests.label.emit(word))

    def flag(self) -> None:
        """Flag the candidate, or take its flag away."""
        self._record(self._made.requests.flag.emit)

    def undo(self) -> None:
        """Take the last decision back and go where it was."""
        self._require(self._made.state.undo_blocked)
        self._record(self._made.requests.undo.emit)

    def redo(self) -> None:
        """Make again what was undone last."""
        self._require(self._made.state.redo_blocked)
        self._record(self._made.requests.redo.emit)

    def save_again(self) -> None:
        """Try once more to write what could not be written."""
        self._made.requests.save_again.emit()
        self._settle()

    def submit(self) -> None:
        """Make all decisions final, also where candidates have none."""
        self._require(self._made.state.submit_blocked)
        for _ in range(2):  # the dock asks once more, and nobody would answer
            self._made.requests.submit.emit()
        self._settle()

    def close(self) -> None:
        """Close the review; everything is on the disk."""
        self._made.close()

    # ---- inside

    @property
    def _book(self) -> Book:
        if self._made.book is None:
            raise self._session.refusal(WHAT, "Open it again with session.review(path).")
        return self._made.book

    def _step(self, by: int) -> ReviewRow | None:
        self._made.requests.step.emit(by)
        self._arrive()
        return self.current

    def _decide(self, word: str, comment: str, label: str) -> None:
        if label:
            self.label(label)
        if comment:
            self.comment(comment)
        if word != "skip" and not self._made.is_shown:
            raise self._session.refusal(WHAT, "The scan is not shown; skip() passes over it.")
        if word != "skip" and self.current is None:
            raise self._session.refusal(
                WHAT, "This scan has no candidate; skip() says that it is done."
            )
        self._record(lambda: self._made.requests.decide.emit(word))

    def _record(self, request: Callable[[], None]) -> None:
        self._require(self._made.state.decide_blocked)
        request()
        self._settle()

    def _settle(self) -> None:
        """Wait until all is on the disk and the scan at hand is shown; raise what is not."""
        made, state = self._made, self._made.state
        book, saving = self._book, self._made.saving
        self._session.wait(
            WHAT,
            lambda: saving.ended_with is not None or (not book.unsaved and state.saved == "Saved"),
            [state.events.saved, state.events.not_saved],
        )
        if saving.ended_with is not None:
            raise saving.ended_with
        self._arrive()
        if made.ended_with is not None:
            raise made.ended_with

    def _arrive(self) -> None:
        """Wait until the scan at hand is read."""
        state = self._made.state
        self._session.wait(WHAT, lambda: not state.loading, [state.events.loading])

    def _require(self, blocked: str) -> None:
        if blocked:
            raise self._session.refusal(WHAT, blocked)
