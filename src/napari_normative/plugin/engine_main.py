"""The engine process: does the window's heavy work, so that the window never waits for it.

Run as ``python -m napari_normative.plugin.engine_main`` by :class:`ProcessRunner`. Messages come
on stdin and go out on stdout; when stdin ends, because the window is gone, so does it.
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import time
from typing import IO, Any

from napari_normative.plugin import pipes
from napari_normative.plugin.jobs import PROGRESS_INTERVAL_S, outcome_of, unforeseen
from napari_normative.plugin.models import engine_shelf


class _Told:
    """Cancels that were asked for."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()


def _listen(source: IO[bytes], jobs: queue.Queue[Any], told: _Told) -> None:
    """Sort what the window says; end the process when it is gone."""
    while True:
        try:
            kind, number, work = pipes.receive(source)
        except EOFError:
            os._exit(0)  # the work at hand has nobody to hear of it
        except Exception:  # noqa: BLE001 - who waits must hear of it: by the end of the process
            os._exit(1)
        if kind == "cancel":
            told.numbers.add(number)
        else:
            jobs.put((number, work))


def main() -> None:
    """Work until the window is gone."""
    source = sys.stdin.buffer
    out: IO[bytes] = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not mix with the messages
    jobs: queue.Queue[Any] = queue.Queue()
    told = _Told()
    threading.Thread(target=_listen, args=(source, jobs, told), daemon=True).start()
    while True:
        number, work = jobs.get()
        _run(number, work, told, out)


def _run(number: int, work: Any, told: _Told, out: IO[bytes]) -> None:
    last: tuple[str, float] = ("", 0.0)

    def progress(step: str, fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if step != last[0] or now - last[1] >= PROGRESS_INTERVAL_S:
            last = (step, now)
            pipes.send(out, ("progress", number, (step, float(fraction))))

    kind, value = outcome_of(work, progress, lambda: number in told.numbers)
    told.numbers.discard(number)
    del work
    loaded = engine_shelf().loaded_key
    try:
        pipes.send(out, (kind, number, (value, loaded)))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        foreign = unforeseen(error)  # a result that cannot leave the process
        pipes.send(out, ("failed", number, (foreign, loaded)))


if __name__ == "__main__":
    main()
