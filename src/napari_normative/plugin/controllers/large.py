"""The dock "Restore", tab "Large file": a reconstruction from disk to disk, opened from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.errors import NormativeError
from napari_normative.layers.spec import LayerSpec
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.layers import place
from napari_normative.plugin.state.restore import LargeRequests, LargeState
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.restore import OpenStored, ReconstructToDisk

if TYPE_CHECKING:
    from napari_normative.engine.stored_reconstruction import StoredReconstruction

REFUSED = "PRE-004"
"""A scan whose contrast is not the model's."""


class LargeController(JobController):
    """Answers the requests of the tab "Large file" for one viewer.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = LargeState(), LargeRequests()
        super().__init__(context, self.state, self.requests)
        self._summary = ""
        self.requests.run.connect(self.run)
        for name in ("source", "folder", "cancelling"):
            self.state.events[name].connect(self._refresh)
        self.state.events.source.connect(self._on_source)
        context.models.state.events.model.connect(self._on_source)
        self._refresh()

    def _on_source(self, *_: object) -> None:
        self.state.refused = self.state.force = False
        self._refresh()

    def _refresh(self, *_: object) -> None:
        state = self.state
        reason = ""
        if state.cancelling:
            reason = "Stopping…"
        elif not state.source:
            reason = "Choose the file of a scan first."
        elif not state.folder:
            reason = "Choose a new folder for the results."
        elif not self.context.models.state.model:
            reason = "Choose a model first."
        state.run_blocked = reason

    def run(self) -> None:
        """Reconstruct the chosen file."""
        state, models = self.state, self.context.models
        self._refresh()
        if state.running or state.run_blocked:
            return
        source, folder = Path(state.source).expanduser(), Path(state.folder).expanduser()
        work = ReconstructToDisk(
            models.shelf, models.state.model, models.state.device, source, folder, state.force
        )
        self._start(f"Reconstructing {source.name}", work, self._on_done)

    def _on_failed(self, error: NormativeError) -> None:
        self.state.refused = error.code == REFUSED
        super()._on_failed(error)

    def _on_done(self, result: tuple[StoredReconstruction, tuple[str, ...]]) -> None:
        made, devices = result
        told = made.record
        self.context.models.ran_on(devices, f"{told['device']}: {told['device_reason']}")
        size = " × ".join(map(str, made.residual.shape))
        lines = [f"{size} voxels in {sum(told['seconds'].values()):.0f} s, in {made.folder.name}."]
        lines.append("The layers read from there; 3D would load them whole.")
        self._summary = "\n".join([*lines, *(f"⚠ {warning}" for warning in made.warnings)])
        # Not in the engine: what it sent would be voxels, and here they stay on disk.
        self._finish()
        self._start("Opening", OpenStored(made), self._on_opened, self.context.runner)

    def _on_opened(self, specs: list[LayerSpec]) -> None:
        from napari_normative.plugin.session import session_for

        viewer = self.context.viewer()
        if viewer is not None and is_open(viewer):
            session_for(viewer).view.prepare()
        self.context.runner.spread(self._show(specs))

    def _show(self, specs: list[LayerSpec]) -> Iterator[None]:
        for spec in specs:
            yield
            viewer = self.context.viewer()
            if viewer is None or not is_open(viewer):
                break
            place(viewer, [spec], replace_earlier=False)
        self._finish(self._summary)
