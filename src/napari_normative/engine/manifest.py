"""The manifest of a cohort run: what became of every scan, one line an event, never rewritten.

Each writer has a file of its own, so that runs beside each other never mix; a line is on disk
before the next scan is counted. A line that a crash cut in two is passed over.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from napari_normative.errors import ClusterError, OutputError
from napari_normative.io.folders import cannot_write

FOLDER = "manifest"
ENDS = ("done", "refused", "quarantined", "failed")
"""Events that say what became of a scan; other events are ``run``, ``begun``, ``stopped``,
``lost`` and ``end``."""

_GUARD_S = 60.0


@dataclass(frozen=True)
class Shard:
    """One of ``count`` disjoint parts of a cohort, numbered from 1; 1 of 1 is all of it."""

    number: int = 1
    count: int = 1

    @property
    def writer(self) -> str:
        """Name of the file with this part's events, without its ending."""
        return "all" if self.count == 1 else f"shard-{self.number:04d}-of-{self.count:04d}"


@dataclass(slots=True)
class Entry:
    """What the manifest says of a scan, without its figures.

    Attributes
    ----------
    state : str
        One of ``ENDS``, or empty.
    lost : int
        Attempts since then that surely ended the process that worked on it.
    stamp : list of int
        Size and times of the file, by which a changed file is suspected.
    scan : str
        SHA-256 of the file; empty where it could not be read.
    terms : str
        Digest of model, version and options.
    place : (file number, offset) or None
        Where the line with the figures is.
    """

    state: str = ""
    lost: int = 0
    stamp: list[int] | None = None
    scan: str = ""
    terms: str = ""
    at: str = ""
    open: bool = False
    place: tuple[int, int] | None = None


class Manifest:
    """All events of a result folder, read once; figures are fetched when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._files = sorted((folder / FOLDER).glob("*.jsonl"))
        self.entries: dict[str, Entry] = {}
        self.runs: list[dict[str, Any]] = []
        for number, path in enumerate(self._files):
            self._read(number, path)

    def entry(self, name: str) -> Entry:
        """Return what is known of a scan."""
        return self.entries.get(name) or Entry()

    def figures(self, name: str) -> dict[str, Any]:
        """Return the last event that says what became of a scan; empty where there is none."""
        place = self.entry(name).place
        if place is None:
            return {}
        with self._files[place[0]].open("rb") as handle:
            handle.seek(place[1])
            event: dict[str, Any] = json.loads(handle.readline())
        return event

    def _read(self, number: int, path: Path) -> None:
        offset = 0
        with path.open("rb") as handle:
            for line in handle:
                start, offset = offset, offset + len(line)
                try:
                    event = json.loads(line)
                    kind, at = event["event"], event["at"]
                except (ValueError, KeyError, TypeError):
                    continue  # cut in two by a crash
                if kind in ("run", "end"):
                    self.runs.append(event)
                elif isinstance(event.get("scan"), str):
                    entry = self.entries.setdefault(event["scan"], Entry())
                    self._take(entry, kind, at, event, (number, start))

    def _take(
        self, entry: Entry, kind: str, at: str, event: Mapping[str, Any], place: tuple[int, int]
    ) -> None:
        if at < entry.at:  # a later run wrote another file
            return
        if kind in ENDS:
            entry.state, entry.lost, entry.open, entry.at = kind, 0, False, at
            entry.stamp, entry.terms = event.get("stamp"), event.get("terms", "")
            entry.scan, entry.place = event.get("digest", ""), place
        elif kind == "begun":
            # Begun and never ended: the process died with it.
            entry.lost += entry.open
            entry.open = True
        elif kind == "stopped":
            entry.open = False
        elif kind == "lost":
            entry.lost, entry.open = entry.lost + 1, False


class ManifestWriter:
    """Appends events to one writer's file; each is on disk when the call returns.

    Raises
    ------
    OutputError
        ``OUT-050`` if the file cannot be written.
    """

    def __init__(self, folder: Path, shard: Shard) -> None:
        self._path = folder / FOLDER / f"{shard.writer}.jsonl"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = self._path.open("ab")
            torn = _is_torn(self._path)
        except OSError as error:
            raise self._failed(error) from error
        if torn:
            self._write(b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()

    def add(self, event: str, **facts: Any) -> None:
        """Append an event."""
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        line = json.dumps({"event": event, "at": at, **facts}, ensure_ascii=False)
        self._write(line.encode() + b"\n")

    def _write(self, block: bytes) -> None:
        try:
            self._handle.write(block)
            self._handle.flush()
            os.fsync(self._handle.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            "OUT-050",
            f"the manifest of the run cannot be written ({error.strerror or error})",
            "Free space or check permissions, then give the same command again.",
            consequence="The run was stopped; what is done stays.",
            subject=self._path.name,
        )


def _is_torn(path: Path) -> bool:
    with path.open("rb") as handle:
        if not handle.seek(0, os.SEEK_END):
            return False
        handle.seek(-1, os.SEEK_END)
        return handle.read() != b"\n"


@contextmanager
def guard(folder: Path) -> Iterator[None]:
    """Let one process at a time start, or write the tables of, a run into a folder."""
    lock = FileLock(folder / FOLDER / ".guard", timeout=_GUARD_S)
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise _busy(folder) from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def claimed_shard(folder: Path, shard: Shard) -> Iterator[None]:
    """Keep other runs out of a result folder, but for the other shards of the same count.

    The system lets go when the process ends, however it ends.

    Raises
    ------
    ClusterError
        ``CLU-004`` if another run is at work.
    OutputError
        ``OUT-011`` if the folder cannot be written.
    """
    own = folder / FOLDER / f".{shard.writer}.lock"
    beside = f"-of-{shard.count:04d}.lock"
    lock = FileLock(own, timeout=0)
    with guard(folder):
        for other in sorted(own.parent.glob(".*.lock")):
            if other == own or (shard.count > 1 and other.name.endswith(beside)):
                continue
            try:
                with FileLock(other, timeout=0):
                    pass
            except Timeout as error:
                raise _busy(folder) from error
        try:
            lock.acquire()
        except Timeout as error:
            raise _busy(folder) from error
    try:
        yield
    finally:
        lock.release()


def _busy(folder: Path) -> ClusterError:
    return ClusterError(
        "CLU-004",
        "another run is at work in this folder",
        "Wait for it or stop it, or choose another folder; only shards of the same count may "
        "run beside each other.",
        subject=folder.name,
    )
