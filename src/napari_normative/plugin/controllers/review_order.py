"""Which candidate comes next: in the queue's order, or likely findings first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_normative.errors import NormativeError
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.latest import Latest
from napari_normative.plugin.state.review import ReviewState
from napari_normative.plugin.work.review import Rank
from napari_normative.review.reading import Place, Read

if TYPE_CHECKING:
    from napari_normative.review.book import Book
    from napari_normative.review.feedback import Reranking


class ReadingOrder:
    """Finds the next candidate without a decision.

    Parameters
    ----------
    context : Context
    state : ReviewState
        ``ranked`` switches likely findings first on and off.
    """

    def __init__(self, context: Context, state: ReviewState) -> None:
        self._state = state
        self._latest = Latest(context.runner)
        self._book: Book | None = None
        self._likely: dict[str, int] = {}
        state.events.ranked.connect(self.learn)

    def begin(self, book: Book | None) -> None:
        """Take up a review, in the order of its queue."""
        self._book, self._likely = book, {}
        self._state.ranked, self._state.rank_line = False, ""

    def learn(self, *_: object) -> None:
        """Learn from what was decided so far, if that is switched on."""
        book = self._book
        if book is None or not self._state.ranked:
            self._likely = {}
            self._state.rank_line = ""
            return
        self._latest.ask(
            "Order the candidates", Rank(book), lambda made: self._on_learnt(book, made),
            self._on_failed,
        )  # fmt: skip

    def following(self, place: Place) -> Place | None:
        """Return what waits for a decision: in this scan, then in the next; skipped ones last."""
        assert self._book is not None
        reading = self._book.reading
        reads = reading.passes[place.assignment].reads
        waiting = [r for r in reads if not (r.decision or r.skipped)]
        if waiting:
            return Place(place.assignment, min(waiting, key=self._rank).candidate)
        if self._likely:
            elsewhere = [
                read
                for number, at in reading.passes.items()
                if number != place.assignment
                for read in at.reads
                if not (read.decision or read.skipped) and read.candidate in self._likely
            ]
            if elsewhere:
                best = min(elsewhere, key=self._rank)
                return Place(best.assignment, best.candidate)
        last = Place(place.assignment, reads[-1].candidate if reads else "")
        return reading.after(last, "open")

    def upcoming(self, number: int) -> tuple[int, ...]:
        """Return the passes that may be shown after one: the next, then the one before."""
        assert self._book is not None
        numbers = list(self._book.reading.passes)
        at = numbers.index(number)
        near = [*numbers[at + 1 : at + 2], *numbers[max(at - 1, 0) : at]]
        if self._likely:
            reads = self._book.reading.passes[number].reads
            after = [
                read
                for other, passed in self._book.reading.passes.items()
                if other != number
                for read in passed.reads
                if not read.decision and read.candidate in self._likely
            ]
            if after and reads:
                near.insert(0, min(after, key=self._rank).assignment)
        return tuple(dict.fromkeys(near))

    def _rank(self, read: Read) -> int:
        return self._likely.get(read.candidate, len(self._likely))

    def _on_learnt(self, book: Book, made: Reranking) -> None:
        if book is not self._book or not self._state.ranked:
            return
        if made.blocked:
            self._likely = {}
            self._state.rank_line = f"The queue's order holds: {made.blocked}"
            return
        self._likely = {name: n for n, name in enumerate(made.order)}
        self._state.rank_line = "" if made.effect is None else made.effect.line

    def _on_failed(self, error: NormativeError) -> None:
        self._state.rank_line = str(error)
