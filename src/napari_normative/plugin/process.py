"""Heavy work in a process of its own: the window shares no interpreter lock with it.

Importing torch alone holds the lock for half a second. The process also gives all its memory
back, the GPU's too, when it ends, and takes nothing with it when it dies.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from napari_normative.engine.background import gentle_environment
from napari_normative.errors import NormativeError
from napari_normative.plugin import pipes
from napari_normative.plugin.jobs import Job, Listener, Repeater, ThreadRunner, Work, conclude

CANCEL_S = 1.5
"""How long a job may take to heed a cancel before its process is ended."""


STOP_S = 1.0
"""How long the end of a thread is waited for; milliseconds are usual."""


class ProcessRunner:
    """Runs work one after another in an engine process, started when first needed.

    Work, results and errors must be picklable.

    Parameters
    ----------
    on_loaded : callable of (key)
        Told after each job which model the process holds; empty for none.
    """

    def __init__(self, on_loaded: Callable[[str], None] = lambda key: None) -> None:
        self.on_loaded = on_loaded
        self._engine: _Engine | None = None
        self._threads = ThreadRunner()

    def start(self, title: str, work: Work, listener: Listener) -> Job:
        """Start ``work`` in the engine process."""
        if self._engine is None or self._engine.gone:
            self._engine = _Engine(lambda key: self.on_loaded(key))
        return self._engine.start(work, listener)

    def spread(self, steps: Iterator[object]) -> None:
        """Take one step per turn of the event loop."""
        self._threads.spread(steps)

    def repeat(self, interval_s: float, call: Callable[[], None]) -> Repeater:
        """Start a timer."""
        return self._threads.repeat(interval_s, call)

    def release(self) -> None:
        """End the process and free all it holds; the next job starts another."""
        if self._engine is not None:
            self._engine.end()
            self._engine = None


class _Engine:
    """One process, what it works on, and the threads at its pipes."""

    def __init__(self, on_loaded: Callable[[str], None]) -> None:
        self._on_loaded = on_loaded
        self._listeners: dict[int, Listener] = {}
        self._ended = False
        self._count = 0
        self.gone = False
        program = [sys.executable, "-m", "napari_normative.plugin.engine_main"]
        self._process = subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=gentle_environment(),
        )
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._bridge = _bridge_class()()
        self._bridge.arrived.connect(self._on_message)
        ends = ((_write, self._outgoing), (_read, self._bridge.arrived))
        threads = [
            threading.Thread(target=target, args=(self._process, end), daemon=True)
            for target, end in ends
        ]
        for thread in threads:
            thread.start()
        # Also runs when the interpreter ends: a thread must not outlive its half of Qt.
        self._stop = weakref.finalize(self, _stop, self._process, self._outgoing, threads)

    def start(self, work: Work, listener: Listener) -> _ProcessJob:
        self._count += 1
        self._listeners[self._count] = listener
        self._outgoing.put(("run", self._count, work))
        return _ProcessJob(self, self._count)

    def cancel(self, number: int) -> None:
        """Ask a job to stop, and end the process if it has not heeded in time."""
        from qtpy.QtCore import QTimer

        def insist() -> None:
            if number in self._listeners:
                self.end()

        self._outgoing.put(("cancel", number, None))
        QTimer.singleShot(round(1000 * CANCEL_S), insist)

    def end(self) -> None:
        """End the process; who waits for it hears that the work was cancelled."""
        self._ended = self.gone = True
        self._stop()

    def _on_message(self, message: Any) -> None:
        kind, number, value = message
        if kind == "gone":
            self._on_gone(value)
        elif kind == "progress":
            self._listeners[number].progress(*value)
        else:
            result, loaded = value
            self._on_loaded(loaded)
            conclude(self._listeners.pop(number), kind, result)

    def _on_gone(self, status: int) -> None:
        """Tell everybody who waits that the process ended."""
        self.gone = True
        self._outgoing.put(None)
        self._on_loaded("")
        waiting, self._listeners = self._listeners, {}
        for listener in waiting.values():
            if self._ended:
                listener.cancelled()
                continue
            listener.failed(
                NormativeError(
                    "JOB-003",
                    f"the engine's process ended unexpectedly (status {status})",
                    "It may have run out of memory: close other programs and run again.",
                    consequence="No layer was added.",
                )
            )


class _ProcessJob:
    def __init__(self, engine: _Engine, number: int) -> None:
        self._engine, self._number = engine, number

    def cancel(self) -> None:
        """Ask it to stop."""
        self._engine.cancel(self._number)


def _stop(
    process: subprocess.Popen[bytes],
    outgoing: queue.SimpleQueue[Any],
    threads: list[threading.Thread],
) -> None:
    """End a process and the threads at its pipes, which find their ends broken."""
    process.kill()
    outgoing.put(None)
    for thread in threads:
        thread.join(STOP_S)


def _write(process: subprocess.Popen[bytes], messages: queue.SimpleQueue[Any]) -> None:
    """Send messages to the process, in a thread: a large scan takes a tenth of a second."""
    assert process.stdin is not None
    with contextlib.suppress(OSError), process.stdin:
        while (message := messages.get()) is not None:
            pipes.send(process.stdin, message)
            del message  # waiting for the next must not keep a scan


def _read(process: subprocess.Popen[bytes], arrived: Any) -> None:
    """Pass messages on to the main thread until the process is gone."""
    assert process.stdout is not None
    with contextlib.suppress(RuntimeError), process.stdout:  # RuntimeError: the window went first
        try:
            while True:
                arrived.emit(pipes.receive(process.stdout))
        except EOFError:
            arrived.emit(("gone", 0, process.wait()))


@cache
def _bridge_class() -> type:
    """Return the object whose signal leads to the main thread; importing this loads no Qt."""
    from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

    class _Bridge(QObject):
        arrived = Signal(object)

    return _Bridge
