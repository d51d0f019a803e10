"""Work in steps: timed, reported, and given up when somebody asks for it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_normative.errors import CancelledError

if TYPE_CHECKING:
    from napari_normative.engine.stored_model import Cancel, Progress


class Clock:
    """Times steps, reports how far they are and listens for cancel.

    Parameters
    ----------
    steps : mapping of str to float
        In order: the share of the whole work that is done when a step ends.
    progress : callable or None
        Told the step and the share that is done, 0 to 1.
    cancel : callable or None

    Attributes
    ----------
    seconds : dict of str to float
        Of the steps that ended.
    """

    def __init__(
        self, steps: Mapping[str, float], progress: Progress | None, cancel: Cancel | None
    ) -> None:
        self.seconds: dict[str, float] = {}
        self._spans = dict(zip(steps, itertools.pairwise((0.0, *steps.values())), strict=True))
        self._progress = progress or (lambda step, fraction: None)
        self._cancel = cancel or (lambda: False)
        self._now = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step.

        Raises
        ------
        CancelledError
            As for :meth:`tick`.
        """
        self._now = name
        self.tick(0.0)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)

    def tick(self, done: float) -> None:
        """Tell which share of the step is done, 0 to 1.

        Raises
        ------
        CancelledError
            If somebody asked to give up.
        """
        self._listen()
        first, last = self._spans[self._now]
        self._progress(self._now, first + (last - first) * done)

    def finish(self) -> None:
        """Tell that all is done.

        Raises
        ------
        CancelledError
            As for :meth:`tick`.
        """
        self._listen()
        self._progress("done", 1.0)

    def _listen(self) -> None:
        if self._cancel():
            raise CancelledError
