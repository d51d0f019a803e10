"""Lists of paths on standard input, read as they come."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from napari_normative.errors import VolumeFileError
from napari_normative.io.names import find_volumes

BLOCK = 65536


def read_list(stream: IO[bytes], *, null: bool = False) -> Iterator[str]:
    r"""Yield the paths of a list as soon as each is complete.

    Parameters
    ----------
    stream : binary file
    null : bool
        Paths end with a NUL byte, as ``find -print0`` writes them, and are taken as they are.
        Otherwise each line is a path: its end may be ``\n`` or ``\r\n``; empty lines and lines
        that begin with ``#`` are passed over (write ``./#name`` for such a file).

    Raises
    ------
    VolumeFileError
        ``NIF-041`` if there is no path in it.
    """
    count = 0
    for raw in _ended_by_null(stream) if null else _lines(stream):
        count += 1
        yield os.fsdecode(raw)
    if not count:
        raise VolumeFileError(
            "NIF-041",
            "the list on standard input names no file",
            "Write one path a line, or see what the program before it printed.",
            consequence="Nothing was done.",
        )


def listed_scans(paths: Iterable[str], *, leave_out: Path) -> Iterator[Path]:
    """Replace folders in a list by the volumes in them, each once, in order.

    Patterns are file names here. A folder without volumes stays: reading it says what is wrong.

    Parameters
    ----------
    paths : iterable of str
    leave_out : Path
        The output folder: results of an earlier run are not scans.

    Raises
    ------
    VolumeFileError
        ``NIF-042`` if all of them lie in the output folder.
    """
    seen: set[Path] = set()
    results = leave_out.resolve()
    for text in paths:
        path = Path(text)
        for scan in (find_volumes(path) if path.is_dir() else []) or [path]:
            if scan not in seen and results not in scan.resolve().parents:
                seen.add(scan)
                yield scan
    if not seen:
        raise VolumeFileError(
            "NIF-042",
            "all files of the list lie in the output folder, where results are",
            "Choose another output folder.",
            consequence="Nothing was done.",
        )


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    for number, raw in enumerate(stream):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 0 else raw  # Windows' UTF-8 mark
        line = line.rstrip(b"\r\n")
        if line.strip() and not line.startswith(b"#"):
            yield line


def _ended_by_null(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    # read1 returns what is there instead of waiting for a full block.
    while block := (stream.read1 if hasattr(stream, "read1") else stream.read)(BLOCK):
        *whole, rest = (rest + block).split(b"\0")
        yield from filter(None, whole)
    if rest:
        yield rest
