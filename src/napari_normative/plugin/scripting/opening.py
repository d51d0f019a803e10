"""Opening sessions that a script drives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.io.session_file import read_session
from napari_normative.plugin.scripting.checking import Read
from napari_normative.plugin.scripting.session import ScriptedSession
from napari_normative.plugin.session import session_for
from napari_normative.plugin.show import new_window
from napari_normative.plugin.state.settings import Settings

if TYPE_CHECKING:
    from napari.components import ViewerModel

SIZE_PX = (1600, 1000)
"""Of a new window."""


def open_session(
    saved: str | Path | None = None,
    *,
    viewer: ViewerModel | None = None,
    search: Sequence[str | Path] = (),
    any_model: bool = False,
    timeout_s: float = 600.0,
    title: str = "napari-normative",
) -> ScriptedSession:
    """Open a session that a script drives; a new one, or one that was saved.

    Parameters
    ----------
    saved : str or Path, optional
        A session file. Its scans are read, its models loaded, its runs done again and
        compared with what they brought before: see :attr:`ScriptedSession.reopened`.
    viewer : napari Viewer or ViewerModel, optional
        A new window unless given. ``napari.components.ViewerModel()`` works without Qt.
    search : sequence of folders
        Where files of a saved session are looked for that are not at their place.
    any_model : bool
        Also run with a model that is not the one of the saved session.
    timeout_s : float
        Longest time that one step may take.
    title : str
        Of the new window.

    Returns
    -------
    ScriptedSession
        As a context manager it closes what it opened.

    Raises
    ------
    SessionError
        If a saved session cannot be opened; then nothing is.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> with open_session(viewer=ViewerModel()) as session:
    ...     detection = session.detect("scan.nii.gz", device="cpu")
    ...     session.layout("planes")
    ...     session.go_to(1)
    ...     list(session.layers)[:3]
    'planes'
    ['scan', 'reconstruction', 'residual']
    """
    read = material = None
    if saved is not None:
        read = Read(Path(saved), read_session(Path(saved)), tuple(map(Path, search)), any_model)
    owned = viewer is None
    if viewer is None:
        if read is not None:  # what is missing is said before a window opens
            material = read(lambda step, fraction: None, lambda: False)
        viewer = new_window()
        viewer.title = title
        viewer.window.resize(*SIZE_PX)
        # A script begins with the defaults and changes nothing that a person stored.
        session_for(viewer, Settings())
    session = ScriptedSession(viewer, owned=owned, timeout_s=timeout_s)
    if read is None:
        return session
    try:
        session.reopen(read, material)
    except BaseException:
        session.close()
        raise
    return session
