"""What is wrong with a review file, in sentences."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from napari_normative.errors import ReviewError
from napari_normative.review.records import intact, project_digest
from napari_normative.review.rows import (
    UNREADABLE,
    masks_of_details,
    masks_of_project,
    missing_masks,
    read_events,
    read_project,
)
from napari_normative.review.schema import VERSION, differences


def problems(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Return every problem that can be found, one sentence each; this reads the whole file."""
    found: dict[str, None] = {}
    checks: tuple[Callable[[sqlite3.Connection], Iterator[str]], ...] = (
        _structure, _tables, chain_problems, _masks,
    )  # fmt: skip
    for check in checks:
        try:
            for sentence in check(connection):
                found[sentence] = None
        except UNREADABLE as error:
            found[f"A part of the file is damaged: {error}."] = None
    return tuple(found)


def chain_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what does not fit between the facts of a review, its events and their counter.

    Raises
    ------
    One of UNREADABLE
        If rows were damaged.
    """
    project, origin = read_project(connection)
    if project_digest(project) != origin:
        yield "The scans, candidates or other facts of the review were changed after it began."
    expected, previous = 1, origin
    for event in read_events(connection):
        if event.number != expected:
            yield _missing(expected, event.number - 1)
        elif event.previous != previous:
            before = f"event {expected - 1}" if expected > 1 else "the facts of the review"
            yield f"Event {event.number} does not follow {before}: one of them was changed."
        if not intact(event):
            yield f"Event {event.number} was changed."
        expected, previous = event.number + 1, event.digest
    query = "SELECT seq FROM sqlite_sequence WHERE name = 'event'"
    counter = sum(seq for (seq,) in connection.execute(query))
    if counter >= expected:
        yield _missing(expected, counter)
    elif counter != expected - 1:
        yield f"The counter of events stands at {counter}, the last event is {expected - 1}."


def damage(connection: sqlite3.Connection) -> str:
    """Return the first problem of the file's pages, or nothing; this reads the whole file."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return "" if found == "ok" else " ".join(str(found).split())


def _structure(connection: sqlite3.Connection) -> Iterator[str]:
    for (found,) in connection.execute("PRAGMA integrity_check"):
        if found != "ok":
            yield f"A part of the file is damaged: {' '.join(str(found).split())}."


def _tables(connection: sqlite3.Connection) -> Iterator[str]:
    foreign, missing = differences(connection, VERSION)
    for name in foreign:
        yield f"The file holds {name}, which no review has in this form."
    if missing:
        some = ", ".join(sorted(missing)[:3]) + (", …" if len(missing) > 3 else "")
        yield f"The file lacks {len(missing)} tables or triggers that every review has ({some})."


def _masks(connection: sqlite3.Connection) -> Iterator[str]:
    from napari_normative.review.masks import check_mask

    for digest, data in connection.execute("SELECT digest, data FROM blob"):
        try:
            check_mask(data, digest)
        except ReviewError as error:
            yield f"Mask {digest} cannot be used: {error.what}."
    project, _ = read_project(connection)
    for digest in sorted(missing_masks(connection, masks_of_project(project))):
        yield f"Mask {digest} of a candidate is missing."
    for event in read_events(connection):
        for digest in sorted(missing_masks(connection, masks_of_details(event.details))):
            yield f"Mask {digest} of event {event.number} is missing."


def _missing(first: int, last: int) -> str:
    if first == last:
        return f"Event {first} is missing."
    return f"Events {first} to {last} are missing."
