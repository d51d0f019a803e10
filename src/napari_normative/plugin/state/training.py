"""The dock "Train a model"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_normative.plugin.state.common import Choice, JobRequests, JobState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIGURES = (
    ("elbo_nats", "ELBO", "nats"),
    ("reconstruction_nats", "Reconstruction", "nats"),
    ("kl_nats", "KL", "nats"),
    ("active_units", "Active units", ""),
    ("held_out_mae", "Held-out error", "MAE"),
)
"""Field of a point of the curves, its name, its unit."""

COLUMNS = ("File", "Result", "Split", "Person", "Site", "Voxels", "mm", "Axes")


@dataclass(frozen=True, eq=False)
class FileRow:
    """One scan of the cohort in the check table.

    Attributes
    ----------
    cells : tuple of str
        In the order of ``COLUMNS``.
    path : str
    good, odd : bool
        Whether it is used; whether there is something to be warned of.
    notes : str
        Warnings, or why it is refused.
    picture : uint8 array, shape (rows, columns), or None
    """

    cells: tuple[str, ...]
    path: str
    good: bool
    odd: bool
    notes: str
    picture: NDArray[np.uint8] | None


@dataclass
class TrainingState(JobState):
    """Everything the dock displays besides devices; as a job it checks the cohort.

    Attributes
    ----------
    cohort : str
        Folder, pattern or table.
    balance : str
        Columns of the table that make the groups, with commas.
    rows : tuple of FileRow
    split_header : tuple of str
    split : tuple of tuple of str
        Cells of the split preview, the sum last.
    problems : str
        Why the cohort cannot be trained on.
    presets : tuple of Choice
    preset, preset_line, estimate : str
    variants : tuple of Choice
    variant, variant_line : str
        Another form of the autoencoder, and what it is; empty for the preset as it is.
    columns, condition_on : tuple of str
        What the network can be told of the checked people; what of it it is told.
    out, title, license_text, credit, changes : str
        ``changes`` holds NAME=VALUE, one per line.
    template : str
        File to align to instead of the preset's; empty for the preset's.
    forget_people : bool
        Leave the latents of the cohort's people out of the model file.
    seed : int
    max_minutes : int
        0 for no limit.
    starting : bool
        A process is coming to life.
    start_blocked, stop_blocked, resume_blocked : str
        Why the buttons cannot be pressed; empty when they can.
    trainings : tuple of Choice
        That are known on this computer, newest first.
    training : str
        Key of the one that is shown.
    headline : str
        What it is and how it fares.
    headline_bad : bool
        Whether that is no good news.
    done : float
        Of the stage, 0 to 1.
    stage, device_line, log : str
    curves : tuple of (field of ``FIGURES``, steps, values)
    montage : bytes
        PNG.
    train_error : str
        Why the last start failed, or what a training ended with.
    card : str
        The finished model in lines.
    comparison : tuple of tuple of str
        Rows of the baseline comparison, the header first.
    use_blocked : str
    """

    run_blocked: str = "Choose a folder or a table of healthy scans first."
    cohort: str = ""
    balance: str = "site"
    rows: tuple[FileRow, ...] = ()
    split_header: tuple[str, ...] = ()
    split: tuple[tuple[str, ...], ...] = ()
    problems: str = ""
    presets: tuple[Choice, ...] = ()
    preset: str = "brain-2mm"
    preset_line: str = ""
    variants: tuple[Choice, ...] = ()
    variant: str = ""
    variant_line: str = ""
    columns: tuple[str, ...] = ()
    condition_on: tuple[str, ...] = ()
    estimate: str = ""
    out: str = ""
    title: str = ""
    license_text: str = ""
    credit: str = ""
    changes: str = ""
    template: str = ""
    forget_people: bool = False
    seed: int = 0
    max_minutes: int = 0
    starting: bool = False
    start_blocked: str = "Check a cohort first."
    stop_blocked: str = "Nothing is being trained."
    resume_blocked: str = "There is nothing to resume."
    trainings: tuple[Choice, ...] = ()
    training: str = ""
    headline: str = ""
    headline_bad: bool = False
    stage: str = ""
    done: float = 0.0
    device_line: str = ""
    log: str = ""
    curves: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...] = ()
    montage: bytes = b""
    train_error: str = ""
    card: str = ""
    comparison: tuple[tuple[str, ...], ...] = ()
    use_blocked: str = "There is no finished model yet."


class TrainingRequests(JobRequests):
    """What the dock asks for; ``run`` checks the cohort."""

    start = Signal()
    stop = Signal()
    resume = Signal()
    attach = Signal(str)  # work folder
    use_model = Signal()
    open_file = Signal(str)  # path
