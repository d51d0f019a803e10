"""What tells one scan file from another: its digest, and cheaper signs of a change."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK = 1 << 20


def file_digest(path: Path) -> str:
    """Return the digest that reading a volume would give it, without inflating it.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    total = hashlib.sha256()
    for file in _halves(path):
        with file.open("rb") as handle:
            while block := handle.read(_BLOCK):
                total.update(block)
    return total.hexdigest()


def file_stamp(path: Path) -> list[int] | None:
    """Return size and times of a volume's files; None where there is none.

    While they are as they were the content is taken to be so, too, as version control does.
    """
    stamp = []
    for file in _halves(path):
        try:
            found = file.stat()
        except OSError:
            return None
        stamp += [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    return stamp


def _halves(path: Path) -> list[Path]:
    pair = path.suffix.lower() in {".hdr", ".img"}
    return sorted({path.with_suffix(".hdr"), path.with_suffix(".img")}) if pair else [path]
