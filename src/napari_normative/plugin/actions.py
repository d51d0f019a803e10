"""What the commands of ``napari.yaml`` do: one table, for the palette and for the tour."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.attribution import AttributionController
from napari_normative.plugin.controllers.base import JobController
from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.controllers.explorer import ExplorerController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.reading import ReadingController
from napari_normative.plugin.controllers.restore import RestoreController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.controllers.segment import SegmentController
from napari_normative.plugin.jobs import Repeater
from napari_normative.plugin.session import Session, notify_error, session_for
from napari_normative.plugin.settings import PLUGIN

WAIT_S, INTERVAL_S = 3.0, 0.05


@dataclass(frozen=True)
class Action:
    """A command.

    Attributes
    ----------
    do : callable of (Session), optional
        Does it, and returns why it could not; empty when it could.
    dock : str
        Shown first; none when empty.
    ready : callable of (Session)
        Whether what the command needs to know is known; it waits a moment if not.
    """

    do: Callable[[Session], str] = lambda session: ""
    dock: str = ""
    ready: Callable[[Session], bool] = lambda session: True


def perform(name: str) -> None:
    """Do a command in the current window, or say why it cannot be done; nothing without one."""
    import napari

    viewer = napari.current_viewer()
    if viewer is None:
        return
    action = ACTIONS[name]
    if action.dock:
        dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, action.dock, tabify=True)
        dock.show()
        dock.raise_()
    session = session_for(viewer)
    if action.ready(session):
        _do(action, session)
    else:
        _do_later(action, session)


_waiting: set[Repeater] = set()
"""Clocks that nobody else holds."""


def _do(action: Action, session: Session) -> None:
    if reason := action.do(session):
        notify_error(reason)


def _do_later(action: Action, session: Session) -> None:
    """Do it when the dock that just opened has looked at the scan, or after some seconds."""
    begun = time.monotonic()

    def look() -> None:
        if action.ready(session) or time.monotonic() - begun > WAIT_S:
            timer.stop()
            _waiting.discard(timer)
            _do(action, session)

    timer = session.context.runner.repeat(INTERVAL_S, look)
    _waiting.add(timer)


def _run_on_selected(session: Session) -> str:
    made = session.get(AnomalyController)
    viewer = session.context.viewer()
    layer = None if viewer is None else viewer.layers.selection.active
    if layer is None or not made.choose(layer):
        return "Select the image layer of a scan first, then choose this command again."
    if made.state.running:
        return "The anomaly map is being made."
    made.run()
    return made.state.run_blocked


def _run_on_all(session: Session) -> str:
    made = session.get(AnomalyController)
    if made.state.running:
        return "The anomaly map is being made."
    if made.state.all_label:
        made.run_all()
        return ""
    made.run()  # there is one scan, or none
    return made.state.run_blocked


def _candidate(by: int, session: Session) -> str:
    made = session.get(CandidatesController)
    made.step(by)
    return "" if made.state.rows else "There are no candidates: run the anomaly map first."


def _of_candidates(
    kind: type[SegmentController] | type[AttributionController], session: Session
) -> str:
    made = session.get(kind)
    if made.state.running:
        return "This is being made."
    made.run()
    return made.state.run_blocked


def _draw(session: Session) -> str:
    made = session.get(SamplesController)
    if made.state.running:
        return "Samples are being made."
    made.draw()
    return made.state.run_blocked


def _play(session: Session) -> str:
    made = session.get(SamplesController)
    if not made.state.play_blocked:
        made.play()
    return made.state.play_blocked


def _fill(session: Session) -> str:
    made = session.get(RestoreController)
    made.run()
    return made.state.run_blocked


def _explore(session: Session) -> str:
    made = session.get(ExplorerController)
    made.run()
    return made.state.run_blocked


def _reset_explorer(session: Session) -> str:
    made = session.get(ExplorerController)
    if not made.state.rows:
        return "There are no sliders yet: press Explore in the dock Samples, Latent explorer."
    made.reset()
    return ""


def _cancel(session: Session) -> str:
    controllers = session.context.controllers.values()
    running = [made for made in controllers if isinstance(made, JobController) and made.is_running]
    for made in running:
        made.cancel()
    return "" if running else "Nothing is running."


def _unload(session: Session) -> str:
    models = session.context.models
    if models.state.busy:
        return "The model is at work: cancel first."
    if not models.state.loaded:
        return "No model is in memory."
    models.unload()
    return ""


def _layout(layout: str, session: Session) -> str:
    # Says by itself what is missing.
    session.get(LayoutController).state.layout = layout
    return ""


def _convention(convention: str, session: Session) -> str:
    session.get(LayoutController).state.convention = convention
    return ""


def _toggle(field: str, session: Session) -> str:
    state = session.get(LayoutController).state
    setattr(state, field, not getattr(state, field))
    return ""


def _fit(session: Session) -> str:
    session.get(LayoutController).fit()
    return ""


def _hide_overlay(session: Session) -> str:
    state = session.get(ReadingController).state
    if not state.overlay_blocked:
        state.hidden = not state.hidden
    return state.overlay_blocked


def _compare(kind: str, session: Session) -> str:
    state = session.get(ReadingController).state
    if not state.compare_blocked:
        state.compare = "" if state.compare == kind else kind
    return state.compare_blocked


def _request(request: str, blocked: str, session: Session) -> str:
    made = session.get(ReadingController)
    reason: str = getattr(made.state, blocked)
    if not reason:
        getattr(made.requests, request).emit()
    return reason


def _settings(session: Session) -> str:
    viewer: Any = session.context.viewer()
    # napari has no public way; the menu File, Preferences calls this.
    viewer.window._open_preferences_dialog()
    dialog = viewer.window._pref_dialog
    names = [dialog._list.item(row).text() for row in range(dialog._list.count())]
    if "Normative models" in names:
        dialog._list.setCurrentRow(names.index("Normative models"))
    return ""


def _save_session(session: Session) -> str:
    from napari_normative.plugin.scripting.dialogs import save_by_hand

    return save_by_hand(session)


def _open_session(session: Session) -> str:
    from napari_normative.plugin.scripting.dialogs import open_by_hand

    return open_by_hand(session)


def _is_read(session: Session) -> bool:
    made = session.get(ReadingController)
    return not made.state.scan or made.subject.measured is not None


def _in_reading_room(do: Callable[[Session], str]) -> Action:
    return Action(do, READING, _is_read)


READING = "Reading room"
ACTIONS: dict[str, Action] = {
    "open_anomaly_map": Action(dock="Anomaly map"),
    "open_reading_room": Action(dock=READING),
    "open_samples": Action(dock="Samples"),
    "open_latent_map": Action(dock="Latent map"),
    "open_train": Action(dock="Train a model"),
    "open_restore": Action(dock="Restore"),
    "open_review": Action(dock="Review"),
    "getting_started": Action(dock="Getting started"),
    "settings": Action(_settings),
    "save_session": Action(_save_session),
    "open_session": Action(_open_session),
    "anomaly_map_of_selected": Action(_run_on_selected, "Anomaly map"),
    "anomaly_map_of_all": Action(_run_on_all, "Anomaly map"),
    "next_candidate": Action(partial(_candidate, 1), "Anomaly map"),
    "candidate_before": Action(partial(_candidate, -1), "Anomaly map"),
    "segment_candidates": Action(partial(_of_candidates, SegmentController), "Anomaly map"),
    "attribute_candidate": Action(partial(_of_candidates, AttributionController), "Anomaly map"),
    "draw_samples": Action(_draw, "Samples"),
    "play_samples": Action(_play, "Samples"),
    "fill_missing": Action(_fill, "Restore"),
    "explore": Action(_explore, "Samples"),
    "reset_explorer": Action(_reset_explorer, "Samples"),
    "cancel": Action(_cancel),
    "unload_model": Action(_unload),
    "layout_axial": Action(partial(_layout, "axial")),
    "layout_coronal": Action(partial(_layout, "coronal")),
    "layout_sagittal": Action(partial(_layout, "sagittal")),
    "layout_planes": Action(partial(_layout, "planes")),
    "layout_planes_3d": Action(partial(_layout, "planes+3d")),
    "layout_side_by_side": Action(partial(_layout, "side-by-side")),
    "radiological": Action(partial(_convention, "radiological")),
    "neurological": Action(partial(_convention, "neurological")),
    "crosshair": Action(partial(_toggle, "crosshair")),
    "letters": Action(partial(_toggle, "letters")),
    "fit": Action(_fit),
    "hide_overlay": _in_reading_room(_hide_overlay),
    "flicker": _in_reading_room(partial(_compare, "flicker")),
    "checkerboard": _in_reading_room(partial(_compare, "checkerboard")),
    "swipe": _in_reading_room(partial(_compare, "swipe")),
    "reset_window": _in_reading_room(partial(_request, "reset_window", "window_blocked")),
    "reset_threshold": _in_reading_room(partial(_request, "reset_threshold", "threshold_blocked")),
}
"""By the end of the command's id."""
