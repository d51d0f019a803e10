"""The one thread that writes a review while a window is open, so that the window never waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from napari_normative.errors import ReviewError
from napari_normative.review.records import Event, NewEvent
from napari_normative.review.store import Store

Stored = Future[tuple[Event, ...]]


class Writer:
    """Store events one after another, in the order in which they came.

    When one append fails, everything that was handed over before this was known fails with it:
    an event may rest on the one before it (an undo on what it takes back), so none is stored over
    a gap. Whoever appends after a future has failed starts anew, with the failed events first.

    Parameters
    ----------
    store : Store
        Closed with the writer.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._waiting: deque[tuple[Sequence[NewEvent], Mapping[str, bytes], Stored]] = deque()
        # Its thread is waited for when the interpreter ends, also if nobody closes it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="review-writer")
        self._closed = False

    def append(
        self, events: Sequence[NewEvent], masks: Mapping[str, bytes] | None = None
    ) -> Stored:
        """Hand over events as for :meth:`Store.append`; the future is done when they are on disk.

        The future cannot be cancelled. Its error is a ReviewError: that of the store, or
        ``REV-016`` if an append before it failed.

        Raises
        ------
        ReviewError
            ``REV-017`` if the writer is closed.
        """
        future: Stored = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._closed:
                raise ReviewError(
                    "REV-017",
                    "the review is being closed",
                    "Open it again.",
                    consequence="Nothing was stored.",
                    subject=self._store.path.name,
                )
            self._thread.submit(self._store_next)
            self._waiting.append((tuple(events), dict(masks or {}), future))
        return future

    def close(self) -> None:
        """Wait for everything that was handed over, then close the store."""
        with self._lock:
            self._closed = True
        self._thread.shutdown(wait=True)
        self._store.close()

    def _store_next(self) -> None:
        with self._lock:
            if not self._waiting:
                return  # it failed with one before it
            events, masks, future = self._waiting.popleft()
        try:
            stored = self._store.append(events, masks)
        except BaseException as error:  # noqa: BLE001 - who waits must hear of it
            self._fail(future, error)
        else:
            future.set_result(stored)

    def _fail(self, future: Stored, error: BaseException) -> None:
        with self._lock:  # nobody can append between the failure and its report
            left = [waiting for _, _, waiting in self._waiting]
            self._waiting.clear()
            future.set_exception(error)
            for waiting in left:
                waiting.set_exception(
                    ReviewError(
                        "REV-016",
                        "what was done before could not be saved",
                        "Save what was done before, then this.",
                        consequence="This is not saved either.",
                        subject=self._store.path.name,
                    )
                )
