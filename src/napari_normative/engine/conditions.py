"""What a cohort's table says of its people, for networks that are told."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from napari_normative.core.condition import UNKNOWN, Covariates, Value
from napari_normative.core.config import NetworkConfig, VAEConfig
from napari_normative.engine.cohort import MANY, Person, scans_table
from napari_normative.errors import CohortError
from napari_normative.volume import FloatArray

UNTOLD = 0.1
"""Share of the draws of a training in which the network is told nothing of a person; each column
is left out in as many of the others, so that it learns to do without."""
MOST_LEVELS = 32
"""Different words of a column above which it is no category but a name or a text."""


def covariates_of(people: Sequence[Person], names: Sequence[str]) -> Covariates:
    """Return how columns of a cohort become numbers, by its training people alone.

    A column holds numbers if all its cells do and more than ``MANY`` differ, as for balance, or
    if it is called ``age``; else categories.

    Raises
    ------
    CohortError
        ``COH-030`` when the table has no such column, ``COH-031`` when one says nothing that
        could be told apart, or too much.
    """
    columns = {}
    train = [person for person in people if person.split == "train"]
    for name in names:
        known = {"site"} | {other for person in people for other in person.more}
        if name not in known:
            raise CohortError(
                "COH-030",
                f"there is no column {name!r} to condition on",
                f"Choose among {', '.join(sorted(known))}.",
            )
        columns[name] = _values(name, [_cell(person, name) for person in train])
        different = {value for value in columns[name] if isinstance(value, str)}
        if len(different) > MOST_LEVELS:
            raise _useless(name, f"has {len(different)} different words, at most {MOST_LEVELS}")
    try:
        return Covariates.of(names, columns)
    except ValueError as error:
        raise _useless(str(error), "holds fewer than two different values") from error


def columns_to_tell(people: Sequence[Person]) -> tuple[str, ...]:
    """Return the columns of a cohort that a network can be told; see :func:`covariates_of`."""
    found: list[str] = []
    for name in dict.fromkeys([*(other for person in people for other in person.more), "site"]):
        with contextlib.suppress(CohortError):
            found += covariates_of(people, [name]).names
    return tuple(found)


def covariates_in(config: NetworkConfig) -> Covariates:
    """Return the covariates of a network; none of one that is not conditioned."""
    return Covariates(config.condition if isinstance(config, VAEConfig) else ())


def known_of(person: Person, covariates: Covariates) -> dict[str, Value]:
    """Return what a network can be told of a person of a table."""
    return covariates.read_row({**person.more, "site": person.site})


def known_from(table: Path, covariates: Covariates) -> Callable[[str | Path], dict[str, Value]]:
    """Return what looks a scan's person up in a table, by the scan's path.

    Raises
    ------
    CohortError
        ``COH-001``, ``COH-002`` for the table; ``COH-032``, when it is asked for a scan of which
        it has no row.
    ModelFileError
        ``MOD-070`` when there is nothing that the model can be told.
    """
    if not covariates.each:
        raise covariates.unfit(table.name)
    rows = scans_table(table)
    known = {
        Path(str(row["path"])).resolve(): covariates.read_row(row)
        for row in (dict(zip(rows.columns, cells, strict=True)) for cells in rows.to_numpy())
    }

    def look_up(scan: str | Path) -> dict[str, Value]:
        try:
            return known[Path(scan).resolve()]
        except KeyError:
            raise CohortError(
                "COH-032",
                f"the table {table.name} has no row of this scan",
                "Add it, with its path relative to the table's folder, or leave the table out.",
                subject=Path(scan).name,
                consequence="The scan was not scored.",
            ) from None

    return look_up


def codes_of(people: Sequence[Person], covariates: Covariates) -> FloatArray:
    """Return the code of everybody, shape (n, D)."""
    if not covariates.each or not people:
        return np.zeros((len(people), covariates.size), np.float32)
    return np.stack([covariates.code(known_of(person, covariates)) for person in people])


def _cell(person: Person, name: str) -> str:
    return (person.site if name == "site" else person.more.get(name, "")).strip()


def _values(name: str, cells: Sequence[str]) -> list[float | str | None]:
    told = [cell for cell in cells if cell.lower() not in UNKNOWN]
    numbers = {cell: number for cell in told if (number := _number(cell)) is not None}
    if numbers and (name == "age" or len(set(numbers.values())) > MANY):
        words = [cell for cell in told if cell not in numbers]
        if words:
            raise _useless(name, f"holds numbers and {words[0]!r}")
        return [numbers.get(cell) for cell in cells]
    return [None if cell.lower() in UNKNOWN else cell for cell in cells]


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _useless(name: str, why: str) -> CohortError:
    return CohortError(
        "COH-031",
        f"the column {name!r} {why} among the training people",
        "Condition on columns such as age, sex or site, whose values people share.",
    )
