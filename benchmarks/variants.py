"""What every variant of the autoencoder is worth, on the same people, steps and score.

    python benchmarks/variants.py COHORT --work FOLDER [--seeds 3] [--shapes FOLDER]
        [--aligned FOLDER] [--only NAME ...] [--out benchmarks/results/variants.md]

COHORT is a table as for ``napari-normative train``; of its other columns age, sex, ventricles_ml
and site are what disentanglement is measured by, where they are there. Scans are aligned at 4 mm
(or found in --aligned, the folder ``prepared`` of a training of brain-4mm) and averaged over
blocks of 2³ voxels, so that ``brain-8mm`` trains in seconds and there is time for seeds.

Figures are of people who took no part in training: ELBO, error and disentanglement of calibration
and test people, lesions simulated in the calibration-b people as in ablations.py. A run is a JSON
file in FOLDER/rows and is not done again. A new variant is one line in ``ROWS``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablations import lesions_found, slug
from numpy.typing import NDArray

from napari_normative.core.baselines import Network
from napari_normative.core.config import BaselineKind
from napari_normative.core.disentanglement import Covariate, disentanglement
from napari_normative.core.latent import AggregatedPosterior, code_health, latent_health
from napari_normative.core.metrics import paired_difference
from napari_normative.core.objective import latent_nats
from napari_normative.core.preprocess import Template
from napari_normative.core.sample_metrics import fixed_features, mae, mmd2
from napari_normative.core.vae import VAE
from napari_normative.engine.baselines import fit_baseline
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.conditions import codes_of, covariates_in
from napari_normative.engine.optimise import How, optimise
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import PRESETS, Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.engine.variants import chosen
from napari_normative.io.atomic import replace_files

SAMPLES = 32
COVARIATES = ("age", "sex", "ventricles_ml", "site")
UNSEEN = ("calibration-a", "calibration-b", "test")


@dataclass(frozen=True)
class Row:
    """What is compared: a variant with further changes, or a baseline."""

    name: str
    variant: str | None = None
    changes: dict[str, object] = field(default_factory=dict)
    baseline: BaselineKind | None = None


SMALL: dict[str, object] = {"stem": 2, "widths": (16, 32), "steps": 200}
"""What differs from ``brain-8mm`` in every row: stem and steps of the finer presets."""
NO_COMPONENTS: dict[str, object] = {"linear_factor": 0, "local_edge": 0}
HIERARCHICAL: dict[str, object] = {
    "latent": "spatial", "latent_size": 8, "linear_factor": 0, "local_edge": 0,
    "window": (12, 12, 12), "overlap": 4,
    "anatomy": {
        "factor": 2, "latent_size": 16, "stem": 1, "widths": (16, 32), "local_edge": 0,
        "steps": 100,
    },
}  # fmt: skip
"""Windows of 96 mm below a dense level at 16 mm, which has 100 steps of its own."""
ROWS = (
    Row("mean image", baseline="atlas"),
    Row("principal components", baseline="pca"),
    Row("vae (default)", "vae"),
    Row("autoencoder", "autoencoder"),
    Row("beta-vae", "beta-vae"),
    Row("beta-tc", "beta-tc"),
    Row("context-encoding", "context-encoding"),
    Row("no-components", "no-components"),
    Row("no-components, β 4", "beta-vae", NO_COMPONENTS),
    Row("no-components, β-TC 6", "beta-tc", NO_COMPONENTS),
    Row("spatial", "spatial"),
    Row("vq", "vq"),
    Row("conditional", "vae", {"condition_on": ("age", "sex", "site")}),
    Row("hierarchical", "vae", HIERARCHICAL),
)
DEFAULT = "vae (default)"


def coarsened(cohort: PreparedCohort, preset: Preset) -> PreparedCohort:
    """Return a cohort on a grid of half the voxels along each axis."""

    def halved(image: NDArray[Any], mask: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        share, total = _blocks(mask), _blocks(image * mask)
        inside = share >= 0.5
        return np.where(inside, total / np.maximum(share, 0.5), 0), inside

    pairs = [
        halved(cohort.images[n].astype(np.float32), cohort.masks[n])
        for n in range(len(cohort.people))
    ]
    image, mask = halved(cohort.template.image, cohort.template.mask)
    return dataclasses.replace(
        cohort,
        images=np.stack([image for image, _ in pairs]).astype(np.float16),
        masks=np.stack([mask for _, mask in pairs]),
        template=Template(image.astype(np.float32), mask),
        config=preset.preprocess,
        digest=f"{cohort.digest}-halved",
    )


def _blocks(values: NDArray[Any]) -> NDArray[np.float64]:
    i, j, k = (n // 2 for n in values.shape)
    means: NDArray[np.float64] = values.reshape(i, 2, j, 2, k, 2).mean(
        axis=(1, 3, 5), dtype=np.float64
    )
    return means


def made(row: Row, cohort: PreparedCohort, preset: Preset, seed: int) -> Network:
    """Return the network of a row, trained, or the baseline."""
    if row.baseline is not None:
        return fit_baseline(row.baseline, cohort, flip=preset.augment.flip)
    with tempfile.TemporaryDirectory() as folder:
        how = How("cpu", "fp32", None, False, False, Path(folder), Ranks())
        return optimise(
            cohort, preset, how, seed, report=lambda *_: None, cancel=lambda: False
        ).network


def measured(row: Row, cohort: PreparedCohort, seed: int, folder: Path | None) -> dict[str, Any]:
    """Train a row with a seed and return all its figures, per person where they are."""
    preset = chosen("brain-8mm", row.variant, {**SMALL, **row.changes})
    started = time.process_time()
    network = made(row, cohort, preset, seed)
    facts: dict[str, Any] = {"name": row.name, "seconds": time.process_time() - started}
    facts["steps"] = 0 if row.baseline else preset.steps
    facts |= bound(network, cohort, seed)
    facts |= latent_figures(network, cohort)
    means, variances = encoded(network, cohort, *UNSEEN)
    if means.ndim == 2 and means.shape[1] > 1:
        facts["disentangled"] = disentangled(means, variances, cohort)

    def reconstruct(images: NDArray[np.float32], asked: Network = network) -> NDArray[np.float32]:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(images))[:, None]
            out: NDArray[np.float32] = asked.reconstruct(x)[:, 0].float().numpy()
        return out * cohort.template.mask

    facts["mae"] = [
        mae(image, reconstruct(image[None], told(network, cohort, n))[0], cohort.masks[n])
        for n in cohort.select(*UNSEEN)
        for image in [cohort.images[n].astype(np.float32)]
    ]
    found = lesions_found(cohort, reconstruct, preset, folder)
    pairs = zip(found["hypointense"], found["hyperintense"], strict=True)
    facts["ap"] = [dark + bright for dark, bright in pairs]
    return facts


def told(network: Network, cohort: PreparedCohort, n: int) -> Network:
    """Return a network that is told all that the table says of a person, where it can be told."""
    covariates = covariates_in(network.config)
    if not covariates.each or not isinstance(network, VAE):
        return network
    return network.given(torch.from_numpy(codes_of([cohort.people[n]], covariates)[0]))


def bound(network: Network, cohort: PreparedCohort, seed: int) -> dict[str, list[float]]:
    """Return the ELBO of each unseen person, nats, and its KL: of all levels, and the global one.

    One likelihood for all rows: a Gaussian whose σ is the root mean square error, on
    calibration-a, of the decoded draw that the bound is of. Training maximises the global level's;
    the local level is fitted afterwards.
    """
    codes = getattr(network.config, "codes", 0)
    random = torch.Generator().manual_seed(seed)

    def drawn(n: int) -> list[tuple[NDArray[np.float64], float]]:
        x = torch.from_numpy(cohort.images[n].astype(np.float32))[None, None]
        with torch.inference_mode():
            known = told(network, cohort, n)
            levels = known.levels(x)
            draws = [level.sample(random) for level in levels]
            outs = [known.decode(*draws)[0, 0].numpy(), known.decode(draws[0])[0, 0].numpy()]
        left = [(x[0, 0].numpy() - out)[cohort.masks[n]].astype(np.float64) for out in outs]
        kls = [latent_nats(levels, codes), latent_nats(levels[:1], codes)]
        return list(zip(left, kls, strict=True))

    of_a = [drawn(n) for n in cohort.select("calibration-a")]
    unseen = [drawn(n) for n in cohort.select("calibration-b", "test")]
    found: dict[str, list[float]] = {}
    for which, suffix in enumerate(("", "_global")):
        variance = np.concatenate([person[which][0] ** 2 for person in of_a]).mean()
        constant = np.log(2 * np.pi * variance)
        found[f"kl{suffix}"] = [person[which][1] for person in unseen]
        found[f"elbo{suffix}"] = [
            float(-0.5 * (left**2 / variance + constant).sum()) - kl
            for left, kl in (person[which] for person in unseen)
        ]
    return found


def latent_figures(network: Network, cohort: PreparedCohort) -> dict[str, Any]:
    """Return how many latents are in use, and how far samples are from unseen people."""
    means, variances = encoded(network, cohort, "train")
    posterior = AggregatedPosterior.fit(means, variances)
    noise = np.random.default_rng(0).standard_normal((SAMPLES, *means[0].shape)).astype(np.float32)
    codebook = getattr(network, "quantiser", None)
    health = latent_health(means, variances)
    if codebook is not None:
        cells = codebook.quantised(torch.from_numpy(means)).which.numpy()
        health = code_health(cells, len(codebook.codes))
        codes = codebook.codes.detach().numpy()
        picked = np.random.default_rng(0).integers(len(codes), size=(SAMPLES, *cells.shape[1:]))
        noise = np.moveaxis(codes[picked], -1, 1)
    real = [cohort.images[n].astype(np.float32) for n in cohort.select(*UNSEEN)]
    features = fixed_features(real)

    def distance(latents: NDArray[np.float32]) -> float:
        with torch.inference_mode():
            images = network.decode(torch.from_numpy(np.ascontiguousarray(latents)))[:, 0].numpy()
        return float(mmd2(fixed_features([x * cohort.template.mask for x in images]), features))

    return {
        "active": health.active,
        "latents": int(means[0].size if codebook is None else np.prod(means.shape[2:])),
        "mmd2_cohort": distance(posterior.draw(SAMPLES, 0)),
        "mmd2_prior": distance(noise),
    }


def disentangled(
    means: NDArray[Any], variances: NDArray[Any], cohort: PreparedCohort
) -> dict[str, tuple[float, float]]:
    """Return every measure of the latents of unseen people: its value, and that of chance."""
    people = [cohort.people[n] for n in cohort.select(*UNSEEN)]
    known = [
        Covariate.of(name, [p.site if name == "site" else p.more.get(name, "") for p in people])
        for name in COVARIATES
    ]
    found = disentanglement(means, known, variances=variances)
    return {f"{f.measure} {f.covariate}".strip(): (f.value, f.chance) for f in found}


def encoded(network: Network, cohort: PreparedCohort, *splits: str) -> tuple[NDArray[Any], ...]:
    """Return means and variances of people's (global) latents."""
    found = []
    with torch.inference_mode():
        for n in cohort.select(*splits):
            latent = told(network, cohort, n).encode(
                torch.from_numpy(cohort.images[n].astype(np.float32))[None, None]
            )
            found.append((latent.mean[0].numpy(), latent.log_variance[0].exp().numpy()))
    return tuple(np.stack(part) for part in zip(*found, strict=True))


def table(folder: Path, seeds: int) -> str:
    """Return the runs that are there as two markdown tables, in the order of ``ROWS``."""
    done: dict[str, list[dict[str, Any]]] = {}
    for row in ROWS:
        paths = [folder / "rows" / f"{slug(row.name)}-{seed}.json" for seed in range(seeds)]
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
        if runs:
            done[row.name] = runs
    head = [
        "variant", "seeds", "CPU s", "ELBO, nats", "to default [95 %]", "KL",
        "global level: ELBO", "to default [95 %]", "KL", "active",
        "MAE", "AP", "AP, to default [95 %]", "MMD² cohort", "MMD² prior",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in done.items():
        cells = [name, str(len(runs)), f"{_mean(runs, 'seconds'):.0f}"]
        for level in ("", "_global"):
            cells += [f"{_mean(runs, f'elbo{level}'):.0f}", _gap(done, name, f"elbo{level}", ".0f")]
            cells += [f"{_mean(runs, f'kl{level}'):.0f}"]
        cells += [f"{_mean(runs, 'active'):.0f} of {runs[0]['latents']}"]
        cells += [f"{_mean(runs, 'mae'):.4f}", f"{_mean(runs, 'ap'):.3f}"]
        cells += [_gap(done, name, "ap", ".3f")]
        cells += [f"{_mean(runs, 'mmd2_cohort'):.3f}", f"{_mean(runs, 'mmd2_prior'):.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_disentangled(done)])


def _disentangled(done: dict[str, list[dict[str, Any]]]) -> list[str]:
    known = {name: runs for name, runs in done.items() if runs[0].get("disentangled")}
    columns = list(next(iter(known.values()))[0]["disentangled"]) if known else []
    lines = ["| variant | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name, runs in known.items():
        cells = []
        for column in columns:
            pairs = [run["disentangled"].get(column) for run in runs]
            pair = np.mean([p for p in pairs if p is not None], axis=0)
            cells.append(f"{pair[0]:.3f} ({pair[1]:.3f})" if np.size(pair) == 2 else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _mean(runs: list[dict[str, Any]], key: str) -> float:
    return float(np.nanmean([np.nanmean(run[key]) for run in runs]))


def _gap(done: dict[str, list[dict[str, Any]]], name: str, key: str, digits: str) -> str:
    if name == DEFAULT or DEFAULT not in done:
        return ""

    def by_person(runs: list[dict[str, Any]]) -> list[list[float]]:
        people = zip(*(run[key] for run in runs), strict=True)
        return [np.ravel(person).tolist() for person in people]

    both = min(len(done[name]), len(done[DEFAULT]))  # of the same seeds
    gap = paired_difference(by_person(done[name][:both]), by_person(done[DEFAULT][:both]))
    return f"{gap.value:+{digits}} [{gap.low:+{digits}}, {gap.high:+{digits}}]"


def main() -> None:
    """Do the runs that are missing and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--aligned", type=Path, help="folder 'prepared' of a training at 4 mm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shapes", type=Path, help="folder of real lesion masks in MNI space")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="rows to do; all unless given")
    parser.add_argument("--out", type=Path, help="write the tables there as well")
    wanted = parser.parse_args()
    fine = prepare_cohort(
        read_cohort(wanted.cohort), PRESETS["brain-4mm"],
        wanted.aligned or wanted.work / "prepared", report=lambda *_: None,
    )  # fmt: skip
    cohort = coarsened(fine, PRESETS["brain-8mm"])
    for seed in range(wanted.seeds):
        for row in ROWS:
            path = wanted.work / "rows" / f"{slug(row.name)}-{seed}.json"
            skipped = wanted.only is not None and row.name not in wanted.only
            if path.exists() or skipped or (row.baseline and seed):
                continue
            facts = measured(row, cohort, seed, wanted.shapes)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_files({path: json.dumps(facts, indent=1).encode()})
            print(row.name, seed, f"{facts['seconds']:.0f} s", flush=True)
    text = table(wanted.work, wanted.seeds)
    threads = torch.get_num_threads()
    origin = f"{platform.machine()}, {threads} thread(s), torch {torch.__version__}"
    print(f"{origin}\n\n{text}")
    if wanted.out is not None:
        wanted.out.write_text(f"{HEADER}\n{origin}.\n\n{text}\n", encoding="utf-8")


HEADER = """# What every variant of the autoencoder is worth

Every row: the same 107 training people, 200 steps of 8 volumes, stem and steps of the finer
presets on the grid of `brain-8mm` (8 mm; scans aligned at 4 mm and averaged), then the same score
and calibration. Figures of people who took no part: ELBO and KL of 32 (calibration-b and test),
error and disentanglement of 48, lesions (real shapes, simulated darker and brighter, AP of |z|)
in the 16 calibration-b people. Brackets: 95 %, bootstrap over people of the paired difference to
the default, of the seeds that both rows have; they hold people, not seeds.

- **ELBO, nats**: one likelihood for all, a Gaussian with the error of calibration-a people as σ.
  *Global level* is what training maximises; beside it with the local level, which is fitted
  afterwards for error and detection, not for the bound. The KL of VQ is cells · ln K.
- **active**: latents of more than 0.01 nats in training people; of VQ cells whose code differs
  between people.
- **MMD²**, of 32 samples on fixed features to 48 unseen people: drawn from the cohort's Gaussian
  (what `sample` does), and from the prior (N(0, I); of VQ, codes drawn alike).
- Baselines: the mean image; principal components at their best number.
- **Disentanglement**, in brackets what chance gives: of dense latents, on what the table knows of
  people. See docs/how-to/latents.md. Numbers of latents differ, so total correlation compares
  rows of 16 latents alone.
- **conditional** is told age, sex and site of each person, where they are known, but for lesions:
  those are looked for without telling it anything. **hierarchical** has windows of 96 mm below a
  dense level at 16 mm, which had 100 steps of its own; its global level is that one.

Rows are of a small network, few steps, one cohort of two sites; differences of AP below .01 are
none. Time is CPU seconds of one thread of a busy machine, for training alone.

Made by `python benchmarks/variants.py COHORT --work FOLDER --shapes ../shared/data/lesion-shapes
--out benchmarks/results/variants.md`;"""


if __name__ == "__main__":
    main()
