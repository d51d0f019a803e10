"""What each choice of training is worth: one change at a time, a small fixed budget.

    python benchmarks/ablations.py COHORT --work FOLDER [--steps 150] [--shapes FOLDER]
        [--out benchmarks/results/ablations.md] [--only NAME ...]

COHORT is a table as for ``napari-normative train``. Every row trains a network from the same
start on the same draws, then looks at people who took no part: error of reconstruction of the
calibration-b people, and simulated lesions in them, found with the full score calibrated on
calibration-a. The test people are not looked at. A row is a JSON file in FOLDER/rows and is
not done again; the table is made of those that are there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from napari_normative.core.latent import latent_health
from napari_normative.core.lesions import drawn_shape, place_shape, simulate
from napari_normative.core.metrics import average_precision, paired_difference
from napari_normative.core.sample_metrics import fixed_features, mmd2
from napari_normative.core.score import judge
from napari_normative.core.vae import VAE
from napari_normative.engine import loop
from napari_normative.engine.calibrate import calibrate
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.device import bf16_is_fast
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import PRESETS, Preset
from napari_normative.engine.start import architecture, start_from_components
from napari_normative.io.atomic import replace_files

Image = NDArray[np.float32]
Reconstruct = Callable[[Image], Image]

STRENGTHS = {"hypointense": (0.5, 1.0), "hyperintense": (0.5, 1.0), "texture": (1.0,)}
VOLUMES_ML = (2.0, 60.0)
SAMPLES = 32


@dataclass(frozen=True)
class Row:
    """A variant: what it is called, and what differs from the first row.

    ``steps`` of 0 leaves the network at its start, the components alone; ``mean`` uses the mean
    image instead of any network; ``only_site`` leaves the other sites out of training.
    """

    name: str
    changes: dict[str, object] = field(default_factory=dict)
    preset: str = "brain-4mm"
    steps: int | None = None
    mean: bool = False
    only_site: str | None = None


BASE: dict[str, object] = {
    "latent_size": 128, "bottleneck": 32, "stem": 2, "augment.field_mm": 1.0,
    "augment.shift_mm": 0.7, "augment.scale": 0.01, "augment.shear": 0.005,
}  # fmt: skip
GENTLE: dict[str, object] = {
    "augment.field_mm": 0.4, "augment.shift_mm": 0.3, "augment.scale": 0.004,
    "augment.shear": 0.002,
}  # fmt: skip
STRONG: dict[str, object] = {
    "augment.field_mm": 2.5,
    "augment.shift_mm": 1.5,
    "augment.scale": 0.03,
    "augment.gamma": 0.1,
}
SHIPPED = {**GENTLE, "latent_size": 160, "bottleneck": 8}
ROWS = (
    Row("base"),
    Row("mean image", mean=True),
    Row("principal components alone", steps=0),
    Row("no linear branch", {"linear_factor": 0}),
    Row("Laplace", {"objective.likelihood": "laplace"}),
    Row("learned map of σ", {"objective.likelihood": "gaussian-map"}),
    Row("with SSIM term, 1 nat a voxel", {"objective.ssim": 1.0}),
    Row("β 0 (autoencoder)", {"objective.beta": 0.0}),
    Row("β 0.3", {"objective.beta": 0.3}),
    Row("β 3", {"objective.beta": 3.0}),
    Row("free nats 0", {"objective.free_nats": 0.0}),
    Row("free nats 0.2", {"objective.free_nats": 0.2}),
    Row("no erasing", {"augment.erase": 0.0}),
    Row("erasing always", {"augment.erase": 1.0}),
    Row("gentle changes of shape", GENTLE),
    Row("strong changes of shape", STRONG),
    Row("32 latents", {"latent_size": 32}),
    Row("64 latents", {"latent_size": 64}),
    Row("200 latents", {"latent_size": 200}),
    Row("spatial, 8 latents a cell", {"latent": "spatial", "latent_size": 8}),
    Row("site balance 0", {"balance": 0.0}),
    Row("site balance 1", {"balance": 1.0}),
    Row("first site alone", only_site="first"),
    Row("2 mm", preset="brain-2mm"),
    Row("2 mm, 160 latents, bottleneck 8, gentle", SHIPPED, preset="brain-2mm"),
)


def preset_of(row: Row, steps: int) -> Preset:
    """Return the training choices of a row."""
    wanted = {**BASE, "steps": max(1, steps), **row.changes}
    return PRESETS[row.preset].changed(wanted)


def trained(row: Row, cohort: PreparedCohort, preset: Preset, seed: int) -> tuple[VAE, Any]:
    """Return the network after training, and the last point of its curves (None: untrained)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VAE(architecture(preset, cohort))
    start_from_components(network, cohort, flip=preset.augment.flip)
    if row.steps == 0:
        return network.eval(), None
    with tempfile.TemporaryDirectory() as folder:
        trainee = loop.Trainee(
            network, cohort, preset, seed=seed, max_minutes=None, checkpoints=Path(folder),
            report=lambda point, done, left: None, cancel=lambda: False,
        )  # fmt: skip
        loop.run(trainee, device="cpu", bf16=bf16_is_fast("cpu"))
    return trainee.average.eval(), trainee.curves[-1]


def shapes(folder: Path | None, cohort: PreparedCohort, count: int) -> list[NDArray[np.bool_]]:
    """Return lesion shapes on the model's grid: real ones, or drawn where there is no folder."""
    random = np.random.default_rng(0)
    mask, spacing = cohort.template.mask, cohort.config.spacing_mm
    grid = cohort.config.grid
    found: list[NDArray[np.bool_]] = []
    if folder is None:
        low, high = np.log(VOLUMES_ML)
        for seed in range(count):
            volume_ml = float(np.exp(random.uniform(low, high)))
            found.append(drawn_shape(mask, volume_ml, spacing, seed=seed))
        return found
    files = sorted(folder.rglob("*.nii.gz"))
    for i in random.permutation(len(files)):
        shape = nib.load(files[i])
        values = np.asarray(shape.dataobj) > 0
        volume_ml = values.sum() * abs(np.linalg.det(shape.affine[:3, :3])) / 1000
        if VOLUMES_ML[0] <= volume_ml <= VOLUMES_ML[1]:
            placed = place_shape(values, shape.affine, grid.shape, grid.affine)
            if (placed & mask).sum() * spacing**3 >= 0.5 * volume_ml * 1000:
                found.append(placed)
        if len(found) == count:
            break
    return found


def lesions_found(
    cohort: PreparedCohort, reconstruct: Reconstruct, preset: Preset, folder: Path | None
) -> dict[str, list[list[float]]]:
    """Return AP of |z| per kind, person (calibration-b) and strength."""
    spacing = preset.preprocess.spacing_mm
    people = cohort.select("calibration-b")
    # Those who get lesions must not be among those who say what is healthy.
    others = [
        dataclasses.replace(p, split="left out") if n in people else p
        for n, p in enumerate(cohort.people)
    ]
    known = dataclasses.replace(cohort, people=others)
    calibration = calibrate(known, reconstruct, preset.score, flip=preset.augment.flip)
    places = shapes(folder, cohort, len(people) * 2)
    found: dict[str, list[list[float]]] = {kind: [] for kind in STRENGTHS}
    for turn, n in enumerate(people):
        image, mask = cohort.images[n].astype(np.float32), cohort.masks[n]
        for kind, strengths in STRENGTHS.items():
            found[kind].append([])
            for k, strength in enumerate(strengths):
                shape = places[(2 * turn + k) % len(places)]
                made = simulate(image, mask, shape, spacing, kind, strength=strength, seed=n)
                healthy = reconstruct(made.image[None])[0]
                z = judge(made.image, healthy, mask, calibration, preset.score, spacing)
                # Lesion voxels that are not scored count as missed.
                found[kind][-1].append(average_precision(np.abs(z[mask]), made.truth[mask]))
    return found


def measured(row: Row, cohort: PreparedCohort, steps: int, folder: Path | None) -> dict[str, Any]:
    """Train a row and return all its figures."""
    steps = steps if row.steps is None else row.steps
    preset = preset_of(row, steps)
    part = cohort
    if row.only_site is not None:
        first = min({p.site for p in cohort.people})
        people = [
            p if p.split != "train" or p.site == first else dataclasses.replace(p, split="left out")
            for p in cohort.people
        ]
        part = dataclasses.replace(cohort, people=people)
    started = time.monotonic()
    facts: dict[str, Any] = {"name": row.name, "preset": row.preset, "steps": steps}
    if row.mean:
        facts["steps"] = 0

        def reconstruct(images: Image) -> Image:
            return np.broadcast_to(cohort.template.image, images.shape)
    else:
        network, last = trained(row, part, preset, seed=0)
        facts["seconds"] = round(time.monotonic() - started)
        if last is not None:
            facts |= {"elbo_nats": last.elbo_nats, "active": last.active_units}
        facts |= latent_figures(network, part)

        def reconstruct(images: Image) -> Image:
            with torch.inference_mode():
                x = torch.from_numpy(np.ascontiguousarray(images))[:, None]
                out: Image = network.reconstruct(x)[:, 0].float().numpy()
            return out * cohort.template.mask

    errors: dict[str, list[float]] = {}
    for n in cohort.select("calibration-b"):
        image, mask = cohort.images[n].astype(np.float32), cohort.masks[n]
        error = np.abs(image - reconstruct(image[None])[0])[mask].mean(dtype=np.float64)
        errors.setdefault(cohort.people[n].site, []).append(float(error))
    facts["mae"] = errors
    facts["ap"] = lesions_found(cohort, reconstruct, preset, folder)
    return facts


def latent_figures(network: VAE, cohort: PreparedCohort) -> dict[str, float]:
    """Return the latents' health on training people, and how far samples are from people."""
    means, variances = [], []
    with torch.inference_mode():
        for n in cohort.select("train"):
            x = torch.from_numpy(cohort.images[n].astype(np.float32))[None, None]
            latent = network.encode(x)
            means.append(latent.mean[0].numpy())
            variances.append(latent.log_variance[0].exp().numpy())
        noise = torch.randn(SAMPLES, *means[0].shape, generator=torch.Generator().manual_seed(0))
        drawn = np.concatenate([network.decode(z[None])[:, 0].numpy() for z in noise])
    health = latent_health(np.stack(means), np.stack(variances))
    others = cohort.select("calibration-a", "calibration-b")
    real = [cohort.images[n].astype(np.float32) for n in others]
    samples = [np.where(cohort.template.mask, image, 0) for image in drawn]
    distance = mmd2(fixed_features(samples), fixed_features(real))
    return {**dataclasses.asdict(health), "mmd2": float(distance)}


def table(folder: Path, steps: int) -> str:
    """Return the finished rows as markdown, in the order of ``ROWS``."""
    done = {}
    for row in ROWS:
        path = folder / "rows" / f"{slug(row.name)}.json"
        if path.exists():
            done[row.name] = json.loads(path.read_text(encoding="utf-8"))
    first = done.get("base")
    sites = sorted(first["mae"]) if first else []
    head = ["variant", "steps", "s", "KL, nats (active)", "of it aggregate", "MMD²"]
    head += [f"MAE {site}" for site in sites] + [f"AP {kind}" for kind in STRENGTHS]
    head += ["AP hypo and hyper, difference to base [95 %]"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, facts in done.items():
        kl = f"{facts['total_kl_nats']:.0f} ({facts['active']})" if "mmd2" in facts else ""
        cells = [name, str(facts["steps"]), str(facts.get("seconds", "")), kl]
        cells += [
            f"{facts[k]:.{d}f}" if k in facts else ""
            for k, d in (("aggregate_kl_nats", 1), ("mmd2", 3))
        ]
        cells += [f"{np.mean(facts['mae'][site]):.4f}" for site in sites]
        cells += [f"{np.nanmean(np.concatenate(facts['ap'][kind])):.3f}" for kind in STRENGTHS]
        if first and name != "base":
            gap = paired_difference(both(facts), both(first))
            cells.append(f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
        else:
            cells.append("")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def both(facts: dict[str, Any]) -> list[list[float]]:
    """Return a person's AP values of hypo- and hyperintense lesions."""
    pairs = zip(facts["ap"]["hypointense"], facts["ap"]["hyperintense"], strict=True)
    return [dark + bright for dark, bright in pairs]


def slug(name: str) -> str:
    """Return a file name for a row."""
    return "".join(c if c.isalnum() else "-" for c in name)


def main() -> None:
    """Do the rows that are missing and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--shapes", type=Path, help="folder of real lesion masks in MNI space")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="rows to do; all unless given")
    parser.add_argument("--out", type=Path, help="write the table there as well")
    wanted = parser.parse_args()
    people = read_cohort(wanted.cohort)
    cohorts: dict[str, PreparedCohort] = {}
    for row in ROWS:
        path = wanted.work / "rows" / f"{slug(row.name)}.json"
        if path.exists() or (wanted.only is not None and row.name not in wanted.only):
            continue
        if row.preset not in cohorts:
            cohorts = {
                row.preset: prepare_cohort(
                    people, PRESETS[row.preset], wanted.work / f"prepared-{row.preset}",
                    report=lambda stage, done, name: None,
                )
            }  # fmt: skip
        facts = measured(row, cohorts[row.preset], wanted.steps, wanted.shapes)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: json.dumps(facts, indent=1).encode()})
        print(row.name, facts.get("seconds", 0), "s", flush=True)
    text = table(wanted.work, wanted.steps)
    threads = torch.get_num_threads()
    origin = (
        f"{platform.machine()}, {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}"
    )
    print(f"{origin}\n\n{text}")
    if wanted.out is not None:
        wanted.out.write_text(f"{HEADER}\n{origin}.\n\n{text}\n", encoding="utf-8")


HEADER = """# What each choice of training is worth

One change at a time from the first row, every row trained for the same few steps (column) on one
seed; MAE in model units and AP of |z| for simulated lesions (real shapes where a folder was given)
in the calibration-b people, full score calibrated on calibration-a; brackets: bootstrap over
people. Intervals hold people alone, not seeds: treat differences below .01 as none.

Made by `python benchmarks/ablations.py benchmarks/brain-t1/cohort.tsv --work FOLDER --shapes
../shared/data/lesion-shapes --out benchmarks/results/ablations.md`;"""


if __name__ == "__main__":
    main()
