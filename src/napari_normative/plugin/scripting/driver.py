"""Pressing what the docks have, waiting for it, and raising what they would say in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from napari_normative.errors import SessionError
from napari_normative.plugin.controllers.base import C, Context
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.scripting.waiting import run_work, wait_for
from napari_normative.plugin.session import session_for
from napari_normative.plugin.viewing import is_open, main_window

if TYPE_CHECKING:
    from napari.components import ViewerModel


class Driver:
    """Drives the controllers of a viewer; the ground that :class:`ScriptedSession` stands on.

    Parameters
    ----------
    viewer : napari Viewer or ViewerModel
    timeout_s : float
        Longest time that one step may take.
    """

    def __init__(self, viewer: ViewerModel, timeout_s: float) -> None:
        self.viewer = viewer
        self._timeout_s = timeout_s
        self._session = session_for(viewer)
        self._session.view.prepare()

    @property
    def context(self) -> Context:
        """What the viewer's controllers work with."""
        return self._session.context

    def controller(self, kind: type[C]) -> C:
        """Return a controller of the viewer."""
        return self._session.get(kind)

    def work(self, title: str, work: Callable[..., Any]) -> Any:
        """Do a piece of work in a thread and return its result."""
        runner = self.context.runner
        return run_work(self.viewer, runner, title, work, timeout_s=self._timeout_s)

    def wait(
        self,
        what: str,
        condition: Callable[[], bool],
        changes: Iterable[Any],
        **hooks: Callable[[], None],
    ) -> None:
        """Let the event loop run until a condition holds; see :func:`wait_for`."""
        wait_for(self.viewer, condition, changes, what=what, timeout_s=self._timeout_s, **hooks)

    def press(self, what: str, controller: Any, run: Callable[[], None]) -> None:
        """Press Run, wait, and raise what went wrong."""
        state = controller.state
        if state.running:
            raise self.refusal(what, "Wait until the window is done, or cancel it there.")
        self.require(what, state.run_blocked)
        changes = [state.events.running]
        self.wait(what, lambda: not state.running, changes, begin=run, cancel=controller.cancel)
        if controller.ended_with is not None:
            raise controller.ended_with

    def settle(self) -> None:
        """Wait until the panes have all their layers."""
        board = self.controller(LayoutController).board
        self.wait("layout", lambda: board.settled, ())

    def clear(self) -> None:
        """Take all layers away."""
        if is_open(self.viewer):
            self.viewer.layers.clear()

    def require_window(self, what: str) -> Any:
        """Return napari's window, or refuse."""
        if main_window(self.viewer) is None:
            raise SessionError(
                "SES-005",
                "it needs a window, and this session has none",
                "Open the session without a viewer, or with napari.Viewer().",
                subject=what,
            )
        return self.viewer.window

    def require(self, what: str, blocked: str) -> None:
        """Raise the reason why something cannot be done, if there is one."""
        if blocked:
            raise self.refusal(what, blocked)

    def require_one_of(self, what: str, name: str, names: Sequence[str]) -> None:
        """Raise if there is nothing of this name."""
        if name not in names:
            raise SessionError(
                "SES-006",
                f"there is no {what} {name!r}",
                f"Choose one of: {', '.join(names)}.",
            )

    def refusal(self, what: str, reason: str) -> SessionError:
        """Return the error for what cannot be done now."""
        return SessionError("SES-001", "it cannot be done now", reason, subject=what)
