"""One session per viewer: its state and controllers, however its docks come and go."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from napari_normative.plugin.controllers import AnomalyController
from napari_normative.plugin.jobs import Runner, SynchronousRunner, ThreadRunner
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.state import AnomalyPanel
from napari_normative.plugin.viewing import ViewController


class Session:
    """State and controllers of one viewer.

    Holds the viewer weakly, so that the viewer can go.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
    runner : Runner
    models : ModelShelf, optional
    """

    def __init__(self, viewer: Any, runner: Runner, models: ModelShelf | None = None) -> None:
        self.view = ViewController(viewer)
        self._anomaly: AnomalyController | None = None
        self._runner = runner
        self._models = models or ModelShelf()

    def open_anomaly(self, viewer: Any) -> AnomalyController:
        """Return the controller of the dock "Anomaly map", started once."""
        if self._anomaly is None:
            self._anomaly = AnomalyController(
                viewer, AnomalyPanel(), self._runner, self._models, notify_error
            )
        return self._anomaly


def notify_error(message: str) -> None:
    """Show an error sentence as a napari notification."""
    from napari.utils.notifications import show_error

    show_error(message)


def unwrapped(viewer: Any) -> Any:
    """Return the viewer behind the proxy that napari hands to widgets."""
    return getattr(viewer, "__wrapped__", viewer)


_SESSIONS: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_for(viewer: Any) -> Session:
    """Return the session of a viewer, made when first asked for."""
    viewer = unwrapped(viewer)
    session = _SESSIONS.get(viewer)
    if session is None:
        windowed = hasattr(viewer, "window")
        session = Session(viewer, ThreadRunner() if windowed else SynchronousRunner())
        _SESSIONS[viewer] = session
    return session
