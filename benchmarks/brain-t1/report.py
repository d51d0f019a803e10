"""What the shipped model does on people who took no part in its training.

    python benchmarks/brain-t1/report.py MODEL WORKDIR [--out FILE] [--images FOLDER]

WORKDIR is the folder that ``napari-normative train`` left beside the model: its aligned
scans are read again. Prints one table, beside the simple alternatives with the same
preprocessing; ``--images`` draws the training curves and a montage (needs matplotlib, in the
extra ``bench``).
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_normative.core.calibration import TAIL
from napari_normative.core.candidates import components
from napari_normative.core.score import judge
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.infer import decode
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import PRESETS

COHORT = Path(__file__).with_name("cohort.tsv")
NOMINAL = 0.01
Image = NDArray[np.float32]


def reconstructors(model: NormativeModel) -> dict[str, Callable[[Image], Image]]:
    """Return the ways to reconstruct a healthy scan that are compared."""
    network = model.network("cpu")
    assert network.linear is not None

    def vae(x: torch.Tensor) -> torch.Tensor:
        return network.reconstruct(x)

    def global_level(x: torch.Tensor) -> torch.Tensor:
        return network.decode(network.encode(x).mean)

    def components_alone(x: torch.Tensor) -> torch.Tensor:
        z = network.linear.encode((x - network.mean_image) * (x != 0))
        return network.mean_image + network.linear.decode(z)

    def mean(x: torch.Tensor) -> torch.Tensor:
        return network.mean_image.expand_as(x)

    def on_array(way: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Image], Image]:
        def run(image: Image) -> Image:
            with torch.inference_mode():
                out = way(torch.from_numpy(image)[None, None])[0, 0].numpy()
            return np.where(model.template.mask, out, 0)

        return run

    return {
        "VAE (shipped)": on_array(vae),
        "its global level": on_array(global_level),
        "its 64 principal components alone": on_array(components_alone),
        "mean image": on_array(mean),
    }


def table(model: NormativeModel, cohort: PreparedCohort) -> list[str]:
    """Return the lines of the table: reconstruction error and false positives per site."""
    ways = reconstructors(model)
    spacing, score = cohort.config.spacing_mm, model.card.score
    tail = float(np.interp(np.log(NOMINAL), np.log(TAIL[::-1]), model.calibration.z_tail[::-1]))
    lines = [
        "| site | test people | "
        + " | ".join(f"MAE, {name}" for name in ways)
        + f" | voxels beyond the healthy {NOMINAL:.0%} level | candidates per scan |",
        "|" + "---|" * (4 + len(ways)),
    ]
    test = cohort.select("test")
    for site in sorted({cohort.people[n].site for n in test}):
        people = [n for n in test if cohort.people[n].site == site]
        errors: dict[str, list[float]] = {name: [] for name in ways}
        beyond, candidates = [], []
        for n in people:
            image, mask = cohort.images[n].astype(np.float32), cohort.masks[n]
            for name, way in ways.items():
                errors[name].append(float(np.abs(image - way(image))[mask].mean()))
            made = ways["VAE (shipped)"](image)
            z = judge(image, made, mask, model.calibration, score, spacing)
            beyond.append(float((np.abs(z[z != 0]) > tail).mean()))
            found = components(
                z, model.calibration.threshold_z, score.minimum_ml, spacing**3 / 1000
            )[1]
            candidates.append(len(found))
        cells = [f"{np.mean(e):.4f} ± {np.std(e):.4f}" for e in errors.values()]
        lines.append(
            f"| {site} | {len(people)} | "
            + " | ".join(cells)
            + f" | {np.mean(beyond):.2%} | {np.mean(candidates):.2f} |"
        )
    return lines


def draw(model: NormativeModel, cohort: PreparedCohort, folder: Path) -> None:
    """Draw the training curves, and rows of scans, reconstructions and samples."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    curves = model.card.training.curves
    step = [p.step for p in curves]
    checked = [(p.step, p.held_out_mae) for p in curves if p.held_out_mae is not None]
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.2))
    axes[3].plot(*zip(*checked, strict=True), marker=".")
    axes[3].set_title("MAE of the calibration-a people", fontsize=10)
    axes[3].set_xlabel("step")
    for axis, title, values in (
        (axes[0], "ELBO, nats per volume", [p.elbo_nats for p in curves]),
        (axes[1], "reconstruction term, nats", [p.reconstruction_nats for p in curves]),
        (axes[2], "KL, nats", [p.kl_nats for p in curves]),
    ):
        axis.plot(step, values)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(folder / "brain-t1-curves.png", dpi=80)

    way = reconstructors(model)["VAE (shipped)"]
    people = cohort.select("test")
    chosen = [people[0], people[len(people) // 2], people[-1]]
    scans = [cohort.images[n].astype(np.float32) for n in chosen]
    samples = decode(model, model.posterior.draw(6, seed=0), "cpu")[0]
    rows = [
        ("held-out scan", scans),
        ("reconstruction", [way(x) for x in scans]),
        ("sample (synthetic)", samples[:3]),
        ("sample (synthetic)", samples[3:]),
    ]
    figure, axes = plt.subplots(len(rows), 9, figsize=(13, 6.6))
    for line, (title, images) in zip(axes, rows, strict=True):
        for axis in line:
            axis.axis("off")
        line[0].set_title(title, fontsize=9, loc="left")
        for k, x in enumerate(images):
            i, j, s = (n // 2 for n in x.shape)
            # Radiological: the patient's right, the first index's far end, is on the left.
            for axis, plane in zip(
                line[3 * k : 3 * k + 3], (x[::-1, :, s], x[::-1, j], x[i]), strict=True
            ):
                axis.imshow(plane.T, origin="lower", cmap="gray", vmin=0, vmax=1.2)
    figure.tight_layout(pad=0.3)
    figure.savefig(folder / "brain-t1-montage.png", dpi=75)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--images", type=Path)
    options = parser.parse_args()
    model = load_model(options.model)
    cohort = prepare_cohort(
        read_cohort(COHORT),
        PRESETS[model.card.training.preset],
        options.workdir / "prepared",
        report=lambda *_: None,
    )
    facts = model.card.training
    lines = [
        f"Model {model.card.name}, SHA-256 `{model.digest[:16]}…`, {facts.steps} steps in "
        f"{facts.minutes:g} minutes on {facts.device} ({facts.precision}), seed {facts.seed}; "
        f"measured on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}. "
        "MAE in model units inside the mask, mean ± SD over people.",
        "",
        *table(model, cohort),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("# The shipped model on held-out people\n\n" + text)
    if options.images:
        draw(model, cohort, options.images)


if __name__ == "__main__":
    main()
