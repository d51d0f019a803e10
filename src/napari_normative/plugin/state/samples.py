"""What the dock "Samples" shows and asks for: synthetic volumes, and the latent explorer."""

from __future__ import annotations

from dataclasses import dataclass

from psygnal import Signal

from napari_normative.plugin.state.common import JobRequests, JobState

PRIOR, POSTERIOR, INTERPOLATION = "prior", "posterior", "interpolation"
REACH_SD = 3.0
"""A slider goes this far either way."""


@dataclass
class SamplesState(JobState):
    """Everything the upper part of the dock displays.

    Attributes
    ----------
    kind : str
        ``prior``: as the cohort is spread; ``posterior``: about a scan; ``interpolation``:
        from a scan to a second one.
    scan, second : str
        Keys of the chosen layers; empty for none.
    count, seed : int
        How many volumes; where the random numbers begin.
    temperature : float
        Spread of the draws: 1 as learnt, 0 the mean.
    volumes, maps : bool
        Whether the draws become a layer; whether their mean and SD do.
    replace_earlier : bool
    playing : bool
    rate : float
        Volumes a second.
    play_blocked, save_blocked : str
        Why these cannot be pressed; empty when they can.
    """

    kind: str = PRIOR
    scan: str = ""
    second: str = ""
    count: int = 8
    seed: int = 0
    temperature: float = 1.0
    volumes: bool = True
    maps: bool = True
    replace_earlier: bool = True
    playing: bool = False
    rate: float = 4.0
    play_blocked: str = "Draw a series first."
    save_blocked: str = "Draw something first."

    @property
    def person(self) -> str | None:
        """Of whose scan the answers count, empty for nobody's; None between two people."""
        return {PRIOR: "", POSTERIOR: self.scan or None}.get(self.kind)


class SamplesRequests(JobRequests):
    """What the upper part asks for."""

    play = Signal()  # or stop
    save = Signal(str)  # path of a folder


@dataclass(frozen=True)
class SliderRow:
    """One latent direction with its slider.

    Attributes
    ----------
    name : str
    share : str
        How much it is used, in words.
    """

    name: str
    share: str


@dataclass
class ExplorerState(JobState):
    """Everything the latent explorer displays.

    Attributes
    ----------
    order : str
        ``kl`` or ``variance``: what the directions are sorted by.
    start : str
        Key of the scan whose latent the sliders start from; the cohort's mean when empty.
    rows : tuple of SliderRow
        Empty while nothing is explored.
    values : tuple of float
        Of the sliders, in SD of the cohort.
    note : str
        What a slider means for this model.
    """

    order: str = "kl"
    start: str = ""
    rows: tuple[SliderRow, ...] = ()
    values: tuple[float, ...] = ()
    note: str = ""


class ExplorerRequests(JobRequests):
    """What the latent explorer asks for."""

    move = Signal(int, float)  # slider, SD
    reset = Signal()  # all sliders
    effect = Signal(int)  # slider
