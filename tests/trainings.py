"""Trainings in the background must not outlive the test that started them."""

from __future__ import annotations

import os
from collections.abc import Iterable

import psutil

from napari_normative.engine import background
from napari_normative.engine.background import Training


def end_all(trainings: Iterable[Training]) -> None:
    """Kill the processes of trainings that are still at work."""
    for training in trainings:
        pid = background._process_of(training.folder)
        if pid is not None and pid != os.getpid():
            psutil.Process(pid).kill()
