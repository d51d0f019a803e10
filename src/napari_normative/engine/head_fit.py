"""Train a head on reviewed scans, and judge it on people it did not learn from."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.grid import antialias, resample
from napari_normative.core.metrics import auroc
from napari_normative.core.probe import (
    FEWEST,
    OUTER,
    LinearRule,
    Target,
    choose_penalty,
    fit_rule,
    person_folds,
)
from napari_normative.core.reviewed import ReviewedScan, choose_voxels
from napari_normative.engine.head import Head, HeadCard, log_evidence
from napari_normative.engine.head_features import PLAIN, require_encoder, voxel_features
from napari_normative.engine.infer import versions
from napari_normative.engine.model import load_model
from napari_normative.errors import CancelledError, NormativeError, SegmentationError
from napari_normative.volume import Volume

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import Cancel, Progress

PER_SCAN = 100
"""Lesion voxels that a scan gives at most, and as many others."""

FOR_A_REGION = 200
"""Voxels of a region at most over which log odds are averaged in cross-validation."""

DRAWS = 1000

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a scan gives to learn from and to be judged by."""

    person: str
    features: Numbers
    lesion: NDArray[np.bool_]
    regions: tuple[Numbers, ...]
    accepted: tuple[bool, ...]
    evidence: tuple[float, ...]


def fit_head(
    reviewed: Iterable[ReviewedScan],
    out: str | Path | None = None,
    *,
    model: str | Path | NormativeModel = "brain-t1",
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Head:
    """Train a head on the frozen encoder's features of what readers accepted and rejected.

    Penalised logistic regression of voxels: those of accepted regions against those of rejected
    ones and of the surroundings of accepted ones. A candidate's probability follows from the mean
    over its voxels, out of fold, and from its evidence. The card's figures, from folds of whole
    people: AUROC of accepted against rejected regions for the head (``candidate_auroc``), for a
    head without the encoder's features (``_plain``) and for the evidence alone (``_evidence``);
    ``gain_over_evidence`` with a 95 % interval over people; ``voxel_auroc`` beside
    ``voxel_auroc_z``.

    Parameters
    ----------
    reviewed : iterable of ReviewedScan
        Such as :func:`~napari_normative.review.reviewed.reviewed_scans` gives.
    out : path, optional
        The head's ``.safetensors`` file.
    model : name, path or NormativeModel
        A VAE.
    seed : int
        Of folds and of the voxels that are drawn.
    device : str
    progress, cancel : callable, optional

    Raises
    ------
    SegmentationError
        ``SEG-002`` too few people with something accepted, or rejected; ``SEG-005`` a model
        without encoder.
    OutputError
        ``OUT-002`` if it cannot be written.

    Examples
    --------
    >>> reviewed = nn.reviewed_scans(["study/anna.review"])  # doctest: +SKIP
    >>> head = fit_head(reviewed, "study/head.safetensors")  # doctest: +SKIP
    >>> print(head.card.line())  # doctest: +SKIP
    """
    tell, stop = progress or (lambda step, fraction: None), cancel or (lambda: False)
    normative = load_model(model) if isinstance(model, str | Path) else model
    require_encoder(normative)
    seen: list[_Seen] = []
    refused: list[str] = []
    for number, scan in enumerate(reviewed):
        if stop():
            raise CancelledError
        tell(scan.name, 0.8 * number / (number + 4))  # how many there are, nobody knows
        try:
            seen.append(_look(normative, scan, np.random.default_rng([seed, number]), device))
        except CancelledError:
            raise
        except (NormativeError, OSError) as error:
            what = error.what if isinstance(error, NormativeError) else "it cannot be read"
            refused.append(f"{scan.name}: {what}")
    _require_people(seen)
    tell("folds of people", 0.85)
    head = _fitted(normative, seen, tuple(refused), seed)
    if out is not None:
        head.save(out)
    tell("done", 1.0)
    return head


def _look(
    model: NormativeModel, given: ReviewedScan, random: np.random.Generator, device: str
) -> _Seen:
    """Detect again, and take the features of a reviewed scan."""
    inside = model.detect(given.scan, device=device).in_model
    assert inside is not None
    space = model.card.preprocess
    features = voxel_features(model, inside, device)
    to_world = inside.prepared.alignment.scan_to_template @ given.scan.affine
    scored = inside.prepared.mask
    regions = np.zeros(scored.shape, dtype=np.int32)
    for label in given.accepted:
        regions[_placed(given.regions, label, to_world, model)] = label
    voxels, lesion = choose_voxels(
        regions, given.accepted, scored, space.spacing_mm, PER_SCAN, random
    )
    rows, accepted, evidence = [], [], []
    voxel_ml, threshold = space.spacing_mm**3 / 1000, model.calibration.threshold_z
    for label, said in given.accepted.items():
        own = np.flatnonzero((regions == label) & scored)
        if not own.size:  # outside what the model scores
            continue
        rows.append(features.at(random.permutation(own)[:FOR_A_REGION]))
        accepted.append(said)
        beyond = np.maximum(np.abs(inside.z.ravel()[own]) - threshold, 0)
        evidence.append(float(beyond.sum()) * voxel_ml)
    return _Seen(
        given.person, features.at(voxels), lesion, tuple(rows), tuple(accepted), tuple(evidence)
    )


def _placed(
    regions: Volume, label: int, to_world: NDArray[np.float64], model: NormativeModel
) -> NDArray[np.bool_]:
    """Return a region on the model's grid; at least the voxel that it fills most."""
    grid = model.card.preprocess.grid
    spacing = np.linalg.norm(to_world[:3, :3], axis=0)
    soft = antialias((regions.data == label).astype(np.float32), spacing, grid.spacing_mm)
    share = resample(soft, to_world, grid.shape, grid.affine)
    return np.asarray(share > min(0.5, 0.999 * float(share.max())))


def _require_people(seen: Sequence[_Seen]) -> None:
    for said, word in ((True, "accepted"), (False, "rejected")):
        people = {one.person for one in seen if said in one.accepted}
        if len(people) < FEWEST:
            raise SegmentationError(
                "SEG-002",
                f"something was {word} in {len(people)} people, at least {FEWEST} are needed",
                "Review more scans to their end; scans with open candidates do not count.",
                consequence="No head was trained.",
            )


def _fitted(
    model: NormativeModel, seen: Sequence[_Seen], refused: tuple[str, ...], seed: int
) -> Head:
    """Judge in folds of people, then train on all."""
    names = sorted({one.person for one in seen})
    of = [names.index(one.person) for one in seen]
    features = np.concatenate([one.features for one in seen])
    lesion = np.concatenate([one.lesion for one in seen])
    people = np.repeat(of, [len(one.lesion) for one in seen])
    accepted = np.array([said for one in seen for said in one.accepted])
    evidence = np.array([value for one in seen for value in one.evidence])
    owner = np.repeat(of, [len(one.accepted) for one in seen])
    regions = [rows for one in seen for rows in one.regions]
    target = Target("category", lesion.astype(np.float64), people, ("other", "lesion"))

    def out_of_fold(columns: int) -> tuple[Numbers, Numbers]:
        voxel, mean = np.zeros(len(lesion)), np.zeros(len(accepted))
        folds = person_folds(target, OUTER, seed)
        for fold in range(OUTER):
            train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            known = target.some(train)
            penalty = choose_penalty(features[train, :columns], known, seed + 1 + fold)
            rule = fit_rule(features[train, :columns], known, penalty)
            voxel[test] = _odds(rule, features[test, :columns])
            for n in np.flatnonzero(np.isin(owner, people[test])):
                mean[n] = _odds(rule, regions[n][:, :columns]).mean()
        return voxel, mean

    every = features.shape[1]
    voxel, mean = out_of_fold(every)
    _, plain = out_of_fold(PLAIN)
    together = _stacked(mean, evidence, accepted, owner, seed)
    without = _stacked(plain, evidence, accepted, owner, seed)
    rule = fit_rule(features, target, choose_penalty(features, target, seed))

    def area(score: Numbers, truth: NDArray[np.bool_]) -> float:
        return auroc(score[~truth], score[truth])

    gain, low, high = _gain(together, evidence, accepted, owner, seed)
    figures = {
        "candidate_auroc": area(together, accepted),
        "candidate_auroc_plain": area(without, accepted),
        "candidate_auroc_evidence": area(evidence, accepted),
        "gain_over_evidence": gain,
        "gain_over_evidence_low": low,
        "gain_over_evidence_high": high,
        "voxel_auroc": area(voxel, lesion),
        "voxel_auroc_z": area(features[:, 1], lesion),
    }
    card = HeadCard(
        model=model.card.name,
        model_sha256=model.digest,
        people=len(names),
        scans=len(seen),
        accepted=int(accepted.sum()),
        rejected=int((~accepted).sum()),
        penalty=rule.penalty,
        figures={name: round(v, 4) if np.isfinite(v) else None for name, v in figures.items()},
        refused=refused,
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        software=f"napari-normative {versions()['napari-normative']}",
    )
    return Head(card, rule, _candidate_rule(mean, evidence, accepted)).with_digest()


def _candidate_rule(mean: Numbers, evidence: Numbers, accepted: NDArray[np.bool_]) -> Numbers:
    """Return weights of log odds and log evidence, and offset, of being accepted.

    Log odds of people out of fold that speak against what was accepted get no weight.
    """
    from sklearn.linear_model import LogisticRegression

    known = np.column_stack([mean, log_evidence(evidence)])
    fitted = LogisticRegression().fit(known, accepted)
    if fitted.coef_[0, 0] < 0:
        fitted = LogisticRegression().fit(known * (0, 1), accepted)
    return np.append(fitted.coef_[0], fitted.intercept_)


def _stacked(
    mean: Numbers, evidence: Numbers, accepted: NDArray[np.bool_], owner: NDArray[np.intp],
    seed: int,
) -> Numbers:  # fmt: skip
    """Return the log odds of each region by a candidate rule of other people."""
    target = Target("category", accepted.astype(np.float64), owner, ("rejected", "accepted"))
    folds, out = person_folds(target, OUTER, seed), np.zeros(len(accepted))
    for fold in range(OUTER):
        train, test = folds != fold, folds == fold
        if len(np.unique(accepted[train])) < 2:
            continue
        rule = _candidate_rule(mean[train], evidence[train], accepted[train])
        known = np.column_stack([mean[test], log_evidence(evidence[test])])
        out[test] = known @ rule[:2] + rule[2]
    return out


def _odds(rule: LinearRule, features: Numbers) -> Numbers:
    """Return the log odds of lesion, both kinds equally frequent."""
    shares = np.clip(rule.balanced(features), 1e-12, 1.0)
    return np.asarray(np.log(shares[:, 1] / shares[:, 0]))


def _gain(
    first: Numbers, second: Numbers, truth: NDArray[np.bool_], owner: NDArray[np.intp], seed: int
) -> tuple[float, float, float]:
    """Return by how much the first AUROC exceeds the second, with its interval over people."""

    def difference(rows: NDArray[np.intp]) -> float:
        yes, no = rows[truth[rows]], rows[~truth[rows]]
        return auroc(first[no], first[yes]) - auroc(second[no], second[yes])

    random, who = np.random.default_rng(seed), np.unique(owner)
    rows_of = {person: np.flatnonzero(owner == person) for person in who}
    drawn = [
        difference(np.concatenate([rows_of[p] for p in random.choice(who, len(who))]))
        for _ in range(DRAWS)
    ]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return difference(np.arange(len(owner))), float(low), float(high)
