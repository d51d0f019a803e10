"""The jobs of the tab "Tell a column": a probe read, asked and fitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.errors import CancelledError
from napari_normative.layers.sources import Snapshot, volume_of
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf

if TYPE_CHECKING:
    from napari_normative.engine.prediction import Prediction
    from napari_normative.engine.probe_file import ProbeCard


@dataclass(frozen=True, eq=False)
class ReadProbe:
    """Read what a probe is."""

    path: Path

    def __call__(self, progress: Progress, cancelled: Cancelled) -> ProbeCard:
        """Do it.

        Raises
        ------
        ProbeError
            ``PRB-005``.
        """
        from napari_normative.engine.probe_file import load_probe

        return load_probe(self.path).card


@dataclass(frozen=True, eq=False)
class Told:
    """What a probe says of a scan.

    Attributes
    ----------
    prediction : Prediction
    card : ProbeCard
    devices : tuple of str
    """

    prediction: Prediction
    card: ProbeCard
    devices: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Tell:
    """Ask a probe about a scan."""

    models: ModelShelf
    model: str
    device: str
    probe: Path
    scan: Snapshot

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Told:
        """Do it."""
        from napari_normative.engine.probe_file import load_probe

        progress("loading the model", 0.0)
        probe = load_probe(self.probe)
        model = self.models.load(self.model)
        probe.require_model(model)
        if cancelled():
            raise CancelledError
        progress("aligning and encoding the scan", 0.3)
        made = probe.predict(model, volume_of(self.scan), device=self.device)
        return Told(made, probe.card, self.models.devices())


@dataclass(frozen=True, eq=False)
class Fitted:
    """What fitting hands to the main thread.

    Attributes
    ----------
    probe, report : str
        Paths.
    summary : str
    """

    probe: str
    report: str
    summary: str


@dataclass(frozen=True, eq=False)
class FitProbe:
    """Fit a probe to a column of a table, and judge it."""

    models: ModelShelf
    model: str
    device: str
    table: str
    column: str
    folder: Path

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Fitted:
        """Do it."""
        from napari_normative.engine.probe import fit_probe
        from napari_normative.engine.probe_result import PROBE, REPORT

        progress("loading the model", 0.0)
        made = fit_probe(
            self.table,
            self.column,
            self.folder,
            model=self.models.load(self.model),
            device=self.device,
            progress=progress,
            cancel=cancelled,
        )
        lines = [*made.verdict(), *(f"⚠ {warning}" for warning in made.record["warnings"])]
        if refused := len(made.record["scans"]["refused"]):
            lines.append(f"{refused} scans could not be used; the report says why.")
        return Fitted(str(self.folder / PROBE), str(self.folder / REPORT), "\n".join(lines))
