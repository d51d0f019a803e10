"""From a decision to the disk: what is called saved is saved."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from napari_normative.errors import NormativeError
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.jobs import Listener
from napari_normative.plugin.state.review import ReviewState

if TYPE_CHECKING:
    from napari_normative.review.book import Book

LOST = "Open the review again and look at its last candidates."


class Saving:
    """Follows events to the disk and says how they fare.

    Parameters
    ----------
    context : Context
    state : ReviewState
    changed : callable
        Told when what can be decided may have changed.

    Attributes
    ----------
    ended_with : NormativeError or None
        Why something is not on the disk; None when all is.
    """

    def __init__(self, context: Context, state: ReviewState, changed: Callable[[], None]) -> None:
        self.context, self._state, self._changed = context, state, changed
        self._book: Book | None = None
        self.ended_with: NormativeError | None = None

    def begin(self, book: Book) -> None:
        """Take up a review."""
        self._book = book
        self._state.not_saved = ""
        self._on_saved(book)

    def end(self) -> None:
        """Wait for what is on the way, let go of the file, and say what did not get there."""
        book, self._book = self._book, None
        if book is None:
            return
        book.close()
        self._state.saved = self._state.not_saved = ""
        if book.unsaved:
            self.context.notify(f"{book.unsaved} events could not be saved. {LOST}")

    def follow(self, future: Future[Any]) -> None:
        """Say "Saved" when a future is done and nothing else is on the way."""
        book = self._book
        if book is None:
            return
        self._state.saved = "Saving…"
        listener = Listener(
            progress=lambda step, fraction: None,
            done=lambda _: self._on_saved(book),
            failed=lambda error: self._on_failed(book, error),
            cancelled=lambda: None,
        )
        # The commit is under way on the review's own thread; this one waits for it.
        self.context.runner.start("Save", lambda progress, cancelled: future.result(), listener)

    def again(self) -> None:
        """Try once more to write what is not on the disk."""
        future = None if self._book is None else self._book.save_again()
        if future is not None:
            self.follow(future)

    def _on_saved(self, book: Book) -> None:
        if book is self._book and not book.unsaved:
            self.ended_with = None
            self._state.saved, self._state.not_saved = "Saved", ""
            self._changed()

    def _on_failed(self, book: Book, error: NormativeError) -> None:
        if book is not self._book:
            return
        first = not self._state.not_saved
        self.ended_with = error
        self._state.saved = ""
        self._state.not_saved = f"NOT SAVED ({book.unsaved} events wait): {error}"
        self._changed()
        if first:
            self.context.notify(str(error))
