"""The review file of one reader: everything that is fixed, and every event since, on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from napari_normative.errors import ReviewError
from napari_normative.review import files
from napari_normative.review.checks import chain_problems, problems
from napari_normative.review.lease import Lease
from napari_normative.review.records import (
    Event,
    NewEvent,
    Project,
    canonical,
    intact,
    link,
)
from napari_normative.review.rows import (
    UNREADABLE,
    last_event,
    masks_of_details,
    missing_masks,
    read_events,
    read_project,
    write_event,
    write_masks,
)
from napari_normative.review.schema import VERSION


class Store:
    """An open review file. Made by :meth:`create` and :meth:`open`; of use from any thread.

    Attributes
    ----------
    path : Path
    project : Project
    read_only : bool
    holder : str
        Which program may write the file, where it is read-only because of that; no names.
    notes : tuple of str
        What a person should know: why it is read-only, what was done or found on opening.
    """

    path: Path
    project: Project
    read_only: bool
    holder: str
    notes: tuple[str, ...]

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], project: Project, masks: Mapping[str, bytes]
    ) -> Self:
        """Make a review file, whole or not at all, and open it.

        Parameters
        ----------
        path : path
            Its folder is made when it is missing.
        project : Project
        masks : mapping of str to bytes
            Of all candidates, by digest (:func:`napari_normative.review.masks.encode_mask`).

        Raises
        ------
        ReviewError
            ``REV-014`` if there is such a file, ``REV-008`` if it cannot be made, ``REV-010`` if a
            fact cannot be stored, ``REV-004`` or ``REV-011`` if a mask is damaged or missing.
        """
        path = Path(path).resolve()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise files.cannot_make(path, error) from error
        lease = Lease(path)
        with _released_on_error(lease):
            if path.exists():
                raise ReviewError(
                    "REV-014",
                    "there is such a file already",
                    "Open it, or choose another name.",
                    subject=path.name,
                )
            if not lease.held:
                why = lease.obstacle or f"{lease.holder} is making it"
                raise files.cannot_make(path, why)
            files.build(path, project, masks)
            return cls(path, lease)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, read_only: bool = False) -> Self:
        """Open a review file.

        It is read-only if another program has it open for writing, if it lies where nothing can
        be written, or if something in it was changed afterwards; ``notes`` says which. A file of
        an earlier version is brought to this one after a copy was made beside it.

        Parameters
        ----------
        path : path
        read_only : bool
            Do not ask for the right to write.

        Raises
        ------
        ReviewError
            ``REV-001`` if it is missing, ``REV-002`` if it is no review, ``REV-003`` if a later
            version made it, ``REV-005`` if it is damaged, ``REV-006`` if it holds foreign tables or
            triggers, ``REV-007`` if it cannot be brought to this version, ``REV-012`` if it is
            locked, ``REV-013`` if an unfinished write cannot be taken back.
        """
        path = Path(path).resolve()
        if not path.is_file():
            raise ReviewError(
                "REV-001",
                "there is no such file",
                "Check its name, and that its drive is connected.",
                consequence="It was not opened.",
                subject=path.name,
            )
        lease = Lease(path, wanted=not read_only)
        with _released_on_error(lease):
            return cls(path, lease)

    def __init__(self, path: Path, lease: Lease) -> None:
        self.path = path
        self.holder = lease.holder
        self._lease = lease
        self._lock = threading.RLock()
        self._closed = False
        notes = [f"It can only be read: {lease.obstacle}."] if lease.obstacle else []
        try:
            self._connection = files.connect(path)
        except UNREADABLE as error:
            raise files.unreadable(path, error) from error
        try:
            notes += self._prepare()
        except BaseException:
            self._connection.close()
            raise
        self.read_only = not lease.held
        self.notes = tuple(notes)
        self._connection.execute(f"PRAGMA query_only = {self.read_only:d}")

    def append(
        self, events: Sequence[NewEvent], masks: Mapping[str, bytes] | None = None
    ) -> tuple[Event, ...]:
        """Store events, and masks that they name, in one transaction; return when it is on disk.

        After an error nothing of it is stored, the store stays as it was, and the same events
        may be tried again.

        Parameters
        ----------
        events : sequence of NewEvent
        masks : mapping of str to bytes, optional
            By digest; those that are there already may be left out.

        Raises
        ------
        ReviewError
            ``REV-009`` if the disk refuses, ``REV-010`` if an event cannot be stored as it is,
            ``REV-004`` or ``REV-011`` if a mask is damaged or missing, ``REV-015`` if the store is
            closed, ``REV-021`` if it can only be read.
        """
        with self._lock:
            self._refuse_closed()
            if self.read_only:
                raise self._only_read()
            files.check_masks(masks or {})
            try:
                with files.transaction(self._connection):
                    return self._add(events, masks or {})
            except files.REFUSED as error:
                raise files.no_value(error, self.path) from error
            except sqlite3.Error as error:
                raise files.cannot_save(self.path, error) from error

    def events(self) -> tuple[Event, ...]:
        """Return all events in order.

        Raises
        ------
        ReviewError
            ``REV-005`` if one cannot be read.
        """
        with self._reading():
            return read_events(self._connection)

    def mask(self, digest: str) -> bytes:
        """Return the bytes of a mask (:func:`napari_normative.review.masks.decode_mask`).

        Raises
        ------
        ReviewError
            ``REV-011`` if it is not there, ``REV-004`` if it is another one now.
        """
        query = "SELECT data FROM blob WHERE digest = ?"
        with self._reading():
            found = self._connection.execute(query, (digest,)).fetchone()
            if found is None:
                raise files.no_mask(digest, self.path)
            files.check_masks({digest: found[0]})
            return bytes(found[0])

    def verify(self) -> tuple[str, ...]:
        """Return every problem that can be found in the file, one sentence each."""
        with self._reading():
            return problems(self._connection)

    def close(self) -> None:
        """Let go of the file; closing twice does no harm."""
        with self._lock:
            self._closed = True
            self._connection.close()
            self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> list[str]:
        """Check the file, bring it to this version, read the facts; return notes.

        Nothing is added to a file that was tampered with: the lease is given back.
        """
        notes = []
        with files.snapshot(self._connection, self.path):
            version, unguarded = files.examine(self._connection, self.path)
        if unguarded:
            notes.append(f"The guards of the file were removed ({', '.join(unguarded)}).")
            self._lease.release()
        if self._lease.held:
            files.keep_rollback_journal(self._connection, self.path)
        if version < VERSION and self._lease.held:
            kept = files.migrate(self._connection, self.path, version)
            notes.append(
                f"It was brought from version {version} to {VERSION}; the old file is {kept.name}."
            )
        elif version < VERSION:
            self._connection = files.in_memory(self._connection, version)
            notes.append(f"It is of version {version}, and shown without changing it.")
        with files.snapshot(self._connection, self.path):
            self.project, self._origin = read_project(self._connection)
            found = list(chain_problems(self._connection))
        if found:
            more = f" {len(found) - 1} more are found by verifying it." if len(found) > 1 else ""
            notes.append(found[0] + more)
            self._lease.release()
        if found or unguarded:
            notes.append("It can only be read: restore it from a backup.")
        return notes

    def _add(self, events: Sequence[NewEvent], masks: Mapping[str, bytes]) -> tuple[Event, ...]:
        write_masks(self._connection, masks)
        before, previous = last_event(self._connection) or (0, self._origin)
        for number, event in enumerate(events, start=before + 1):
            # As JSON gives it back, so that the digest is of what will be read.
            details = json.loads(canonical(dict(event.details)))
            if missing := missing_masks(self._connection, masks_of_details(details)):
                raise files.no_mask(missing.pop(), self.path)
            stored = link(
                dataclasses.replace(event, details=details),
                number, self.project.reader_code, previous,
            )  # fmt: skip
            write_event(self._connection, stored)
            previous = stored.digest
        added = read_events(self._connection, after=before)
        if not all(map(intact, added)):
            raise ValueError("a value has another type than it should have")
        return added

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            self._refuse_closed()
            with files.snapshot(self._connection, self.path):
                yield

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ReviewError(
                "REV-015", "the review is closed", "Open it again.", subject=self.path.name
            )

    def _only_read(self) -> ReviewError:
        why = f"{self.holder} writes it" if self.holder else " ".join(self.notes)
        return ReviewError(
            "REV-021",
            "the review was opened for reading only" + (f" ({why.rstrip('.')})" if why else ""),
            "Close it in the other program and open it again, or see what is said about the file.",
            consequence="Nothing was stored.",
            subject=self.path.name,
        )


@contextlib.contextmanager
def _released_on_error(lease: Lease) -> Iterator[None]:
    try:
        yield
    except BaseException:
        lease.release()
        raise
