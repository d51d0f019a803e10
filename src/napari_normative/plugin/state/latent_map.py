"""The dock "Latent map"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal, SignalGroupDescriptor

from napari_normative.plugin.state.common import Choice, JobRequests, JobState

PRINCIPAL, UMAP = "principal", "umap"
METHODS = (Choice(PRINCIPAL, "Principal axes"), Choice(UMAP, "UMAP"))
SCORE = "scan_score"


@dataclass(frozen=True, eq=False)
class Colouring:
    """What colours mean.

    Attributes
    ----------
    label : str
    values : float array, shape (n,)
        A number a scan, or the number of its category; NaN where the table has none.
    categories : tuple of str
        Names of the categories; empty for numbers.
    """

    label: str
    values: NDArray[np.float64]
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scatter:
    """What the map shows, whole.

    Attributes
    ----------
    x_label, y_label : str
    scans : float array, shape (n, 2)
    rows : tuple of int
        Row of each in the table; what a click names.
    tips : tuple of str
        What hovering over each shows.
    colouring : Colouring
    people : float array, shape (m, 2)
        The model's own healthy people.
    unseen : bool array, shape (m,)
        Those it was not trained on.
    ellipses : tuple of (level, half axis, half axis)
        Shares of the cohort about 0; none where the axes are no lines.
    current : tuple of (x, y) or None
        The viewer's scan.
    """

    x_label: str
    y_label: str
    scans: NDArray[np.float64]
    rows: tuple[int, ...]
    tips: tuple[str, ...]
    colouring: Colouring
    people: NDArray[np.float64]
    unseen: NDArray[np.bool_]
    ellipses: tuple[tuple[float, float, float], ...]
    current: tuple[float, float] | None


@dataclass(frozen=True)
class NeighbourRow:
    """Somebody near the current scan.

    Attributes
    ----------
    distance : float
    who : str
        File name, or what is known of a person without one.
    row : int
        Row in the table; -1 for a person of the model.
    figures : str
        Scan score and columns, in a line.
    """

    distance: float
    who: str
    row: int
    figures: str


@dataclass
class LatentMapState(JobState):
    """Everything the dock "Latent map" displays.

    Attributes
    ----------
    source : str
        Folder or table; empty for none.
    methods, axes, columns : tuple of Choice
    method, x_axis, y_axis, colour_by : str
        Keys of the chosen entries.
    umap_blocked : str
        Why UMAP cannot be chosen; empty when it can.
    scatter : Scatter or None
        None before the first run.
    refused : tuple of str
        A sentence for each scan without a place.
    scan : str
        Key of the viewer's scan that the star stands for.
    scan_line : str
        Where it lies, or why that is not known.
    place_blocked : str
        Why it cannot be placed now; empty when it can.
    neighbours : tuple of NeighbourRow
        Nearest first.
    neighbours_line : str
        What stands above them.
    placed : int
        Scans on the map.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    source: str = ""
    methods: tuple[Choice, ...] = METHODS
    method: str = PRINCIPAL
    umap_blocked: str = ""
    axes: tuple[Choice, ...] = ()
    x_axis: str = "0"
    y_axis: str = "1"
    columns: tuple[Choice, ...] = ()
    colour_by: str = ""
    scatter: Scatter | None = None
    refused: tuple[str, ...] = ()
    scan: str = ""
    scan_line: str = ""
    place_blocked: str = ""
    neighbours: tuple[NeighbourRow, ...] = ()
    neighbours_line: str = ""
    placed: int = 0


class LatentMapRequests(JobRequests):
    """What the dock asks for."""

    place = Signal()  # encode the current scan
    open_row = Signal(int)
    export = Signal(str)  # path
