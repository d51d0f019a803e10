"""The jobs of the dock "Train a model"."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.engine.background import Training, TrainingOrder, start_training
from napari_normative.errors import CancelledError
from napari_normative.plugin.jobs import Cancelled, Progress

if TYPE_CHECKING:
    from napari_normative.core.card import ModelCard
    from napari_normative.engine.check import CohortCheck
    from napari_normative.engine.estimate import Estimate
    from napari_normative.layers.spec import LayerSpec

TELL_S = 0.25
"""Drawing the window anew costs more than looking at a scan."""


@dataclass(frozen=True)
class Check:
    """Look at every scan of a cohort."""

    cohort: str
    seed: int
    balance_by: tuple[str, ...]

    def __call__(self, progress: Progress, cancelled: Cancelled) -> CohortCheck:
        """Do it; a scan takes milliseconds, so not every one is told of."""
        from napari_normative.engine.check import check_cohort

        told = -math.inf

        def tell(name: str, fraction: float) -> None:
            nonlocal told
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                progress(name, fraction)

        return check_cohort(
            self.cohort,
            seed=self.seed,
            balance_by=self.balance_by,
            progress=tell,
            cancel=cancelled,
        )


@dataclass(frozen=True)
class Measure:
    """Time a few steps in a process of their own."""

    order: TrainingOrder
    people: int
    scan: str

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Estimate:
        """Do it."""
        from napari_normative.engine.estimate import Question, estimate_apart

        order = self.order
        asked = Question(
            preset=order.chosen(),
            people=self.people,
            scan=self.scan,
            template=order.template,
            device=order.device,
            max_minutes=order.max_minutes,
        )
        return estimate_apart(asked, cancelled)


@dataclass(frozen=True)
class Start:
    """Start or resume a training in a process of its own."""

    order: TrainingOrder
    resume: bool

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Training:
        """Do it; not cancelled by closing the window: it was asked to outlive it."""
        return start_training(self.order, resume=self.resume)


@dataclass(frozen=True)
class ReadCard:
    """Read the card of a finished model."""

    path: str

    def __call__(self, progress: Progress, cancelled: Cancelled) -> ModelCard:
        """Do it."""
        from napari_normative.engine.model import load_model

        return load_model(Path(self.path)).card


@dataclass(frozen=True)
class OpenScan:
    """Read a scan of the cohort for the viewer."""

    path: str

    def __call__(self, progress: Progress, cancelled: Cancelled) -> LayerSpec:
        """Do it."""
        from napari_normative.io.nifti import read_volume
        from napari_normative.layers.spec import (
            LABELS,
            SCAN,
            spec_of,
        )

        volume = read_volume(self.path)
        if cancelled():
            raise CancelledError
        if volume.source.is_label:
            return spec_of([volume], volume.source.name, LABELS)
        return spec_of([volume], volume.source.name, SCAN, colormap="gray")
