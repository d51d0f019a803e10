"""What denoising leaves of noise on real scans, beside the usual filters.

    python benchmarks/denoise.py DATA [--model brain-t1] [--out FILE] [--people N]

DATA is the folder of the real volumes (ixi-t1-2mm, ds002748-controls-t1). All people are those that
took no part in anything (split "test" of brain-t1/cohort.tsv). Truth is the scan itself (ds002748:
means of 2 x 2 x 2 voxels, which leaves a third of its own noise); white Gaussian noise is added
inside the head. About six minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from napari_normative.core.lesions import drawn_shape, simulate
from napari_normative.engine.cohort import Person, read_cohort
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.io.nifti import read_volume
from napari_normative.volume import FloatArray, Volume

COHORT = Path(__file__).parent / "brain-t1" / "cohort.tsv"
LEVELS = (0.05, 0.1, 0.2)
"""SD of the noise, of the median of the brain."""

LESION_ML = 3.0

Filtered = Callable[[FloatArray, float], FloatArray]
USUAL: dict[str, Filtered] = {
    "Gaussian, 0.6 voxels": lambda y, sd: ndimage.gaussian_filter(y, 0.6),
    "Gaussian, 1 voxel": lambda y, sd: ndimage.gaussian_filter(y, 1.0),
    "total variation": lambda y, sd: denoise_tv_chambolle(y, weight=0.8 * sd),
    "non-local means": lambda y, sd: denoise_nl_means(
        y, patch_size=3, patch_distance=3, h=0.8 * sd, sigma=sd, fast_mode=True
    ),
}
"""Told the true noise; their strengths are those of scikit-image's examples."""


def halved(scan: Volume) -> Volume:
    """Return means of 2 x 2 x 2 voxels, on their own grid."""
    i, j, k = (n // 2 for n in scan.shape)
    blocks = scan.data[: 2 * i, : 2 * j, : 2 * k].reshape(i, 2, j, 2, k, 2)
    inside = (blocks != 0).all(axis=(1, 3, 5))
    affine = scan.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = scan.affine[:3, :3] @ np.full(3, 0.5) + scan.affine[:3, 3]
    data = np.where(inside, blocks.mean(axis=(1, 3, 5)), 0).astype(np.float32)
    return Volume(data, affine, scan.source)


def truth_of(person: Person) -> Volume:
    """Return a person's scan as the truth."""
    scan = read_volume(person.path)
    return scan if person.site == "IXI" else halved(scan)


def interval(values: list[float]) -> str:
    """Return a mean with its 95 % bootstrap interval over people."""
    rows = np.asarray(values)
    random = np.random.default_rng(0)
    means = rows[random.integers(0, len(rows), (4000, len(rows)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{rows.mean():.2f} [{low:.2f}, {high:.2f}]"


def kept(truth: Volume, model: NormativeModel, sd: float, noise: FloatArray) -> dict[str, float]:
    """Return the share of a small dark lesion's contrast that is left, per cent."""
    inside = truth.data > 0
    shape = drawn_shape(inside, LESION_ML, truth.spacing_mm, seed=1)
    ill = simulate(
        truth.data, inside, shape, truth.spacing_mm, "hypointense", strength=0.5, seed=1
    ).image
    results = [
        model.denoise(truth.with_data(np.where(inside, image + noise, 0)), noise=sd, device="cpu")
        for image in (truth.data, ill)
    ]
    put = (ill - truth.data)[shape].mean()
    made = {
        "with the model": [found.denoised.data for found in results],
        "without it": [found.without_model.data for found in results],
    }
    return {name: 100 * float((b - a)[shape].mean() / put) for name, (a, b) in made.items()}


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="brain-t1")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/denoise.md")
    options = parser.parse_args()
    model = load_model(options.model)
    everybody = [p for p in read_cohort(COHORT) if p.split == "test"]
    mine = [p for p in everybody if p.site != "IXI"][: options.people // 2]
    mine += [p for p in everybody if p.site == "IXI"][: options.people - len(mine)]
    lines = [
        "# Denoising",
        "",
        f"Made by `python benchmarks/denoise.py DATA --people {options.people}`; "
        f"{platform.machine()}, {os.environ.get('OMP_NUM_THREADS', 'all')} threads. "
        f"{len(mine)} people who took no part in the model "
        f"({', '.join(sorted({p.site for p in mine}))}). White Gaussian noise, seed 0. Root mean "
        "square error and noise in per cent of the brain's median inside the region that the "
        "model knows; mean and 95 % bootstrap interval over people.",
        "",
        "| method | "
        + " | ".join(f"noise {level:.0%}" for level in LEVELS)
        + " | SSIM, noise 10% | CPU s |",
        "|---|" + "---|" * (len(LEVELS) + 2),
    ]
    errors: dict[tuple[str, float], list[float]] = {}
    alike: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    gains: dict[float, list[float]] = {level: [] for level in LEVELS}
    measured: dict[float, list[float]] = {level: [] for level in LEVELS}
    foreseen: dict[float, list[float]] = {level: [] for level in LEVELS}
    lesion: dict[str, list[float]] = {}
    for person in mine:
        truth = truth_of(person)
        inside = truth.data > 0
        level_of_brain = float(np.median(truth.data[inside]))
        draw = np.random.default_rng(0).standard_normal(truth.shape).astype(np.float32)
        for level in LEVELS:
            sd = level * level_of_brain
            noisy = truth.with_data(np.where(inside, truth.data + sd * draw, 0))
            begun = time.process_time()
            found = model.denoise(noisy, device="cpu")
            seconds.setdefault("with the model", []).append(time.process_time() - begun)
            judged = model.detect(truth, device="cpu").mask
            made = {
                "none": noisy.data,
                **{name: usual(noisy.data, sd) for name, usual in USUAL.items()},
                "mixture without the model": found.without_model.data,
                "mixture with the model": found.denoised.data,
            }
            for name, image in made.items():
                error = float(np.sqrt(np.mean((image - truth.data)[judged] ** 2)))
                errors.setdefault((name, level), []).append(100 * error / level_of_brain)
                if level == 0.1:
                    _, local = structural_similarity(
                        image, truth.data, data_range=2 * level_of_brain, full=True
                    )
                    alike.setdefault(name, []).append(float(local[judged].mean()))
            with_it, without = (
                errors[f"mixture {w} the model", level][-1] for w in ("with", "without")
            )
            gains[level].append(100 * (with_it / without - 1))
            measured[level].append(100 * found.record["noise_sd"] / level_of_brain)
            foreseen[level].append(
                100 * found.record["expected_rmse"]["with_model"] / level_of_brain
            )
            if level == 0.1:
                for name, share in kept(truth, model, sd, sd * draw).items():
                    lesion.setdefault(name, []).append(share)
        print(person.subject, flush=True)
    for name in made:
        cells = [interval(errors[name, level]) for level in LEVELS]
        clock = (
            f"{np.mean(seconds['with the model']):.0f}" if name.endswith("with the model") else ""
        )
        lines.append(f"| {name} | {' | '.join(cells)} | {np.mean(alike[name]):.3f} | {clock} |")
    lines += [
        *(
            f"| *{name}* | {' | '.join(interval(rows[level]) for level in LEVELS)} | | |"
            for name, rows in (
                ("error foreseen, with the model", foreseen),
                ("noise measured", measured),
            )
        ),
        "",
        "What the model adds (error with it less without it, per cent of the error without): "
        + "; ".join(f"{interval(gains[v])} at {v:.0%}" for v in LEVELS)
        + ".",
        "",
        f"Of the contrast of a simulated dark lesion of {LESION_ML:g} ml (half strength, drawn "
        "shape), at 10 % noise, there is left: "
        + "; ".join(f"{interval(shares)} % {name}" for name, shares in lesion.items())
        + ".",
        "",
        "The usual filters were told the true noise, the mixtures measured it. The scans have "
        "noise of their own, which counts as truth: no method can seem better than that.",
    ]
    options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
