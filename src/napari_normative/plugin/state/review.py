"""The dock "Review": what it displays, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import Signal, SignalGroupDescriptor

from napari_normative.plugin.state.common import Choice, JobRequests, JobState

SHOWS = (
    Choice("all", "All"),
    Choice("open", "Without decision"),
    Choice("accept", "Accepted"),
    Choice("reject", "Rejected"),
    Choice("uncertain", "Uncertain"),
    Choice("skipped", "Skipped"),
    Choice("flagged", "Flagged"),
    Choice("edited", "Edited"),
)
ORDERS = (
    Choice("random", "At random, another order for each reader"),
    Choice("evidence", "Strongest evidence first"),
    Choice("list", "As an assignment list says"),
)
FORMATS = (
    Choice("labels", "NIfTI labels with a lookup table"),
    Choice("bids", "BIDS derivatives"),
    Choice("tables", "Tables and event log (TSV)"),
    Choice("slicer", "3D Slicer: segmentation and markups"),
    Choice("masks", "Masks of the findings, for training"),
    Choice("cases", "Table of cases, for evaluate"),
    Choice("dicom", "DICOM SEG and SR, with the source series"),
)


@dataclass(frozen=True)
class ReviewRow:
    """A candidate of the scan at hand.

    Attributes
    ----------
    candidate : str
    number : int
        Its value in the labels.
    decision : str
    marks : str
        Flagged, edited, skipped, added.
    volume_ml : float
    place : str
        Centroid in words.
    label, comment : str
    z, p : float or None
        None while scores are hidden.
    others : str
        What other readers decided; empty unless this is an adjudication.
    """

    candidate: str
    number: int
    decision: str
    marks: str
    volume_ml: float
    place: str
    label: str
    comment: str
    z: float | None = None
    p: float | None = None
    others: str = ""


@dataclass
class ReviewState:
    """Everything the dock displays besides files.

    Attributes
    ----------
    is_open : bool
    headline : str
        Title and role.
    warning : str
        Read-only, tampered with, migrated: what the reader must know.
    case_line : str
        Which scan of how many.
    progress_line : str
    fraction : float
        Of the candidates that are decided.
    saved : str
        ``Saved`` only when all is on the disk.
    not_saved : str
        Why something is not; empty as a rule.
    rows : tuple of ReviewRow
    selected : str
        Candidate; empty for the scan as a whole.
    decide_blocked : str
        Why nothing can be decided.
    edit_blocked, undo_blocked, redo_blocked, submit_blocked, rank_blocked : str
    show : str
        Filter that next and previous keep to.
    auto_advance : bool
        Go on after a decision.
    labels : tuple of str
        That a finding may be given.
    hidden : bool
        The outlines are hidden.
    growing : bool
        The next click on the picture grows a finding.
    ranked : bool
        The rest is ordered by what was decided so far.
    rank_line : str
        What that order is worth.
    loading : str
        What is being read.
    note : str
        What the last action came to; empty as a rule.
    visible : bool
        The dock can be seen, and so its keys work.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    is_open: bool = False
    headline: str = ""
    warning: str = ""
    case_line: str = ""
    progress_line: str = ""
    fraction: float = 0.0
    saved: str = ""
    not_saved: str = ""
    rows: tuple[ReviewRow, ...] = ()
    selected: str = ""
    decide_blocked: str = "Open a review first."
    edit_blocked: str = "Open a review first."
    undo_blocked: str = "Nothing was decided yet."
    redo_blocked: str = "Nothing was undone."
    submit_blocked: str = "Open a review first."
    rank_blocked: str = "Open a review first."
    show: str = "all"
    auto_advance: bool = True
    labels: tuple[str, ...] = ()
    hidden: bool = False
    growing: bool = False
    ranked: bool = False
    rank_line: str = ""
    loading: str = ""
    note: str = ""
    visible: bool = False


class ReviewRequests:
    """What the dock asks for."""

    open = Signal(str)  # path of a review file
    close = Signal()
    decide = Signal(str)  # accept, reject, uncertain, skip
    flag = Signal()
    undo = Signal()
    redo = Signal()
    step = Signal(int)  # 1 the next, -1 the one before
    step_case = Signal(int)
    label = Signal(str)
    comment = Signal(str)
    paint = Signal(str)  # paint or erase the selected candidate
    new_finding = Signal()
    split = Signal()
    merge = Signal(tuple)  # candidates that become one
    save_again = Signal()
    submit = Signal()


@dataclass
class ReviewFilesState(JobState):
    """Making reviews, comparing readers, and taking results out.

    Attributes
    ----------
    source : str
        Folder of detections, or of scans.
    scans : str
        Folder of the scans; empty for ``source``.
    target : str
        Folder of the new review.
    reader : str
        Who reads, or adjudicates.
    order : str
    listed : str
        File that says which scans, for the order ``list``.
    blind : bool
    words : str
        Label set, separated by commas.
    format : str
        Of an export.
    export_blocked, import_blocked, compare_blocked, adjudicate_blocked : str
    """

    source: str = ""
    scans: str = ""
    target: str = ""
    reader: str = ""
    order: str = "random"
    listed: str = ""
    blind: bool = True
    words: str = ""
    format: str = "labels"
    export_blocked: str = "Open a review first."
    import_blocked: str = "Open a review first."
    compare_blocked: str = ""
    adjudicate_blocked: str = "Say who adjudicates."


class ReviewFilesRequests(JobRequests):
    """What the dock asks for around files; ``run`` makes a review."""

    export = Signal(str, str)  # folder, and folder of the source series for DICOM
    import_masks = Signal(str)  # path of labels of the scan at hand
    compare = Signal(str)  # folder of a project
    adjudicate = Signal(str)  # folder of a project
