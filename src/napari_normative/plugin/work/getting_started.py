"""The job of the dock "Getting started"."""

from __future__ import annotations

from dataclasses import dataclass

from napari_normative.errors import CancelledError
from napari_normative.layers.spec import (
    LABELS,
    SCAN,
    LayerSpec,
    spec_of,
)
from napari_normative.plugin.jobs import Cancelled, Progress


@dataclass(frozen=True)
class MakeSample:
    """Make a sample scan and its true mask."""

    key: str

    def __call__(self, progress: Progress, cancelled: Cancelled) -> list[LayerSpec]:
        """Do it, and prepare the layers."""
        from napari_normative.io.samples import make_sample, sample_truth

        progress("making the sample scan", 0.1)
        specs = [spec_of([make_sample(self.key)], self.key, SCAN, colormap="gray")]
        if cancelled():
            raise CancelledError
        progress("making the sample scan", 0.8)
        truth = sample_truth(self.key)
        if truth is not None:
            name = f"{self.key} · true mask (simulated)"
            specs.append(spec_of([truth], name, LABELS, visible=False))
        return specs
