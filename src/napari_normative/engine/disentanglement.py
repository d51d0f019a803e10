"""Measures of disentanglement of a table of latents and the columns of a cohort."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_normative.core import disentanglement as measures
from napari_normative.core.disentanglement import BINS, Covariate, as_rows
from napari_normative.engine.cohort import scans_table
from napari_normative.errors import EvaluationError

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 4 * BINS
"""People below whom nothing is measured."""


def disentanglement(
    latents: str | Path,
    cohort: str | Path,
    columns: Sequence[str],
    *,
    permutations: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure whether single latents stand for single things that are known of people.

    Measures (mutual information gap, separated attribute predictability, modularity, total
    correlation, mean correlation) and what chance gives: see
    :func:`napari_normative.core.disentanglement.disentanglement`.

    Parameters
    ----------
    latents : path
        Table that ``encode`` wrote.
    cohort : path
        Table of the same scans, which are found by the names of their files, with the columns.
    columns : sequence of str
        Of numbers (age, a volume) or of categories (sex, site).
    permutations : int
    seed : int

    Returns
    -------
    DataFrame
        ``measure``, ``covariate``, ``value``, ``chance``, ``p``, ``people``, ``latent``. Of each
        person the first scan counts.

    Raises
    ------
    EvaluationError
        ``EVA-021`` no table of latents, or a column that is not there; ``EVA-022`` too few people.
    CohortError
        ``COH-001``, ``COH-002`` of the cohort's table.

    Examples
    --------
    >>> table = nn.disentanglement(
    ...     "latents.tsv", "cohort.tsv", ["age", "sex"]
    ... )  # doctest: +SKIP
    """
    import pandas as pd

    rows = _latents(Path(latents))
    people = scans_table(cohort)
    if lacking := [name for name in columns if name not in people]:
        others = [name for name in people.columns if name not in {"path", "subject"}]
        raise EvaluationError(
            "EVA-021",
            f"there is no column {lacking[0]!r}",
            f"Choose among {', '.join(others)}.",
            subject=Path(cohort).name,
        )
    people = people.assign(scan=[Path(path).name for path in people["path"]])
    people = people.drop_duplicates("subject").drop_duplicates("scan")
    joined = people.merge(rows, on="scan", validate="one_to_one", suffixes=("", "_encoded"))
    if len(joined) < FEWEST:
        raise EvaluationError(
            "EVA-022",
            f"{len(joined)} people are in both tables with latents, {FEWEST} are needed",
            "Encode the scans that the cohort's table lists; they are found by their file names.",
            subject=Path(latents).name,
        )
    parts = {
        kind: joined[[n for n in rows if str(n).startswith(f"{kind}_")]].to_numpy(float)
        for kind in ("mean", "variance")
    }
    found = measures.disentanglement(
        parts["mean"],
        [Covariate.of(name, joined[name].fillna("").astype(str).tolist()) for name in columns],
        variances=parts["variance"],
        permutations=permutations,
        seed=seed,
    )
    table = pd.DataFrame(as_rows(found), dtype=object)
    return table.astype({"value": float, "chance": float, "p": float, "people": int})


def _latents(path: Path) -> pd.DataFrame:
    """Return the rows with latents: scan, mean_1, ..., variance_1, ..."""
    import pandas as pd

    try:
        table = pd.read_csv(path, sep="\t", na_values=["n/a"])
        named = [n for n in table if re.fullmatch(r"(mean|variance)_\d+", str(n))]
        rows = table[["scan", *named]].dropna().drop_duplicates("scan")
        if len(named) < 4 or not np.isfinite(rows[named].to_numpy(float)).all():
            raise ValueError("no columns mean_1, mean_2, ... and variance_1, ...")
    except (OSError, ValueError, KeyError) as error:
        raise EvaluationError(
            "EVA-021",
            f"this is no table of latents ({str(error).splitlines()[0][:120]})",
            "Pass the table that napari-normative encode SCANS --out writes.",
            subject=path.name,
        ) from error
    return rows
