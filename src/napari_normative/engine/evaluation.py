"""What an evaluation returns, and how it is written to disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from napari_normative.engine.measure import Measured
from napari_normative.engine.summary import KEY
from napari_normative.errors import OutputError
from napari_normative.io.atomic import replace_files
from napari_normative.io.tables import json_bytes, tsv_bytes

FORMAT = "napari-normative-evaluation/1"
RECORD, CASES, SUMMARY, REPORT = (
    "evaluation.json",
    "cases.tsv",
    "summary.tsv",
    "evaluation.html",
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures of one or more models on cases with known lesions.

    Attributes
    ----------
    cases : DataFrame
        A row for each model and scan, as found or with a simulated lesion.
    summary : DataFrame
        A row for each figure and stratum, with its interval over people; rows with a name
        in ``against`` hold the first model's figure less that model's, person by person.
    record : dict
        The summary with provenance; JSON-ready.
    measured : list of Measured
        In the order of ``cases``.
    refused : tuple of str
        A line for each case that could not be used, with the name of its file.
    """

    cases: pd.DataFrame
    summary: pd.DataFrame
    record: dict[str, Any]
    measured: list[Measured]
    refused: tuple[str, ...]

    @property
    def models(self) -> list[str]:
        """Names of the models, the one that is judged first."""
        return [str(model["name"]) for model in self.record["models"]]

    def row(self, *key: str) -> dict[str, Any] | None:
        """Return a row of the summary by its first columns, ``model`` to ``figure``."""
        return self._rows.get(key)

    @cached_property
    def _rows(self) -> dict[tuple[str, ...], dict[str, Any]]:
        rows = [{str(k): v for k, v in row.items()} for row in self.summary.to_dict("records")]
        return {tuple(str(row[name]) for name in KEY): row for row in rows}

    def save(self, folder: str | Path) -> list[Path]:
        """Write record, tables and the HTML report; each appears whole or not at all.

        Raises
        ------
        OutputError
            ``OUT-014`` when the folder holds files of these names that are not results.
        """
        from napari_normative.engine.report import report_html

        target = Path(folder)
        require_free(target)
        parts = {
            target / CASES: tsv_bytes(self.cases),
            target / SUMMARY: tsv_bytes(self.summary),
            target / REPORT: report_html(self).encode(),
            target / RECORD: json_bytes(self.record),
        }
        replace_files(parts)
        return list(parts)


def require_free(folder: Path, table: Path | None = None) -> None:
    """Raise ``OUT-014`` where results would replace files that are not results.

    Parameters
    ----------
    folder : Path
    table : Path, optional
        The table of cases; it is never replaced.
    """
    there = [name for name in (RECORD, CASES, SUMMARY, REPORT) if (folder / name).exists()]
    try:
        ours = json.loads((folder / RECORD).read_bytes()).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        ours = False
    lost = [
        name
        for name in there
        if not ours or (table is not None and table.exists() and (folder / name).samefile(table))
    ]
    if lost:
        raise OutputError(
            "OUT-014",
            f"the folder holds files of its own ({', '.join(lost)}) that would be lost",
            "Choose another output folder, or move these files away.",
            subject=folder.name,
        )
