"""Review files on disk: made whole or not at all, checked before use, brought up to date."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from napari_normative.errors import ReviewError
from napari_normative.io.atomic import sync_folder
from napari_normative.review.checks import damage
from napari_normative.review.records import Project, project_digest
from napari_normative.review.rows import (
    UNREADABLE,
    masks_of_project,
    read_project,
    write_masks,
    write_project,
)
from napari_normative.review.schema import (
    VERSION,
    differences,
    make_guards,
    make_tables,
    version_of,
)

REFUSED = (
    sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError,
    ValueError, TypeError, OverflowError, RecursionError,
)  # fmt: skip
"""What storing something that cannot be stored raises; other SQLite errors are the disk's."""

_RESTORE = "Restore the file from a backup."


def connect(path: Path | str) -> sqlite3.Connection:
    """Return a connection that believes nothing in the file and keeps every commit.

    A file that cannot be written is opened for reading by SQLite itself.
    """
    connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    try:
        for setting in (
            "trusted_schema = OFF", "cell_size_check = ON", "foreign_keys = ON",
            "synchronous = EXTRA",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {setting}")
    except BaseException:  # some of them read the file's tables
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit everything inside at the end, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite may have rolled back itself, or will do so before the next statement.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def snapshot(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Read one state of a file, while others may write, and say it when that cannot be.

    Raises
    ------
    ReviewError
        ``REV-002``, ``REV-005``, ``REV-012``, ``REV-013``.
    """
    try:
        connection.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def build(path: Path, project: Project, masks: Mapping[str, bytes]) -> None:
    """Write a new review file beside its place and rename it.

    Raises
    ------
    ReviewError
        ``REV-004`` or ``REV-011`` for a mask, ``REV-010`` for a fact that cannot be stored,
        ``REV-008`` if the disk refuses.
    """
    check_masks(masks)
    if missing := set(masks_of_project(project)) - masks.keys():
        raise no_mask(missing.pop(), path)
    try:
        with _beside(path) as part:
            with contextlib.closing(connect(part)) as connection:
                # No journal file: a part that a killed program left is simply overwritten.
                connection.execute("PRAGMA journal_mode = MEMORY")
                with transaction(connection):
                    make_tables(connection)
                    write_masks(connection, masks)
                    digest = project_digest(project)
                    write_project(connection, project, digest)
                    if read_project(connection) != (project, digest):
                        raise ValueError("a value has another type than it should have")
                    make_guards(connection)
            part.rename(path)
            sync_folder(path.parent)
    except REFUSED as error:
        raise no_value(error, path) from error
    except (sqlite3.Error, OSError) as error:
        raise cannot_make(path, error) from error


def check_masks(masks: Mapping[str, bytes]) -> None:
    """Refuse masks that their digests do not name.

    Raises
    ------
    ReviewError
        ``REV-004``.
    """
    if masks:  # loads NumPy, which a decision without a mask does not need
        from napari_normative.review.masks import check_mask

        for digest, data in masks.items():
            check_mask(data, digest)


def keep_rollback_journal(connection: sqlite3.Connection, path: Path) -> None:
    """Undo the switch to a write-ahead log, which other programs may make.

    Raises
    ------
    ReviewError
        As :func:`snapshot`.
    """
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def examine(connection: sqlite3.Connection, path: Path) -> tuple[int, list[str]]:
    """Look at a file before anything in it is used.

    Returns
    -------
    version : int
    unguarded : list of str
        Guards that somebody removed.

    Raises
    ------
    ReviewError
        ``REV-002`` for another file, ``REV-003`` for one of a later version, ``REV-005`` for a
        damaged one, ``REV-006`` for one that holds more than a review.
    """
    version = version_of(connection)
    if version is None:
        raise _no_review(path)
    if version > VERSION:
        raise ReviewError(
            "REV-003",
            f"a later version of this program made it (format {version}, known up to {VERSION})",
            "Update napari-normative.",
            consequence="It was not opened.",
            subject=path.name,
        )
    if version < 1:
        raise _damaged(path, f"its format is {version}")
    foreign, missing = differences(connection, version)
    if foreign:
        raise ReviewError(
            "REV-006",
            f"it holds what no review holds, or holds otherwise ({', '.join(foreign[:3])})",
            f"Somebody changed the file with another program. {_RESTORE}",
            consequence="It was not opened, and nothing in it was run.",
            subject=path.name,
        )
    guards = ("_insert", "_update", "_delete")
    if lost := [name for name in missing if not name.endswith(guards)]:
        raise _damaged(path, f"it lacks {lost[0]}")
    if found := damage(connection):
        raise _damaged(path, found)
    return version, missing


def migrate(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """Bring a file to the present version, after a copy of it; return the copy.

    Raises
    ------
    ReviewError
        ``REV-007`` if the disk refuses; the file is as it was.
    """
    try:
        kept = _back_up(connection, path, version)
        _update(connection, version)
    except (sqlite3.Error, OSError) as error:
        raise ReviewError(
            "REV-007",
            f"it cannot be brought from format {version} to {VERSION} ({_reason(error)})",
            "Free space or copy it to another folder, then open it again.",
            consequence="It is as it was.",
            subject=path.name,
        ) from error
    return kept


def in_memory(connection: sqlite3.Connection, version: int) -> sqlite3.Connection:
    """Return a copy in memory in the present version; the connection is closed."""
    copy = connect(":memory:")
    with contextlib.closing(connection):
        connection.backup(copy)
    _update(copy, version)
    return copy


def no_mask(digest: str, path: Path) -> ReviewError:
    """Say that a mask is missing."""
    return ReviewError(
        "REV-011",
        f"mask {digest[:12]} is not in the review",
        f"If the file was complete before: {_RESTORE[0].lower()}{_RESTORE[1:]}",
        subject=path.name,
    )


def no_value(error: Exception, path: Path) -> ReviewError:
    """Say that something cannot be stored as it is, wherever the disk has space."""
    return ReviewError(
        "REV-010",
        f"something to be stored is no fact of this review ({_reason(error)})",
        "Report it with the steps that led here.",
        consequence="Nothing was stored.",
        subject=path.name,
    )


def cannot_make(path: Path, error: Exception | str) -> ReviewError:
    """Say that a review file cannot be made."""
    return ReviewError(
        "REV-008",
        f"the review file cannot be made ({_reason(error)})",
        "Free space or choose another folder, then make it again.",
        subject=path.name,
    )


def cannot_save(path: Path, error: Exception) -> ReviewError:
    """Say that the disk did not take an event."""
    return ReviewError(
        "REV-009",
        f"the review file cannot be written ({_reason(error)})",
        "Free space on its disk, or close what else uses the file; then save again.",
        consequence="What was just done is not saved; everything before is.",
        subject=path.name,
    )


def unreadable(path: Path, error: Exception) -> ReviewError:
    """Say why a file cannot be read."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name == "SQLITE_NOTADB":
        return _no_review(path)
    if name.startswith("SQLITE_BUSY"):
        return ReviewError(
            "REV-012",
            "another program is writing the file and does not come to an end",
            "Close the other program and open the review again.",
            subject=path.name,
        )
    unfinished = path.with_name(f"{path.name}-journal")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) and unfinished.exists():
        return ReviewError(
            "REV-013",
            "a program was stopped while it wrote the file, which cannot be mended where it is",
            f"Copy it, together with {unfinished.name}, to a folder that can be written; "
            "open it there.",
            consequence="It was not opened.",
            subject=path.name,
        )
    return _damaged(path, _reason(error))


def _update(connection: sqlite3.Connection, version: int) -> None:
    with transaction(connection):
        make_tables(connection, after=version)
        make_guards(connection)


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    kept, number = path.with_name(f"{path.name}.v{version}.bak"), 1
    while kept.exists():  # another one, of a file that was put back later
        number += 1
        kept = path.with_name(f"{path.name}.v{version}-{number}.bak")
    with _beside(path) as part:
        with contextlib.closing(connect(part)) as copy:
            copy.execute("PRAGMA journal_mode = MEMORY")
            connection.backup(copy)
        part.rename(kept)
        sync_folder(path.parent)
    return kept


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield the one place for what is not finished; whoever holds the lease has it alone."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        yield part
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _no_review(path: Path) -> ReviewError:
    return ReviewError(
        "REV-002",
        "this is no review file",
        "Choose a file that ends in .review and was made by napari-normative.",
        consequence="It was not opened.",
        subject=path.name,
    )


def _damaged(path: Path, why: str) -> ReviewError:
    return ReviewError(
        "REV-005",
        f"the review file is damaged or cannot be read ({why})",
        f"Check that you may read it. {_RESTORE}",
        consequence="It was not opened.",
        subject=path.name,
    )


def _reason(error: Exception | str) -> str:
    return getattr(error, "strerror", None) or str(error)
