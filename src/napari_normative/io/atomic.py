"""Files that are either old or new, never half."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from napari_normative.errors import OutputError


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes so that ``path`` holds either its old content or all of the new.

    Temporary file in the same folder, fsync, rename, fsync of the folder.

    Raises
    ------
    OutputError
        ``OUT-001`` when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        if hasattr(os, "O_DIRECTORY"):
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            "OUT-001",
            f"it cannot be written ({error.strerror or error})",
            "Free disk space or choose a folder you may write to; an earlier file is unchanged.",
            subject=path.name,
        ) from error
