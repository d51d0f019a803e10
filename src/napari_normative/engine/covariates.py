"""How latent directions go with what a table says of people: age, sex, site, volumes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_normative.core.association import (
    ALPHA,
    FEWEST,
    FEWEST_OF_A_KIND,
    PERMUTATIONS,
    Association,
    Covariate,
    associate,
)
from napari_normative.core.latent import Basis
from napari_normative.core.probe import kind_of
from napari_normative.engine.cohort import scans_table
from napari_normative.engine.embed import (
    EmbeddedScan,
    Embedding,
    embed,
    principal_axes,
    require_places,
)
from napari_normative.engine.probe_table import has_value
from napari_normative.errors import ExplanationError
from napari_normative.volume import FloatArray

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import Cancel, Progress

UNSEEN, TRAINED, UNKNOWN = "unseen", "trained on", "unknown"
"""Of people: the network never saw them; was trained on them; the model file does not say."""

NOTHING = "No table was made."


@dataclass(frozen=True, eq=False)
class Row:
    """How one direction goes with one column, in one group of people.

    Attributes
    ----------
    basis : {"latent", "principal"}
    index : int
        Of the direction, from 0.
    covariate, kind, measure, group : str
    classes : tuple of str
    found : Association
    """

    basis: Basis
    index: int
    covariate: str
    kind: str
    measure: str
    classes: tuple[str, ...]
    group: str
    found: Association

    @property
    def is_evidence(self) -> bool:
        """Whether people whom the network never saw show it, after correction."""
        return self.group == UNSEEN and self.found.p_corrected <= ALPHA

    def describe(self) -> str:
        """Return the figures in a line."""
        a = self.found
        pair = f" ({self.classes[1]} above {self.classes[0]})" if len(self.classes) == 2 else ""
        text = (
            f"{self.measure} = {a.value:.2f} [{a.low:.2f}, {a.high:.2f}] with {self.covariate}"
            f"{pair}, {a.n} people the network never saw, corrected p {a.p_corrected:.2g}"
        )
        if math.isfinite(a.partial):
            text += f"; within sites {a.partial:.2f} (corrected p {a.partial_p_corrected:.2g})"
        return text


def correlate(
    model: NormativeModel,
    table: str | Path,
    columns: Sequence[str],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    device: str = "auto",
    cache: Path | None = None,
    explain: Callable[[str, str], None] = lambda line, name: None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[list[Row], list[str]]:
    """Return how each direction goes with each column of a table, and warnings.

    Entries of the latent and principal axes, in people whom the network never saw and in those
    whom it was trained on. Several scans of a person count as their mean.

    Parameters
    ----------
    model : NormativeModel
        With dense latents.
    table : path
        As for :func:`~napari_normative.engine.cohort.scans_table`.
    columns : sequence of str
        Of the table; ``site`` too.
    permutations, seed : int
    device : str
    cache : Path, optional
        Folder of latents of scans that were encoded before; the user's own unless given.
    explain : callable of (sentence, file name)
        Told of each scan that cannot be used.
    progress, cancel : callable, optional

    Raises
    ------
    CohortError
        ``COH-001``, ``COH-002`` a bad table.
    ExplanationError
        ``WHY-002`` no such column, ``WHY-003`` too few people with values.
    ModelFileError
        ``MOD-007`` when the model has no one latent vector for a scan.
    CancelledError
    """
    require_places(model)
    known = scans_table(table)
    for column in columns:
        if column not in known or column in {"path", "subject"}:
            others = [name for name in known.columns if name not in {"path", "subject"}]
            raise ExplanationError(
                "WHY-002",
                f"there is no column {column!r}",
                f"Choose among {', '.join(others)}.",
                consequence=NOTHING,
                subject=Path(str(table)).name,
            )
    seen = embed(model, table, device=device, cache=cache, progress=progress, cancel=cancel)
    for scan in seen.scans:
        if scan.place is None:
            explain(scan.error, scan.path.name)
    return rows_of(
        model, seen, columns, permutations=permutations, seed=seed, device=device, cache=cache
    )


def rows_of(
    model: NormativeModel,
    seen: Embedding,
    columns: Sequence[str],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    device: str = "auto",
    cache: Path | None = None,
) -> tuple[list[Row], list[str]]:
    """Do what :func:`correlate` does, of scans that were encoded."""
    people = _people(seen.placed)
    latents = np.array([_latent(scans) for scans in people], dtype=np.float32)
    groups = [_group(model, scans) for scans in people]
    rows: list[Row] = []
    warnings: list[str] = []
    if UNKNOWN in groups:
        warnings.append(
            "The model file does not hold its people: who was trained on is unknown, and nothing "
            "here is evidence."
        )
    axes = principal_axes(model, device=device, cache=cache)
    size = model.posterior.mean.size
    for column in columns:
        valued = [n for n, scans in enumerate(people) if has_value(scans[0].columns[column])]
        cells = {n: people[n][0].columns[column].strip() for n in valued}
        kind = kind_of(list(cells.values()))
        before = len(rows)
        for group in (UNSEEN, TRAINED, UNKNOWN):
            chosen = [n for n in valued if groups[n] == group]
            if kind == "category":
                counts = Counter(cells[n] for n in chosen)
                chosen = [n for n in chosen if counts[cells[n]] >= FEWEST_OF_A_KIND]
            if len(chosen) < FEWEST or len({cells[n] for n in chosen}) < 2:
                if group == UNSEEN:
                    warnings.append(
                        f"{column}: {len(chosen)} people whom the network never saw can be "
                        f"compared; {FEWEST} with different values are needed to say anything."
                    )
                continue
            covariate = Covariate.of(column, [cells[n] for n in chosen], kind)
            own = latents[chosen]
            entries = (own - model.posterior.mean) / model.posterior.sd()
            both = np.concatenate([entries, axes.coordinates(own)], axis=1)
            strata = np.unique([people[n][0].columns["site"] for n in chosen], return_inverse=True)
            found = associate(both, covariate, strata[1], permutations=permutations, seed=seed)
            for n, one in enumerate(found):
                basis: Basis = "latent" if n < size else "principal"
                named = column, kind, covariate.measure, covariate.classes, group
                rows.append(Row(basis, n % size, *named, one))
        if len(rows) == before:
            raise ExplanationError(
                "WHY-003",
                f"fewer than {FEWEST} people with a scan that can be used have values in "
                f"{column!r}, or all the same",
                "Add people.",
                consequence=NOTHING,
            )
    return rows, warnings


def _people(scans: Sequence[EmbeddedScan]) -> list[list[EmbeddedScan]]:
    """Return the scans of each person, in the order of the table."""
    found: dict[str, list[EmbeddedScan]] = {}
    for scan in scans:
        found.setdefault(scan.columns["subject"], []).append(scan)
    return list(found.values())


def _latent(scans: Sequence[EmbeddedScan]) -> FloatArray:
    latents = [scan.place.latent for scan in scans if scan.place is not None]
    return np.asarray(np.mean(latents, axis=0), dtype=np.float32)


def _group(model: NormativeModel, scans: Sequence[EmbeddedScan]) -> str:
    """Return whether the network was trained on any scan of a person."""
    if model.people is None:
        return UNKNOWN
    latents = np.stack([scan.place.latent for scan in scans if scan.place is not None])
    return TRAINED if model.people.trained_on(latents, model.posterior).any() else UNSEEN
