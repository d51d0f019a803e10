"""Rare groups: what weighted draws and a network that is told age, sex and site do for them.

    python benchmarks/imbalance.py TABLE --work FOLDER [--folds 3] [--steps 60] [--first N]
        [--out FILE.md]

TABLE is a table as for ``napari-normative train`` with the columns ``subject``, ``site``, ``age``,
``sex`` and ``ventricles_ml`` (lateral ventricles, ml); cells may be empty. Everybody is aligned
at 4 mm (FOLDER/prepared) and averaged to 8 mm. People are cut into folds, alike in the rare
groups; of those outside a fold a sixth each are calibration part A and B. A fold of a
variant is a JSON file in FOLDER/rows and is not done again; ``--first N`` does and shows the
first N folds alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_normative.core.condition import Covariates
from napari_normative.core.covariate_effects import linear_effects
from napari_normative.core.latent import AggregatedPosterior
from napari_normative.core.lesions import drawn_shape, simulate
from napari_normative.core.metrics import average_precision, bootstrap, paired_difference
from napari_normative.core.preprocess import Template
from napari_normative.core.score import judge, scan_score
from napari_normative.core.vae import VAE
from napari_normative.engine import loop
from napari_normative.engine.calibrate import calibrate
from napari_normative.engine.cohort import Person, read_cohort
from napari_normative.engine.conditions import codes_of, covariates_of, known_of
from napari_normative.engine.measure import level_of
from napari_normative.engine.optimise import How, optimise
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import PRESETS
from napari_normative.engine.ranks import Ranks
from napari_normative.errors import SimulationError
from napari_normative.io.atomic import replace_files

Image = NDArray[np.float32]
Reconstruct = Callable[[Image, Image], Image]

TOLD = ("age", "sex", "site")
WEIGHTED: dict[str, object] = {"balance_by": ("site", "age"), "balance": 1.0}
PLAIN: dict[str, object] = {"balance": 0.0}
VARIANTS: dict[str, dict[str, object] | None] = {
    "mean by ridge regression": None,
    "plain": PLAIN,
    "weighted": WEIGHTED,
    "conditional": {**PLAIN, "condition_on": TOLD},
    "conditional, weighted": {**WEIGHTED, "condition_on": TOLD},
}
GROUPS = ("everybody", "rare site", "65 or older", "neither")
OLD = 65.0
NOMINAL = 0.01
LESIONS = (("hypointense", 10.0), ("hyperintense", 10.0))
STRENGTH = 0.5
AGES = (25.0, 75.0)
"""Of which the mean is decoded."""
BOX_MM = ((-36, 36), (-56, 32), (-24, 44))
"""Around the lateral ventricles, in the model's space, within which dark volume is counted."""


def age_of(person: Person) -> float:
    """Return the age; nan where it is unknown."""
    return float(person.more.get("age") or "nan")


def groups_of(person: Person, rare: str) -> list[str]:
    """Return the groups of a person; somebody of unknown age is only among everybody."""
    found = ["everybody"]
    found += ["rare site"] * (person.site == rare)
    found += ["65 or older"] * (age_of(person) >= OLD)
    found += ["neither"] * (person.site != rare and age_of(person) < OLD)
    return found


def coarse(cohort: PreparedCohort) -> PreparedCohort:
    """Return the cohort at twice the spacing: means of 2 x 2 x 2 voxels."""

    def means(image: NDArray[Any]) -> Image:
        i, j, k = (n // 2 for n in image.shape)
        blocks: Image = image.astype(np.float32).reshape(i, 2, j, 2, k, 2).mean((1, 3, 5))
        return blocks

    space = PRESETS["brain-8mm"].preprocess
    masks = [means(cohort.masks[n]) > 0.5 for n in range(len(cohort.people))]
    images = [means(cohort.images[n]) * masks[n] for n in range(len(cohort.people))]
    inside = means(cohort.template.mask) > 0.5
    return dataclasses.replace(
        cohort,
        images=np.stack(images).astype(np.float16),
        masks=np.stack(masks),
        config=cohort.config.model_copy(
            update={"shape": space.shape, "spacing_mm": 8.0, "origin_mm": space.origin_mm}
        ),
        template=Template(means(cohort.template.image) * inside, inside),
    )


def folded(cohort: PreparedCohort, fold: int, folds: int, rare: str) -> PreparedCohort:
    """Return the cohort with a fold as test people, and a mean image of its training people."""
    random = np.random.default_rng(0)
    strata: dict[tuple[str, ...], list[str]] = {}
    for person in cohort.people:
        strata.setdefault(tuple(groups_of(person, rare)), []).append(person.subject)
    split: dict[str, str] = {}
    for _, subjects in sorted(strata.items()):
        own = [str(s) for s in random.permutation(sorted(set(subjects)))]
        split |= dict.fromkeys(own[fold::folds], "test")
        others = [subject for subject in own if subject not in split]
        parts = ("calibration-a", "train", "train", "calibration-b", "train", "train")
        split |= {subject: parts[n % len(parts)] for n, subject in enumerate(others)}
    people = [dataclasses.replace(p, split=split[p.subject]) for p in cohort.people]
    made = dataclasses.replace(cohort, people=people)
    train, inside = made.select("train"), cohort.template.mask
    total = sum(made.images[n].astype(np.float64) for n in train)
    count = sum(made.masks[n].astype(np.float64) for n in train)
    mean = (total + total[::-1]) / np.maximum(count + count[::-1], 1)
    return dataclasses.replace(
        made, template=Template(np.where(inside, mean, 0).astype(np.float32), inside)
    )


def ridge(cohort: PreparedCohort, codes: Image) -> Reconstruct:
    """Return what reconstructs by the mean for what is known of a person, no network."""
    train, mean = cohort.select("train"), cohort.template.image
    left = np.stack([(cohort.images[n].astype(np.float32) - mean) * cohort.masks[n] for n in train])
    left = (left + left[:, ::-1]) / 2
    effects = linear_effects(left.reshape(len(train), -1), codes[train])

    def reconstruct(images: Image, code: Image) -> Image:
        made = mean + (code @ effects).reshape(mean.shape)
        return np.broadcast_to(made.astype(np.float32), images.shape)

    return reconstruct


def by_network(network: VAE, codes: bool) -> Reconstruct:
    """Return what reconstructs by a network; told the code if it takes one."""

    def reconstruct(images: Image, code: Image) -> Image:
        with torch.inference_mode():
            own = network.given(torch.from_numpy(code)) if codes else network
            out: Image = own.reconstruct(torch.from_numpy(images)[:, None])[:, 0].numpy()
        return out

    return reconstruct


def dark_ml(image: Image, cohort: PreparedCohort) -> float:
    """Return the volume, ml, of what is darker than tissue around the ventricles."""
    template, affine = cohort.template, cohort.config.grid.affine
    at = [np.arange(n) * affine[a, a] + affine[a, 3] for a, n in enumerate(image.shape)]
    near = [(low <= x) & (x <= high) for x, (low, high) in zip(at, BOX_MM, strict=True)]
    box = near[0][:, None, None] & near[1][None, :, None] & near[2][None, None, :] & template.mask
    tissue = np.quantile(template.image[template.mask], 0.6)
    share = np.clip((tissue - image[box]) / tissue, 0, 1)
    return float(share.sum() * cohort.config.spacing_mm**3 / 1000)


def measured(cohort: PreparedCohort, changes: dict[str, object] | None, rare: str, fold: int,
             steps: int) -> dict[str, Any]:  # fmt: skip
    """Train a variant on a fold's training people and look at its test people."""
    preset = PRESETS["brain-8mm"].changed({"steps": steps, **(changes or {})})
    told = preset.condition_on if changes is not None else TOLD
    covariates = covariates_of(cohort.people, told)
    codes = codes_of(cohort.people, covariates)
    network: VAE | None = None
    if changes is None:
        reconstruct = ridge(cohort, codes)
    else:
        with tempfile.TemporaryDirectory() as folder:
            how = How("cpu", "fp32", None, False, False, Path(folder), Ranks())
            network = optimise(
                cohort, preset, how, fold, report=lambda *_: None, cancel=lambda: False
            ).network
        reconstruct = by_network(network, bool(told))
    calibration = calibrate(cohort, reconstruct, preset.score, flip=True, codes=codes)
    level, spacing = level_of(calibration, NOMINAL), cohort.config.spacing_mm
    posterior = None if network is None else latents_of(network, cohort, codes)
    test = cohort.select("test")
    ages = {n: age_of(cohort.people[n]) for n in test if np.isfinite(age_of(cohort.people[n]))}
    shuffled = dict(zip(ages, np.random.default_rng(fold).permutation(list(ages.values())),
                        strict=True))  # fmt: skip
    rows = []
    for n in test:
        person, mask = cohort.people[n], cohort.masks[n]
        image = cohort.images[n].astype(np.float32)

        def scored(x: Image, code: Image, mask: Any = mask) -> tuple[Image, Image]:
            made = reconstruct(x[None], code)[0]
            return made, judge(x, made, mask, calibration, preset.score, spacing)

        made, z = scored(image, codes[n])
        judged = mask & (z != 0)
        row: dict[str, Any] = {
            "groups": groups_of(person, rare),
            "mae": float(np.abs(image - made)[mask].mean()),
            "fpr": float((np.abs(z[judged]) > level).mean()),
            "score": scan_score(z),
            "ap": [],
            "age": age_of(person),
            "ventricles_ml": float(person.more.get("ventricles_ml") or "nan"),
            "dark_ml": dark_ml(image, cohort),
        }
        for k, (kind, volume_ml) in enumerate(LESIONS):
            seed = 1000 * n + k
            try:
                shape = drawn_shape(mask, volume_ml, spacing, seed=seed)
                ill = simulate(image, mask, shape, spacing, kind, strength=STRENGTH, seed=seed)
            except SimulationError:
                continue
            found = np.abs(scored(ill.image, codes[n])[1])[mask]
            row["ap"].append(average_precision(found, ill.truth[mask]))
        if told:
            known = known_of(person, covariates)
            ways = {"right": known, "unknown": {}}
            if n in shuffled:
                ways["another's age"] = {**known, "age": float(shuffled[n])}
            row["told"] = {
                way: asked(covariates, what, image, scored, network, posterior, level)
                for way, what in ways.items()
            }
        rows.append(row)
    facts: dict[str, Any] = {"rows": rows}
    if told:
        means = [reconstruct_mean(network, reconstruct, covariates, age, cohort) for age in AGES]
        facts["mean_dark_ml"] = [dark_ml(image, cohort) for image in means]
    return facts


def asked(covariates: Covariates, what: Any, image: Image, scored: Any, network: VAE | None,
          posterior: AggregatedPosterior | None, level: float) -> dict[str, float]:  # fmt: skip
    """Return a person's figures when the model is told ``what`` of them."""
    code = covariates.code(what)
    z = scored(image, code)[1]
    found = {"score": scan_score(z), "fpr": float((np.abs(z[z != 0]) > level).mean())}
    if network is not None and posterior is not None:
        with torch.inference_mode():
            own = network.given(torch.from_numpy(code))
            latent = own.encode(torch.from_numpy(image)[None, None]).mean[0].numpy()
            far = (torch.from_numpy(image) - own.expected()[0, 0]).abs().numpy()
        found["distance"] = posterior.distance(latent)
        found["from_mean"] = float(far[image != 0].mean())
    return found


def latents_of(network: VAE, cohort: PreparedCohort, codes: Image) -> AggregatedPosterior:
    """Return the Gaussian of the training people's latents."""
    means, variances = [], []
    with torch.inference_mode():
        for n in cohort.select("train"):
            x = torch.from_numpy(cohort.images[n].astype(np.float32))[None, None]
            latent = network.given(torch.from_numpy(codes[n])).encode(x)
            means.append(latent.mean[0].numpy())
            variances.append(latent.log_variance[0].exp().numpy())
    return AggregatedPosterior.fit(np.stack(means), np.stack(variances))


def reconstruct_mean(network: VAE | None, reconstruct: Reconstruct, covariates: Covariates,
                     age: float, cohort: PreparedCohort) -> Image:  # fmt: skip
    """Return the decoded mean at an age, all else unknown."""
    code = covariates.code({"age": age})
    if network is None:
        return reconstruct(np.zeros((1, *cohort.template.image.shape), np.float32), code)[0]
    with torch.inference_mode():
        zero = torch.zeros(1, network.config.latent_size)
        image: Image = network.given(torch.from_numpy(code)).decode(zero)[0, 0].numpy()
    return image


def shown(values: Any, digits: int = 3) -> str:
    """Return a mean over people with its interval."""
    found = bootstrap(values)
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def apart(first: Any, second: Any, digits: int = 3) -> str:
    """Return the paired difference with its interval."""
    found = paired_difference(first, second)
    return f"{found.value:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def table(done: dict[str, list[dict[str, Any]]]) -> str:
    """Return the tables of all variants, people of all folds together."""
    rows = {name: [row for fold in folds for row in fold["rows"]] for name, folds in done.items()}
    lines = []
    for group in GROUPS:
        own = {n: [r for r in all_ if group in r["groups"]] for n, all_ in rows.items()}
        lines += [
            f"\n## {group.capitalize()}, n = {len(own['plain'])}\n",
            "| variant | MAE | less plain | AP | less plain | realised % at nominal 1 % |",
            "|---|---|---|---|---|---|",
        ]
        for name, people in own.items():
            mae, plain = [[r["mae"] for r in p] for p in (people, own["plain"])]
            ap, plain_ap = [[r["ap"] for r in p] for p in (people, own["plain"])]
            lines.append(
                f"| {name} | {shown(mae, 4)} | {apart(mae, plain, 4)} | {shown(ap)} "
                f"| {apart(ap, plain_ap)} | {shown([100 * r['fpr'] for r in people], 2)} |"
            )
    lines += [
        "\n## What it is told of people of 65 or older\n",
        "Scan score: larger is less normal. Distance: of the latents, 1 is usual. From the mean: "
        "mean absolute difference to the expected image, model units. Differences to *right* are "
        "within people.\n",
        "| variant | told | scan score | less right | distance | less right | from the mean "
        "| less right | realised % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, people in rows.items():
        old = [r["told"] for r in people if "told" in r and "65 or older" in r["groups"]]
        for way in ("right", "another's age", "unknown") if old and "distance" in old[0]["right"] \
                else ():  # fmt: skip
            cells = [shown([100 * r[way]["fpr"] for r in old], 2)]
            for figure in ("from_mean", "distance", "score"):
                now, right = ([r[w][figure] for r in old] for w in (way, "right"))
                cells[:0] = [shown(now), apart(now, right)]
            lines.append(f"| {name} | {way} | {' | '.join(cells)} |")
    return "\n".join([*lines, *ventricles(done, rows)])


def ventricles(done: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return how decoded means of 25 and 75 years differ, beside real people."""
    real = [r for r in rows["plain"] if np.isfinite(r["age"]) and np.isfinite(r["ventricles_ml"])]
    age, ml, dark = (np.array([r[k] for r in real]) for k in ("age", "ventricles_ml", "dark_ml"))
    per_ml = np.polyfit(dark, ml, 1)[0]
    random, slopes = np.random.default_rng(0), []
    for _ in range(2000):
        drawn = random.integers(len(age), size=len(age))
        slopes.append([np.polyfit(age[drawn], y[drawn], 1)[0] * 50 for y in (ml, dark)])
    low, high = np.quantile(slopes, (0.025, 0.975), axis=0)
    lines = [
        "\n## Ventricles at 75 less at 25 years\n",
        f"*Dark volume*: what is darker than tissue in a box around the ventricles; in {len(real)} "
        f"people it correlates {np.corrcoef(dark, ml)[0, 1]:.2f} with the lateral ventricles' "
        f"volume, of which a ml of it is {per_ml:.2f} ml. Real: 50 times the slope of a line over "
        "age.\n",
        "| | dark volume, ml | lateral ventricles, ml |",
        "|---|---|---|",
    ]
    real_dark, real_ml = (np.polyfit(age, y, 1)[0] * 50 for y in (dark, ml))
    lines.append(f"| real people | {real_dark:.1f} [{low[1]:.1f}, {high[1]:.1f}] "
                 f"| {real_ml:.1f} [{low[0]:.1f}, {high[0]:.1f}] |")  # fmt: skip
    for name, folds in done.items():
        more = [f["mean_dark_ml"][1] - f["mean_dark_ml"][0] for f in folds if "mean_dark_ml" in f]
        if more:
            spread = ", ".join(f"{m:.1f}" for m in more)
            lines.append(f"| {name}, decoded means (folds: {spread}) | {np.mean(more):.1f} "
                         f"| {np.mean(more) * per_ml:.1f} |")  # fmt: skip
    return lines


def main() -> None:
    """Do the folds that are missing and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--first", type=int, help="how many of the folds; all unless given")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, help="write the tables there as well")
    wanted = parser.parse_args()
    people = read_cohort(wanted.table)
    fine = prepare_cohort(
        people, PRESETS["brain-4mm"], wanted.work / "prepared", report=lambda *_: None
    )
    sites = [p.site for p in fine.people]
    rare, cohort = min(sorted(set(sites)), key=sites.count), coarse(fine)
    done: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    loop.HELD_OUT_CHECKS = 1  # the curves are not looked at
    first = wanted.first or wanted.folds
    for fold in range(first):
        own = folded(cohort, fold, wanted.folds, rare)
        for name, changes in VARIANTS.items():
            file = f"{name.replace(' ', '-')}-{wanted.steps}-{fold}-{wanted.folds}.json"
            path = wanted.work / "rows" / file
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                facts = measured(own, changes, rare, fold, wanted.steps)
                replace_files({path: json.dumps(facts, indent=1).encode()})
                print(name, fold, flush=True)
            done[name].append(json.loads(path.read_text(encoding="utf-8")))
    text = table(done)
    print(text)
    if wanted.out is not None:
        origin = (
            f"{platform.machine()}, {torch.get_num_threads()} thread(s), torch "
            f"{torch.__version__}; "
            f"{len(fine.people)} people, {first} of {wanted.folds} folds, {wanted.steps} steps "
            "from the components, one seed a fold"
        )
        header = HEADER.format(steps=wanted.steps, first=first)
        wanted.out.write_text(f"{header}\n{origin}.\n{text}\n", encoding="utf-8")


HEADER = """# Rare groups: weighted draws and a network that is told age, sex and site

Every variant is the preset `brain-8mm`, cross-validated by person; the score of all is calibrated
on calibration people of the same fold, each told their own age, sex and site. *Weighted*:
`--balance site,age --set balance=1`; *plain*: everybody alike. *Mean by ridge regression*: no
network, the mean image for age, sex and site, judged with the same score. AP: of |z|, a darker
and a brighter simulated lesion of 10 ml in everybody (strength 0.5). Brackets: 95 % bootstrap over
people; nothing was chosen by these figures. Intervals hold people, not seeds.

*Decoded means* are shrunk as the regression is, so they hold less than people's own slope.

Made by `python benchmarks/imbalance.py PEOPLE.tsv --work FOLDER --steps {steps} --first {first}
--out benchmarks/results/imbalance.md`;"""


if __name__ == "__main__":
    main()
