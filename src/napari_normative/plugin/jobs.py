"""Work off the main thread; the only module that starts threads."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from napari_normative.errors import CancelledError, NormativeError

PROGRESS_INTERVAL_S = 0.05
"""Progress is passed on at most this often, so that a fast job cannot flood the window."""

BREATH_MS = 15
"""Between two steps on the main thread. Without a pause Qt takes them all in one turn: a timer of
0 ms is a posted event, and those come before the mouse and the screen."""

Progress = Callable[[str, float], None]
Cancelled = Callable[[], bool]
Work = Callable[[Progress, Cancelled], Any]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listener:
    """Who hears of a job, always on the main thread. Exactly one of the last three is called.

    Attributes
    ----------
    progress : callable of (step, fraction)
    done : callable of (result)
    failed : callable of (NormativeError)
    cancelled : callable
    """

    progress: Progress
    done: Callable[[Any], None]
    failed: Callable[[NormativeError], None]
    cancelled: Callable[[], None]


class Job(Protocol):
    """A running job."""

    def cancel(self) -> None:
        """Ask it to stop; it ends with ``cancelled``."""


class Repeater(Protocol):
    """A call that is made again and again on the main thread."""

    def stop(self) -> None:
        """Make no further call."""


class Runner(Protocol):
    """Runs work, spreads main-thread steps and repeats calls."""

    def start(self, title: str, work: Work, listener: Listener) -> Job:
        """Start ``work(progress, cancelled)``."""

    def spread(self, steps: Iterator[object]) -> None:
        """Take steps on the main thread, letting the window breathe between them."""

    def repeat(self, interval_s: float, call: Callable[[], None]) -> Repeater:
        """Call on the main thread at this interval until stopped."""


def outcome_of(work: Work, progress: Progress, cancelled: Cancelled) -> tuple[str, Any]:
    """Do the work; return which of the listener's last three to call, and with what."""
    try:
        result = work(progress, cancelled)
    except CancelledError:
        return "cancelled", None
    except NormativeError as known:
        return "failed", known
    except MemoryError:
        return "failed", NormativeError(
            "JOB-002",
            "the computer ran out of memory",
            "Close other programs, or choose fewer samples or a smaller scan.",
            consequence="No layer was added.",
        )
    except Exception as error:  # noqa: BLE001 - a job must always end in one sentence
        _log.debug("job failed", exc_info=True)
        return "failed", unforeseen(error)
    return ("cancelled", None) if cancelled() else ("done", result)


def unforeseen(error: Exception) -> NormativeError:
    """Return the sentence for an error that nobody thought of."""
    return NormativeError(
        "JOB-001",
        f"an error that was not foreseen ({type(error).__name__}: {error})",
        "Please report it with this message.",
        consequence="No layer was added.",
    )


def conclude(listener: Listener, kind: str, value: Any) -> None:
    """Call the one of the listener's last three that an outcome names."""
    if kind == "done":
        listener.done(value)
    elif kind == "failed":
        listener.failed(value)
    else:
        listener.cancelled()


class _Finished:
    def cancel(self) -> None:
        """Do nothing: the job is over."""


class SynchronousRunner:
    """Runs everything at once on the calling thread: for tests and headless viewers."""

    def start(self, title: str, work: Work, listener: Listener) -> Job:
        """Run ``work`` to its end and tell the listener; Ctrl-C cancels it."""
        try:
            outcome = outcome_of(work, listener.progress, lambda: False)
        except KeyboardInterrupt:
            listener.cancelled()
            raise
        conclude(listener, *outcome)
        return _Finished()

    def spread(self, steps: Iterator[object]) -> None:
        """Take all steps."""
        for _ in steps:
            pass

    def repeat(self, interval_s: float, call: Callable[[], None]) -> Repeater:
        """Return something to stop: without an event loop there is no clock."""
        return _NoClock()


class _NoClock:
    def stop(self) -> None:
        """Do nothing: there is no clock."""


class ThreadRunner:
    """Runs work in napari's pool of threads.

    The pool belongs to napari: closing the window or quitting asks the job to stop,
    and quitting waits for it.

    Parameters
    ----------
    owner : QObject, optional
        The window: timers end with it.
    """

    def __init__(self, owner: Any = None) -> None:
        # Weakly: whoever keeps the runner must not keep the window.
        self._owner = (lambda: None) if owner is None else weakref.ref(owner)

    def start(self, title: str, work: Work, listener: Listener) -> Job:
        """Start ``work`` in a thread."""
        from napari.qt.threading import create_worker

        worker = create_worker(
            _Titled(title, work), _worker_class=_worker_class(), _ignore_errors=True
        )
        worker.signals.progressed.connect(listener.progress)
        worker.signals.ended.connect(lambda outcome: conclude(listener, *outcome))
        worker.start()
        return _WorkerJob(worker)

    def spread(self, steps: Iterator[object]) -> None:
        """Take one step at a time, with a pause in which the window does what it has to."""
        from qtpy.QtCore import QTimer

        def take() -> None:
            if next(steps, _END) is not _END:
                QTimer.singleShot(BREATH_MS, take)

        take()

    def repeat(self, interval_s: float, call: Callable[[], None]) -> Repeater:
        """Start a timer."""
        from qtpy.QtCore import QTimer

        timer = QTimer(self._owner())
        timer.setInterval(round(1000 * interval_s))
        timer.timeout.connect(call)
        timer.start()
        return _TimerRepeater(timer)


class _TimerRepeater:
    def __init__(self, timer: Any) -> None:
        self._timer = timer

    def stop(self) -> None:
        """Stop and forget the timer, unless its window took it along."""
        from qtpy.compat import isalive

        if isalive(self._timer):  # type: ignore[no-untyped-call]
            self._timer.stop()
            self._timer.deleteLater()


_END = object()


class _Titled:
    """Work with a name: napari shows it when the window is closed meanwhile.

    napari keeps this object; the work is taken out of it, so that it keeps no scan.
    """

    def __init__(self, title: str, work: Work) -> None:
        self._title = title
        self._work: Work | None = work

    def __str__(self) -> str:
        return self._title

    def take(self) -> Work:
        work, self._work = self._work, None
        assert work is not None, "a worker runs its work once"
        return work


class _WorkerJob:
    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def cancel(self) -> None:
        self._worker.quit()


@cache
def _worker_class() -> type:
    """Return the worker class; made when first used, so that importing loads no Qt."""
    from napari.qt.threading import WorkerBase, WorkerBaseSignals
    from qtpy.QtCore import Signal  # type: ignore[attr-defined]

    class _Signals(WorkerBaseSignals):  # type: ignore[misc]
        progressed = Signal(str, float)
        ended = Signal(object)

    class _Worker(WorkerBase):  # type: ignore[misc]
        def __init__(self, titled: _Titled) -> None:
            super().__init__(SignalsClass=_Signals)
            self._titled = titled
            self._stop = threading.Event()

        def quit(self) -> None:
            # The work ends by itself and then says so; superqt's own flag would end it mutely.
            self._stop.set()

        def work(self) -> None:
            last_step, last_time = "", 0.0

            def progress(step: str, fraction: float) -> None:
                nonlocal last_step, last_time
                now = time.monotonic()
                if step != last_step or now - last_time >= PROGRESS_INTERVAL_S:
                    last_step, last_time = step, now
                    self.signals.progressed.emit(step, float(fraction))

            outcome = outcome_of(self._titled.take(), progress, self._stop.is_set)
            with contextlib.suppress(RuntimeError):  # the window went first, and its signals
                self.signals.ended.emit(outcome)

    return _Worker
