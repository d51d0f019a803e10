"""Of many requests in a row, do the newest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_normative.errors import NormativeError
from napari_normative.plugin.jobs import Listener, Runner, Work


@dataclass(frozen=True, eq=False)
class _Request:
    title: str
    work: Work
    done: Callable[[Any], None]
    failed: Callable[[NormativeError], None]


class Latest:
    """Runs one job at a time; of the requests that come meanwhile, the newest is done next.

    A slider that is dragged so gets answers as fast as they can be computed, and the last
    position always gets its own.

    Parameters
    ----------
    runner : Runner
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._next: _Request | None = None
        self.busy = False

    def ask(
        self,
        title: str,
        work: Work,
        done: Callable[[Any], None],
        failed: Callable[[NormativeError], None],
    ) -> None:
        """Do this next, instead of what else may be waiting."""
        self._next = _Request(title, work, done, failed)
        if not self.busy:
            self._take()

    def _take(self) -> None:
        request, self._next = self._next, None
        if request is None:
            return
        self.busy = True

        def finished(tell: Callable[[Any], None], what: Any) -> None:
            self.busy = False
            tell(what)
            self._take()

        self._runner.start(
            request.title,
            request.work,
            Listener(
                progress=lambda step, fraction: None,
                done=lambda result: finished(request.done, result),
                failed=lambda error: finished(request.failed, error),
                cancelled=lambda: finished(lambda _: None, None),
            ),
        )
