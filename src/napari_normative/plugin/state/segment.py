"""Candidates grown to their edges, and what the chosen one rests on."""

from __future__ import annotations

from dataclasses import dataclass

from napari_normative.plugin.state.common import Choice, JobState

ALL, RATE, FDR = "all", "rate", "fdr"
RULES = (
    Choice(ALL, "all candidates"),
    Choice(RATE, "false per scan ≤"),
    Choice(FDR, "false share (FDR) ≤"),
)


@dataclass
class SegmentState(JobState):
    """The candidates of the listed detection, grown.

    Attributes
    ----------
    rule : {"all", "rate", "fdr"}
        Which candidates are kept.
    rate : float
        At most so many as strong per healthy scan, on average.
    fdr : float
        Highest q (Benjamini-Hochberg).
    """

    rule: str = ALL
    rate: float = 0.5
    fdr: float = 0.2
    run_blocked: str = "Run the anomaly map first."


@dataclass
class AttributionState(JobState):
    """What the chosen candidate rests on."""

    run_blocked: str = "Run the anomaly map first."
