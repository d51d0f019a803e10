"""One session per viewer: its state and controllers, however its docks come and go."""

from __future__ import annotations

import weakref
from typing import Any
from weakref import WeakKeyDictionary

from napari_normative.plugin.controllers.base import C, Context
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.jobs import Runner, SynchronousRunner, ThreadRunner
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.process import ProcessRunner
from napari_normative.plugin.settings import stored_settings
from napari_normative.plugin.state.settings import Settings
from napari_normative.plugin.viewing import view_of


class Session:
    """State and controllers of one viewer, each made when first asked for.

    Holds the viewer weakly, so that the viewer can go.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
    settings : Settings, optional
        Those that napari remembers, unless given.
    """

    def __init__(self, viewer: Any, settings: Settings | None = None) -> None:
        self._viewer = weakref.ref(viewer)
        self._context: Context | None = None
        self.settings = stored_settings() if settings is None else settings
        self.view = view_of(viewer)
        self.view.begin(self.settings.convention)

    @property
    def context(self) -> Context:
        """What the controllers work with; made when the first dock opens."""
        if self._context is None:
            viewer = self._viewer()
            runner, engine = runners_for(viewer)
            release = engine.release if isinstance(engine, ProcessRunner) else lambda: None
            models = ModelsController(ModelShelf(), notify_error, release, self.settings)
            if isinstance(engine, ProcessRunner):
                engine.on_loaded = models.engine_has
            scans = ScansController(viewer)
            self._context = Context(
                self._viewer, runner, engine, models, scans, notify_error, self.settings
            )
        return self._context

    def get(self, kind: type[C]) -> C:
        """Return the viewer's controller of a kind."""
        return self.context.get(kind)


def runners_for(viewer: Any) -> tuple[Runner, Runner]:
    """Return what runs light and heavy work: threads and a process, or without a window neither.

    The process ends with the window.
    """
    if not hasattr(viewer, "window"):
        return SynchronousRunner(), SynchronousRunner()
    engine = ProcessRunner()
    window = viewer.window._qt_window
    window.destroyed.connect(engine.release)
    return ThreadRunner(window), engine


def notify_error(message: str) -> None:
    """Show an error sentence as a napari notification."""
    from napari.utils.notifications import show_error

    show_error(message)


def unwrapped(viewer: Any) -> Any:
    """Return the viewer behind the proxy that napari hands to widgets."""
    return getattr(viewer, "__wrapped__", viewer)


_SESSIONS: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_for(viewer: Any, settings: Settings | None = None) -> Session:
    """Return the session of a viewer, made when first asked for, with these settings if given."""
    viewer = unwrapped(viewer)
    session = _SESSIONS.get(viewer)
    if session is None:
        session = _SESSIONS[viewer] = Session(viewer, settings)
    return session
