"""The job that looks into a table of scans: what its columns hold."""

from __future__ import annotations

from dataclasses import dataclass

from napari_normative.plugin.jobs import Cancelled, Progress

_EMPTY = {"", "n/a", "na", "nan", "none", "null"}
_NOT_COLUMNS = ("path", "subject")


@dataclass(frozen=True)
class Column:
    """A column of a table of scans.

    Attributes
    ----------
    name : str
    filled : int
        Rows with a value.
    values : tuple of (str, int)
        Each value with its number of rows, most frequent first.
    """

    name: str
    filled: int
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class ReadTable:
    """Look into a table, or a folder of scans."""

    source: str

    def __call__(self, progress: Progress, cancelled: Cancelled) -> tuple[Column, ...]:
        """Return the columns that may be asked about.

        Raises
        ------
        CohortError
            ``COH-001`` nothing found, ``COH-002`` a bad table.
        """
        from napari_normative.engine.cohort import scans_table

        table = scans_table(self.source)
        columns = []
        for name in table.columns:
            if name in _NOT_COLUMNS:
                continue
            cells = table[name].str.strip()
            counts = cells[~cells.str.lower().isin(_EMPTY)].value_counts()
            values = tuple((str(value), int(n)) for value, n in counts.items())
            columns.append(Column(str(name), int(counts.sum()), values))
        return tuple(columns)
