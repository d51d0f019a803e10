"""The dock "Restore", tab "This scan": missing parts filled, noise taken out."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from napari_normative.core.gaps import AXES, Slab
from napari_normative.errors import NormativeError
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.layers import place
from napari_normative.plugin.state.models import NONE
from napari_normative.plugin.state.restore import (
    MARKED,
    SLICES,
    RestoreRequests,
    RestoreState,
)
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.restore import Denoise, Fill, Restored, Save

if TYPE_CHECKING:
    from napari_normative.engine.denoise import Denoised
    from napari_normative.engine.inpaint import Inpainted
    from napari_normative.volume import Affine

NO_LATENTS = "This model has no latents to fit to what is there; choose another, such as brain-t1."


@dataclass(frozen=True, eq=False)
class Kept:
    """A restored scan: key of its layer, what was made, the layers of that."""

    scan: str
    result: Inpainted | Denoised
    layers: tuple[weakref.ref[Any], ...]

    def present(self, viewer: Any) -> list[Any]:
        """Return those of its layers that are still in the viewer."""
        return [
            layer for ref in self.layers if (layer := ref()) is not None and layer in viewer.layers
        ]


class RestoreController(JobController):
    """Answers the requests of the tab "This scan" for one viewer.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = RestoreState(), RestoreRequests()
        super().__init__(context, self.state, self.requests)
        self._made: list[Kept] = []  # of each scan the last of a kind, newest last
        self._subject = ""
        self.requests.run.connect(self.run)
        self.requests.denoise.connect(self.denoise)
        self.requests.add_slice.connect(self.add_slice)
        self.requests.save.connect(self.save)
        for name in ("scans", "masks"):
            context.scans.state.events[name].connect(self._on_scans)
        context.scans.state.events.selected.connect(self._on_selected)
        context.models.state.events.latents.connect(self._refresh)
        context.models.state.events.model.connect(self._refresh)
        for name in ("missing", "slices", "labels", "running", "cancelling"):
            self.state.events[name].connect(self._refresh)
        self.state.events.scan.connect(self._on_scan)
        viewer = context.viewer()
        if viewer is not None:
            viewer.layers.events.removed.connect(self._on_removed)
            viewer.dims.events.ndisplay.connect(self._refresh)
        self._on_scans()

    # What can be done

    def _on_scans(self, *_: object) -> None:
        state, scans = self.state, self.context.scans
        state.scan = scans.keep(state.scan)
        keys = [choice.key for choice in scans.state.masks]
        state.labels = state.labels if state.labels in keys else next(iter(keys[-1:]), "")
        self._on_scan()

    def _on_selected(self, key: str) -> None:
        self.state.scan = key

    def _on_scan(self, *_: object) -> None:
        grid = self._grid()
        self.state.axes_line = "" if grid is None else _axes_line(*grid)
        self._refresh()

    def _grid(self) -> tuple[Affine, tuple[int, ...]] | None:
        """Return the chosen scan's stored grid: index to world mm, and shape."""
        try:
            taken = self.context.scans.snapshot(self.state.scan)
        except NormativeError:
            return None
        if taken.facts is None or taken.moved:
            return taken.affine, tuple(taken.data.shape[-3:])
        return taken.facts.volumes[0].affine, taken.facts.volumes[0].shape

    def _refresh(self, *_: object) -> None:
        """Say what cannot be pressed, and why."""
        state, viewer = self.state, self.context.viewer()
        state.run_blocked = self._why_not()
        state.denoise_blocked = "Wait until this is done." if state.running else self._no_scan()
        made = self.made is not None
        state.save_blocked = "" if made else "Fill or denoise this scan first."
        if state.running:
            state.save_blocked = "Wait until this is done."
        state.slice_blocked = "" if state.axes_line else "Open a scan first."
        if viewer is not None and viewer.dims.ndisplay == 3:
            state.slice_blocked = "In 3D no single slice is on the screen."

    def _why_not(self) -> str:
        state = self.state
        if state.cancelling:
            return "Stopping…"
        if reason := self._no_scan():
            return reason
        if self.context.models.state.latents == NONE:
            return NO_LATENTS
        if state.missing == SLICES and not _listed(state.slices):
            return "Name the slices that are missing, such as k:40-44."
        if state.missing == MARKED and not state.labels:
            return "Add a labels layer and paint what is missing."
        return ""

    def _no_scan(self) -> str:
        """Return why there is no scan, or no model, to work with."""
        if not self.state.scan:
            return "Open a scan first."
        if not self.context.models.state.model:
            return "Choose a model first."
        return self.context.scans.why_not([self.state.scan])

    def add_slice(self) -> None:
        """Add the slice on the screen to the list of those that are missing."""
        viewer, grid = self.context.viewer(), self._grid()
        self._refresh()
        if viewer is None or grid is None or self.state.slice_blocked:
            return
        affine, shape = grid
        through = viewer.dims.ndim - 1 - viewer.dims.order[-3]  # 0, 1, 2: across R, A, S
        index = np.linalg.inv(affine)
        axis = int(np.abs(index[:3, through] * np.linalg.norm(affine[:3, :3], axis=0)).argmax())
        at = (index @ [*viewer.dims.point[:-4:-1], 1.0])[axis]
        number = int(np.clip(np.rint(at), 0, shape[axis] - 1))
        named = _listed(self.state.slices)
        if (slab := str(Slab(axis, number, number))) not in named:
            self.state.slices = ", ".join([*named, slab])
        self.state.missing = SLICES

    # What is done

    @property
    def made(self) -> Inpainted | Denoised | None:
        """What was made last of the chosen scan; None when its layers are gone."""
        own = (kept.result for kept in reversed(self._made) if kept.scan == self.state.scan)
        return next(own, None)

    @property
    def kept(self) -> tuple[Kept, ...]:
        """The last filling and the last denoising of each scan."""
        return tuple(self._made)

    def run(self) -> None:
        """Fill what is missing in the chosen scan."""
        state, models = self.state, self.context.models
        self._refresh()
        if state.running or state.run_blocked:
            return
        try:
            scan = self.context.scans.snapshot(state.scan)
            marked = state.missing == MARKED
            labels = self.context.scans.snapshot(state.labels) if marked else None
        except NormativeError as error:
            self._fail(error)
            return
        slices = tuple(_listed(state.slices)) if state.missing == SLICES else ()
        self._subject, device = state.scan, models.state.device
        work = Fill(models.shelf, models.state.model, device, scan, labels, slices)
        self._start(f"Filling {scan.name}", work, self._on_done)

    def denoise(self) -> None:
        """Take noise out of the chosen scan."""
        state, models = self.state, self.context.models
        self._refresh()
        if state.running or state.denoise_blocked:
            return
        try:
            scan = self.context.scans.snapshot(state.scan)
        except NormativeError as error:
            self._fail(error)
            return
        self._subject = state.scan
        work = Denoise(models.shelf, models.state.model, models.state.device, scan)
        self._start(f"Denoising {scan.name}", work, self._on_done)

    def _on_done(self, made: Restored) -> None:
        told = made.result.record
        line = f"{told['device']}: {told['device_reason']}"
        self.context.models.ran_on(made.devices, line)
        self.context.runner.spread(self._show(made))

    def _show(self, made: Restored) -> Iterator[None]:
        """Add the layers one by one."""
        self.state.step = "showing the layers"
        placed: list[Any] = []
        for spec in made.specs:
            yield
            viewer = self.context.viewer()
            if viewer is None or not is_open(viewer):
                break
            placed += place(viewer, [spec], replace_earlier=self.state.replace_earlier)
        refs = tuple(weakref.ref(layer) for layer in placed)
        kind = type(made.result)
        self._made = [
            kept
            for kept in self._made
            if kept.scan != self._subject or not isinstance(kept.result, kind)
        ]
        self._made.append(Kept(self._subject, made.result, refs))
        self._finish(made.summary)
        self._refresh()

    def _on_removed(self, *_: object) -> None:
        """Let go of volumes whose layers are all gone."""
        viewer = self.context.viewer()
        if viewer is None or self.state.running:
            return
        self._made = [kept for kept in self._made if kept.present(viewer)]
        self._refresh()

    def save(self, folder: str) -> None:
        """Write what was made of the chosen scan into a folder."""
        made = self.made
        if made is None or self.state.running:
            return
        # In a thread: through the pipe to the engine all volumes would be copied once more.
        work = Save(made, Path(folder))
        self._start("Saving", work, self._on_saved, self.context.runner)

    def _on_saved(self, summary: str) -> None:
        self._finish(summary)
        self._refresh()


def _listed(text: str) -> list[str]:
    """Return the slices that somebody typed, one an entry."""
    return [part for part in re.split(r"[,;\s]+", text) if part]


def _axes_line(affine: Affine, shape: tuple[int, ...]) -> str:
    """Return how far stored axes go, such as ``i 0-90 to R``; one line of the dock."""
    toward = nib.aff2axcodes(affine)
    ends = zip(AXES, shape, toward, strict=True)
    return " · ".join(f"{name} 0-{n - 1} to {side}" for name, n, side in ends)
