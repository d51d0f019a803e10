"""How a model does beside simple baselines on people it never saw, and what to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from napari_normative.core.config import BaselineKind

BASELINE_NAMES: dict[BaselineKind, str] = {
    "pca": "principal components",
    "atlas": "the mean image",
    "threshold": "an intensity threshold",
}
"""Hardest to beat first."""

_LESIONS = {"hypointense": "darker", "hyperintense": "brighter"}

UNKNOWN = (
    "Not compared with simple baselines: whether it does better than principal components or "
    "an intensity threshold is unknown."
)


class ComparisonRow(BaseModel):
    """One figure of a model beside that of a baseline, over the test people.

    Attributes
    ----------
    figure : {"ap", "error"}
        Voxel average precision of ``|z|`` for simulated lesions (more is better), or mean
        absolute error inside the mask, model units (less is better).
    stratum : str
        Kind of simulated lesion, or site.
    against : {"threshold", "atlas", "pca"}
    people : int
    model, baseline : float
        Means over people.
    difference : float
        Model minus baseline.
    low, high : float or None
        95 % bootstrap interval of the difference over people; None for too few people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    figure: Literal["ap", "error"]
    stratum: str
    against: BaselineKind
    people: int
    model: float
    baseline: float
    difference: float
    low: float | None = None
    high: float | None = None

    @property
    def outcome(self) -> Literal["better", "worse", "undecided"]:
        """What the interval says; undecided where it holds 0 or there is none."""
        if self.low is None or self.high is None:
            return "undecided"
        sign = 1 if self.figure == "ap" else -1
        low, high = sorted((sign * self.low, sign * self.high))
        return "better" if low > 0 else "worse" if high < 0 else "undecided"

    def describe(self, *, figures: bool = True) -> str:
        """Return what was compared, and the model minus the baseline with the interval."""
        if self.figure == "ap":
            what, places = f"{_LESIONS.get(self.stratum, self.stratum)} lesions", 2
        else:
            what, places = f"error at {self.stratum}", 3
        if not figures:
            return what
        what += " AP" if self.figure == "ap" else ""
        text = f"{what} {self.difference:+.{places}f}"
        if self.low is None or self.high is None:
            return f"{text}, {self.people} people"
        return f"{text} [{self.low:+.{places}f}, {self.high:+.{places}f}]"


def beaten(rows: Sequence[ComparisonRow]) -> list[BaselineKind]:
    """Return the baselines that find simulated lesions worse: one kind for sure, none better.

    Reconstruction errors have no say: a model may reconstruct better and find less.
    """
    found: list[BaselineKind] = []
    for kind in BASELINE_NAMES:
        outcomes = {r.outcome for r in rows if r.figure == "ap" and r.against == kind}
        if "better" in outcomes and "worse" not in outcomes:
            found.append(kind)
    return found


def verdict(rows: Sequence[ComparisonRow], *, figures: bool = True) -> str:
    """Return which baselines are beaten on what, and on what they are not, with intervals.

    Without ``figures`` it is short enough for a narrow window.
    """
    if not rows:
        return UNKNOWN
    people = max(row.people for row in rows)
    known = [row for row in rows if row.low is not None]
    if not known:
        return f"Too few people ({people}) to tell whether it beats simple baselines."
    clauses: dict[bool, list[str]] = {True: [], False: []}
    for kind, name in BASELINE_NAMES.items():
        for won, said in clauses.items():
            own = [r for r in known if r.against == kind and (r.outcome == "better") == won]
            if own:
                said.append(f"{name} ({'; '.join(row.describe(figures=figures) for row in own)})")
    who = f"{people} people it never saw, with simulated lesions,"
    if clauses[True]:
        text = f"On {who} it beats {', '.join(clauses[True])}."
        if clauses[False]:
            text += f" It does not beat {', nor '.join(clauses[False])}."
    else:
        text = f"On {who} it beats no simple baseline: not {', not '.join(clauses[False])}."
    few = {row.stratum: row.people for row in rows if row.low is None}
    if few:
        places = ", ".join(f"{place} ({n})" for place, n in few.items())
        text += f" Too few people to tell for {places}."
    return text
