"""Saving and opening sessions by hand: file dialogs, one question, what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_normative.errors import NormativeError
from napari_normative.io.session_file import SUFFIX, read_session
from napari_normative.plugin.docks.files import RESULTS, ask_file, ask_target
from napari_normative.plugin.docks.questions import ask
from napari_normative.plugin.scripting.capture import lost_layers
from napari_normative.plugin.scripting.checking import Read
from napari_normative.plugin.scripting.session import ScriptedSession
from napari_normative.plugin.session import Session
from napari_normative.plugin.viewing import main_window

PATTERN = f"Sessions (*{SUFFIX})"
LONGEST_S = 3600.0


def save_by_hand(session: Session) -> str:
    """Ask where to, and save the session; return why it was not saved, if so."""
    viewer: Any = session.context.viewer()
    if not len(viewer.layers):
        return "There is nothing to save yet: open a scan first."
    parent, offered = window_of(viewer), f"viewer{SUFFIX}"
    path = ask_target(parent, session.settings, RESULTS, "Save the session", offered, PATTERN)
    if not path:
        return ""
    target = Path(path if path.endswith(".json") else path + SUFFIX)
    driver = ScriptedSession(viewer, timeout_s=LONGEST_S)
    try:
        lost = lost_layers(driver, target)
        if lost:
            text = f"A session cannot bring back these layers: {', '.join(lost)}."
            if ask(text, ("Save without them",), refuse="Do not save") is None:
                return ""
        driver.save(target, leave_out=lost)
    except NormativeError as error:
        return str(error)
    tell(f"The session was saved: {target.name}")
    return ""


def open_by_hand(session: Session) -> str:
    """Ask which, and open a saved session; return why it was not opened, if so."""
    viewer: Any = session.context.viewer()
    if len(viewer.layers):
        return "A session opens in an empty window: close all layers first, or open a new one."
    path = ask_file(window_of(viewer), session.settings, RESULTS, "Open a session", PATTERN)
    if not path:
        return ""
    driver = ScriptedSession(viewer, timeout_s=LONGEST_S)
    try:
        driver.reopen(Read(Path(path), read_session(Path(path)), (), any_model=False))
    except NormativeError as error:
        return str(error)
    if driver.reopened is not None and str(driver.reopened):
        tell(str(driver.reopened))
    return ""


def window_of(viewer: Any) -> Any:
    """Return the Qt window that a dialog belongs to."""
    return main_window(viewer)


def tell(text: str) -> None:
    """Show a notification."""
    from napari.utils.notifications import show_info

    show_info(text)
