"""Tables of a review file: the SQL of each version, and the guards that let nothing change."""

from __future__ import annotations

import contextlib
import functools
import sqlite3

APPLICATION_ID = 0x4E4E5256
"""``NNRV``, by which a review file is known from other SQLite files."""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE meta (
            id TEXT NOT NULL,
            title TEXT NOT NULL,
            "order" TEXT NOT NULL,
            seed INTEGER NOT NULL,
            blind INTEGER NOT NULL CHECK (blind IN (0, 1)),
            labels TEXT NOT NULL,
            created_utc TEXT NOT NULL,
            digest TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE reader (
            reader TEXT NOT NULL,
            role TEXT NOT NULL CHECK (role IN ('reader', 'adjudicator'))
        ) STRICT""",
        """CREATE TABLE blob (
            digest TEXT PRIMARY KEY NOT NULL,
            data BLOB NOT NULL
        ) STRICT""",
        """CREATE TABLE image (
            place INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            path TEXT NOT NULL,
            digest TEXT NOT NULL,
            shape TEXT NOT NULL,
            affine TEXT NOT NULL,
            folder TEXT NOT NULL,
            score REAL,
            score_p REAL,
            foreground_ml REAL
        ) STRICT""",
        """CREATE TABLE run (
            place INTEGER PRIMARY KEY,
            image TEXT NOT NULL REFERENCES image (id),
            model TEXT NOT NULL,
            model_digest TEXT NOT NULL,
            software TEXT NOT NULL,
            created_utc TEXT NOT NULL,
            threshold_z REAL NOT NULL
        ) STRICT""",
        """CREATE TABLE candidate (
            place INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            image TEXT NOT NULL REFERENCES image (id),
            value INTEGER NOT NULL,
            sign INTEGER NOT NULL,
            peak_z REAL NOT NULL,
            mean_z REAL NOT NULL,
            volume_ml REAL NOT NULL,
            centroid_mm TEXT NOT NULL,
            p REAL,
            mask TEXT NOT NULL REFERENCES blob (digest)
        ) STRICT""",
        """CREATE TABLE assignment (
            place INTEGER PRIMARY KEY,
            number INTEGER NOT NULL UNIQUE,
            image TEXT NOT NULL REFERENCES image (id),
            repeat INTEGER NOT NULL CHECK (repeat IN (0, 1)),
            candidates TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE event (
            number INTEGER PRIMARY KEY AUTOINCREMENT CHECK (number > 0),
            id TEXT NOT NULL UNIQUE,
            at TEXT NOT NULL,
            reader TEXT NOT NULL,
            action TEXT NOT NULL,
            assignment INTEGER NOT NULL,
            candidate TEXT NOT NULL,
            details TEXT NOT NULL,
            reverts TEXT NOT NULL,
            previous TEXT NOT NULL,
            digest TEXT NOT NULL
        ) STRICT""",
    ),
    (
        "ALTER TABLE image ADD COLUMN volume INTEGER",
        """CREATE TABLE read (
            place INTEGER PRIMARY KEY,
            reader TEXT NOT NULL,
            candidate TEXT NOT NULL,
            decision TEXT NOT NULL,
            label TEXT NOT NULL,
            comment TEXT NOT NULL,
            mask TEXT NOT NULL
        ) STRICT""",
    ),
)
"""Step N makes version N of version N - 1. A step that was released never changes: files hold
its text, and are compared with it."""

VERSION = len(STEPS)

_NOT_NEXT = {
    "event": "NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM event)"
    " OR EXISTS (SELECT 1 FROM event WHERE id = NEW.id)",
    "blob": "EXISTS (SELECT 1 FROM blob WHERE digest = NEW.digest)",
}
"""Tables that grow, and the rows that they refuse: REPLACE would delete without a trigger."""


def make_tables(connection: sqlite3.Connection, after: int = 0, until: int = VERSION) -> None:
    """Take an open transaction from one version to a later one; 0 is an empty file."""
    for step in STEPS[after:until]:
        for statement in step:
            connection.execute(statement)


def make_guards(connection: sqlite3.Connection) -> None:
    """Fix what the tables hold, and the version: from here on events and masks are added only."""
    names = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not name.startswith("sqlite_")
    ]
    for table in names:
        for verb in ("INSERT", "UPDATE", "DELETE"):
            when = f"WHEN {_NOT_NEXT[table]}" if verb == "INSERT" and table in _NOT_NEXT else ""
            connection.execute(
                f"CREATE TRIGGER IF NOT EXISTS {table}_{verb.lower()} BEFORE {verb} ON {table}"
                f" {when} BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END"
            )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def version_of(connection: sqlite3.Connection) -> int | None:
    """Return the version of a file; None for one that is no review."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version) if application == APPLICATION_ID else None


def differences(connection: sqlite3.Connection, version: int) -> tuple[list[str], list[str]]:
    """Compare the tables and triggers of a file with those of a version.

    Returns
    -------
    foreign : list of str
        Names of what is there and should not be, or not in this form.
    missing : list of str
        Names of what is not there.
    """
    found, right = _objects(connection), _expected(version)
    foreign = sorted(name for name, text in found.items() if right.get(name) != text)
    return foreign, sorted(right.keys() - found.keys())


@functools.cache
def _expected(version: int) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        make_tables(connection, until=version)
        make_guards(connection)
        return _objects(connection)


def _objects(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, type, tbl_name, sql FROM sqlite_master")
    return {name: " ".join(f"{kind} {table} {sql}".split()) for name, kind, table, sql in rows}
