"""What the tab "Tell a column" of the dock "Latent map" shows and asks for."""

from __future__ import annotations

from dataclasses import dataclass

from napari_normative.plugin.state.common import Choice, JobRequests, JobState


@dataclass
class TellState(JobState):
    """A probe, and what it says of a scan.

    Attributes
    ----------
    probe : str
        File of the probe; empty for none.
    probe_line, probe_error : str
        What it is and how well it tells, or why it cannot be read.
    scan : str
        Key of the chosen layer; empty for none.
    told : str
        The value, or the most probable category.
    detail : str
        Interval or probabilities, in lines.
    applies : str
        Whether the probe applies to the scan, in words; empty before anything was told.
    doubts : str
        What speaks against it, in sentences.
    """

    probe: str = ""
    probe_line: str = ""
    probe_error: str = ""
    scan: str = ""
    told: str = ""
    detail: str = ""
    applies: str = ""
    doubts: str = ""
    run_blocked: str = "Choose a probe first, or fit one below."


class TellRequests(JobRequests):
    """Asks what the probe says of the scan."""


@dataclass
class FitState(JobState):
    """A probe to be fitted to a column of the dock's table.

    Attributes
    ----------
    columns : tuple of Choice
        Of the table; none before it was read.
    column : str
    table_error : str
        Why the table cannot be used.
    folder : str
        Of the report and the probe.
    report : str
        Path of the report that was written last; empty without one.
    """

    columns: tuple[Choice, ...] = ()
    column: str = ""
    table_error: str = ""
    folder: str = ""
    report: str = ""
    run_blocked: str = "Choose a table of scans above first."


class FitRequests(JobRequests):
    """Asks for a probe."""
