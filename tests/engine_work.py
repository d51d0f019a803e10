"""Work for the engine's process whose outcome is known."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np

from napari_normative.errors import CancelledError


@dataclass(frozen=True)
class Double:
    """Gives back twice an array, and who did it."""

    array: np.ndarray

    def __call__(self, progress, cancelled):
        progress("doubling", 0.5)
        print("a library that prints must not disturb the messages")
        return 2 * self.array, os.getpid()


@dataclass(frozen=True)
class Fail:
    error: Exception

    def __call__(self, progress, cancelled):
        raise self.error


@dataclass(frozen=True)
class Wait:
    """Works until it is cancelled; or, deaf, for a minute."""

    deaf: bool

    def __call__(self, progress, cancelled):
        progress(str(os.getpid()), 0.0)
        for _ in range(6000):
            time.sleep(0.01)
            if cancelled() and not self.deaf:
                raise CancelledError


class Foreign:
    """Comes back with what cannot leave the process."""

    def __call__(self, progress, cancelled):
        return lambda: None


def _unknown():
    raise ModuleNotFoundError


class Unknown:
    """Cannot be taken out of the pipe, as when an installation changed meanwhile."""

    def __reduce__(self):
        return _unknown, ()
