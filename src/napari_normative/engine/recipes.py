"""Where the latents of synthetic volumes come from: a cohort, a scan, two scans, a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.config import BaselineConfig
from napari_normative.core.latent import AggregatedPosterior, between, draws_about
from napari_normative.engine.cohort import scans_table
from napari_normative.engine.draws import Latents, encode, placed_on_grid, placed_on_scan
from napari_normative.engine.embed import require_places
from napari_normative.engine.encode import encode_scans
from napari_normative.errors import GenerationError
from napari_normative.volume import FloatArray, Volume

if TYPE_CHECKING:
    from napari_normative.engine.latent_model import LatentModel
    from napari_normative.engine.stored_model import Cancel, Progress

LEAST_GROUP = 8
"""Fewer people give no Gaussian: draws would be little but copies of these people."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """What all volumes of a set are drawn from.

    Attributes
    ----------
    kind : {"prior", "posterior", "interpolation", "group"}
    latents : callable
        The number of volumes to the latents of each, in order.
    place : callable
        A decoded image and its number to a volume.
    options : dict
        What decides about the latents; JSON-ready.
    scans : tuple of str
        SHA-256 of the scans that had a part in it.
    like : Volume or None
        The scan on whose grid the volumes lie; None for the model's own.
    """

    kind: str
    latents: Callable[[int], Iterator[Latents]]
    place: Callable[[FloatArray, int], Volume]
    options: dict[str, Any] = field(default_factory=dict)
    scans: tuple[str, ...] = ()
    like: Volume | None = None


def require_latents(model: LatentModel) -> None:
    """Raise ``GEN-005`` for a model that decodes one and the same image, whatever the latents."""
    network = model.card.network
    if isinstance(network, BaselineConfig) and network.kind != "pca":
        raise GenerationError(
            "GEN-005",
            "the model has no latents: all its volumes would be one and the same",
            "Choose a model with latents, such as brain-t1.",
            subject=model.card.name,
        )


def of_cohort(model: LatentModel, seed: int, temperature: float) -> Recipe:
    """Draw as the latents of the model's training people are spread."""

    def latents(n: int) -> Iterator[Latents]:
        return ((z,) for z in model.posterior.draw(n, seed, temperature))

    options = {"seed": seed, "temperature": temperature}
    return Recipe("prior", latents, placed_on_grid(model), options)


def about_scan(
    model: LatentModel, scan: Volume, seed: int, temperature: float, device: str
) -> Recipe:
    """Draw what the model holds possible for a scan, on its grid and in its units.

    Raises
    ------
    PreprocessError
        If the scan is not what the model knows.
    """
    seen = encode(model, scan, device)
    return Recipe(
        "posterior",
        lambda n: draws_about(seen.levels, n, seed, temperature),
        placed_on_scan(model, seen),
        {"seed": seed, "temperature": temperature},
        (scan.source.digest,),
        scan,
    )


def between_scans(model: LatentModel, first: Volume, second: Volume, device: str) -> Recipe:
    """Go from one scan to another in equal steps, without the ends.

    These would be the two people's own reconstructions.

    Raises
    ------
    PreprocessError
        If a scan is not what the model knows.
    """
    ends = [encode(model, scan, device).means for scan in (first, second)]

    def latents(n: int) -> Iterator[Latents]:
        lines = [between(a, b, n + 2)[1:-1] for a, b in zip(*ends, strict=True)]
        return zip(*lines, strict=True)

    digests = (first.source.digest, second.source.digest)
    return Recipe("interpolation", latents, placed_on_grid(model), {}, digests)


def of_group(
    model: LatentModel,
    table: str | Path,
    like: str,
    seed: int,
    temperature: float,
    device: str,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Recipe:
    """Draw from the Gaussian of the latents of a group of a table's people.

    Each person counts once, with the first scan that can be encoded.

    Parameters
    ----------
    model : LatentModel
    table : path
        As for :func:`~napari_normative.engine.cohort.scans_table`.
    like : str
        ``COLUMN=VALUE``.
    seed, temperature, device
        As for the other recipes.
    progress, cancel : callable, optional

    Raises
    ------
    CohortError
        If the table cannot be read.
    GenerationError
        ``GEN-006`` without such a column or value, ``GEN-007`` for too small a group.
    ModelFileError
        ``MOD-007`` for a model without one latent vector for a scan.
    """
    require_places(model)
    rows = scans_table(table)
    column, _, value = (part.strip() for part in like.partition("="))
    shown = Path(table).name
    if column not in rows or not value or not (rows[column].str.strip() == value).any():
        known = [str(name) for name in rows.columns if name not in {"path", "subject"}]
        if column in known:
            known = [f"{column}={v}" for v in sorted(set(rows[column].str.strip()))[:8] if v]
        raise GenerationError(
            "GEN-006",
            f"the table has no row where {like!r} holds",
            f"Choose among {', '.join(known)}.",
            subject=shown,
        )
    chosen = rows[rows[column].str.strip() == value]
    paths = dict(zip(map(Path, chosen["path"]), chosen["subject"], strict=True))
    found: dict[str, tuple[FloatArray, FloatArray, str]] = {}

    def begin(path: Path) -> None:
        if progress:
            progress(f"encoding {path.name}", 0.2 * len(found) / len(paths))

    for row in encode_scans(model, paths, device=device, begin=begin, cancel=cancel):
        if row.place is not None:
            found.setdefault(paths[row.path], (row.place.latent, row.place.variance, row.digest))
    if len(found) < LEAST_GROUP:
        raise GenerationError(
            "GEN-007",
            f"{len(found)} people with {like} can be encoded, {LEAST_GROUP} or more are needed",
            "Choose a larger group, or draw from the whole cohort without --like.",
            subject=shown,
        )
    return _of_people(model, list(found.values()), like, seed, temperature)


def _of_people(
    model: LatentModel,
    people: Sequence[tuple[FloatArray, FloatArray, str]],
    like: str,
    seed: int,
    temperature: float,
) -> Recipe:
    means, variances = (np.stack([person[part] for person in people]) for part in (0, 1))
    posterior = AggregatedPosterior.fit(means, variances)

    def latents(n: int) -> Iterator[Latents]:
        return ((z,) for z in posterior.draw(n, seed, temperature))

    options = {"seed": seed, "temperature": temperature, "like": like, "people": len(people)}
    digests = tuple(digest for _, _, digest in people)
    return Recipe("group", latents, placed_on_grid(model), options, digests)
