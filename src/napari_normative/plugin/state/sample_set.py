"""What the tab "Write a set" of the dock "Samples" shows and asks for."""

from __future__ import annotations

from dataclasses import dataclass

from psygnal import Signal

from napari_normative.plugin.state.common import Choice, JobRequests, JobState
from napari_normative.plugin.state.samples import PRIOR

GROUP = "group"
"""Besides the kinds of the dock's other draws: like a group of a table's people."""


@dataclass
class SetState(JobState):
    """Everything the tab displays.

    Attributes
    ----------
    kind : str
        ``prior``, ``posterior``, ``interpolation`` or ``group``.
    scan, second : str
        Keys of the chosen layers; empty for none.
    table : str
        Of the group's people.
    columns, values : tuple of Choice
        Of the table, and of the chosen column; none before it was read.
    column, value : str
    table_error : str
        Why the table cannot be used.
    count, seed : int
    temperature : float
    folder : str
        Of the set.
    real : str
        Folder or table of real scans to compare with; empty for no report.
    report : str
        Path of the report that was written last; empty without one.
    shown : int
        How many volumes to show.
    show_blocked : str
        Why none can be shown; empty when they can.
    """

    kind: str = PRIOR
    scan: str = ""
    second: str = ""
    table: str = ""
    columns: tuple[Choice, ...] = ()
    column: str = ""
    values: tuple[Choice, ...] = ()
    value: str = ""
    table_error: str = ""
    count: int = 10
    seed: int = 0
    temperature: float = 1.0
    folder: str = ""
    real: str = ""
    report: str = ""
    shown: int = 4
    run_blocked: str = "Choose a folder for the set."
    show_blocked: str = "Write a set first."


class SetRequests(JobRequests):
    """What the tab asks for."""

    show = Signal()  # some of the volumes
