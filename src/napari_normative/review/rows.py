"""Records of a review as rows of its tables, and back: a column for each attribute."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from napari_normative.review.records import (
    Assignment,
    EarlierRead,
    Event,
    Image,
    Project,
    ReviewCandidate,
    Run,
    canonical,
)

_LISTS: Mapping[str, type] = {
    "image": Image,
    "run": Run,
    "candidate": ReviewCandidate,
    "assignment": Assignment,
    "read": EarlierRead,
}
"""Tables of a project's lists; the attribute has an ``s`` more."""

T = TypeVar("T")

UNREADABLE = (sqlite3.Error, ValueError, TypeError, LookupError, OverflowError, RecursionError)
"""What reading rows that were damaged or tampered with can raise."""


def write_project(connection: sqlite3.Connection, project: Project, digest: str) -> None:
    """Insert the facts of a review and their digest into empty tables."""
    facts = _cells(project, without=[f"{table}s" for table in _LISTS])
    _insert(connection, "reader", {name: facts.pop(name) for name in ("reader", "role")})
    _insert(connection, "meta", facts | {"digest": digest})
    for table in _LISTS:
        for place, record in enumerate(getattr(project, f"{table}s"), start=1):
            _insert(connection, table, {"place": place} | _cells(record))


def read_project(connection: sqlite3.Connection) -> tuple[Project, str]:
    """Return the facts of a review, and the digest that was taken of them.

    Raises
    ------
    One of UNREADABLE
        If the rows were damaged.
    """
    (facts,) = _rows(connection, "SELECT * FROM meta, reader")
    for table, kind in _LISTS.items():
        rows = _rows(connection, f"SELECT * FROM {table} ORDER BY place")
        facts[f"{table}s"] = tuple(_record(kind, row) for row in rows)
    return _record(Project, facts), str(facts["digest"])


def write_event(connection: sqlite3.Connection, event: Event) -> None:
    """Insert an event."""
    _insert(connection, "event", _cells(event))


def read_events(connection: sqlite3.Connection, after: int = 0) -> tuple[Event, ...]:
    """Return the events after a number, in order.

    Raises
    ------
    One of UNREADABLE
        If a row was damaged; the message names it.
    """
    events = []
    query = "SELECT * FROM event WHERE number > ? ORDER BY number"
    for row in _rows(connection, query, after):
        try:
            events.append(_record(Event, row))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"event {row['number']} makes no sense") from error
    return tuple(events)


def last_event(connection: sqlite3.Connection) -> tuple[int, str] | None:
    """Return number and digest of the last event; None before the first."""
    query = "SELECT number, digest FROM event ORDER BY number DESC LIMIT 1"
    found: tuple[int, str] | None = connection.execute(query).fetchone()
    return found


def write_masks(connection: sqlite3.Connection, masks: Mapping[str, bytes]) -> None:
    """Insert the masks that are not there yet."""
    connection.executemany(
        "INSERT INTO blob SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM blob WHERE digest = ?1)",
        masks.items(),
    )


def masks_of_project(project: Project) -> Iterator[str]:
    """Yield the digests of all masks that the facts of a review name."""
    yield from (candidate.mask for candidate in project.candidates)
    yield from (read.mask for read in project.reads if read.mask)


def masks_of_details(details: object) -> Iterator[str]:
    """Yield the digests of all masks that the details of an event name.

    At any depth, ``mask`` holds one digest or nothing, and the values of ``masks`` are digests.
    """
    if isinstance(details, Mapping):
        for key, value in details.items():
            if key == "mask" and isinstance(value, str) and value:
                yield value
            elif key == "masks" and isinstance(value, Mapping):
                yield from map(str, value.values())
            else:
                yield from masks_of_details(value)
    elif isinstance(details, list | tuple):
        for item in details:
            yield from masks_of_details(item)


def missing_masks(connection: sqlite3.Connection, digests: Iterable[str]) -> set[str]:
    """Return the digests of which no mask is kept."""
    query = "SELECT 1 FROM blob WHERE digest = ?"
    return {d for d in set(digests) if connection.execute(query, (d,)).fetchone() is None}


def _cells(record: Any, without: Sequence[str] = ()) -> dict[str, object]:
    names = [f.name for f in dataclasses.fields(record) if f.name not in without]
    return {name: _cell(getattr(record, name)) for name in names}


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, tuple | Mapping):
        return canonical(value)
    return value


def _record(kind: type[T], row: Mapping[str, Any]) -> T:
    return kind(
        **{f.name: _value(str(f.type), row[f.name]) for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    )


def _value(kind: str, cell: Any) -> Any:
    if kind == "bool":
        return bool(cell)
    if isinstance(cell, str) and kind.startswith("Mapping"):
        return dict(json.loads(cell))
    if isinstance(cell, str) and kind.startswith("tuple"):
        return _tuples(json.loads(cell))
    return cell


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _insert(connection: sqlite3.Connection, table: str, cells: Mapping[str, object]) -> None:
    columns = ", ".join(f'"{name}"' for name in cells)
    places = ", ".join("?" * len(cells))
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", list(cells.values()))


def _rows(connection: sqlite3.Connection, query: str, *values: object) -> list[dict[str, Any]]:
    cursor = connection.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
