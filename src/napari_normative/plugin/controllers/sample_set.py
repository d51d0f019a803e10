"""The tab "Write a set" of the dock "Samples": any number of synthetic volumes, as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.engine.recipes import LEAST_GROUP
from napari_normative.errors import NormativeError
from napari_normative.layers.spec import LayerSpec
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.samples import hide_others
from napari_normative.plugin.latest import Latest
from napari_normative.plugin.layers import place
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.models import NONE, VECTOR
from napari_normative.plugin.state.sample_set import GROUP, SetRequests, SetState
from napari_normative.plugin.state.samples import INTERPOLATION, POSTERIOR
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.sample_set import ShowSet, WriteSet, Written
from napari_normative.plugin.work.tables import Column, ReadTable

if TYPE_CHECKING:
    from napari_normative.engine.synthetic import SyntheticSet

NO_LATENTS = "This model has no latents: all its volumes would be one and the same."
NO_GROUPS = "This model has no one latent vector for a scan, so it knows no groups of people."


class SetController(JobController):
    """Answers the requests of the tab for one viewer.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = SetState(), SetRequests()
        super().__init__(context, self.state, self.requests)
        self._made: SyntheticSet | None = None
        self._summary = ""
        self._columns: tuple[Column, ...] = ()
        self._tables = Latest(context.runner)
        self.requests.run.connect(self.run)
        self.requests.show.connect(self.show)
        events = self.state.events
        events.table.connect(self._read_table)
        events.column.connect(self._on_column)
        context.scans.state.events.scans.connect(self._on_scans)
        for name in (
            "kind",
            "scan",
            "second",
            "column",
            "value",
            "folder",
            "running",
            "cancelling",
        ):
            events[name].connect(self._refresh)
        for name in ("model", "latents"):
            context.models.state.events[name].connect(self._refresh)
        self._on_scans()

    # What can be done

    def _on_scans(self, *_: object) -> None:
        state, scans = self.state, self.context.scans
        state.scan = scans.keep(state.scan)
        state.second = scans.other(state.second, state.scan)
        self._refresh()

    def _read_table(self, source: str) -> None:
        state = self.state
        self._columns, state.table_error = (), ""
        state.columns, state.column = (), ""
        if source:
            title = f"Reading {Path(source).name}"
            self._tables.ask(title, ReadTable(source), self._take_table, self._refuse_table)
        self._refresh()

    def _refuse_table(self, error: NormativeError) -> None:
        self.state.table_error = str(error)
        self._refresh()

    def _take_table(self, columns: tuple[Column, ...]) -> None:
        state = self.state
        self._columns = tuple(c for c in columns if any(n >= LEAST_GROUP for _, n in c.values))
        state.columns = tuple(Choice(c.name, c.name) for c in self._columns)
        state.column = self._columns[0].name if self._columns else ""
        if not self._columns:
            state.table_error = (
                f"No value of any column is shared by {LEAST_GROUP} scans or more; groups are "
                "chosen by columns such as sex or site."
            )
        self._refresh()

    def _on_column(self, name: str) -> None:
        state = self.state
        values = next((c.values for c in self._columns if c.name == name), ())
        state.values = tuple(Choice(v, f"{v} ({n})") for v, n in values if n >= LEAST_GROUP)
        state.value = state.values[0].key if state.values else ""

    def _refresh(self, *_: object) -> None:
        """Say what cannot be pressed, and why."""
        state = self.state
        state.run_blocked = self._why_not()
        state.show_blocked = "" if self._made is not None else "Write a set first."
        if state.running:
            state.show_blocked = "Wait until this is done."

    def _why_not(self) -> str:
        state, models = self.state, self.context.models.state
        if state.cancelling:
            return "Stopping…"
        if not models.model:
            return "Choose a model first."
        if models.latents == NONE:
            return NO_LATENTS
        if state.kind == GROUP:
            if models.latents != VECTOR:
                return NO_GROUPS
            if not state.value:
                return "Choose a table, and a group of its people."
        elif reason := self.context.scans.why_not(self._scans()):
            return reason
        return "" if state.folder else "Choose a folder for the set."

    def _scans(self) -> tuple[str, ...]:
        state = self.state
        keys: dict[str, tuple[str, ...]] = {
            POSTERIOR: (state.scan,),
            INTERPOLATION: (state.scan, state.second),
        }
        return keys.get(state.kind, ())

    # What is done

    def run(self) -> None:
        """Write the set, or go on with it."""
        state, models = self.state, self.context.models
        self._refresh()
        if state.running or state.run_blocked:
            return
        try:
            scans = tuple(self.context.scans.snapshot(key) for key in self._scans())
        except NormativeError as error:
            self._fail(error)
            return
        like = f"{state.column}={state.value}" if state.kind == GROUP else ""
        self._made, state.report = None, ""
        work = WriteSet(
            models.shelf, models.state.model, models.state.device, scans, like, state.table,
            state.count, state.seed, state.temperature, Path(state.folder).expanduser(), state.real,
        )  # fmt: skip
        self._start("Writing synthetic volumes", work, self._on_done)

    def _on_done(self, written: Written) -> None:
        told = written.made.record
        line = f"{told['device']}: {told['device_reason']}"
        self.context.models.ran_on(written.devices, line)
        self._made, self.state.report = written.made, written.report
        self._finish(written.summary)
        self._refresh()

    def _on_cancelled(self) -> None:
        super()._on_cancelled()
        self.state.summary = "Cancelled. Finished volumes are kept; Write goes on with them."

    def show(self) -> None:
        """Show the first volumes of the set as one layer."""
        made, state = self._made, self.state
        if made is None or state.running:
            return
        files, name = made.files[: state.shown], made.folder.name
        work = ShowSet(files, name, made.record, self.context.settings.memory_gib)
        self._summary = state.summary
        self._start("Opening synthetic volumes", work, self._on_shown, self.context.runner)

    def _on_shown(self, spec: LayerSpec) -> None:
        viewer = self.context.viewer()
        if viewer is not None and is_open(viewer):
            (layer,) = place(viewer, [spec], replace_earlier=True)
            hide_others(viewer, [layer])
            layer.visible = True
        self._finish(self._summary)
        self._refresh()
