"""The jobs of the dock "Restore"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.errors import CancelledError
from napari_normative.layers.sources import Snapshot, mask_on, volume_of
from napari_normative.layers.spec import LayerSpec
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf
from napari_normative.volume import Mask, Volume

if TYPE_CHECKING:
    from napari_normative.engine.denoise import Denoised
    from napari_normative.engine.inpaint import Inpainted
    from napari_normative.engine.stored_reconstruction import StoredReconstruction


@dataclass(frozen=True, eq=False)
class Restored:
    """What a restoration hands to the main thread.

    Attributes
    ----------
    result : Inpainted or Denoised
    specs : list of LayerSpec
        Bottom first.
    devices : tuple of str
    summary : str
    """

    result: Inpainted | Denoised
    specs: list[LayerSpec]
    devices: tuple[str, ...]
    summary: str


@dataclass(frozen=True, eq=False)
class Fill:
    """Fill what is missing in a scan: what labels cover, slices, or what is found."""

    models: ModelShelf
    model: str
    device: str
    scan: Snapshot
    labels: Snapshot | None
    slices: tuple[str, ...]

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Restored:
        """Do it, and prepare the layers."""
        from napari_normative.engine.inpaint import inpaint

        progress("reading the layer", 0.0)
        scan = volume_of(self.scan)
        mask = None if self.labels is None else mask_on(self.labels, scan)
        gaps = None if mask is not None or self.slices else _gaps_of(self.scan, scan)
        progress("loading the model", 0.0)
        model = self.models.load(self.model)
        if cancelled():
            raise CancelledError
        made = inpaint(
            model, scan, gaps=gaps, mask=mask, slices=self.slices, device=self.device,
            progress=progress, cancel=cancelled,
        )  # fmt: skip
        progress("preparing the layers", 1.0)
        lines = [f"{made.record['made_ml']:g} ml made: {'; '.join(made.record['missing'])}."]
        lines.append("Made voxels are synthetic and may hide disease; all others are the scan's.")
        lines += [f"⚠ {warning}" for warning in made.record["warnings"]]
        return Restored(made, made.layers(), self.models.devices(), "\n".join(lines))


def _gaps_of(taken: Snapshot, scan: Volume) -> Mask | None:
    """Return where the file of a layer holds no finite number; None without such a place."""
    from napari_normative.io.nifti import read_with_gaps

    path = scan.source.path
    if path is None or taken.facts is None or not path.is_file():
        return None
    told = taken.facts.provenance.get("read", {})
    stored, gaps = read_with_gaps(path, volume=0, **told)
    same = stored.source.digest == scan.source.digest and stored.same_grid(scan)
    return gaps if same and gaps.any() else None


@dataclass(frozen=True, eq=False)
class Denoise:
    """Take noise out of a scan."""

    models: ModelShelf
    model: str
    device: str
    scan: Snapshot

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Restored:
        """Do it, and prepare the layers."""
        progress("reading the layer", 0.0)
        scan = volume_of(self.scan)
        progress("loading the model", 0.0)
        model = self.models.load(self.model)
        if cancelled():
            raise CancelledError
        made = model.denoise(scan, device=self.device, progress=progress, cancel=cancelled)
        progress("preparing the layers", 1.0)
        told, left = made.record, made.record["expected_rmse"]
        lines = [
            f"Noise of {told['noise_sd']:.3g}; expected error left {left['with_model']:.3g}, "
            f"{left['without_model']:.3g} without the model.",
            "Estimates, not acquired values: look at the removed noise, anatomy in it was lost.",
        ]
        lines += [f"⚠ {warning}" for warning in told["warnings"]]
        return Restored(made, made.layers(), self.models.devices(), "\n".join(lines))


@dataclass(frozen=True, eq=False)
class Save:
    """Write a restored scan into a folder."""

    result: Inpainted | Denoised
    folder: Path

    def __call__(self, progress: Progress, cancelled: Cancelled) -> str:
        """Do it and return what was written, in words."""
        progress("writing", 0.0)
        written = self.result.save(self.folder)
        return f"{', '.join(path.name for path in written)} are in {self.folder.name}"


@dataclass(frozen=True, eq=False)
class ReconstructToDisk:
    """Reconstruct the scan of a file, from disk to disk."""

    models: ModelShelf
    model: str
    device: str
    source: Path
    folder: Path
    force: bool

    def __call__(
        self, progress: Progress, cancelled: Cancelled
    ) -> tuple[StoredReconstruction, tuple[str, ...]]:
        """Do it; return what lies on disk, and this machine's devices."""
        progress("loading the model", 0.0)
        model = self.models.load(self.model)
        made = model.reconstruct_to(
            self.source, self.folder, device=self.device, force=self.force,
            progress=progress, cancel=cancelled,
        )  # fmt: skip
        return made, self.models.devices()


@dataclass(frozen=True, eq=False)
class OpenStored:
    """Prepare the layers of a reconstruction on disk; only a tilted scan comes into memory."""

    stored: StoredReconstruction

    def __call__(self, progress: Progress, cancelled: Cancelled) -> list[LayerSpec]:
        """Do it."""
        progress("opening what is on disk", 1.0)
        return self.stored.layers()
