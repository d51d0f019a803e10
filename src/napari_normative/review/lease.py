"""The right to write a review file: one program has it, and loses it when it ends in any way."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from filelock import FileLock, Timeout

from napari_normative.review.records import utc_now

_HOLDER = re.compile(r"pid \d{1,10} since [\dT:.+-]{10,40}")


class Lease:
    """Try to take the right to write a file.

    The lock of ``.NAME.lock`` is the truth; the system releases it also after ``kill -9``.
    ``.NAME.holder`` only tells others who has it.

    Parameters
    ----------
    path : Path
        The review file; it need not be there.
    wanted : bool
        False: do not try.

    Attributes
    ----------
    held : bool
    holder : str
        Who has it: process and time, no names. Empty if nobody else.
    obstacle : str
        What keeps everybody from it here, a clause. Empty if nothing does.
    """

    def __init__(self, path: Path, *, wanted: bool = True) -> None:
        self.holder = self.obstacle = ""
        self._told = path.with_name(f".{path.name}.holder")
        # Not bound to a thread: a window opens a file in one and closes it in another.
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0, thread_local=False)
        if wanted:
            self._take(path)

    @property
    def held(self) -> bool:
        """Whether the file may be written here."""
        return self._lock.is_locked

    def release(self) -> None:
        """Let others have it."""
        if self.held:
            with contextlib.suppress(OSError):
                self._told.unlink(missing_ok=True)
            self._lock.release()

    def _take(self, path: Path) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            self.holder = self._who()
            return
        except OSError as error:
            self.obstacle = f"nothing can be written beside it: {error.strerror or error}"
            return
        if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
            self.obstacle = "it or its folder is write-protected"
            self._lock.release()
            return
        with contextlib.suppress(OSError):
            self._told.write_text(f"pid {os.getpid()} since {utc_now()}", encoding="ascii")

    def _who(self) -> str:
        """Return what the holder wrote, unless something else stands there."""
        try:
            found = _HOLDER.fullmatch(self._told.read_text(encoding="ascii"))
        except (OSError, ValueError):
            found = None
        return found[0] if found else "another program"
