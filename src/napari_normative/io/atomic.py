"""Files that are either old or new, never half."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from napari_normative.errors import OutputError


def replace_files(parts: Mapping[Path, bytes]) -> None:
    """Write files beside their targets, flush them to disk, then rename them into place.

    All lie in one folder, which is made when it is missing.

    Raises
    ------
    OutputError
        ``OUT-002`` if anything fails before the first rename; the targets are as they were.
    """
    waiting: dict[Path, Path] = {}
    target = next(iter(parts))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for target, block in parts.items():
            waiting[target] = target.with_name(f".{uuid.uuid4().hex}.part")
            with waiting[target].open("xb") as handle:
                handle.write(block)
                handle.flush()
                os.fsync(handle.fileno())
        for target, temporary in waiting.items():
            temporary.replace(target)
        sync_folder(target.parent)
    except BaseException as error:
        for temporary in waiting.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OutputError(
            "OUT-002",
            f"the file cannot be written ({error.strerror or error})",
            "Free space or choose another folder, then run it again.",
            subject=target.name,
        ) from error


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system knows how."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
