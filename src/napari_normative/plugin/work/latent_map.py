"""The jobs of the dock "Latent map"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.layers.sources import (
    Snapshot,
    volume_of,
)
from napari_normative.plugin.jobs import Cancelled, Progress
from napari_normative.plugin.models import ModelShelf

if TYPE_CHECKING:
    import pandas as pd

    from napari_normative.core.embedding import PrincipalAxes
    from napari_normative.core.latent import People
    from napari_normative.engine.embed import Embedding, Place

AXES_SHARE = 0.1
"""Part of the progress bar for the axes of the map."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """A cohort among a model's latents, and the axes to show it on.

    Attributes
    ----------
    embedding : Embedding
    axes : PrincipalAxes
    people : People or None
    devices : tuple of str
    """

    embedding: Embedding
    axes: PrincipalAxes
    people: People | None
    devices: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class EmbedCohort:
    """Place the scans of a folder or table among a model's latents."""

    models: ModelShelf
    model: str
    device: str
    source: str
    cache: Path | None = None

    def __call__(self, progress: Progress, cancelled: Cancelled) -> Mapped:
        """Do it."""
        from napari_normative.engine.embed import embed, principal_axes

        progress("loading the model", 0.0)
        model = self.models.load(self.model)
        axes = principal_axes(
            model,
            device=self.device,
            cache=self.cache,
            progress=lambda step, fraction: progress(step, AXES_SHARE * fraction),
            cancel=cancelled,
        )
        found = embed(
            model,
            self.source,
            device=self.device,
            cache=self.cache,
            progress=lambda step, f: progress(step, AXES_SHARE + (1 - AXES_SHARE) * f),
            cancel=cancelled,
        )
        return Mapped(found, axes, model.people, self.models.devices())


@dataclass(frozen=True, eq=False)
class PlaceScan:
    """Place the scan of a layer among a model's latents."""

    models: ModelShelf
    model: str
    device: str
    scan: Snapshot

    def __call__(self, progress: Progress, cancelled: Cancelled) -> tuple[str, Place]:
        """Return the model's digest and the place."""
        from napari_normative.engine.embed import place_of, require_places

        progress("loading the model", 0.0)
        model = self.models.load(self.model)
        require_places(model)
        progress("aligning", 0.2)
        scan = volume_of(self.scan, None)
        place = place_of(model, scan, device=self.device, cancel=cancelled)
        return model.digest, place


@dataclass(frozen=True, eq=False)
class LayOut:
    """Lay out places by UMAP; the rows are scans, people, and the current scan if any."""

    places: NDArray[np.float64]

    def __call__(self, progress: Progress, cancelled: Cancelled) -> NDArray[np.float64]:
        """Do it."""
        from napari_normative.engine.layout import umap_layout

        progress("laying out with UMAP", 0.1)
        return umap_layout(self.places, cancel=cancelled)


@dataclass(frozen=True, eq=False)
class OpenScan:
    """Read a scan of the map into a layer."""

    path: Path

    def __call__(self, progress: Progress, cancelled: Cancelled) -> list[Any]:
        """Return layer tuples."""
        from napari_normative.plugin.files import open_file

        progress(f"opening {self.path.name}", 0.5)
        return open_file(str(self.path))


@dataclass(frozen=True, eq=False)
class Export:
    """Write the table as TSV."""

    table: pd.DataFrame
    path: Path

    def __call__(self, progress: Progress, cancelled: Cancelled) -> str:
        """Return the file's name."""
        from napari_normative.io.atomic import replace_files
        from napari_normative.io.tables import tsv_bytes

        progress(f"writing {self.path.name}", 0.5)
        replace_files({self.path: tsv_bytes(self.table)})
        return self.path.name
