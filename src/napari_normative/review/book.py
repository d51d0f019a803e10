"""An open review: its file, what it says, and what is on the way to the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from napari_normative.review.reading import Read, Reading, Show
from napari_normative.review.records import (
    Decision,
    Event,
    Image,
    NewEvent,
    Project,
    ReviewCandidate,
)
from napari_normative.review.store import Store
from napari_normative.review.writer import Writer

Batch = tuple[tuple[NewEvent, ...], dict[str, bytes]]


class Book:
    """A review file with its present state; decisions go in, and are saved one after another.

    Parameters
    ----------
    store : Store
        Closed with the book.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reading = Reading(store.project, store.events())
        self.images = {image.id: image for image in self.project.images}
        self._writer = None if store.read_only else Writer(store)
        self._waiting: deque[Batch] = deque()
        self._last: Future[tuple[Event, ...]] | None = None

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> Self:
        """Open a review file; see :meth:`Store.open`."""
        return cls(Store.open(path, read_only=read_only))

    @property
    def project(self) -> Project:
        """What was fixed when the review began."""
        return self.store.project

    @property
    def root(self) -> Path:
        """The folder that the paths in the review are seen from."""
        return self.store.path.parent

    @property
    def unsaved(self) -> int:
        """How many events are not on the disk yet."""
        return sum(len(events) for events, _ in self._waiting)

    def image_of(self, assignment: int) -> Image:
        """Return the scan of a pass."""
        return self.images[self.reading.passes[assignment].image]

    def candidate(self, name: str) -> ReviewCandidate | None:
        """Return a candidate as the model made it; None for what the reader made."""
        return next((c for c in self.project.candidates if c.id == name), None)

    def mask(self, digest: str) -> bytes:
        """Return a mask, also one that is not on the disk yet.

        Raises
        ------
        ReviewError
            If there is none.
        """
        for _, masks in list(self._waiting):
            if digest in masks:
                return masks[digest]
        return self.store.mask(digest)

    def record(
        self, *events: NewEvent, masks: Mapping[str, bytes] | None = None
    ) -> Future[tuple[Event, ...]]:
        """Take in events, and save them together; the future is done when they are on the disk.

        Raises
        ------
        ReviewError
            ``REV-020`` if an event fits nothing that is there; ``REV-021`` if the review can
            only be read.
        """
        if self._writer is None:
            self.store.append(events)  # says why it cannot
        for event in events:
            self.reading.apply(event)
        self._waiting.append((events, dict(masks or {})))
        return self._write(self._waiting[-1])

    def reads(self, show: Show = "open") -> Iterator[Read]:
        """Yield what the reader holds of each candidate, in reading order.

        Parameters
        ----------
        show : {"open", "all", "accept", "reject", "uncertain", "skipped", "flagged", "edited"}
            ``open`` are those without a decision; one that is decided meanwhile is passed over.
        """
        for place in list(self.reading.walk(show)):
            read = self.reading.passes[place.assignment].read(place.candidate)
            if read is not None and read.fits(show):
                yield read

    def decide(self, read: Read, decision: Decision, *, label: str = "", comment: str = "") -> None:
        """Decide a candidate; returns when the decision is on the disk.

        Parameters
        ----------
        read : Read
            Of :meth:`reads`.
        decision : {"accept", "reject", "uncertain"}
        label, comment : str
            One of the project's labels, and words of the reader's own; empty for none.

        Raises
        ------
        ReviewError
            ``REV-020`` if it fits nothing that is there, ``REV-021`` if the review can only be
            read.
        """
        at = read.assignment, read.candidate
        events = [NewEvent(decision, *at, {"seconds": 0.0})]
        if label:
            events.append(NewEvent("label", *at, {"label": label}))
        if comment:
            events.append(NewEvent("comment", *at, {"comment": comment}))
        self.record(*events).result()

    def submit(self) -> None:
        """End the review: decisions are final from here on, and nothing is hidden any more.

        Raises
        ------
        ReviewError
            As for :meth:`decide`.
        """
        self.record(NewEvent("submit")).result()

    def save_again(self) -> Future[tuple[Event, ...]] | None:
        """Save what could not be saved, in its order; the future is of the last.

        None while something is on the way: it may succeed, and must not be stored twice.
        """
        if self._last is not None and not self._last.done():
            return None
        done = [self._write(batch) for batch in list(self._waiting)]
        return done[-1] if done else None

    def close(self) -> None:
        """Wait for what is on the way, and let go of the file."""
        if self._writer is None:
            self.store.close()
        else:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, batch: Batch) -> Future[tuple[Event, ...]]:
        assert self._writer is not None
        future = self._last = self._writer.append(*batch)

        def settled(done: Future[tuple[Event, ...]]) -> None:
            if done.exception() is None and batch in self._waiting:
                self._waiting.remove(batch)

        future.add_done_callback(settled)
        return future


def open_review(path: str | Path, *, read_only: bool = False) -> Book:
    """Open a reader's review file, to read it or to go on with it.

    Parameters
    ----------
    path : path
        ``READER.review``, made by ``napari-normative review create`` or in the dock *Review*.
    read_only : bool
        Leave it to whoever is reading it.

    Returns
    -------
    Book
        Also a context manager; decisions are on the disk when :meth:`Book.decide` returns.

    Raises
    ------
    ReviewError
        If the file is missing, damaged, of another version, or open elsewhere.

    Examples
    --------
    >>> with open_review("study/anna.review") as book:
    ...     for read in book.reads():
    ...         book.decide(read, "accept", comment="a dark region on the left")
    ...     print(book.reading.progress().decided, "decided")
    1 decided
    """
    return Book.open(path, read_only=read_only)
