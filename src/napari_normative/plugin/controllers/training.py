"""The dock "Train a model": checks a cohort, starts a process, watches it, hands on the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from napari_normative.engine import background
from napari_normative.engine.background import Training, TrainingOrder
from napari_normative.engine.presets import PRESETS, Preset, settings_from
from napari_normative.engine.variants import VARIANTS
from napari_normative.errors import NormativeError
from napari_normative.plugin.controllers.base import Context, JobController
from napari_normative.plugin.controllers.training_shown import (
    card_text,
    comparison_rows,
    file_row,
    preset_line,
    show_training,
    split_rows,
    variant_choices,
)
from napari_normative.plugin.jobs import Job, Listener, Repeater, Work
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.training import TrainingRequests, TrainingState
from napari_normative.plugin.viewing import is_open
from napari_normative.plugin.work.plots import LoadPlots
from napari_normative.plugin.work.training import (
    Check,
    Measure,
    OpenScan,
    ReadCard,
    Start,
)

WATCH_S = 0.5
"""How often a running training is looked at."""


class TrainingController(JobController):
    """Answers the dock's requests for one viewer.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self.state, self.requests = TrainingState(), TrainingRequests()
        super().__init__(context, self.state, self.requests)
        self._checked: tuple[str, ...] = ()
        self._usable: list[str] = []
        self._measuring: Job | None = None
        self._watch: Repeater | None = None
        self._plots = False
        self._carded = ""
        requests, events = self.requests, self.state.events
        requests.run.connect(self.check)
        requests.start.connect(self.start)
        requests.resume.connect(self.resume)
        requests.stop.connect(self.stop)
        requests.attach.connect(self.attach)
        requests.use_model.connect(self.use_model)
        requests.open_file.connect(self.open_file)
        for name in ("cohort", "out", "balance", "seed", "condition_on"):
            events[name].connect(self._refresh_blocked)
        for name in ("preset", "variant", "changes", "max_minutes", "template"):
            events[name].connect(self._on_preset)
        events.training.connect(self._on_training)
        context.models.state.events.device.connect(self._on_preset)
        self.presets: dict[str, Preset] = {}
        self.state.variants = tuple(variant_choices(VARIANTS))
        self.offer(PRESETS)
        self.refresh_known()

    # -- the cohort -----------------------------------------------------------------------

    def check(self) -> None:
        """Look at every scan of the chosen cohort."""
        state = self.state
        self._refresh_blocked()
        if state.running or state.run_blocked:
            return
        state.rows, state.split, state.problems, state.estimate = (), (), "", ""
        self._usable = []
        columns = tuple(c.strip() for c in state.balance.split(",") if c.strip())
        work = Check(state.cohort, state.seed, columns)
        self._start(f"Check of {Path(state.cohort).name}", work, self._on_checked)

    def _on_checked(self, found: Any) -> None:
        state = self.state
        state.rows = tuple(file_row(file) for file in found.files)
        state.split_header, state.split = split_rows(found.split)
        state.problems = "\n".join(found.problems)
        state.columns = found.columns
        state.condition_on = tuple(c for c in state.condition_on if c in found.columns)
        self._usable = [str(file.person.path) for file in found.usable]
        self._checked = self._asked()
        odd = sum(row.good and row.odd for row in state.rows)
        refused = len(state.rows) - len(self._usable)
        words = f"{len(self._usable)} of {len(state.rows)} scans can be used"
        if refused or odd:
            words += f" ({refused} refused, {odd} with warnings)"
        if not state.out:
            name = Path(state.cohort).stem or "model"
            state.out = str(Path(state.cohort).absolute().parent / f"{name}.safetensors")
        self._finish(words + ".")
        self._refresh_blocked()
        self._measure()

    def open_file(self, path: str) -> None:
        """Show a scan of the cohort in the viewer."""

        def add(spec: Any) -> None:
            viewer = self.context.viewer()
            if viewer is not None and is_open(viewer):
                add_spec(viewer, spec)

        self._aside(f"Open {Path(path).name}", OpenScan(path), add)

    # -- preset and estimate --------------------------------------------------------------

    def offer(self, presets: Mapping[str, Preset]) -> None:
        """Put presets on the list."""
        self.presets |= presets
        self.state.presets = tuple(Choice(name, name) for name in self.presets)
        self._on_preset()

    def _on_preset(self) -> None:
        state = self.state
        state.variant_line = VARIANTS[state.variant].title if state.variant else ""
        state.preset_line = preset_line(state.preset, self.presets[state.preset])
        state.estimate = ""
        self._refresh_blocked()
        self._measure()

    def _measure(self) -> None:
        """Estimate time and memory once the cohort is known; the last question counts."""
        if self._measuring is not None:
            self._measuring.cancel()
            self._measuring = None
        if not self._usable or self.state.running:
            return
        try:
            order = self._order()
            order.chosen()
        except NormativeError:
            return  # said where Start is
        self.state.estimate = "Time and memory: a few steps are being timed…"
        work = Measure(order, len(self._usable), self._usable[0])

        def tell(made: Any) -> None:
            self._measuring = None
            self.state.estimate = f"Time and memory: {made.describe()}"

        def failed(error: NormativeError) -> None:
            self._measuring = None
            self.state.estimate = str(error)

        self._measuring = self._aside("Estimate of a training", work, tell, failed)

    # -- a training -----------------------------------------------------------------------

    def start(self) -> None:
        """Start a training in a process of its own."""
        self._refresh_blocked()
        if not self.state.start_blocked:
            self._begin(resume=False)

    def resume(self) -> None:
        """Go on with the training that is shown."""
        if not self.state.resume_blocked:
            self._begin(resume=True)

    def _begin(self, *, resume: bool) -> None:
        state = self.state
        try:
            order = self._shown().order if resume else self._order()
        except NormativeError as error:
            self._tell(error)
            return
        if self._measuring is not None:  # it would take the processor away
            self._measuring.cancel()
            self._measuring = None
        state.train_error, state.starting = "", True
        self._refresh_blocked()

        def started(training: Training) -> None:
            state.starting = False
            self.show(training.folder)

        def failed(error: NormativeError) -> None:
            state.starting = False
            self._refresh_blocked()
            self._tell(error)

        work = Start(order, resume)
        self._aside(f"Start of {order.folder.name}", work, started, failed)

    def stop(self) -> None:
        """Ask the training that is shown to save and end."""
        if self.state.stop_blocked:
            return
        try:
            background.stop_training(Path(self.state.training))
        except NormativeError as error:
            self._tell(error)
        self.refresh()

    def attach(self, folder: str) -> None:
        """Show the training of a work folder, and remember it."""
        try:
            background.read_training(Path(folder))
            background.remember(Path(folder))
        except NormativeError as error:
            self._tell(error)
            return
        self.state.train_error = ""
        self.show(Path(folder))

    def show(self, folder: Path) -> None:
        """Show the training of a folder, and watch it while it is alive."""
        self.refresh_known()
        if self.state.training == str(folder):
            self._on_training()
        else:
            self.state.training = str(folder)

    def refresh_known(self) -> None:
        """List the trainings of this computer again; show the newest when none is shown."""
        known = background.known_trainings()
        state = self.state
        state.trainings = tuple(
            Choice(str(t.folder), f"{Path(t.order.out).stem} · {t.state}") for t in known
        )
        if not state.training:
            alive = [t for t in known if t.alive]
            if alive or known:
                state.training = str((alive or known)[0].folder)
        self._refresh_blocked()

    def refresh(self) -> bool:
        """Look at the training that is shown; return whether it is alive."""
        state = self.state
        if not state.training:
            return False
        try:
            training = self._shown()
        except NormativeError as error:
            self._unwatch()
            state.train_error = str(error)
            return False
        show_training(state, training, curves=self._plots)
        if not training.alive:
            self._unwatch()
            self._on_end(training)
        self._refresh_blocked()
        return training.alive

    def _on_training(self) -> None:
        state = self.state
        self._unwatch()
        state.card, state.comparison, self._carded = "", (), ""
        state.use_blocked = "There is no finished model yet."
        state.montage, state.curves, state.train_error = b"", (), ""
        if self.refresh():
            self._watch = self.context.runner.repeat(WATCH_S, self._tick)
        if state.training and not self._plots:
            self._aside("Curves of a training", LoadPlots(), self._on_plots)

    def _on_plots(self, _: Any) -> None:
        self._plots = True
        self.refresh()

    def _tick(self) -> None:
        viewer = self.context.viewer()
        if viewer is None or not is_open(viewer):
            self._unwatch()
        else:
            self.refresh()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _on_end(self, training: Training) -> None:
        self.state.train_error = training.problem
        self.state.trainings = tuple(
            Choice(c.key, f"{Path(training.order.out).stem} · {training.state}")
            if c.key == str(training.folder)
            else c
            for c in self.state.trainings
        )
        out = training.order.out
        if training.state == "finished" and self._carded != out:
            self._carded = out

            def show(card: Any) -> None:
                self.state.card, self.state.comparison = card_text(card), comparison_rows(card)
                self.state.use_blocked = ""

            self._aside(f"Card of {Path(out).name}", ReadCard(out), show)

    def use_model(self) -> None:
        """Choose the finished model in all docks."""
        if not self.state.use_blocked:
            self.context.models.add_file(self._shown().order.out)

    # -- what is needed for all of that -----------------------------------------------------

    def _shown(self) -> Training:
        return background.read_training(Path(self.state.training))

    def _order(self) -> TrainingOrder:
        state = self.state
        cohort = Path(state.cohort).expanduser().absolute()
        balance = None if state.balance.strip() == "site" else state.balance
        told = ",".join(state.condition_on) or None
        return TrainingOrder(
            cohort=str(cohort),
            out=str(Path(state.out).expanduser().absolute()),
            preset=state.preset if state.preset in PRESETS else self.presets[state.preset],
            variant=state.variant or None,
            changes=settings_from(state.changes.split(), balance, told),
            max_minutes=state.max_minutes or None,
            seed=state.seed,
            template=state.template or None,
            device=self.context.models.state.device,
            title=state.title or None,
            license_text=state.license_text or "not stated",
            credit=state.credit or "not stated",
            forget_people=state.forget_people,
        )

    def _asked(self) -> tuple[str, ...]:
        state = self.state
        return state.cohort, state.balance, str(state.seed)

    def _aside(
        self,
        title: str,
        work: Work,
        done: Callable[[Any], None],
        failed: Callable[[NormativeError], None] | None = None,
    ) -> Job:
        """Run a job beside the one of the dock."""
        listener = Listener(lambda step, fraction: None, done, failed or self._tell, lambda: None)
        return self.context.runner.start(title, work, listener)

    def _tell(self, error: NormativeError) -> None:
        self.state.train_error = str(error)
        self.context.notify(str(error))

    def _refresh_blocked(self) -> None:
        state = self.state
        state.run_blocked = (
            "" if state.cohort else "Choose a folder or a table of healthy scans first."
        )
        alive = bool(state.training) and not state.stop_blocked
        state.start_blocked = self._why_not_start(alive)
        if state.starting:
            state.resume_blocked = "A training is being started."
        elif alive or not state.training:
            state.resume_blocked = "There is nothing to resume."

    def _why_not_start(self, alive: bool) -> str:
        state = self.state
        if state.starting:
            return "A training is being started."
        if state.running:
            return "The cohort is being checked."
        if not state.rows:
            return "Check a cohort first."
        if self._checked != self._asked():
            return "Cohort, groups or seed were changed: check the cohort again."
        if state.problems:
            return state.problems
        if not state.out:
            return "Name the model file to write."
        if not state.out.endswith(".safetensors"):
            return "The name of a model file ends in .safetensors."
        try:
            order = self._order()
            order.chosen()
        except NormativeError as error:
            return str(error)
        if alive and str(order.folder) == state.training:
            return "It is being trained. Choose another output file for a second training."
        return ""
