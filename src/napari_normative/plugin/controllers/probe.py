"""The tab "Tell a column" of the dock "Latent map": a probe asked about a scan, and fitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.errors import NormativeError
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.latent_map import LatentMapController
from napari_normative.plugin.latest import Latest
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.models import VECTOR
from napari_normative.plugin.state.probe import FitRequests, FitState, TellRequests, TellState
from napari_normative.plugin.work.probe import FitProbe, Fitted, ReadProbe, Tell, Told
from napari_normative.plugin.work.tables import Column, ReadTable

if TYPE_CHECKING:
    from napari_normative.engine.prediction import Prediction
    from napari_normative.engine.probe_file import ProbeCard

NO_VECTOR = "This model has no one latent vector for a scan, so nothing can be told from it."
WITHIN = 1.96
"""So many standard deviations hold 95 % of a normal distribution."""


class TellController(JobController):
    """Asks a probe about the chosen scan.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = TellState(), TellRequests()
        super().__init__(context, self.state, self.requests)
        self.prediction: Prediction | None = None
        self._reading = Latest(context.runner)
        self.requests.run.connect(self.run)
        events = self.state.events
        events.probe.connect(self._on_probe)
        events.scan.connect(self._forget)
        for name in ("running", "cancelling"):
            events[name].connect(self._refresh)
        for name in ("model", "latents"):
            context.models.state.events[name].connect(self._forget)
        context.scans.state.events.scans.connect(self._on_scans)
        context.scans.state.events.selected.connect(self._on_selected)
        self._on_scans()

    def _on_scans(self, *_: object) -> None:
        self.state.scan = self.context.scans.keep(self.state.scan)
        self._refresh()

    def _on_selected(self, key: str) -> None:
        self.state.scan = key

    def _on_probe(self, path: str) -> None:
        """Say what the chosen file is."""
        self.state.probe_line = self.state.probe_error = ""
        if path:
            work = ReadProbe(Path(path).expanduser())
            self._reading.ask("Reading a probe", work, self._describe, self._refuse)
        self._forget()

    def _describe(self, card: ProbeCard) -> None:
        self.state.probe_line = describe(card)

    def _refuse(self, error: NormativeError) -> None:
        self.state.probe_error = str(error)
        self._refresh()

    def _forget(self, *_: object) -> None:
        """Forget what was told: it is of another scan, probe or model."""
        self.prediction, state = None, self.state
        state.told = state.detail = state.applies = state.doubts = state.summary = ""
        self._refresh()

    def _refresh(self, *_: object) -> None:
        state, models = self.state, self.context.models.state
        reason = ""
        if state.cancelling:
            reason = "Stopping…"
        elif not models.model:
            reason = "Choose a model first."
        elif models.latents != VECTOR:
            reason = NO_VECTOR
        elif not state.probe or state.probe_error:
            reason = "Choose a probe first, or fit one below."
        else:
            reason = self.context.scans.why_not([state.scan])
        state.run_blocked = reason

    def run(self) -> None:
        """Ask."""
        state, models = self.state, self.context.models
        self._refresh()
        if state.running or state.run_blocked:
            return
        self._forget()
        try:
            scan = self.context.scans.snapshot(state.scan)
        except NormativeError as error:
            self._fail(error)
            return
        probe = Path(state.probe).expanduser()
        work = Tell(models.shelf, models.state.model, models.state.device, probe, scan)
        asked = (state.scan, state.probe, models.state.model)
        self._start(f"Asking about {scan.name}", work, lambda told: self._on_told(told, asked))

    def _on_told(self, told: Told, asked: tuple[str, str, str]) -> None:
        state, made = self.state, told.prediction
        self.context.models.ran_on(told.devices, "")
        self._finish()
        if asked != (state.scan, state.probe, self.context.models.state.model):
            return  # something else was chosen meanwhile
        self.prediction = made
        state.told, state.detail = in_words(made, told.card)
        farther = f"It lies farther out than {made.distance_quantile:.0%} of the probe's people."
        if made.applicability.verdict == "ok":
            state.applies = (
                f"The probe applies: every check of the scan is within limits. {farther}"
            )
        else:
            state.applies = f"Do not rely on it: {farther[0].lower()}{farther[1:]}"
        doubts = (*no_better_than_a_guess(told.card), *told.card.warnings, *made.warnings)
        state.doubts = "\n".join(f"⚠ {doubt}" for doubt in doubts)


class FitController(JobController):
    """Fits a probe to a column of the latent map's table.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = FitState(), FitRequests()
        super().__init__(context, self.state, self.requests)
        self._map = context.get(LatentMapController).state
        self._tell = context.get(TellController).state
        self._tables = Latest(context.runner)
        self.requests.run.connect(self.run)
        self._map.events.source.connect(self._read_table)
        for name in ("column", "folder", "cancelling"):
            self.state.events[name].connect(self._refresh)
        for name in ("model", "latents"):
            context.models.state.events[name].connect(self._refresh)
        self._read_table(self._map.source)

    def _read_table(self, source: str) -> None:
        state = self.state
        state.columns, state.column, state.table_error = (), "", ""
        if source:
            title = f"Reading {Path(source).name}"
            self._tables.ask(title, ReadTable(source), self._take_table, self._refuse)
        self._refresh()

    def _take_table(self, columns: tuple[Column, ...]) -> None:
        state, told = self.state, [c for c in columns if len(c.values) > 1]
        state.columns = tuple(Choice(c.name, f"{c.name} ({c.filled})") for c in told)
        names = [c.name for c in sorted(told, key=lambda c: c.name == "site")]
        state.column = next(iter(names), "")
        if not told:
            state.table_error = "No column of the table has different values: nothing can be told."
        self._refresh()

    def _refuse(self, error: NormativeError) -> None:
        self.state.table_error = str(error)
        self._refresh()

    def _refresh(self, *_: object) -> None:
        state, models = self.state, self.context.models.state
        reason = ""
        if state.cancelling:
            reason = "Stopping…"
        elif not self._map.source:
            reason = "Choose a table of scans above first."
        elif not state.column:
            reason = "Choose a column to tell."
        elif not models.model:
            reason = "Choose a model first."
        elif models.latents != VECTOR:
            reason = NO_VECTOR
        elif not state.folder:
            reason = "Choose a folder for the report."
        state.run_blocked = reason

    def run(self) -> None:
        """Fit, judge and keep a probe; then it is the one that is asked."""
        state, models = self.state, self.context.models
        self._refresh()
        if state.running or state.run_blocked:
            return
        state.report = ""
        work = FitProbe(
            models.shelf, models.state.model, models.state.device, self._map.source,
            state.column, Path(state.folder).expanduser(),
        )  # fmt: skip
        self._start(f"Probe of {state.column}", work, self._on_fitted)

    def _on_fitted(self, fitted: Fitted) -> None:
        self.state.report = fitted.report
        self._finish(fitted.summary)
        self._tell.probe = ""  # the same path may hold another probe now
        self._tell.probe = fitted.probe


def describe(card: ProbeCard) -> str:
    """Return what a probe is and how well it tells, in a line or two."""
    kind = "a number" if card.kind == "number" else " or ".join(card.classes)
    figures = {name: value for name, value in card.figures.items() if value is not None}
    names = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy"}
    names |= {"r2": "R²", "mae": "mean absolute error"}
    known = ", ".join(f"{label} {figures[k]:.3g}" for k, label in names.items() if k in figures)
    line = f"Tells {card.target}, {kind}, from the latents of {card.model}; "
    line += f"fitted to {card.people} people."
    return f"{line} Of people out of fold: {known}." if known else line


def no_better_than_a_guess(card: ProbeCard) -> tuple[str, ...]:
    """Return the warning that a probe tells nothing; none where it may."""
    figure, nothing = ("r2", 0.0) if card.kind == "number" else ("auroc", 0.5)
    found = card.figures.get(figure)
    if found is None or found > nothing:
        return ()
    return ("Of people out of fold this probe told no better than a guess: do not rely on it.",)


def in_words(made: Prediction, card: ProbeCard) -> tuple[str, str]:
    """Return what was told, and its interval or the probabilities."""
    if isinstance(made.value, str):
        shares = sorted(made.probabilities.items(), key=lambda pair: -pair[1])
        return f"{made.target}: {made.value}", "\n".join(f"{n}: {p:.0%}" for n, p in shares)
    told = f"{made.target}: {_number(made.value)}"
    rmse = card.figures.get("rmse")
    if rmse is None:
        return told, "The probe does not know how far it errs."
    low, high = made.value - WITHIN * rmse, made.value + WITHIN * rmse
    interval = f"95 % interval {_number(low)} to {_number(high)}"
    return told, f"{interval}, from the errors of people out of fold, taken as normal."


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
