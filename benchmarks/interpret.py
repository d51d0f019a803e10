"""What latent directions go with, beside components of the voxels; what attributions are worth.

    python benchmarks/interpret.py TABLE MODEL DATA --work FOLDER [--columns NAME,NAME]
        [--other MODEL] [--healthy N] [--only NAME] [--out FILE]

TABLE is a cohort as for ``napari-normative train`` with the split that MODEL (preset brain-4mm)
was trained with and the columns named in --columns (age, sex, site, ventricles_ml; n/a where
unknown). FOLDER/prepared holds its aligned scans, or gets them. DATA is the folder of the real
volumes: its patients are explained, and N unseen healthy people. --other is a second model whose
people are encoded from their files, or remembered.

The direction that goes best with a column is chosen in the people whom the network was trained
on and judged in the others, so that a method with more directions has no advantage. Nothing is
tuned.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_normative.core.association import DRAWS, Association, Covariate, associate
from napari_normative.core.probe import kind_of
from napari_normative.core.score import judge
from napari_normative.engine.attribute import Attribution, Expectation, attribute
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.detection import Detection
from napari_normative.engine.embed import embed, principal_axes
from napari_normative.engine.infer import recount, run_network, versions
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import PRESETS
from napari_normative.engine.probe_table import has_value
from napari_normative.engine.stored_model import NETWORK_PREFIX
from napari_normative.io.nifti import read_volume

Array = NDArray[np.float64]
PATIENTS = ("open-ms-mni/*/T1_N4*.nii.gz", "tcga-glioma/*/t1.nii.gz")
OUTSIDE = 0.02
"""Share of the foreground outside the candidate that is deleted."""
RANDOM = 5


@dataclass(frozen=True, eq=False)
class Person:
    """Where a person lies by each method, and what the table says."""

    cells: dict[str, str]
    trained: bool


def people_of(table: Path, columns: Sequence[str]) -> dict[Path, Person]:
    """Return everybody of a table by file."""
    return {
        p.path: Person(
            {c: p.site if c == "site" else p.more[c] for c in columns} | {"site": p.site},
            p.split == "train",
        )
        for p in read_cohort(table)
    }


def coordinates(model: NormativeModel, latents: NDArray[np.floating]) -> dict[str, Array]:
    """Return the coordinates of people by entries of the latent, and by principal axes."""
    axes = principal_axes(model, device="cpu")
    entries = (latents - model.posterior.mean) / model.posterior.sd()
    return {"latent entries": entries, "principal directions": axes.coordinates(latents)}


def voxel_components(cohort: PreparedCohort, count: int) -> Array:
    """Return the coordinates of everybody on principal components of the training people.

    As of the baseline ``pca``: outside a scan's foreground there is no deviation from the mean.
    """
    mask = cohort.template.mask
    voxels = np.stack(
        [np.asarray(cohort.images[n], np.float32)[mask] for n in range(len(cohort.people))]
    )
    train = cohort.select("train")
    seen = voxels != 0
    mean = voxels[train].sum(axis=0) / np.maximum(seen[train].sum(axis=0), 1)
    away = np.where(seen, voxels - mean, 0)
    _, _, rows = np.linalg.svd(away[train], full_matrices=False)
    return (away @ rows[:count].T).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Told:
    """How one method's directions go with one column."""

    strongest: Association
    which: int
    chosen: Association
    chosen_which: int
    significant: int
    drawn: Array


def told(columns: Array, cells: list[str], sites: list[str], trained: NDArray[np.bool_]) -> Told:
    """Associate in both groups; bootstrap the direction that was chosen in trained people."""
    kind = kind_of([c for c in cells if has_value(c)])
    found = {}
    for group in (True, False):
        rows = [n for n, c in enumerate(cells) if has_value(c) and trained[n] == group]
        covariate = Covariate.of("", [cells[n] for n in rows], kind)
        strata = np.unique([sites[n] for n in rows], return_inverse=True)[1]
        found[group] = rows, covariate, associate(columns[rows], covariate, strata)
    best = int(np.argmax([abs(a.value) for a in found[True][2]]))
    rows, covariate, unseen = found[False]
    strongest = int(np.argmax([abs(a.value) for a in unseen]))
    random = np.random.default_rng(1)
    y = columns[rows, best]
    x = covariate.design[:, 0]
    drawn = np.full(DRAWS, np.nan)
    for n in range(DRAWS):
        chosen = random.integers(0, len(rows), len(rows))
        if np.ptp(x[chosen]) > 0:
            drawn[n] = abs(np.corrcoef(x[chosen], y[chosen])[0, 1])
    return Told(
        unseen[strongest], strongest, unseen[best], best,
        sum(a.p_corrected <= 0.05 for a in unseen), drawn,
    )  # fmt: skip


def correlations(
    spaces: dict[str, tuple[Array, list[Person]]], baseline: str, columns: Sequence[str]
) -> list[str]:
    """Return the table of columns by methods; differences are from the baseline, paired."""
    lines = [
        "| column | directions of | chosen in people trained on: r in unseen | \\|r\\| less that "
        "of the components | within sites | strongest in unseen: r | corrected p | significant |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for column in columns:
        made = {}
        for name, (where, people) in spaces.items():
            cells = [p.cells[column] for p in people]
            sites = [p.cells["site"] for p in people]
            made[name] = told(where, cells, sites, np.array([p.trained for p in people]))
        for name, one in made.items():
            less = "–"
            if name != baseline:
                drawn = one.drawn - made[baseline].drawn
                value = abs(one.chosen.value) - abs(made[baseline].chosen.value)
                low, high = np.nanquantile(drawn, (0.025, 0.975))
                less = f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
            lines.append(
                f"| {column} | {name} ({spaces[name][0].shape[1]}) | "
                f"{one.chosen.value:+.2f} [{one.chosen.low:+.2f}, {one.chosen.high:+.2f}], "
                f"n {one.chosen.n} (direction {one.chosen_which + 1}) | {less} | "
                f"{_signed(one.chosen.partial)} | {one.strongest.value:+.2f} (direction "
                f"{one.which + 1}) | {one.strongest.p_corrected:.3g} | {one.significant} |"
            )
    return lines


def _signed(value: float) -> str:
    return f"{value:+.2f}" if np.isfinite(value) else "–"


def shuffled(model: NormativeModel, what: str) -> NormativeModel:
    """Return the model with the numbers of a part of its network in another order."""
    random = np.random.default_rng(0)
    keep = ("network.linear.voxels", "network.local.start", "network.mean_image")
    tensors = {
        name: (
            random.permutation(array.ravel()).reshape(array.shape)
            if name.startswith(NETWORK_PREFIX)
            and name not in keep
            and (what == "all" or name.startswith("network.local.") == (what == "local level"))
            else array
        )
        for name, array in model._tensors.items()
    }
    return NormativeModel(model.card, tensors, model.digest)


def detections(
    model: NormativeModel, data: Path, table: Path, healthy: int
) -> list[tuple[str, Detection]]:
    """Return detections of patients and of unseen healthy people, with a candidate each."""
    paths = [(f"patient {p.parent.name}", p) for rule in PATIENTS for p in sorted(data.glob(rule))]
    unseen = [p for p in read_cohort(table) if p.split != "train"]
    paths += [("healthy", p.path) for p in unseen[:: max(1, len(unseen) // max(healthy, 1))]]
    found = []
    for name, path in paths:
        made = model.detect(read_volume(path), device="cpu")
        if not made.candidates:
            labels, candidates = recount(model, made, 3.0)
            made = dataclasses.replace(
                made, candidate_labels=labels, candidates=candidates, threshold_z=3.0
            )
        if made.candidates:
            found.append((name, made))
    return found


def mean_z(model: NormativeModel, found: Detection, image: NDArray[np.float32], region: Array):
    """Return the mean z inside a candidate of an image in the scan's place, full score."""
    space = found.in_model
    assert space is not None
    (made, _, _), _ = run_network(model, image[None], "cpu")
    z = judge(
        image, made[0], space.prepared.mask, model.calibration, model.card.score,
        model.card.preprocess.spacing_mm,
    )  # fmt: skip
    return float(z[region].mean())


def deletion(model: NormativeModel, found: Detection, made: Attribution) -> dict[str, float]:
    """Return by how much deleting voxels lowers the mean |z| of a candidate, by map and place.

    Deleted voxels take the pseudo-healthy value.
    """
    space, sign = found.in_model, np.sign(made.score)
    assert space is not None
    mask, image, region = space.prepared.mask, space.prepared.image, made.region
    seen = Expectation(model.network("cpu"), made.judged, made.contrast, "cpu")
    plain = made.judged.weights - seen.gradient(image)
    start = np.where(mask, made.contrast.applied(space.reconstruction), 0).astype(np.float32)
    maps = {
        "integrated gradients": sign * made.image,
        "the same without the network's part": sign * (made.image - made.through),
        "plain gradient": np.abs(plain),
        "residual": np.abs(image - start),
    }
    before = mean_z(model, found, image, region)
    random = np.random.default_rng(0)
    results = {}
    for place, where, count in (
        ("anywhere", mask, int(region.sum())),
        ("outside the candidate", mask & ~region, int(OUTSIDE * mask.sum())),
    ):
        free = np.flatnonzero(where)
        picks = {
            name: free[np.argsort(-values.ravel()[free], kind="stable")[:count]]
            for name, values in maps.items()
        }
        picks |= {f"random {n}": random.choice(free, count, replace=False) for n in range(RANDOM)}
        fell = {}
        for name, at in picks.items():
            other = image.copy().ravel()
            other[at] = start.ravel()[at]
            after = mean_z(model, found, other.reshape(image.shape), region)
            fell[name] = 100 * (1 - after / before)
        drawn = [fell.pop(f"random {n}") for n in range(RANDOM)]
        results |= {f"{place} | {name}": value for name, value in fell.items()}
        results[f"{place} | random voxels"] = float(np.mean(drawn))
    return results


def mean_interval(values: Sequence[float]) -> str:
    """Return a mean with its bootstrap interval over people."""
    given = np.array(values)
    random = np.random.default_rng(0)
    drawn = given[random.integers(0, len(given), (2000, len(given)))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{given.mean():.1f} [{low:.1f}, {high:.1f}]"


def attributions(model: NormativeModel, cases: list[tuple[str, Detection]]) -> list[str]:
    """Return the tables about attributions."""
    errors, through, fell = [], [], []
    patients = []
    for name, found in cases:
        made = attribute(model, found, found.candidates[0], device="cpu")
        change = made.score - made.baseline
        errors.append(abs(made.error / change))
        shares = made.shares
        through.append(
            [100 * v / change for v in (shares.expectation_inside, shares.expectation_elsewhere)]
        )
        fell.append(deletion(model, found, made))
        if name != "healthy":
            patients.append((name, found, made))
    lines = [
        f"Completeness: |sum - change of the score| at most {max(errors):.1e} of the change in "
        f"{len(cases)} candidates. Of the change of the score goes through the expectation: what "
        f"was seen in the candidate {mean_interval([t[0] for t in through])} %, elsewhere "
        f"{mean_interval([t[1] for t in through])} %.",
        "", "### Deleting what is attributed most", "",
        "Fall of the mean |z| of the candidate, full score, per cent.", "",
        "| deleted | chosen by | fall, % | integrated gradients more by |", "|---|---|---|---|",
    ]  # fmt: skip
    for key in fell[0]:
        place, name = key.split(" | ")
        own = [f[f"{place} | integrated gradients"] for f in fell]
        values = [f[key] for f in fell]
        more = [a - b for a, b in zip(own, values, strict=True)]
        last = "–" if name == "integrated gradients" else mean_interval(more)
        lines.append(f"| {place} | {name} | {mean_interval(values)} | {last} |")
    lines += [
        "", "### Other weights, other map", "",
        "Correlation with the map of the trained network, in the foreground, patients.", "",
        "| shuffled | whole attribution | part through the expectation | change of that part, % |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for what in ("local level", "all but the local level", "all"):
        whole, part, apart = [], [], []
        other = shuffled(model, what)
        for _, found, made in patients:
            again = attribute(other, found, found.candidates[0], device="cpu")
            mask = found.in_model.prepared.mask  # type: ignore[union-attr]
            whole.append(np.corrcoef(made.image[mask], again.image[mask])[0, 1])
            part.append(np.corrcoef(made.through[mask], again.through[mask])[0, 1])
            apart.append(
                100 * np.linalg.norm(made.through - again.through) / np.linalg.norm(made.through)
            )
        lines.append(
            f"| {what} | {np.mean(whole):.2f} | {np.mean(part):.2f} | {np.mean(apart):.0f} |"
        )
    return lines


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--columns", default="age,sex,site,ventricles_ml")
    parser.add_argument("--other", default="")
    parser.add_argument("--healthy", type=int, default=12)
    parser.add_argument("--only", choices=("correlations", "attributions"))
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    model = load_model(wanted.model)
    columns = wanted.columns.split(",")
    lines = [
        "# What latent directions go with, and what attributions are worth", "",
        f"`python benchmarks/interpret.py TABLE {wanted.model.name} DATA --work FOLDER"
        f"{' --other ' + wanted.other if wanted.other else ''} --healthy {wanted.healthy}`", "",
    ]  # fmt: skip
    if wanted.only != "attributions":
        people = people_of(wanted.table, columns)
        cohort = prepare_cohort(
            read_cohort(wanted.table), PRESETS["brain-4mm"], wanted.work / "prepared",
            report=lambda stage, done, name: None,
        )  # fmt: skip
        listed = [people[p.path] for p in cohort.people]
        latents = np.stack(
            [
                run_network(model, np.asarray(cohort.images[n], np.float32)[None], "cpu")[0][1]
                for n in range(len(listed))
            ]
        )
        baseline = "components of the voxels"
        size = min(model.posterior.mean.size, len(cohort.select("train")) - 1)
        spaces = {baseline: (voxel_components(cohort, size), listed)}
        for name, where in coordinates(model, latents).items():
            spaces[f"{model.card.name}: {name}"] = where, listed
        if wanted.other:
            second = load_model(wanted.other)
            seen = {s.path: s.place for s in embed(second, wanted.table, device="cpu").placed}
            order = [p.path for p in cohort.people]
            latents = np.stack([seen[path].latent for path in order])  # type: ignore[union-attr]
            for name, where in coordinates(second, latents).items():
                spaces[f"{second.card.name}: {name}"] = where, listed
        trained = sum(p.trained for p in listed)
        lines += [
            "## Correlations", "",
            f"{len(listed)} healthy people; {trained} trained the networks and components, "
            f"{len(listed) - trained} did not. Brackets: 95 % bootstrap interval over people. "
            "Components: of the prepared voxels at 4 mm of the people trained on, as many as the "
            "first model has latents. Within sites: means of sites taken out. Corrected p: "
            "permutation, maximum over the directions of the row.", "",
            *correlations(spaces, baseline, columns), "",
        ]  # fmt: skip
    if wanted.only != "correlations":
        cases = detections(model, wanted.data, wanted.table, wanted.healthy)
        patients = sum(name != "healthy" for name, _ in cases)
        lines += [
            "## Attributions", "",
            f"{model.card.name}, SHA-256 `{model.digest[:16]}…`; the strongest candidate of "
            f"{patients} patients and {len(cases) - patients} unseen healthy people (at |z| 3 "
            "where the model's own threshold gives none).", "",
            *attributions(model, cases), "",
        ]  # fmt: skip
    known = versions()
    lines.append(
        f"{platform.machine()}, one thread, {time.process_time() - began:.0f} s of the processor; "
        f"torch {known['torch']}, numpy {known['numpy']}. Seeds 0 and 1."
    )
    text = "\n".join(lines) + "\n"
    if wanted.out:
        wanted.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
