"""Judge a probe beside simple baselines in the same folds, and make the one that is kept."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.latent import AggregatedPosterior
from napari_normative.core.probe import (
    OUTER,
    Features,
    Kind,
    Numbers,
    OutOfFold,
    Rows,
    Target,
    choose_penalty,
    columns,
    components,
    cross_validate,
    fit_rule,
    guess,
    inner_products,
)
from napari_normative.core.probe_figures import (
    DRAWS,
    FIGURES,
    Figure,
    figures_of,
    permutation_p,
    permutation_values,
    with_intervals,
)
from napari_normative.engine.infer import versions
from napari_normative.engine.probe_file import Probe, ProbeCard
from napari_normative.engine.probe_result import (
    GUESS,
    LATENTS,
    SITE,
    VOLUME,
    VOXELS,
    ProbeResult,
)
from napari_normative.engine.probe_scans import MeasuredScan
from napari_normative.engine.probe_table import LabelledScan, kind_and_target
from napari_normative.errors import CancelledError

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import Cancel, Progress


def judge_probe(
    model: NormativeModel,
    scans: Sequence[LabelledScan],
    measured: Sequence[MeasuredScan],
    column: str,
    *,
    kind: Kind | None = None,
    folds: int = OUTER,
    permutations: int = 199,
    seed: int = 0,
    refused: Sequence[dict[str, Any]] = (),
    left_out: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> ProbeResult:
    """Fit and judge a probe on scans that were measured; see ``engine.probe.fit_probe``.

    Parameters
    ----------
    model : NormativeModel
    scans : sequence of LabelledScan
    measured : sequence of MeasuredScan
        One for each of ``scans``.
    column : str
    kind, folds, permutations, seed
        As for ``fit_probe``.
    refused : sequence of dict
        Scans that could not be used: ``row``, ``code``, ``what``.
    left_out : int
        Scans without a value.
    progress, cancel : callable, optional

    Raises
    ------
    ProbeError
        ``PRB-002``, ``PRB-003``.
    CancelledError
    """
    tell, stop = progress or (lambda step, fraction: None), cancel or (lambda: False)
    labels = kind_and_target(scans, column, kind, folds)
    what = labels.target
    used, seen = [scans[n] for n in labels.rows], [measured[n] for n in labels.rows]
    features = _features(used, seen, column)
    made = {}
    for n, (name, given) in enumerate(features.items()):
        if stop():
            raise CancelledError
        tell(f"cross-validation: {name}", 0.1 * n / len(features))
        made[name] = cross_validate(given, what, folds=folds, seed=seed)
    tested = _tested(features, what, permutations, folds, seed, tell, stop)
    made[GUESS] = guess(what)
    tell("intervals", 0.95)
    figures = with_intervals(what, made, seed=seed)
    main = FIGURES[what.kind][0]
    p = {name: permutation_p(v, figures_of(what, made[name])[main]) for name, v in tested.items()}
    trained = scans_of_training_people(model, seen)
    warnings = _warnings(used, what, trained, labels.rare, left_out, len(refused))
    record = {
        "notice": RESEARCH_USE,
        "software": f"napari-normative {versions()['napari-normative']}",
        "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {**versions(), "scikit-learn": version("scikit-learn")},
        "model": {
            "name": model.card.name, "title": model.card.title, "sha256": model.digest
        },
        "parameters": {"target": column, "kind": kind, "folds": folds,
                       "permutations": permutations, "bootstrap_draws": DRAWS},
        "seed": seed,
        "kind": what.kind,
        "classes": what.people_of_classes(),
        "scans": {
            "listed": len(scans) + len(refused) + left_out, "used": len(used),
            "without_value": left_out, "refused": list(refused), "rare_categories": labels.rare,
        },
        "people": len(np.unique(what.people)),
        "scans_of_training_people": trained,
        "scan_sha256": [scan.digest for scan in used],
        "latents": int(model.posterior.mean.size),
        "penalties": {name: list(out.penalties) for name, out in made.items() if out.penalties},
        "permutation_p": p,
        "device": seen[0].note.device,
        "device_reason": seen[0].note.reason,
        "warnings": warnings,
    }  # fmt: skip
    probe = _probe(model, seen, what, made[LATENTS], figures, record, seed)
    rows = tuple(scan.row for scan in used)
    return ProbeResult(column, what, rows, made, figures, p, probe, record)


def _features(
    used: Sequence[LabelledScan], seen: Sequence[MeasuredScan], column: str
) -> dict[str, Features]:
    latents = np.stack([s.latent for s in seen]).astype(np.float64)
    products = inner_products(np.stack([s.voxels for s in seen]))
    found = {
        LATENTS: columns(latents),
        VOXELS: components(products, latents.shape[1]),
        VOLUME: columns(np.stack([s.features for s in seen])),
    }
    sites = sorted({scan.site for scan in used})
    if len(sites) > 1 and column != "site":
        one_hot = np.array([[float(scan.site == site) for site in sites] for scan in used])
        found[SITE] = columns(one_hot)
    return found


def _tested(
    features: dict[str, Features],
    what: Target,
    count: int,
    folds: int,
    seed: int,
    tell: Progress,
    stop: Cancel,
) -> dict[str, Numbers]:
    """Return the permutations of each set of features."""
    found = {}
    for n, (name, given) in enumerate(features.items()):

        def tick(done: int, n: int = n, name: str = name) -> None:
            if stop():
                raise CancelledError
            share = (n + done / count) / len(features)
            tell(f"permutations: {name}", 0.1 + 0.85 * share)

        found[name] = permutation_values(given, what, count, folds=folds, seed=seed, tick=tick)
    return found


def _probe(
    model: NormativeModel,
    seen: Sequence[MeasuredScan],
    what: Target,
    out: OutOfFold,
    figures: list[Figure],
    record: dict[str, Any],
    seed: int,
) -> Probe:
    """Return the probe that is kept: fitted to everybody."""
    means = np.stack([s.latent for s in seen])
    variances = np.stack([s.variance for s in seen])
    latents = means.astype(np.float64)
    rule = fit_rule(latents, what, choose_penalty(latents, what, seed))
    is_number = what.kind == "number"
    own = {f.figure: f.value for f in figures if f.features == LATENTS and not f.against}
    card = ProbeCard(
        target=record["parameters"]["target"],
        kind=what.kind,
        classes=what.classes,
        model=model.card.name,
        model_sha256=model.digest,
        penalty=rule.penalty,
        people=record["people"],
        scans=len(seen),
        trained=record["scans_of_training_people"],
        lowest=float(what.values.min()) if is_number else None,
        highest=float(what.values.max()) if is_number else None,
        figures={name: value if math.isfinite(value) else None for name, value in own.items()},
        warnings=tuple(record["warnings"]),
        created_utc=record["created_utc"],
        software=record["software"],
    )
    return Probe(
        card,
        rule,
        AggregatedPosterior.fit(means, variances),
        held_out_distances(means, variances, out.folds),
        latents.min(axis=0),
        latents.max(axis=0),
    ).with_digest()


def held_out_distances(
    means: NDArray[np.float32], variances: NDArray[np.float32], folds: Rows
) -> Numbers:
    """Return each scan's distance from the Gaussian of the other folds' latents, sorted."""
    found = np.zeros(len(folds))
    for fold in np.unique(folds):
        others = folds != fold
        cloud = AggregatedPosterior.fit(means[others], variances[others])
        for n in np.flatnonzero(~others):
            found[n] = cloud.distance(means[n])
    return np.sort(found)


def scans_of_training_people(model: NormativeModel, seen: Sequence[MeasuredScan]) -> int:
    """Return how many scans are of people whom the network was trained on."""
    if model.people is None:
        return 0
    latents = np.stack([s.latent for s in seen])
    return int(model.people.trained_on(latents, model.posterior).sum())


def _warnings(
    used: Sequence[LabelledScan],
    what: Target,
    trained: int,
    rare: dict[str, int],
    left_out: int,
    refused: int,
) -> list[str]:
    found = []
    if trained:
        found.append(
            f"{trained} of {len(used)} scans are of people the model was trained on. It knows "
            "them by heart: the figures of the latents do not hold for other people, and a probe "
            "of them fits other people badly. Use people the model never saw."
        )
    owner: dict[str, int] = {}
    shared = sum(
        owner.setdefault(scan.digest, person) != person
        for scan, person in zip(used, what.people.tolist(), strict=True)
    )
    if shared:
        found.append(f"{shared} files occur under two people: folds by person do not part them.")
    if rare:
        names = ", ".join(f"{name} ({count})" for name, count in rare.items())
        found.append(f"Categories of too few people were left out: {names}.")
    if left_out:
        found.append(f"{left_out} scans have no value in the column and were left out.")
    if refused:
        found.append(f"{refused} scans could not be used.")
    return found
