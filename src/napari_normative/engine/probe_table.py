"""The scans of a table that have a value in a column, and what kind of value it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_normative.core.probe import (
    FEWEST,
    FEWEST_NUMBERS,
    Kind,
    Rows,
    Target,
    kind_of,
)
from napari_normative.engine.cohort import scans_table
from napari_normative.errors import CohortError, ProbeError

_MISSING = {"", "n/a", "na", "nan", "none", "null"}


@dataclass(frozen=True)
class LabelledScan:
    """A scan with its value.

    Attributes
    ----------
    row : int
        Of the table, from 1; names it in results.
    path : Path
    subject, site : str
    cell : str
        The value as written.
    digest : str
        SHA-256 of the file; empty before it is read.
    """

    row: int
    path: Path
    subject: str
    site: str
    cell: str
    digest: str = ""

    def with_digest(self, digest: str) -> LabelledScan:
        """Return the scan with the digest of its file."""
        return dataclasses.replace(self, digest=digest)


@dataclass(frozen=True, eq=False)
class Labels:
    """Values that a probe can be fitted to.

    Attributes
    ----------
    target : Target
    rows : int array
        Which of the scans they belong to: the others are of rare categories.
    rare : dict of str to int
        Categories that were left out, with their people.
    """

    target: Target
    rows: Rows
    rare: dict[str, int]


def has_value(cell: str) -> bool:
    """Return whether a cell of a table says anything."""
    return cell.strip().lower() not in _MISSING


def labelled_scans(source: str | Path, column: str) -> tuple[list[LabelledScan], int]:
    """Return the scans that have a value, and how many have none.

    Raises
    ------
    CohortError
        ``COH-001`` nothing found, ``COH-002`` a bad table.
    ProbeError
        ``PRB-001`` when there is no such column.
    """
    try:
        table = scans_table(source)
    except CohortError as error:
        raise CohortError(
            error.code, error.what, error.remedy, subject=error.subject,
            consequence="No probe was made.",
        ) from error  # fmt: skip
    if column not in table or column in {"path", "subject"}:
        others = [name for name in table.columns if name not in {"path", "subject"}]
        raise ProbeError(
            "PRB-001",
            f"there is no column {column!r} to tell",
            f"Choose among {', '.join(others)}.",
            subject=Path(str(source)).name,
        )
    cells = [cell.strip() for cell in table[column]]
    listed = zip(table["path"], table["subject"], table["site"], cells, strict=True)
    scans = [
        LabelledScan(n, Path(path), subject, site, cell)
        for n, (path, subject, site, cell) in enumerate(listed, start=1)
        if has_value(cell)
    ]
    return scans, len(cells) - len(scans)


def kind_and_target(
    scans: Sequence[LabelledScan], column: str, kind: Kind | None, folds: int
) -> Labels:
    """Return the values of scans as categories or numbers.

    Raises
    ------
    ProbeError
        ``PRB-002`` too few people, ``PRB-003`` texts where numbers were asked for.
    """
    cells = [scan.cell for scan in scans]
    chosen = kind or kind_of(cells)
    names = sorted({scan.subject for scan in scans})
    person = {name: n for n, name in enumerate(names)}
    people = np.array([person[scan.subject] for scan in scans], dtype=np.intp)
    if chosen == "number":
        return Labels(_numbers(cells, people, column), np.arange(len(scans)), {})
    fewest = max(FEWEST, folds)
    owners: dict[str, set[int]] = {}
    for cell, who in zip(cells, people.tolist(), strict=True):
        owners.setdefault(cell, set()).add(who)
    classes = tuple(sorted(name for name, whose in owners.items() if len(whose) >= fewest))
    rare = {name: len(whose) for name, whose in sorted(owners.items()) if name not in classes}
    if len(classes) < 2:
        counts = ", ".join(f"{name} {len(whose)}" for name, whose in sorted(owners.items())[:8])
        raise ProbeError(
            "PRB-002",
            f"{len(classes)} categories of {column!r} have {fewest} or more people with a scan "
            f"that can be used, two are needed ({counts or 'no values'})",
            "Add people; if the column holds numbers, ask for --kind number.",
        )
    rows = np.array([n for n, cell in enumerate(cells) if cell in classes], dtype=np.intp)
    values = np.array([float(classes.index(cells[n])) for n in rows])
    return Labels(Target("category", values, people[rows], classes), rows, rare)


def _numbers(cells: Sequence[str], people: Rows, column: str) -> Target:
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError as error:
        raise ProbeError(
            "PRB-003",
            f"the column {column!r} holds texts, not numbers ({error})",
            "Write n/a where there is no number, or ask for --kind category.",
        ) from error
    found = len(np.unique(people))
    varied = math.isfinite(float(values.sum())) and len(np.unique(values)) > 2
    if found < FEWEST_NUMBERS or not varied:
        raise ProbeError(
            "PRB-002",
            f"{found} people with a scan that can be used have numbers in {column!r}, "
            f"{FEWEST_NUMBERS} with different finite ones are needed",
            "Add people.",
        )
    return Target("number", values, people)
