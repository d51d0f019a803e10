"""What all controllers share: the viewer, the jobs, the models, the scans."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from napari_normative.errors import CancelledError, NormativeError
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.detections import Detections
from napari_normative.plugin.jobs import Job, Listener, Runner, Work
from napari_normative.plugin.state.common import JobRequests, JobState
from napari_normative.plugin.state.keys import KeysState
from napari_normative.plugin.state.settings import Settings
from napari_normative.plugin.state.shared import Shared

Notify = Callable[[str], None]


class Controller(Protocol):
    """Anything that is built from a context."""

    def __init__(self, context: Context) -> None: ...


C = TypeVar("C", bound=Controller)


@dataclass(frozen=True, eq=False)
class Context:
    """What one viewer's controllers work with.

    Attributes
    ----------
    viewer : weak reference to a napari Viewer or ViewerModel
    runner : Runner
        For light work, in threads.
    engine : Runner
        For whatever needs torch or takes its time, in a process.
    models : ModelsController
    scans : ScansController
    notify : callable of (message)
        Shows an error as a notification.
    settings : Settings
        What is remembered; unless given, for as long as the window is open.
    detections : Detections
        The last of each scan.
    keys : KeysState
    """

    viewer: weakref.ref[Any]
    runner: Runner
    engine: Runner
    models: ModelsController
    scans: ScansController
    notify: Notify
    settings: Settings = field(default_factory=Settings)
    detections: Detections = field(default_factory=Detections)
    keys: KeysState = field(default_factory=KeysState)
    controllers: dict[type[Any], Any] = field(default_factory=dict)

    def get(self, kind: type[C]) -> C:
        """Return the viewer's controller of a kind, made when first asked for."""
        if kind not in self.controllers:
            self.controllers[kind] = kind(self)
        made: C = self.controllers[kind]
        return made

    @property
    def shared(self) -> Shared:
        """The states that all docks show."""
        return Shared(
            self.models.state, self.models.requests, self.scans.state, self.settings, self.keys
        )


class JobController:
    """Runs one job at a time for a dock and keeps its state.

    Parameters
    ----------
    context : Context
    state : JobState
    requests : JobRequests

    Attributes
    ----------
    ended_with : NormativeError or None
        Why the last job brought nothing; None while it runs and when it brought something.
    """

    def __init__(self, context: Context, state: JobState, requests: JobRequests) -> None:
        self.context = context
        self._job_state = state
        self._job: Job | None = None
        self.ended_with: NormativeError | None = None
        requests.cancel.connect(self.cancel)

    @property
    def is_running(self) -> bool:
        """Whether a job is under way."""
        return self._job_state.running

    def cancel(self) -> None:
        """Ask the running job to stop."""
        if self._job is not None:
            self._job_state.cancelling = True
            self._job.cancel()

    def _start(
        self, title: str, work: Work, done: Callable[[Any], None], runner: Runner | None = None
    ) -> None:
        """Start a job in the engine or another runner; ``done(result)`` ends it with `_finish`."""
        state = self._job_state
        state.error = state.summary = ""
        self.ended_with = None
        state.step, state.fraction, state.running = "starting", 0.0, True
        self.context.models.before_job()
        listener = Listener(self._on_progress, done, self._on_failed, self._on_cancelled)
        job = (runner or self.context.engine).start(title, work, listener)
        self._job = job if state.running else None  # a synchronous runner is through already

    def _on_progress(self, step: str, fraction: float) -> None:
        self._job_state.step = step
        self._job_state.fraction = min(max(fraction, 0.0), 1.0)

    def _finish(self, summary: str = "") -> None:
        self._job = None
        state = self._job_state
        state.running = state.cancelling = False
        state.step, state.fraction, state.summary = "", 0.0, summary
        self.context.models.after_job()

    def _on_cancelled(self) -> None:
        self.ended_with = CancelledError()
        self._finish("Cancelled. Nothing was kept.")

    def _on_failed(self, error: NormativeError) -> None:
        self._finish()
        self._fail(error)

    def _fail(self, error: NormativeError) -> None:
        self.ended_with = error
        self._job_state.error = str(error)
        self.context.notify(str(error))
