"""How long the event loop of a window keeps others waiting."""

from __future__ import annotations

import time

import numpy as np
from qtpy.QtCore import QObject, Qt, QTimer


class StallMeter(QObject):
    """Measures how long the event loop keeps a 5 ms timer waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_ms: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.waits_ms.append(1000 * (now - self._last) - 5)
        self._last = now

    def report(self, name: str) -> str:
        """Return the longest stall and the 99th percentile."""
        self._timer.stop()
        p99 = np.percentile(self.waits_ms, 99)
        return f"{name}: longest stall {max(self.waits_ms):.0f} ms, p99 {p99:.0f} ms"
