"""Waiting, on the main thread, for what runs elsewhere, while the window stays alive."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from psygnal import Signal

from napari_normative.errors import CancelledError, NormativeError, SessionError
from napari_normative.plugin.jobs import Job, Listener, Runner, Work
from napari_normative.plugin.viewing import is_open

HEARTBEAT_MS = 100
"""Python handles Ctrl-C between two of its own steps, and Qt's loop takes none while it rests."""
CANCEL_S = 10.0
"""How long a job that was asked to stop is waited for; two seconds are usual."""


def wait_for(
    viewer: Any,
    condition: Callable[[], bool],
    changes: Iterable[Any],
    *,
    what: str,
    timeout_s: float,
    begin: Callable[[], None] = lambda: None,
    cancel: Callable[[], None] = lambda: None,
) -> None:
    """Begin something and let the event loop run until a condition holds.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
    condition : callable
        Whether the waiting is over.
    changes : iterable of psygnal signals
        After each of them the condition is asked again.
    what : str
        Is waited for; the subject of errors.
    timeout_s : float
    begin : callable
        Called first; Ctrl-C from here on cancels.
    cancel : callable
        Asks the work to stop; it is still waited for, so that nothing comes afterwards.

    Raises
    ------
    SessionError
        ``SES-003`` if it took too long, ``SES-004`` if the window was closed meanwhile.
    KeyboardInterrupt
        If somebody pressed Ctrl-C; the work was cancelled.
    """
    ends = _run_until(viewer, condition, changes, timeout_s, begin)
    if not is_open(viewer):
        ends = "closed"
    if ends == "done":
        return
    cancel()
    if ends != "closed":
        _run_until(viewer, condition, changes, CANCEL_S)
    if ends == "interrupted":
        raise KeyboardInterrupt
    if ends == "closed":
        raise SessionError(
            "SES-004",
            "the window was closed meanwhile",
            "Keep it open until the script is done with it.",
            subject=what,
            consequence="Nothing more was done.",
        )
    raise SessionError(
        "SES-003",
        f"it took longer than {timeout_s:g} s and was cancelled",
        "Allow more time with open_session(timeout_s=…).",
        subject=what,
        consequence="Nothing was kept.",
    )


def _run_until(
    viewer: Any,
    condition: Callable[[], bool],
    changes: Iterable[Any],
    timeout_s: float,
    begin: Callable[[], None] = lambda: None,
) -> str:
    """Return how the waiting ended: done, late, closed or interrupted."""
    if getattr(viewer, "window", None) is None:
        begin()
        return "done" if condition() else "late"  # without a window all is done at once, or never
    from qtpy.QtCore import QEventLoop, QTimer

    loop, ends = QEventLoop(), list[str]()

    def end(how: str) -> None:
        ends.append(how)
        loop.quit()

    def look(*_: object) -> None:
        if condition():
            end("done")
        elif not is_open(viewer):
            end("closed")

    heart, clock = QTimer(), QTimer()
    heart.timeout.connect(look)
    clock.setSingleShot(True)
    clock.timeout.connect(lambda: end("late"))
    signals = list(changes)
    try:
        with _on_interrupt(lambda: end("interrupted")):
            begin()
            for each in signals:
                each.connect(look)
            heart.start(HEARTBEAT_MS)
            clock.start(round(1000 * timeout_s))
            if not ends and condition():
                return "done"
            while not ends:
                loop.exec()
                if ends[:1] == ["done"] and not condition():
                    ends.clear()  # it held for a moment only, between two steps
    finally:
        heart.stop()
        clock.stop()
        for each in signals:
            each.disconnect(look, missing_ok=True)
    return ends[0]


@contextlib.contextmanager
def _on_interrupt(call: Callable[[], None]) -> Iterator[None]:
    """Call on Ctrl-C: an exception must not pass through Qt, which would end the program."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: call())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_work(viewer: Any, runner: Runner, title: str, work: Work, *, timeout_s: float) -> Any:
    """Run a piece of work in a runner and return its result.

    Raises
    ------
    NormativeError
        Whatever the work raised; and as :func:`wait_for`.
    """
    end = _End()
    listener = Listener(
        progress=lambda step, fraction: None,
        done=end.with_result,
        failed=end.with_error,
        cancelled=lambda: end.with_error(CancelledError()),
    )
    jobs: list[Job] = []
    wait_for(
        viewer,
        lambda: end.reached,
        (end.changed,),
        what=title,
        timeout_s=timeout_s,
        begin=lambda: jobs.append(runner.start(title, work, listener)),
        cancel=lambda: jobs[0].cancel() if jobs else None,
    )
    if end.error is not None:
        raise end.error
    return end.result


class _End:
    """How a piece of work ended."""

    changed = Signal()

    def __init__(self) -> None:
        self.reached = False
        self.result: Any = None
        self.error: NormativeError | None = None

    def with_result(self, result: Any) -> None:
        self.reached, self.result = True, result
        self.changed.emit()

    def with_error(self, error: NormativeError) -> None:
        self.reached, self.error = True, error
        self.changed.emit()
