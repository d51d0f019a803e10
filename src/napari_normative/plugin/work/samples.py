"""The jobs of the dock "Samples": draws, interpolation, latent directions, files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.condition import Value, in_words
from napari_normative.core.limits import image_limits, signed_limit
from napari_normative.errors import CancelledError, NormativeError
from napari_normative.layers.looks import SIGNED
from napari_normative.layers.sources import (
    Snapshot,
    volume_of,
)
from napari_normative.layers.spec import (
    EFFECT,
    EXPLORER,
    LayerSpec,
    origin_of,
    spec_of,
)
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf
from napari_normative.volume import FloatArray, Volume

if TYPE_CHECKING:
    from napari_normative.core.latent import Direction
    from napari_normative.engine.draws import Draws
    from napari_normative.engine.explore import Order, Sliders
    from napari_normative.engine.model import NormativeModel

SLIDERS = 12
HEADROOM = 1.15
MEMORY_SHARE = 0.5
"""Draws that need more than this part of the free memory are refused before they begin."""


@dataclass(frozen=True, eq=False)
class DrawResult:
    """What a draw hands to the main thread.

    Attributes
    ----------
    draws : Draws
    specs : list of LayerSpec
        Bottom first.
    devices : tuple of str
    device_line, summary : str
    """

    draws: Draws
    specs: list[LayerSpec]
    devices: tuple[str, ...]
    device_line: str
    summary: str


@dataclass(frozen=True, eq=False)
class Draw:
    """Draw volumes from a model, about a scan, or from one scan to another.

    ``scans`` has none, one or two entries; ``known`` is what the model is told of the person.
    """

    models: ModelShelf
    model: str
    name: str
    device: str
    scans: tuple[Snapshot, ...]
    count: int
    seed: int
    temperature: float
    volumes: bool
    maps: bool
    budget_gib: float = 0.0
    known: Mapping[str, Value] = field(default_factory=dict)

    def __call__(self, progress: Progress, cancelled: Cancelled) -> DrawResult:
        """Do it, and prepare the layers."""
        from napari_normative.engine import draws

        progress("loading the model", 0.0)
        model = self.models.load(self.model).given(self.known)
        scans = [volume_of(scan) for scan in self.scans]
        room = scans[0].data.size if len(scans) == 1 else model.template.mask.size
        if self.volumes or len(scans) == 2:
            require_memory(self.count * room, self.budget_gib)
        if cancelled():
            raise CancelledError
        hooks: dict[str, Any] = {
            "device": self.device, "progress": progress, "cancel": cancelled,
        }  # fmt: skip
        if len(scans) == 2:
            made = draws.interpolation(model, scans[0], scans[1], self.count, **hooks)
        else:
            hooks |= {
                "seed": self.seed,
                "temperature": self.temperature,
                "keep": None if self.volumes else 0,
                "maps": self.maps,
            }
            made = (
                draws.posterior_draws(model, scans[0], self.count, **hooks)
                if scans
                else draws.prior_draws(model, self.count, **hooks)
            )
        progress("preparing the layers", 1.0)
        told = made.record
        line = f"{told['device']}: {told['device_reason']}"
        return DrawResult(
            made, self._specs(made, model, scans), self.models.devices(), line,
            self._summary(told["kind"]),
        )  # fmt: skip

    def _specs(self, made: Draws, model: NormativeModel, scans: list[Volume]) -> list[LayerSpec]:
        from napari_normative.engine.draw_layers import draw_layers

        if len(scans) != 2:
            return draw_layers(made, self.scans[0].name if scans else self.name)
        origin = ":".join((f"model:{model.digest}", *(origin_of(scan) for scan in scans)))
        return draw_layers(made, self.name, " to ".join(scan.name for scan in self.scans), origin)

    def _summary(self, kind: str) -> str:
        if kind == "interpolation":
            first, second = (scan.name for scan in self.scans)
            return f"{self.count} steps from {first} to {second}, on the grid of {self.name}"
        about = f"about {self.scans[0].name}" if self.scans else f"of {self.name}"
        told = f"; the model was told {in_words(self.known)}" if self.known else ""
        return (
            f"{self.count} synthetic volumes {about}, seed {self.seed}, "
            f"temperature {self.temperature:g}{told}"
        )


def require_memory(voxels: int, budget_gib: float = 0.0) -> None:
    """Raise unless there is room for this many voxels, once stored and once shown.

    Parameters
    ----------
    voxels : int
    budget_gib : float
        What a person allows, in GiB; 0 for what is free alone.

    Raises
    ------
    NormativeError
        ``JOB-004`` too little memory is free, ``JOB-005`` more than is allowed.
    """
    import psutil

    need, free = 8 * voxels, psutil.virtual_memory().available
    if budget_gib and need > budget_gib * 2**30:
        raise NormativeError(
            "JOB-005",
            f"the volumes need {need / 2**30:.1f} GiB and {budget_gib:g} GiB are allowed",
            "Draw fewer, or allow more in Preferences, Normative models.",
        )
    if need > MEMORY_SHARE * free:
        raise NormativeError(
            "JOB-004",
            f"the volumes need {need / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            "Draw fewer, or leave out the volumes and make mean and SD alone.",
        )


@dataclass(frozen=True, eq=False)
class Save:
    """Write draws into a folder."""

    draws: Draws
    folder: Path

    def __call__(self, progress: Progress, cancelled: Cancelled) -> str:
        """Do it and return what was written, in words."""
        progress("writing", 0.0)
        written = self.draws.save(self.folder)
        return f"{len(written) - 1} volumes and samples.json are in {self.folder.name}"


@dataclass(frozen=True, eq=False)
class ExplorerStart:
    """What the sliders need.

    Attributes
    ----------
    model : str
        Key of the model they belong to.
    moved : tuple of Direction
        One a slider.
    sliders : Sliders
    spec : LayerSpec
        The layer at the start.
    note : str
    devices : tuple of str
    """

    model: str
    moved: tuple[Direction, ...]
    sliders: Sliders
    spec: LayerSpec
    note: str
    devices: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Explore:
    """Find a model's most used directions and decode where the sliders start."""

    models: ModelShelf
    model: str
    name: str
    device: str
    order: Order
    start: Snapshot | None

    def __call__(self, progress: Progress, cancelled: Cancelled) -> ExplorerStart:
        """Do it, and prepare the layer."""
        from napari_normative.engine.draws import Latents, encode
        from napari_normative.engine.explore import Sliders, directions

        progress("loading the model", 0.0)
        model = self.models.load(self.model)
        progress("listing the directions", 0.0)
        found = directions(
            model, self.order, device=self.device, progress=progress, cancel=cancelled
        )[:SLIDERS]
        start: Latents = (model.posterior.mean,)
        if self.start is not None:
            progress("aligning and encoding the scan", 0.9)
            start = encode(model, volume_of(self.start), self.device).means
        if cancelled():
            raise CancelledError
        sliders = Sliders.at(model, start, found, self.device)
        image = sliders.decode(model, [0.0] * len(found), self.device)
        spec = spec_of(
            [model.synthetic(image, "latent explorer")],
            f"{self.name} · latent explorer (synthetic)",
            EXPLORER,
            origin=f"model:{model.digest}",
            colormap="gray",
            # Sliders make voxels brighter than they are at the start.
            contrast_limits=(0.0, HEADROOM * image_limits(image)[1]),
        )
        note = _meaning(model, self.start)
        return ExplorerStart(self.model, found, sliders, spec, note, self.models.devices())


def _meaning(model: NormativeModel, start: Snapshot | None) -> str:
    where = "the cohort's mean" if start is None else f"the reconstruction of {start.name}"
    note = f"0 is {where}; a slider adds SD of the cohort. On the model's own grid."
    if model.posterior.mean.ndim > 1:
        cells = " × ".join(str(n) for n in model.posterior.mean.shape[1:])
        note += (
            f" This model has a grid of {cells} latents: a slider moves one channel in all cells "
            "alike, each by its own SD."
        )
    return note


@dataclass(frozen=True, eq=False)
class Decode:
    """Decode one setting of the sliders."""

    models: ModelShelf
    model: str
    device: str
    sliders: Sliders
    values: tuple[float, ...]

    def __call__(self, progress: Progress, cancelled: Cancelled) -> FloatArray:
        """Return the image on the model's grid."""
        return self.sliders.decode(self.models.load(self.model), self.values, self.device)


@dataclass(frozen=True, eq=False)
class Effect:
    """Make the effect map of a direction."""

    models: ModelShelf
    model: str
    name: str
    direction: Direction
    device: str

    def __call__(self, progress: Progress, cancelled: Cancelled) -> LayerSpec:
        """Do it, and prepare the layer."""
        model = self.models.load(self.model)
        made = model.effect(self.direction, device=self.device)
        limit = signed_limit(made.data)
        number = self.direction.index + 1
        return spec_of(
            [made],
            f"{self.name} · effect of direction {number} (synthetic)",
            EFFECT,
            origin=f"model:{model.digest}:{number}",
            colormap=SIGNED,
            contrast_limits=(-limit, limit),
            blending="translucent_no_depth",
        )
