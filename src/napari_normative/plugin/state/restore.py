"""What the dock "Restore" shows and asks for: filled scans, and scans too large to open."""

from __future__ import annotations

from dataclasses import dataclass

from psygnal import Signal

from napari_normative.plugin.state.common import JobRequests, JobState

FOUND, SLICES, MARKED = "found", "slices", "marked"


@dataclass
class RestoreState(JobState):
    """Everything the tab "This scan" displays.

    Attributes
    ----------
    scan : str
        Key of the chosen layer; empty for none.
    missing : str
        ``found``: voxels that are no numbers, slices without signal; ``slices``: those typed;
        ``marked``: what a labels layer covers.
    slices : str
        Such as ``k:40-44, i:7``: axes as stored, counted from 0.
    axes_line : str
        How far each stored axis goes, and where to.
    slice_blocked : str
        Why the slice on the screen cannot be added; empty when it can.
    labels : str
        Key of the labels layer.
    replace_earlier : bool
    denoise_blocked : str
        Why the scan cannot be denoised; empty when it can.
    save_blocked : str
        Why nothing can be saved; empty when something can.
    """

    scan: str = ""
    missing: str = FOUND
    slices: str = ""
    axes_line: str = ""
    slice_blocked: str = ""
    labels: str = ""
    replace_earlier: bool = True
    run_blocked: str = "Open a scan first."
    denoise_blocked: str = "Open a scan first."
    save_blocked: str = "Fill or denoise this scan first."


class RestoreRequests(JobRequests):
    """What the tab "This scan" asks for."""

    denoise = Signal()
    add_slice = Signal()  # the one on the screen
    save = Signal(str)  # path of a folder


@dataclass
class LargeState(JobState):
    """Everything the tab "Large file" displays.

    Attributes
    ----------
    source, folder : str
        The scan's file, and where its reconstruction goes.
    refused, force : bool
        Whether the scan was refused for its contrast; whether to go on all the same.
    """

    source: str = ""
    folder: str = ""
    refused: bool = False
    force: bool = False
    run_blocked: str = "Choose the file of a scan first."


class LargeRequests(JobRequests):
    """What the tab "Large file" asks for."""
