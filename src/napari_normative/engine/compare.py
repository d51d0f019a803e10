"""A model beside its baselines, on the people that neither has seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from napari_normative.core.comparison import ComparisonRow
from napari_normative.core.config import BaselineKind
from napari_normative.core.lesions import drawn_shape, simulate
from napari_normative.core.metrics import average_precision, bootstrap, paired_difference
from napari_normative.core.score import judge
from napari_normative.engine.conditions import known_of
from napari_normative.engine.infer import run_network
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.errors import SimulationError
from napari_normative.volume import FloatArray, Mask

LESIONS = ("hypointense", "hyperintense")
SIZES_ML = (2.0, 10.0)
"""Of the two lesions that every person gets of each kind."""
STRENGTH = 0.5
FEWEST_PEOPLE = 6
"""For an interval: with five, all differ in one direction by chance in 1 of 16 cases."""
MOST_COMPARED = 256
"""People whose reconstruction error is compared, taken from the sites in turn."""
MOST_PEOPLE = 24
"""People who get lesions, taken from the sites in turn: enough for an interval, in minutes."""


@dataclass
class _Person:
    """Figures of one person by model; the first model is judged."""

    site: str
    error: list[float] = field(default_factory=list)
    precision: dict[str, list[list[float]]] = field(default_factory=dict)


def compare(
    model: NormativeModel,
    baselines: Mapping[BaselineKind, NormativeModel],
    prepared: PreparedCohort,
    device: str,
    *,
    seed: int = 0,
    report: Callable[[float], None] | None = None,
) -> tuple[ComparisonRow, ...]:
    """Compare reconstruction error and simulated lesions found on the test people.

    Everything happens in the model's space: lesions are painted into prepared scans, so what
    alignment and intensity matching make of a lesion is not part of it. Every model is scored
    as its card says. Voxels that are not scored count as not found.

    Parameters
    ----------
    model : NormativeModel
    baselines : mapping of kind to NormativeModel
        Of the same cohort and space.
    prepared : PreparedCohort
    device : str
    seed : int
        Of the lesions' shapes and places.
    report : callable, optional
        Called with the fraction done.

    Returns
    -------
    tuple of ComparisonRow
        Per site (error) and kind of lesion (average precision), for each baseline; the error
        of a threshold, which reconstructs nothing, is left out, and so is a kind of lesion that
        cannot be simulated in these scans.
    """
    models = [model, *baselines.values()]
    people: list[_Person] = []
    chosen = _in_turn(prepared)[:MOST_COMPARED]
    with_lesions = set(chosen[:MOST_PEOPLE])
    for done, n in enumerate(chosen):
        if report is not None:
            report(done / len(chosen))
        image, mask = prepared.images[n].astype(np.float32), prepared.masks[n]
        person = _Person(prepared.people[n].site)
        told = [one.given(known_of(prepared.people[n], one.covariates)) for one in models]
        for one in told:
            error = np.abs(image - _reconstruction(one, image, device))[mask].mean()
            person.error.append(float(error))
        if n in with_lesions:
            for kind in LESIONS:
                person.precision[kind] = _precision(told, image, mask, kind, (seed, done), device)
        people.append(person)
    rows: list[ComparisonRow | None] = []
    for place, against in enumerate(baselines, start=1):
        for kind in LESIONS:
            found = [p.precision[kind] for p in people if p.precision]
            first, second = [p[0] for p in found], [p[place] for p in found]
            rows.append(_row("ap", kind, against, first, second))
        for site in sorted({p.site for p in people}) if against != "threshold" else ():
            own = [p.error for p in people if p.site == site]
            first, second = [[e[0]] for e in own], [[e[place]] for e in own]
            rows.append(_row("error", site, against, first, second))
    return tuple(row for row in rows if row is not None)


def _in_turn(prepared: PreparedCohort) -> list[int]:
    """Return the test people, one of each site after the other."""
    sites: dict[str, list[int]] = {}
    for n in prepared.select("test"):
        sites.setdefault(prepared.people[n].site, []).append(n)
    rounds = zip_longest(*(sites[site] for site in sorted(sites)))
    return [n for one_each in rounds for n in one_each if n is not None]


def _reconstruction(model: NormativeModel, image: FloatArray, device: str) -> FloatArray:
    (out, _, _), _ = run_network(model, image[None], device)
    volume: FloatArray = out[0]
    return volume


def _precision(
    models: Sequence[NormativeModel],
    image: FloatArray,
    mask: Mask,
    kind: str,
    seed: tuple[int, int],
    device: str,
) -> list[list[float]]:
    """Return the voxel average precision of each model for each of a person's lesions."""
    spacing = models[0].card.preprocess.spacing_mm
    found: list[list[float]] = [[] for _ in models]
    for number, volume_ml in enumerate(SIZES_ML):
        draw = np.random.default_rng((*seed, LESIONS.index(kind), number)).integers(2**31)
        try:
            shape = drawn_shape(mask, volume_ml, spacing, seed=int(draw))
            ill = simulate(image, mask, shape, spacing, kind, strength=STRENGTH, seed=int(draw))
        except SimulationError:  # no tissue contrast, say: nothing to compare, no reason to fail
            for values in found:
                values.append(math.nan)
            continue
        for values, model in zip(found, models, strict=True):
            reconstruction = _reconstruction(model, ill.image, device)
            z = judge(ill.image, reconstruction, mask, model.calibration, model.card.score, spacing)
            values.append(average_precision(np.abs(z)[mask], ill.truth[mask]))
    return found


def _row(
    figure: str,
    stratum: str,
    against: BaselineKind,
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
) -> ComparisonRow | None:
    apart = paired_difference(first, second)
    if math.isnan(apart.value):
        return None
    people = sum(not all(map(math.isnan, values)) for values in first)
    enough = people >= FEWEST_PEOPLE
    bounds = [round(bound, 5) if enough else None for bound in (apart.low, apart.high)]
    return ComparisonRow.model_validate(
        {
            "figure": figure,
            "stratum": stratum,
            "against": against,
            "people": people,
            "model": round(bootstrap(first).value, 5),
            "baseline": round(bootstrap(second).value, 5),
            "difference": round(apart.value, 5),
            "low": bounds[0],
            "high": bounds[1],
        }
    )
