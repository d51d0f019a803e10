"""The jobs that are about the candidates of a detection: their edges, what one rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_normative.layers.spec import LayerSpec
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf

if TYPE_CHECKING:
    from napari_normative.core.candidates import Candidate
    from napari_normative.core.integrated import Shares
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.segmentation import Segmentation


@dataclass(frozen=True, eq=False)
class Shown:
    """What a job about candidates hands to the main thread.

    Attributes
    ----------
    specs : tuple of LayerSpec
        Bottom first.
    summary : str
    devices : tuple of str
        What can be asked for on this machine.
    """

    specs: tuple[LayerSpec, ...]
    summary: str
    devices: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Subject:
    """A detection, the chosen model, and the name of the scan's layer."""

    models: ModelShelf
    model: str
    device: str
    detection: Detection
    name: str

    def load(self) -> NormativeModel:
        """Return the model that made the detection.

        Raises
        ------
        ModelFileError
            ``MOD-021`` if another was chosen.
        """
        told = self.detection.provenance["model"]
        return self.models.load_same(self.model, told["sha256"], told["name"])


@dataclass(frozen=True, eq=False)
class Segment:
    """Grow the candidates of a detection to their edges."""

    subject: Subject
    rate: float | None
    fdr: float | None

    @classmethod
    def of(cls, subject: Subject, rate: float | None, fdr: float | None) -> Segment:
        """Return the job; maps that it does not need do not go through the pipe."""
        found = subject.detection
        slim = replace(
            found, residual=found.scan, anomaly_p=found.scan, samples=(), local_volume=None,
            in_model=None,
        )  # fmt: skip
        return cls(replace(subject, detection=slim), rate, fdr)

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Shown:
        """Do it.

        Raises
        ------
        ModelFileError
            ``MOD-021``.
        SegmentationError
            ``SEG-001``.
        """
        progress("loading the model", 0.0)
        model = self.subject.load()
        progress("growing the candidates", 0.2)
        made = model.segment(self.subject.detection, rate=self.rate, fdr=self.fdr)
        progress("preparing the layer", 1.0)
        known = set(self.subject.detection.warnings)
        lines = [
            kept_line(made),
            *(f"⚠ {warning}" for warning in made.warnings if warning not in known),
        ]
        devices = self.subject.models.devices()
        return Shown((made.layer(self.subject.name),), "\n".join(lines), devices)


def kept_line(made: Segmentation) -> str:
    """Return how many candidates were kept, by which rule, and how they grew."""
    count, kept, rule = len(made.candidates), made.kept, made.record["rule"]
    why = ""
    if rule["rate"] is not None:
        why = f": healthy scans have at most {rule['rate']:g} as strong"
    elif rule["fdr"] is not None:
        why = f": q of {rule['fdr']:g} or less"
    words = f"{len(kept) or 'None'} of {count} candidate{'' if count == 1 else 's'} kept{why}."
    if not kept:
        return words
    found = sum(one.found_ml for one in kept)
    return f"{words} {made.volume_ml:.1f} ml within their edges, {found:.1f} ml as found."


@dataclass(frozen=True, eq=False)
class Attribute:
    """Attribute one candidate's score to the voxels of the scan."""

    subject: Subject
    candidate: Candidate
    threshold_z: float

    @classmethod
    def of(cls, subject: Subject, candidate: Candidate, threshold_z: float) -> Attribute:
        """Return the job; maps that it does not need do not go through the pipe."""
        found = subject.detection
        slim = replace(
            found, reconstruction=found.scan, residual=found.scan, anomaly_z=found.scan,
            anomaly_p=found.scan, candidate_labels=found.scan, samples=(), local_volume=None,
        )  # fmt: skip
        return cls(replace(subject, detection=slim), candidate, threshold_z)

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Shown:
        """Do it.

        Raises
        ------
        ModelFileError
            ``MOD-021``.
        """
        from napari_normative.engine.attribute import attribute
        from napari_normative.engine.made import layer_of

        progress("loading the model", 0.0)
        model = self.subject.load()
        progress("following the score back to voxels", 0.2)
        made = attribute(
            model, self.subject.detection, self.candidate, threshold_z=self.threshold_z,
            device=self.subject.device,
        )  # fmt: skip
        progress("preparing the layers", 1.0)
        specs = []
        for volume, values, visible in (
            (made.through_on_scan, made.through, False),
            (made.on_scan, made.image, True),
        ):
            name = f"{self.subject.name} · candidate {self.candidate.rank} · {volume.role}"
            spec = layer_of(replace(volume, name=name, record=made.record()))
            # The usual limits, of the whole scan, would paint a candidate in one colour.
            density = np.abs(values[made.region]) / model.card.preprocess.spacing_mm**3 * 1000
            limit = max(spec.attributes["contrast_limits"][1], float(np.percentile(density, 95)))
            own = {"contrast_limits": (-limit, limit), "visible": visible, "opacity": 0.8}
            specs.append(replace(spec, attributes={**spec.attributes, **own}))
        summary = rests_on(self.candidate.rank, made.shares)
        return Shown(tuple(specs), summary, self.subject.models.devices())


def rests_on(rank: int, shares: Shares) -> str:
    """Return in a sentence how much lies in the candidate and goes through the expectation."""
    inside = shares.residual_inside + shares.expectation_inside
    through = shares.expectation_inside + shares.expectation_elsewhere
    total = shares.total
    start = f"Candidate {rank} lies {total:+.1f} SD of healthy people from its reconstruction"
    if not total:
        return f"{start}."
    parts: Sequence[str] = (
        f"{100 * inside / total:.0f} % of it in the candidate itself",
        f"{100 - 100 * inside / total:.0f} % around it",
    )
    way = f"{100 * abs(through / total):.0f} %"
    passed = (
        f"the expectation, moved by what the network saw, hides {way}"
        if through * total < 0
        else f"{way} goes through what the network expects"
    )
    return f"{start}, {', '.join(parts)}; {passed}."
