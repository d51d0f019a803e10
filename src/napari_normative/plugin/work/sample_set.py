"""The jobs of the tab "Write a set": a dataset of synthetic volumes, and some of them as layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.errors import CancelledError
from napari_normative.layers.sources import Snapshot, volume_of
from napari_normative.layers.spec import SAMPLES, LayerSpec, spec_of
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.work.samples import require_memory

if TYPE_CHECKING:
    from napari_normative.engine.synthetic import SyntheticSet


@dataclass(frozen=True, eq=False)
class Written:
    """What a set hands to the main thread.

    Attributes
    ----------
    made : SyntheticSet
    report : str
        Path of the quality report; empty without one.
    devices : tuple of str
    summary : str
    """

    made: SyntheticSet
    report: str
    devices: tuple[str, ...]
    summary: str


@dataclass(frozen=True, eq=False)
class WriteSet:
    """Write synthetic volumes into a folder; goes on with a set that was begun.

    ``scans`` has none, one (about it) or two entries (from one to the other); ``like`` is
    ``COLUMN=VALUE`` of the people of ``table``, empty for none.
    """

    models: ModelShelf
    model: str
    device: str
    scans: tuple[Snapshot, ...]
    like: str
    table: str
    count: int
    seed: int
    temperature: float
    folder: Path
    real: str

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Written:
        """Do it."""
        from napari_normative.engine.synthetic_page import conclusions
        from napari_normative.io.synthetic_set import REPORT

        progress("loading the model", 0.0)
        model = self.models.load(self.model)
        scans = [volume_of(scan) for scan in self.scans]
        if cancelled():
            raise CancelledError
        made = model.augment(
            self.count,
            self.folder,
            around=scans[0] if len(scans) == 1 else None,
            between=(scans[0], scans[1]) if len(scans) == 2 else None,
            like=self.like or None,
            cohort=self.table if self.like else None,
            seed=self.seed,
            temperature=self.temperature,
            compare_with=self.real or None,
            device=self.device,
            progress=progress,
            cancel=cancelled,
        )
        before = f", {made.found} of them there before" if made.found else ""
        lines = [f"{self.count} synthetic volumes{before}, in {self.folder.name}."]
        report = ""
        if made.quality is not None:
            lines += conclusions(made.quality)
            report = str(self.folder / REPORT[-1])
        return Written(made, report, self.models.devices(), "\n".join(lines))


@dataclass(frozen=True, eq=False)
class ShowSet:
    """Read volumes of a set into one layer with a slider."""

    files: tuple[Path, ...]
    name: str
    record: dict[str, Any]
    budget_gib: float = 0.0

    def __call__(self, progress: Progress, cancelled: Cancelled) -> LayerSpec:
        """Do it."""
        from napari_normative.io.nifti import read_volume

        volumes = []
        for number, file in enumerate(self.files):
            progress(f"reading {file.name}", number / len(self.files))
            if cancelled():
                raise CancelledError
            volumes.append(read_volume(file))
            if not number:
                require_memory(len(self.files) * volumes[0].data.size, self.budget_gib)
        return spec_of(
            volumes, f"{self.name} · set (synthetic)", SAMPLES, colormap="gray",
            origin=f"set:{self.files[0].parents[2]}", provenance=self.record,
        )  # fmt: skip
