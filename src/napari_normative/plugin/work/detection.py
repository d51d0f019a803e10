"""The jobs of the dock "Anomaly map"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_normative.core.condition import Value, in_words
from napari_normative.engine.detection_layers import (
    Outputs,
    detection_layers,
)
from napari_normative.errors import CancelledError
from napari_normative.layers.sources import (
    Snapshot,
    mask_on,
    volume_of,
)
from napari_normative.layers.spec import LayerSpec
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.work.samples import require_memory

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job hands to the main thread.

    Attributes
    ----------
    specs : list of LayerSpec
        Bottom first.
    devices : tuple of str
        What can be asked for on this machine.
    device_line : str
        Which device did the work, and why.
    summary : str
    detection : Detection
    """

    specs: list[LayerSpec]
    devices: tuple[str, ...]
    device_line: str
    summary: str
    detection: Detection


@dataclass(frozen=True, eq=False)
class Detect:
    """Compare one scan with a model.

    ``volume`` counts from 0 and is None for a scan that is no series; ``known`` is what the model
    is told of the person.
    """

    models: ModelShelf
    model: str
    device: str
    scan: Snapshot
    volume: int | None
    mask: Snapshot | None
    samples: int
    seed: int
    outputs: Outputs
    force: bool
    budget_gib: float = 0.0
    known: Mapping[str, Value] = field(default_factory=dict)

    def __call__(self, progress: Progress, cancelled: Cancelled) -> JobResult:
        """Do it, and prepare the layers."""
        progress("reading the layer", 0.0)
        scan = volume_of(self.scan, self.volume)
        mask = None if self.mask is None else mask_on(self.mask, scan)
        progress("loading the model", 0.0)
        model = self.models.load(self.model).given(self.known)
        if self.samples:
            require_memory(self.samples * scan.data.size, self.budget_gib)
        if cancelled():
            raise CancelledError
        detection = model.detect(
            scan,
            mask=mask,
            device=self.device,
            samples=self.samples,
            seed=self.seed,
            force=self.force,
            local_volume=self.outputs.local_volume,
            progress=progress,
            cancel=cancelled,
        )
        progress("preparing the layers", 1.0)
        _ = detection.middle_mm  # computed here, for the list of candidates
        name = self.scan.name
        if self.volume is not None:
            name = f"{name} (volume {self.volume + 1})"
        specs = detection_layers(detection, name, self.outputs)
        told = detection.provenance
        device_line = f"{told['device']}: {told['device_reason']}"
        words = summary_text(detection)
        return JobResult(specs, self.models.devices(), device_line, words, detection)


def found_line(detection: Detection) -> str:
    """Return what a detection found in one line."""
    count = len(detection.candidates)
    return (
        f"scan score {detection.scan_score:.3g} (p {detection.scan_p:.2g}), "
        f"{count} candidate{'' if count == 1 else 's'}"
    )


def summary_text(detection: Detection) -> str:
    """Return what a detection found, in a few lines."""
    count = len(detection.candidates)
    told = detection.provenance
    lines = [
        f"Scan score {detection.scan_score:.3g}, p = {detection.scan_p:.3g} among healthy scans",
        f"{count} candidate{'' if count == 1 else 's'} at |z| > {detection.threshold_z:.2g}",
        f"{told['seconds']['total']:.1f} s on {told['device']}",
    ]
    if "given" in told:
        lines.insert(1, f"The model was told {in_words(told['given'])}")
    asked = detection.provenance.get("applicability", {}).get("checks", [])
    said = {f"{c['what'][0].upper()}{c['what'][1:]}. {c['remedy']}" for c in asked if c["what"]}
    # What the checks found stands below the list of candidates.
    lines += [f"⚠ {warning}" for warning in detection.warnings if warning not in said]
    return "\n".join(lines)
