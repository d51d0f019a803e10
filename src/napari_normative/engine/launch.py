"""Several processes of one command on one machine, without torchrun."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from napari_normative.errors import TrainingError

LAUNCHED = "NAPARI_NORMATIVE_LAUNCHED"
"""In the environment of the processes that :func:`together` started."""
GRACE_S = 20.0
"""How long the processes may take to notice that one has failed, and to end."""


@dataclass
class _Child:
    rank: int
    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def why(self) -> str:
        """Return how it ended: what it said last, or the signal that killed it."""
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        code = self.process.returncode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return lines[-1] if lines else f"exit status {code}"


@contextlib.contextmanager
def together(count: int, arguments: Sequence[str]) -> Iterator[None]:
    """Make this the first of ``count`` processes of ``python -m napari_normative``.

    They find each other as under torchrun. At the end all others are gone: they were waited for,
    or ended after ``GRACE_S``.

    Parameters
    ----------
    count : int
    arguments : sequence of str
        Of this process's own command line.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(
        WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count), GROUP_RANK="0", RANK="0",
        LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    os.environ[LAUNCHED] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    children = []
    for rank in range(1, count):
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - read when the process has failed
        process = subprocess.Popen(
            [sys.executable, "-m", "napari_normative", *arguments],
            env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        children.append(_Child(rank, process, errors))
    over = threading.Event()
    threading.Thread(target=_watch, args=(children, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        _end(children, GRACE_S)


def _watch(children: Sequence[_Child], over: threading.Event) -> None:
    """End this process when another has failed and it has not noticed by itself."""
    while not over.wait(0.2):
        failed = [c for c in children if c.process.poll() not in (None, 0)]
        if failed and not over.wait(GRACE_S):
            error = TrainingError(
                "TRN-022",
                f"process {failed[0].rank + 1} of {len(children) + 1} of this training ended "
                f"({failed[0].why()})",
                "Mend what it names and run it again with --resume: what was aligned is kept.",
            )
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
            _end(children, 0.0)
            os._exit(1)


def _end(children: Sequence[_Child], patience_s: float) -> None:
    for child in children:
        for end in (None, child.process.terminate, child.process.kill):
            if end is not None:
                end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(patience_s if end is None else 5.0)
                break
        child.errors.close()
