"""The people a model is judged on: a table of scans with what is known of each."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_normative.errors import EvaluationError
from napari_normative.io.nifti import read_volume, require_signal, stem
from napari_normative.volume import Mask, Volume, require_same_grid

UNNAMED_KIND = "lesion"


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes
    ----------
    number : int
        Of the row, from 1; what outputs call the case (``case-007``).
    path : Path
    truth : Path or None
        Lesion mask on the scan's grid; None, or a mask without a voxel: a healthy person.
    subject, site : str
    kind : str
        A word for the disease, such as ``stroke``.
    mask : Path or None
        Foreground on the scan's grid.
    """

    number: int
    path: Path
    truth: Path | None
    subject: str
    site: str
    kind: str
    mask: Path | None

    @property
    def id(self) -> str:
        """The name of the case in every output: file and person stay private."""
        return f"case-{self.number:03d}"


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case with its voxels.

    Attributes
    ----------
    case : Case
    scan : Volume
    truth : bool array, shape of ``scan``
    mask : Volume or None
    """

    case: Case
    scan: Volume
    truth: Mask
    mask: Volume | None

    @property
    def healthy(self) -> bool:
        """Whether no voxel is marked."""
        return not bool(self.truth.any())


def read_cases(path: str | Path) -> list[Case]:
    """Return the cases of a tab- or comma-separated table with a header line.

    The column ``path`` is needed (relative to the table's folder); ``truth``, ``subject``,
    ``site``, ``kind`` and ``mask`` are optional, others are ignored. Without ``subject`` the
    first part of the file name up to ``_`` names the person, without ``site`` the folder
    names the site.

    Raises
    ------
    EvaluationError
        ``EVA-001`` when the table cannot be read, has no row, or a row has no path.
    """
    source = Path(path)
    rows = _read_rows(source)

    def file(text: str) -> Path | None:
        return None if text in {"", "n/a"} else source.parent / text

    cases = []
    for number, row in enumerate(rows, start=1):
        scan = source.parent / row["path"]
        cases.append(
            Case(
                number=number,
                path=scan,
                truth=file(row.get("truth", "")),
                subject=row.get("subject", "") or stem(scan).split("_")[0],
                site=row.get("site", "") or scan.resolve().parent.name,
                kind=row.get("kind", "") or UNNAMED_KIND,
                mask=file(row.get("mask", "")),
            )
        )
    return cases


def load_case(case: Case) -> LoadedCase:
    """Read the scan of a case, its truth and its foreground.

    Raises
    ------
    NormativeError
        When a file cannot be read or lies on another grid than the scan.
    """
    scan = read_volume(case.path)
    require_signal(scan)
    marked = np.zeros(scan.shape, dtype=bool)
    if case.truth is not None:
        truth = read_volume(case.truth)
        require_same_grid(scan, truth)
        marked = truth.data > 0
    mask = None
    if case.mask is not None:
        mask = read_volume(case.mask)
        require_same_grid(scan, mask)
    return LoadedCase(case, scan, marked, mask)


def people_of(cases: Iterable[Case]) -> dict[tuple[str, str], str]:
    """Return a pseudonym (``person-01``) for every person of every site."""
    keys = sorted({(case.site, case.subject) for case in cases})
    return {key: f"person-{n:02d}" for n, key in enumerate(keys, start=1)}


def _read_rows(source: Path) -> list[dict[str, str]]:
    """Return the rows by column name, without blanks around words."""
    comma = source.suffix.lower() == ".csv"
    try:
        with source.open(encoding="utf-8-sig", newline="") as handle:
            lines = list(csv.reader(handle, delimiter="," if comma else "\t", strict=True))
    except (OSError, ValueError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise _bad_table(source, f"the table cannot be read ({why})") from error
    cells = [[cell.strip() for cell in line] for line in lines if any(map(str.strip, line))]
    if len(cells) < 2 or "path" not in cells[0]:
        raise _bad_table(source, "the table has no column path, or no row")
    names, rows = cells[0], []
    for number, line in enumerate(cells[1:], start=1):
        if any(line[len(names) :]):
            raise _bad_table(source, f"row {number} has more cells than the header")
        row = dict(zip(names, line, strict=False))
        if not row.get("path"):
            raise _bad_table(source, f"row {number} has no path")
        rows.append(row)
    return rows


def _bad_table(path: Path, what: str) -> EvaluationError:
    return EvaluationError(
        "EVA-001",
        what,
        "Use tab-separated UTF-8 text whose header names path and, where known, truth, subject, "
        "site, kind, mask.",
        subject=path.name,
    )
