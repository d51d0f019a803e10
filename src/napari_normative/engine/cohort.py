"""Who trains a model: people, sites, and the split between them."""

from __future__ import annotations

import bisect
import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.errors import CohortError
from napari_normative.io.datalists import read_data_list
from napari_normative.io.nifti import find_volumes, stem

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "calibration-a", "calibration-b", "test")
SHARES = (0.7, 0.1, 0.1, 0.1)
MANY = 8
"""Different numbers in a column above which they are cut into bands."""
MINIMUM = {"train": 4, "calibration-a": 2, "calibration-b": 2, "test": 1}


@dataclass(frozen=True)
class Person:
    """A scan with who, where and what for.

    Attributes
    ----------
    path : Path
    subject, site : str
    split : str
        One of ``SPLITS``.
    more : mapping
        The other columns of the table, as text; empty where the table is.
    """

    path: Path
    subject: str
    site: str
    split: str
    more: Mapping[str, str] = field(default_factory=dict, hash=False)


def read_cohort(source: str | Path, *, seed: int = 0) -> list[Person]:
    """Return the people of a folder, glob pattern, TSV table or data list, split by person.

    A table needs the column ``path`` (relative to the table's folder) and may have
    ``subject``, ``site``, ``split`` and any others (``sex``, ``age``), which people can be
    balanced by and which are kept out of the model.
    Without ``subject`` the first part of the file name up to ``_`` names the person,
    without ``site`` the folder names the site. People without ``split`` are split by
    person, alike within every site, by ``seed``. Data lists of MONAI and datasets of nnU-Net:
    :func:`napari_normative.io.datalists.read_data_list`.

    Raises
    ------
    CohortError
        ``COH-001`` nothing found, ``COH-002`` a bad table, ``COH-003`` one person in two
        splits, ``COH-004`` too few people, ``COH-020`` to ``COH-023`` a bad data list.
    """
    people, problems = list_people(source, seed=seed)
    if problems:
        raise problems[0]
    return people


def list_people(source: str | Path, *, seed: int = 0) -> tuple[list[Person], list[CohortError]]:
    """Return everybody as :func:`read_cohort` does, and why they cannot be trained on.

    Raises
    ------
    CohortError
        ``COH-001`` nothing found, ``COH-002`` a bad table, ``COH-020`` to ``COH-023`` a bad data
        list: there is nobody to list.
    """
    table = scans_table(source)
    shown = Path(str(source)).name
    if "split" not in table:
        table["split"] = ""
    _require_known_splits(table, shown)
    problems = _people_in_two_splits(table, shown)
    _assign_splits(table, seed)
    named = ("subject", "site", "split")
    others = {n: table[n].tolist() for n in table.columns if n not in {"path", *named}}
    more = [{name: cells[row] for name, cells in others.items()} for row in range(len(table))]
    columns = (table[name].tolist() for name in named)
    paths = map(Path, table["path"])
    people = [Person(*row) for row in zip(paths, *columns, more, strict=True)]
    try:
        require_enough(people, shown)
    except CohortError as error:
        problems.append(error)
    return people, problems


def scans_table(source: str | Path, *, leave_out: Path | None = None) -> pd.DataFrame:
    """Return a row for each scan of a folder, a glob pattern or a table, all cells text.

    Parameters
    ----------
    source : path
    leave_out : Path, optional
        A folder whose volumes are results, not scans.

    Returns
    -------
    DataFrame
        ``path``, ``subject``, ``site``, filled in as :func:`read_cohort` says, and the other
        columns of the table.

    Raises
    ------
    CohortError
        ``COH-001`` nothing found, ``COH-002`` a bad table.
    """
    path = Path(str(source))
    if path.is_file() and path.suffix.lower() in {".tsv", ".csv", ".txt"}:
        table = _read_table(path)
    elif (listed := read_data_list(str(source))) is not None:
        import pandas as pd  # late: it takes a third of a second

        table = pd.DataFrame(listed)
    else:
        left = leave_out.resolve() if leave_out else None
        files = find_volumes(source)
        if left is not None:
            files = [file for file in files if left not in file.resolve().parents]
        if not files:
            raise CohortError(
                "COH-001",
                "no volume was found",
                "Pass a folder with NIfTI files, a quoted pattern such as 'scans/*_T1w.nii.gz', "
                "a TSV table with a column path, or a data list (JSON).",
                subject=path.name,
            )
        import pandas as pd  # late: it takes a third of a second

        table = pd.DataFrame({"path": [str(f) for f in files]})
    for column in ("subject", "site"):
        if column not in table:
            table[column] = ""
    table = table.fillna("").astype(str)
    paths = [Path(p) for p in table["path"]]
    table["subject"] = [
        s or stem(p).split("_")[0] for s, p in zip(table["subject"], paths, strict=True)
    ]
    table["site"] = [s or p.parent.name for s, p in zip(table["site"], paths, strict=True)]
    return table


def require_enough(people: Sequence[Person], name: str) -> None:
    """Raise ``COH-004`` unless every split has the people it needs."""
    for split, least in MINIMUM.items():
        found = len({p.subject for p in people if p.split == split})
        if found < least:
            raise CohortError(
                "COH-004",
                f"only {found} people in split {split}, {least} or more are needed",
                "Add healthy scans: ten people are the least that can be split four ways; "
                "a useful model needs fifty or more.",
                subject=name,
            )


def groups(people: Sequence[Person], columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the group of every person: the values of some columns, numbers in bands.

    A column of numbers with more than ``MANY`` different values is cut: ``age`` by decades,
    others at the quartiles of the people given. Empty cells are a group of their own.

    Raises
    ------
    CohortError
        ``COH-007`` when the table has no such column.
    """
    found: list[list[str]] = []
    for column in columns:
        if column in {"subject", "site"}:
            found.append([str(getattr(person, column)) for person in people])
            continue
        known = {name for person in people for name in person.more}
        if column not in known:
            raise CohortError(
                "COH-007",
                f"there is no column {column!r} to balance by",
                f"Choose among {', '.join(['site', *sorted(known)])}.",
            )
        found.append(_bands(column, [person.more.get(column, "").strip() for person in people]))
    return list(zip(*found, strict=True)) if found else [()] * len(people)


def _bands(column: str, cells: list[str]) -> list[str]:
    try:
        numbers = [float(cell) if cell else math.nan for cell in cells]
    except ValueError:
        return cells
    given = sorted({n for n in numbers if math.isfinite(n)})
    if len(given) <= MANY:
        return cells
    if column == "age":
        return [f"{n // 10 * 10:g}s" if math.isfinite(n) else "" for n in numbers]
    cuts = statistics.quantiles((n for n in numbers if math.isfinite(n)), n=4)
    return [f"quarter {bisect.bisect(cuts, n) + 1}" if math.isfinite(n) else "" for n in numbers]


def counts(people: list[Person]) -> dict[str, dict[str, int]]:
    """Return the number of people per split and site."""
    table: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    for subject_site_split in sorted({(p.split, p.site, p.subject) for p in people}):
        split, site, _ = subject_site_split
        table[split][site] = table[split].get(site, 0) + 1
    return table


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd  # late: it takes a third of a second

    try:
        table = pd.read_csv(path, sep="\t" if path.suffix.lower() != ".csv" else ",", dtype=str)
    except (OSError, ValueError) as error:
        raise CohortError(
            "COH-002",
            "the table cannot be read",
            "Save it as tab-separated text (UTF-8) with a header line.",
            subject=path.name,
        ) from error
    if "path" not in table or table["path"].isna().any() or table.empty:
        raise CohortError(
            "COH-002",
            "the table has no column path, or rows without one",
            "The header must name path; subject, site, split, age, sex are optional.",
            subject=path.name,
        )
    table["path"] = [str(path.parent / p) for p in table["path"]]
    return table


def _require_known_splits(table: pd.DataFrame, name: str) -> None:
    wrong = sorted(set(table["split"]) - {*SPLITS, ""})
    if wrong:
        raise CohortError(
            "COH-002",
            f"unknown split {wrong[0]!r}",
            f"Use {', '.join(SPLITS)}, or leave the cell empty.",
            subject=name,
        )


def _people_in_two_splits(table: pd.DataFrame, name: str) -> list[CohortError]:
    given = table[table["split"] != ""]
    twice = given.groupby("subject")["split"].nunique()
    if not (twice > 1).any():
        return []
    return [
        CohortError(
            "COH-003",
            f"{int((twice > 1).sum())} people are in more than one split, first "
            f"{twice[twice > 1].index[0]}",
            "Give all scans of a person the same split.",
            subject=name,
        )
    ]


def _assign_splits(table: pd.DataFrame, seed: int) -> None:
    given = table[table["split"] != ""]
    known = dict(zip(given["subject"], given["split"], strict=True))
    cells = zip(table["split"], table["subject"], strict=True)
    table["split"] = [split or known.get(subject, "") for split, subject in cells]
    for _, group in table[table["split"] == ""].groupby("site", sort=True):
        subjects = sorted(set(group["subject"]))
        # Ordered by a keyed hash, so that adding people moves few of the others.
        subjects.sort(key=lambda s: hashlib.sha256(f"{seed}:{s}".encode()).hexdigest())
        least = 2 if len(subjects) >= 10 else 0
        start = 0
        for split, share in zip(SPLITS[::-1], SHARES[::-1], strict=True):
            size = max(round(share * len(subjects)), least)
            chosen = subjects[start:] if split == "train" else subjects[start : start + size]
            start += size
            table.loc[table["subject"].isin(chosen) & (table["split"] == ""), "split"] = split
