"""What a model can be told of a person: columns of its cohort, and the numbers they become."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napari_normative.errors import ModelFileError
from napari_normative.volume import FloatArray

UNKNOWN = frozenset({"", "n/a", "unknown"})
"""Cells, in lower case, that say nothing."""

Value: TypeAlias = str | float


class NumberCovariate(BaseModel):
    """A column of numbers, such as age.

    Attributes
    ----------
    name : str
    mean, sd : float
        Of the training people whose value is known.
    low, high : float
        Their smallest and largest value, rounded outwards.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["number"] = "number"
    name: str
    mean: float
    sd: float = Field(gt=0)
    low: float
    high: float

    @property
    def size(self) -> int:
        """How many numbers stand for a value."""
        return 2

    def read(self, cell: object) -> float | None:
        """Return the value of a cell, None where it says nothing.

        Raises
        ------
        ModelFileError
            ``MOD-071`` for what is no number.
        """
        if _says_nothing(cell):
            return None
        try:
            value = float(str(cell))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise _unfit(self.name, cell, "no number", "Write a number such as "
                         f"{self.name}={self.mean:.0f}.")  # fmt: skip
        return value

    def code(self, value: Value | None) -> list[float]:
        """Return the value in standard deviations from the mean, and whether it is known."""
        return [0.0, 0.0] if value is None else [(float(value) - self.mean) / self.sd, 1.0]

    def caution(self, value: Value) -> str:
        """Return what to know of a value; empty for an ordinary one."""
        if self.low <= float(value) <= self.high:
            return ""
        return (
            f"{self.name} {value:g} lies outside the training people's {self.low:g} to "
            f"{self.high:g}: what is normal there is extrapolated."
        )

    def describe(self) -> str:
        """Return name and range in a few words."""
        return f"{self.name} ({self.low:g} to {self.high:g})"


class CategoryCovariate(BaseModel):
    """A column of a few words, such as sex or site.

    Attributes
    ----------
    name : str
    levels : tuple of str
    shares : tuple of float
        Of the levels among the training people whose value is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["category"] = "category"
    name: str
    levels: tuple[str, ...] = Field(min_length=2)
    shares: tuple[float, ...]

    @property
    def size(self) -> int:
        """How many numbers stand for a value."""
        return len(self.levels) + 1

    def read(self, cell: object) -> str | None:
        """Return the value of a cell, None where it says nothing.

        Raises
        ------
        ModelFileError
            ``MOD-071`` for a level that no training person had.
        """
        if _says_nothing(cell):
            return None
        text = str(cell).strip()
        if text not in self.levels:
            raise _unfit(self.name, cell, "not among the training people's",
                         f"Choose among {', '.join(self.levels)}.")  # fmt: skip
        return text

    def code(self, value: Value | None) -> list[float]:
        """Return which level it is, less the levels' shares, and whether it is known."""
        if value is None:
            return [0.0] * self.size
        pairs = zip(self.levels, self.shares, strict=True)
        return [*((level == value) - share for level, share in pairs), 1.0]

    def caution(self, value: Value) -> str:
        """Return what to know of a value; nothing of a level."""
        return ""

    def describe(self) -> str:
        """Return name and levels in a few words."""
        return f"{self.name} ({', '.join(self.levels)})"


Covariate = Annotated[NumberCovariate | CategoryCovariate, Field(discriminator="kind")]
"""A column that a model can be asked to take as given."""


def _says_nothing(cell: object) -> bool:
    return cell is None or str(cell).strip().lower() in UNKNOWN


def _unfit(name: str, cell: object, why: str, remedy: str) -> ModelFileError:
    return ModelFileError(
        "MOD-071", f"{name} {str(cell)!r} is {why}", remedy, consequence="Nothing was computed."
    )


@dataclass(frozen=True)
class Covariates:
    """The columns that a model was conditioned on, in order; none for most models.

    The code of a person is a vector of their numbers, one column after the other. Unknown is all
    zeros; an average person is not, because every column also says whether it is known.
    """

    each: tuple[NumberCovariate | CategoryCovariate, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], columns: Mapping[str, Sequence[float | str | None]]
           ) -> Covariates:  # fmt: skip
        """Describe columns of training people; a column of numbers holds no text.

        Parameters
        ----------
        names : sequence of str
        columns : mapping of name to values
            None where unknown.

        Raises
        ------
        ValueError
            For a column in which fewer than two different values are known.
        """
        found: list[NumberCovariate | CategoryCovariate] = []
        for name in names:
            known = [value for value in columns[name] if value is not None]
            if len(set(known)) < 2:
                raise ValueError(name)
            numbers = [value for value in known if isinstance(value, float)]
            if numbers:
                mean, sd = float(np.mean(numbers)), float(np.std(numbers))
                # Rounded outwards: the extremes are somebody's own.
                step = 10.0 ** (math.floor(math.log10(sd)) - 1)
                low, high = (
                    round(end(value / step) * step, 10)
                    for end, value in ((math.floor, min(numbers)), (math.ceil, max(numbers)))
                )
                found.append(NumberCovariate(name=name, mean=mean, sd=sd, low=low, high=high))
            else:
                levels = tuple(sorted({str(value) for value in known}))
                shares = tuple(known.count(level) / len(known) for level in levels)
                found.append(CategoryCovariate(name=name, levels=levels, shares=shares))
        return cls(tuple(found))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(one.name for one in self.each)

    @property
    def size(self) -> int:
        """Length of a code."""
        return sum(one.size for one in self.each)

    @property
    def columns(self) -> list[slice]:
        """Where in a code each column lies; the last number of each says whether it is known."""
        ends = np.cumsum([one.size for one in self.each], dtype=int).tolist()
        return [slice(end - one.size, end) for end, one in zip(ends, self.each, strict=True)]

    def read(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Return what is known of a person, checked and in the columns' order.

        Parameters
        ----------
        given : mapping of name to value
            Text is read as a cell of a table would be; empty, ``n/a`` and None are unknown.

        Raises
        ------
        ModelFileError
            ``MOD-070`` for a name that is none of the columns, ``MOD-071`` for a bad value.
        """
        strange = [name for name in given if name not in self.names]
        if strange:
            raise self.unfit(strange[0])
        found = {one.name: one.read(given.get(one.name)) for one in self.each}
        return {name: value for name, value in found.items() if value is not None}

    def unfit(self, name: str) -> ModelFileError:
        """Return ``MOD-070``: the model cannot be told of ``name``."""
        has = ", ".join(one.describe() for one in self.each)
        return ModelFileError(
            "MOD-070",
            f"the model was not conditioned on {name!r}",
            f"It can be given {has}." if has else "Train one with --condition-on, or ask without.",
            consequence="Nothing was computed.",
        )

    def read_row(self, row: Mapping[str, object]) -> dict[str, Value]:
        """Return what is known of a person of a table; what no training person had is unknown."""
        found: dict[str, Value] = {}
        for name in self.names:
            try:
                found |= self.read({name: row.get(name)})
            except ModelFileError:
                continue
        return found

    def code(self, known: Mapping[str, Value]) -> FloatArray:
        """Return the code of what :meth:`read` returned, shape (size,)."""
        parts = [number for one in self.each for number in one.code(known.get(one.name))]
        return np.array(parts, dtype=np.float32)

    def cautions(self, known: Mapping[str, Value]) -> tuple[str, ...]:
        """Return a sentence for each value beyond what the training people had."""
        said = (one.caution(known[one.name]) for one in self.each if one.name in known)
        return tuple(sentence for sentence in said if sentence)


def in_words(known: Mapping[str, Value]) -> str:
    """Return what a model was told of a person in a few words."""
    said = (f"{n} {v:g}" if isinstance(v, float) else f"{n} {v}" for n, v in known.items())
    return ", ".join(said) or "nothing of the person"
