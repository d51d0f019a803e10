"""The dock "Latent map": a cohort, the model's people and the current scan on one map."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.errors import NormativeError
from napari_normative.layers.spec import facts_of
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.scatter import (
    LEVELS,
    colouring,
    columns_of,
    first_column,
    nearest,
    tip_of,
)
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.latent_map import (
    PRINCIPAL,
    UMAP,
    LatentMapRequests,
    LatentMapState,
    Scatter,
)
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.latent_map import (
    EmbedCohort,
    Export,
    LayOut,
    Mapped,
    OpenScan,
    PlaceScan,
)
from napari_normative.plugin.work.plots import load_plots

if TYPE_CHECKING:
    from napari_normative.engine.embed import Place

SHOWN_AXES = 10
FEWEST_FOR_UMAP = 10


class LatentMapController(JobController):
    """Answers the requests of the dock "Latent map" for one viewer.

    Parameters
    ----------
    context : Context

    Attributes
    ----------
    cache : Path or None
        Where places are remembered; the user's own cache unless set.
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = LatentMapState(), LatentMapRequests()
        super().__init__(context, self.state, self.requests)
        self.cache: Path | None = None
        self._mapped: Mapped | None = None
        self._model = self._summary = ""
        self._places: dict[str, Place] = {}  # of layers, by key
        self._umap: NDArray[np.float64] | None = None
        self._umap_current: Place | None = None
        requests, events = self.requests, self.state.events
        requests.run.connect(self.run)
        requests.place.connect(self.place_current)
        requests.open_row.connect(self.open_row)
        requests.export.connect(self.export)
        events.source.connect(self._refresh_blocked)
        context.models.state.events.model.connect(self._refresh_blocked)
        for name in ("running", "cancelling"):
            events[name].connect(self._refresh_blocked)
        for name in ("method", "x_axis", "y_axis", "colour_by"):
            events[name].connect(self._show)
        events.scan.connect(self._on_scan)
        for name in ("scans", "masks"):
            context.scans.state.events[name].connect(self._on_scans)
        context.scans.state.events.selected.connect(self._on_selected)
        viewer = context.viewer()
        if viewer is not None:
            viewer.layers.events.inserted.connect(self._on_scan)  # a detection may have ended
        self._on_scans()

    def _refresh_blocked(self, *_: object) -> None:
        state = self.state
        reason = ""
        if state.cancelling:
            reason = "Stopping…"
        elif not state.source:
            reason = "Choose a folder or a table of scans first."
        elif not self.context.models.state.model:
            reason = "Choose a model first."
        state.run_blocked = reason
        place = ""
        if state.running:
            place = "Wait until the work above is done."
        elif self._mapped is None:
            place = "Make a map first."
        elif not state.scan:
            place = "Open a scan first."
        state.place_blocked = place
        if importlib.util.find_spec("umap") is None:
            state.umap_blocked = 'UMAP is not installed: pip install "napari-normative[umap]"'
        elif self._mapped is not None and self._count() < FEWEST_FOR_UMAP:
            state.umap_blocked = f"UMAP needs {FEWEST_FOR_UMAP} people or more."
        else:
            state.umap_blocked = ""

    def _count(self) -> int:
        if self._mapped is None:
            return 0
        people = self._mapped.people
        return len(self._mapped.embedding.placed) + (0 if people is None else len(people.unseen))

    # The current scan

    def _on_scans(self, *_: object) -> None:
        scans = self.context.scans
        self._places = {k: p for k, p in self._places.items() if scans.layer(k) is not None}
        self.state.scan = scans.keep(self.state.scan)
        self._on_scan()

    def _on_selected(self, key: str) -> None:
        self.state.scan = key

    def _on_scan(self, *_: object) -> None:
        self._refresh_blocked()
        self._show()

    def _current(self) -> Place | None:
        """Return the place of the current scan, if a detection, the map or the button gave one."""
        mapped, key = self._mapped, self.state.scan
        if mapped is None or not key:
            return None
        if key in self._places:
            return self._places[key]
        layer = self.context.scans.layer(key)
        facts = None if layer is None else facts_of(layer)
        if facts is None:
            return None
        for scan in mapped.embedding.placed:
            if facts.origin == f"{scan.digest}:{facts.volumes[0].source.name}":
                return scan.place
        found = self.context.detections.get(facts.origin)
        if found is None or found.in_model is None:
            return None
        if found.provenance["model"]["sha256"] != mapped.embedding.model_digest:
            return None
        from napari_normative.engine.embed import Place

        latent = found.in_model.latent_mean
        distance = mapped.axes.posterior.distance(latent)
        variance = found.in_model.latent_variance
        self._places[key] = Place(latent, found.scan_score, found.scan_p, distance, variance)
        return self._places[key]

    def place_current(self) -> None:
        """Encode the current scan with the model of the map."""
        state, models = self.state, self.context.models
        self._refresh_blocked()
        if state.place_blocked:
            return
        try:
            scan = self.context.scans.snapshot(state.scan)
        except NormativeError as error:
            self._fail(error)
            return
        work = PlaceScan(models.shelf, self._model, models.state.device, scan)
        self._start(f"Place of {scan.name}", work, partial(self._on_placed, state.scan))

    def _on_placed(self, key: str, result: tuple[str, Place]) -> None:
        digest, place = result
        self._finish(self._summary)
        if self._mapped is not None and digest == self._mapped.embedding.model_digest:
            self._places[key] = place
        self._show()

    # The map

    def run(self) -> None:
        """Place the scans of the chosen folder or table."""
        state, models = self.state, self.context.models
        self._refresh_blocked()
        if state.running or state.run_blocked:
            return
        self._model = models.state.model
        load_plots(self.context.runner)
        device = models.state.device
        work = EmbedCohort(models.shelf, self._model, device, state.source, self.cache)
        self._start(f"Latent map of {Path(state.source).name}", work, self._on_mapped)

    def _on_mapped(self, mapped: Mapped) -> None:
        state = self.state
        self.context.models.ran_on(mapped.devices, "")
        self._mapped, self._umap = None, None  # nothing is shown while the choices change
        self._places = {}
        table = mapped.embedding.table()
        state.columns = columns_of(table)
        if state.colour_by not in {c.key for c in state.columns}:
            state.colour_by = first_column(table)
        share = mapped.axes.share()[:SHOWN_AXES]
        state.axes = tuple(
            Choice(str(n), f"Axis {n + 1} ({100 * s:.0f} %)") for n, s in enumerate(share)
        )
        count = {choice.key for choice in state.axes}
        state.x_axis = state.x_axis if state.x_axis in count else "0"
        state.y_axis = state.y_axis if state.y_axis in count else "1"
        scans, placed = mapped.embedding.scans, mapped.embedding.placed
        state.refused = tuple(scan.error for scan in scans if scan.place is None)
        state.placed = len(placed)
        lines = [f"{len(placed)} of {len(scans)} scans placed with {self._model_name()}."]
        if mapped.people is None:
            lines.append("The model does not hold its people, so they are not on the map.")
        self._mapped = mapped
        self._summary = "\n".join(lines)
        self._finish(self._summary)
        self._refresh_blocked()
        self._show()

    def _model_name(self) -> str:
        names = (c.label for c in self.context.models.state.models if c.key == self._model)
        return next(names, "the model")

    def _show(self, *_: object) -> None:
        """Show the map as chosen; lay it out first where UMAP has not."""
        state, mapped = self.state, self._mapped
        if mapped is None:
            return
        if state.method == UMAP and state.umap_blocked:
            state.method = PRINCIPAL
            return
        here = self._current()
        if state.method == UMAP and (self._umap is None or self._umap_current is not here):
            if not state.running:
                work = LayOut(mapped.axes.place(self._latents(mapped, here)))
                self._start("UMAP", work, partial(self._on_laid_out, here))
            return
        self._describe(mapped, here)
        places, ellipses, labels = self._coordinates(mapped, here)
        placed = mapped.embedding.placed
        scans, people = len(placed), 0 if mapped.people is None else len(mapped.people.unseen)
        label = next((c.label for c in state.columns if c.key == state.colour_by), "")
        table = mapped.embedding.table()
        known = [n for n, scan in enumerate(mapped.embedding.scans) if scan.place is not None]
        colours = colouring(table.iloc[known], state.colour_by, label)
        last = places[scans + people :]
        state.scatter = Scatter(
            x_label=labels[0],
            y_label=labels[1],
            scans=places[:scans],
            rows=tuple(known),
            tips=tuple(tip_of(scan) for scan in placed),
            colouring=colours,
            people=places[scans : scans + people],
            unseen=np.zeros(0, bool) if mapped.people is None else mapped.people.unseen,
            ellipses=ellipses,
            current=None if here is None else (float(last[0, 0]), float(last[0, 1])),
        )

    @staticmethod
    def _latents(mapped: Mapped, here: Place | None) -> NDArray[np.float32]:
        parts = [s.place.latent[None] for s in mapped.embedding.placed if s.place is not None]
        if mapped.people is not None:
            parts.append(mapped.people.latents)
        if here is not None:
            parts.append(here.latent[None])
        return np.concatenate(parts) if parts else np.zeros((0, len(mapped.axes.sd)), np.float32)

    def _coordinates(
        self, mapped: Mapped, here: Place | None
    ) -> tuple[NDArray[np.float64], tuple[tuple[float, float, float], ...], tuple[str, str]]:
        """Return two coordinates of scans, people and the current scan; ellipses; labels."""
        state = self.state
        if state.method == UMAP and self._umap is not None:
            return self._umap, (), ("UMAP 1", "UMAP 2")
        x, y = int(state.x_axis), int(state.y_axis)
        places = mapped.axes.place(self._latents(mapped, here))[:, [x, y]]
        ellipses = tuple((level, *mapped.axes.ellipse(x, y, level)) for level in LEVELS)
        label = {c.key: c.label for c in state.axes}
        return places, ellipses, (label[state.x_axis], label[state.y_axis])

    def _on_laid_out(self, here: Place | None, made: NDArray[np.float64]) -> None:
        self._umap, self._umap_current = made, here
        self._finish(self._summary)
        self._show()

    def _on_cancelled(self) -> None:
        super()._on_cancelled()
        self._without_umap()

    def _on_failed(self, error: NormativeError) -> None:
        super()._on_failed(error)
        self._without_umap()

    def _without_umap(self) -> None:
        """Go back to the axes when UMAP did not come to its end."""
        if self.state.method == UMAP and self._umap is None:
            self.state.method = PRINCIPAL

    def _describe(self, mapped: Mapped, here: Place | None) -> None:
        """Say where the current scan lies and who is near."""
        state = self.state
        if here is None:
            state.scan_line = (
                "Its place is not known yet: press Place, or run its anomaly map."
                if state.scan
                else ""
            )
            state.neighbours, state.neighbours_line = (), ""
            return
        state.scan_line = (
            f"Latent distance {here.distance:.2f}, scan score {here.scan_score:.2f} "
            f"(p {here.scan_p:.2g})"
        )
        state.neighbours, itself = nearest(here, mapped)
        line = "Nearest to this scan; two people drawn from the cohort are about 1.4 apart."
        if itself:
            line += " The scan itself is one of the model's people, and left out."
        state.neighbours_line = line

    # What a click does

    def open_row(self, row: int) -> None:
        """Open a scan of the table in the viewer, or select it where it is open."""
        state, mapped = self.state, self._mapped
        if mapped is None or not 0 <= row < len(mapped.embedding.scans):
            return
        if state.running:
            state.error = "Wait until the work is done, then click again."
            return
        scan = mapped.embedding.scans[row]
        for choice in self.context.scans.state.scans:
            layer = self.context.scans.layer(choice.key)
            facts = None if layer is None else facts_of(layer)
            if facts is not None and facts.volumes[0].source.digest == scan.digest:
                self._select(layer)
                return
        self._start(f"Opening {scan.path.name}", OpenScan(scan.path), self._add)

    def _add(self, layers: list[Any]) -> None:
        """Add what was read and select it."""
        from napari.layers import Layer

        self._finish(self._summary)
        viewer = self.context.viewer()
        if viewer is None or not is_open(viewer):
            return
        from napari_normative.plugin.session import session_for

        session_for(viewer).view.prepare()
        for data in layers:
            layer = viewer.add_layer(Layer.create(*data))
            self._select(layer)

    def _select(self, layer: Any) -> None:
        viewer = self.context.viewer()
        if viewer is None or layer not in viewer.layers:
            return
        layer.visible = True
        viewer.layers.selection.active = layer
        self.state.scan = self.context.scans.key_of(layer)

    def export(self, path: str) -> None:
        """Write the table with the map's coordinates."""
        mapped, state = self._mapped, self.state
        if mapped is None or state.scatter is None or state.running:
            return
        table = mapped.embedding.table()
        for name, column in zip(("map_x", "map_y"), state.scatter.scans.T, strict=True):
            table[name] = np.nan
            table.loc[list(state.scatter.rows), name] = column
        target = Path(path)
        if target.suffix.lower() != ".tsv":
            target = target.with_name(f"{target.name}.tsv")
        done = lambda name: self._finish(f"{state.placed} scans written to {name}.")  # noqa: E731
        self._start(f"Writing {target.name}", Export(table, target), done)
