"""What synthetic volumes and filled gaps are worth, on real scans.

    python benchmarks/generation.py DATA [--model brain-t1] [--out FILE] [--only PART]

DATA is the folder of the real volumes (ixi-t1-2mm, ds002748-controls-t1, lesion-shapes). All people
are those that took no part in the training of brain-t1. About eight minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from napari_normative.core.config import BaselineConfig
from napari_normative.core.lesions import place_shape, simulate
from napari_normative.core.preprocess import own_foreground, prepare
from napari_normative.core.sample_neighbours import angles, closer_test
from napari_normative.engine.cohort import Person, read_cohort
from napari_normative.engine.inpaint import inpaint
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.synthetic_quality import compare
from napari_normative.io.nifti import read_volume
from napari_normative.volume import FloatArray, Mask, Volume

COHORT = Path(__file__).parent / "brain-t1" / "cohort.tsv"
UNSEEN = ("test", "calibration-a", "calibration-b")
DRAWS = 32
SLABS = (1, 3, 5, 9)
BALL_ML = 30.0
FEW = 6
"""Real people that a classifier is trained on."""

EXTRA = 32
"""Volumes of each class that are added to them."""

REPEATS = 20
SHAPES = 80
COARSE_MM = 8


def unseen_people(site: str = "") -> list[Person]:
    """Return the people whom the network never saw, of a site or of all."""
    people = read_cohort(COHORT)
    return [p for p in people if p.split in UNSEEN and (not site or p.site == site)]


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Return the mean and the 95 % bootstrap interval over the rows."""
    rows = np.asarray(values)
    random = np.random.default_rng(seed)
    means = rows[random.integers(0, len(rows), (4000, len(rows)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(rows.mean()), float(low), float(high)


def spanned(values: Sequence[float], digits: int = 1) -> str:
    """Return a mean with its interval."""
    mean, low, high = interval(values)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def atlas_of(model: NormativeModel) -> NormativeModel:
    """Return the model's mean image as a model: the simple baseline, treated alike."""
    tensors = {n: a for n, a in model._tensors.items() if not n.startswith(("network.", "latent."))}
    tensors["network.mean_image"] = model.template.image[None].astype(np.float32)
    tensors["latent.mean"] = np.zeros(1, np.float32)
    tensors["latent.cholesky"] = np.ones((1, 1), np.float32)
    config = BaselineConfig(kind="atlas", shape=model.card.preprocess.shape)
    return NormativeModel(model.card.model_copy(update={"network": config}), tensors)


def quality(model: NormativeModel) -> tuple[list[str], float]:
    """Return the lines about quality and copying."""
    begun = time.process_time()
    people = unseen_people("IXI")[:26] + unseen_people("ds002748")
    latents = model.posterior.draw(DRAWS, 0)
    inside = model.template.mask
    made = []
    for z in latents:
        image = model.decode(z, device="cpu").data
        made.append((np.where(inside, image, 0).astype(np.float32), (z,)))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "people.tsv"
        rows = [f"{p.path.resolve()}\t{p.subject}" for p in people]
        table.write_text("path\tsubject\n" + "\n".join(rows) + "\n")
        found = compare(model, made, table, device="cpu")
    lines = [
        f"{DRAWS} draws (seed 0, temperature 1) beside {found['real_people']} real people.",
        "",
        "| figure | samples and scans | samples and decoded scans | decoded scans and scans | "
        "scans and scans |",
        "|---|---|---|---|---|",
    ]
    for row in found["figures"]:
        names = ("samples", "samples_to_decoded", "decoded", "real")
        cells = ["" if row[n] is None else f"{row[n]:.3g}" for n in names]
        lines.append(f"| {row['figure']} ({row['better']}) | {' | '.join(cells)} |")
    lines += [
        "",
        "| copying | median, samples | median, people | a sample is closer | p | closer than all "
        "people | p |",
        "|---|---|---|---|---|---|---|",
    ]
    for test in found["tests"]:
        lines.append(_tested(f"{test['test']}: {test['measure']}", test))
    lines += [_control(model, share) for share in (0.1, 0.5, 0.8)]
    return lines, time.process_time() - begun


def _tested(name: str, test: dict[str, Any]) -> str:
    return (
        f"| {name} | {test['median_of_samples']:.3g} | {test['median_of_others']:.3g} | "
        f"{test['chance_that_a_sample_is_closer']:.0%} | {test['p']:.2g} | "
        f"{test['closer_than_all_others']} | {test['p_of_so_many']:.2g} |"
    )


def _control(model: NormativeModel, share: float) -> str:
    """Return the test of a set of which a share are copies of training people, with some noise."""
    known, whiten = model.people, model.posterior.whiten
    assert known is not None
    training, unseen = whiten(known.latents[~known.unseen]), whiten(known.latents[known.unseen])
    random = np.random.default_rng(1)
    drawn = random.standard_normal((DRAWS, training.shape[1]))
    copies = round(share * DRAWS)
    noise = 0.3 * training.std() * random.standard_normal((copies, training.shape[1]))
    drawn[:copies] = training[:copies] + noise
    nearest = [angles(rows, training).min(axis=1) for rows in (drawn, unseen)]
    test = closer_test(nearest[0], nearest[1])
    facts = {
        "median_of_samples": float(np.median(nearest[0])),
        "median_of_others": float(np.median(nearest[1])),
        "chance_that_a_sample_is_closer": test.chance,
        "p": test.p,
        "closer_than_all_others": test.nearest,
        "p_of_so_many": test.p_nearest,
    }
    return _tested(f"control: {share:.0%} copies of training people, 30 % noise", facts)


def cropped(scan: Volume) -> Volume:
    """Return a scan without most of its background, which nothing here looks at."""
    brain = own_foreground(scan)
    assert brain is not None
    found = ndimage.find_objects(brain.astype(int))[0]
    box = tuple(slice(max(0, s.start - 6), s.stop + 6) for s in found)
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    return Volume.from_array(scan.data[box], affine, scan.source.name)


def gaps_of(scan: Volume, seed: int) -> dict[str, Mask]:
    """Return the gaps of a person: slabs across the third axis, and a ball, inside the brain."""
    random = np.random.default_rng(seed)
    brain = own_foreground(scan)
    assert brain is not None
    slices = np.flatnonzero(brain.any(axis=(0, 1)))
    low, high = np.quantile(slices, [0.3, 0.7]).astype(int)
    middle = int(random.integers(low, high + 1))
    gaps = {}
    for count in SLABS:
        gap = np.zeros(scan.shape, dtype=bool)
        gap[:, :, middle - count // 2 : middle - count // 2 + count] = True
        gaps[f"{count} slice{'s' * (count > 1)}"] = gap
    depth = ndimage.distance_transform_edt(brain, sampling=scan.spacing_mm)
    places = np.argwhere(depth > 22)
    centre = places[random.integers(len(places))]
    index = [np.arange(n) - c for n, c in zip(scan.shape, centre, strict=True)]
    steps = [(i * s) ** 2 for i, s in zip(index, scan.spacing_mm, strict=True)]
    radius_mm = (3000 * BALL_ML / (4 * np.pi)) ** (1 / 3)
    square = steps[0][:, None, None] + steps[1][None, :, None] + steps[2][None, None]
    gaps["ball of 30 ml"] = square < radius_mm**2
    return gaps


def filling(model: NormativeModel, data: Path) -> tuple[list[str], float]:
    """Return the lines about filled gaps."""
    begun = time.process_time()
    atlas = atlas_of(model)
    people = unseen_people("ds002748")
    errors: dict[str, dict[str, list[float]]] = {}
    peaks: dict[str, dict[str, list[float]]] = {}
    for number, person in enumerate(people):
        scan = cropped(read_volume(person.path))
        brain = own_foreground(scan)
        assert brain is not None
        spread = float(scan.data[brain].std())
        span = float(np.ptp(scan.data[brain]))
        for name, gap in gaps_of(scan, number).items():
            made = inpaint(model, scan, gaps=gap, device="cpu")
            mean = inpaint(atlas, scan, gaps=gap, device="cpu")
            nearest = _nearest(scan.data, gap)
            volumes = {
                "model": made.filled.data,
                "mean atlas": mean.filled.data,
                "interpolation": made.interpolation.data,
                "nearest": nearest,
            }
            inside = gap & brain
            print(f"{person.subject}, {name}: {time.process_time() - begun:.0f} s", flush=True)
            for method, values in volumes.items():
                wrong = np.abs(values - scan.data)[inside].astype(np.float64)
                error = 100 * float(wrong.mean()) / spread
                peak = 20 * np.log10(span / np.sqrt(float((wrong**2).mean())))
                errors.setdefault(name, {}).setdefault(method, []).append(error)
                peaks.setdefault(name, {}).setdefault(method, []).append(peak)
    methods = ("model", "mean atlas", "interpolation", "nearest")
    lines = [
        f"{len(people)} people of ds002748 whom the network never saw, voxels of 0.87 x 0.87 x "
        "1 mm. MAE over made voxels inside the brain, in % of its SD; in brackets PSNR, dB.",
        "",
        f"| gap | {' | '.join(methods)} | model less interpolation | model less mean atlas |",
        "|---|" + "---|" * (len(methods) + 2),
    ]
    for name, found in errors.items():
        cells = [f"{np.mean(found[m]):.1f} ({np.mean(peaks[name][m]):.1f})" for m in methods]
        for other in ("interpolation", "mean atlas"):
            cells.append(spanned(np.subtract(found["model"], found[other])))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines, time.process_time() - begun


def _nearest(data: FloatArray, gap: Mask) -> FloatArray:
    place = ndimage.distance_transform_edt(gap, return_distances=False, return_indices=True)
    nearest: FloatArray = data[tuple(place)]
    return nearest


def lesion_shapes(data: Path, model: NormativeModel) -> list[Mask]:
    """Return real stroke masks of 5 ml and more on the model's grid, in a fixed mixed order."""
    grid, found = model.card.preprocess.grid, []
    paths = sorted((data / "lesion-shapes" / "soop").glob("*.nii.gz"))
    for path in np.random.default_rng(0).permutation(np.array(paths, dtype=object)):
        shape = read_volume(path)
        if (shape.data > 0).sum() * shape.voxel_ml < 5:
            continue
        placed = place_shape(shape.data, shape.affine, grid.shape, grid.affine)
        if (placed & model.template.mask).any():
            found.append(placed)
        if len(found) == SHAPES:
            break
    return found


def coarse(image: FloatArray, spacing_mm: float) -> FloatArray:
    """Return an image of the model's grid as a row of block means."""
    step = round(COARSE_MM / spacing_mm)
    i, j, k = (n // step for n in image.shape)
    cut = image[: i * step, : j * step, : k * step]
    row: FloatArray = cut.reshape(i, step, j, step, k, step).mean(axis=(1, 3, 5)).ravel()
    return row


def classifier(model: NormativeModel, data: Path) -> tuple[list[str], float]:
    """Return the lines about a classifier with and without synthetic volumes."""
    begun = time.process_time()
    space, spacing = model.card.preprocess, model.card.preprocess.spacing_mm
    people = unseen_people("IXI")[:30]
    real = [prepare(read_volume(p.path), space, model.template) for p in people]
    drawn = [v.data for v in model.sample(EXTRA, seed=7, device="cpu")]
    shapes = lesion_shapes(data, model)
    half = len(shapes) // 2

    def pair(image: FloatArray, mask: Mask, seed: int, shapes: Sequence[Mask]) -> list[FloatArray]:
        """Return a volume without and with a lesion, coarse."""
        which = [s for s in shapes if (s & mask).any()]
        shape = which[int(np.random.default_rng(seed).integers(len(which)))]
        ill = simulate(image, mask, shape, spacing, "hypointense", seed=seed).image
        return [coarse(image, spacing), coarse(ill, spacing)]

    def rows(parts: Sequence[list[FloatArray]]) -> tuple[FloatArray, np.ndarray[Any, Any]]:
        return np.concatenate([np.stack(part) for part in parts]), np.tile([0, 1], len(parts))

    results: dict[str, list[float]] = {}
    inside = model.template.mask
    for repeat in range(REPEATS):
        random = np.random.default_rng(repeat)
        order = random.permutation(len(real))
        few, others = order[:FEW], order[FEW:]
        own = [pair(real[n].image, real[n].mask, 1000 * repeat + n, shapes[:half]) for n in few]
        test_x, test_y = rows(
            [pair(real[n].image, real[n].mask, 1000 * repeat + n, shapes[half:]) for n in others]
        )
        synthetic = [
            pair(image, inside, 1000 * repeat + 100 + n, shapes[:half])
            for n, image in enumerate(drawn)
        ]
        again = []
        for n in range(EXTRA):
            one = real[few[n % FEW]]
            image, mask = (
                (one.image[::-1], one.mask[::-1]) if n // FEW % 2 else (one.image, one.mask)
            )
            again.append(pair(image, mask, 1000 * repeat + 200 + n, shapes[:half]))
        sets = {
            "few real": own,
            "few real, mirrored and given other lesions": [*own, *again],
            "few real and synthetic": [*own, *synthetic],
            "all three": [*own, *again, *synthetic],
            "synthetic alone": synthetic,
        }
        for name, parts in sets.items():
            x, y = rows(parts)
            middle, spread = x.mean(axis=0), x.std(axis=0) + 0.05
            judge = LogisticRegression(C=0.01, max_iter=500)
            judge.fit((x - middle) / spread, y)
            score = judge.decision_function((test_x - middle) / spread)
            results.setdefault(name, []).append(float(roc_auc_score(test_y, score)))
    lines = [
        "Is there a simulated dark lesion (a real stroke's shape, 5 ml or more)? Logistic "
        f"regression on {COARSE_MM} mm blocks; {FEW} real people for training, "
        f"{len(real) - FEW} others and other shapes for the test, {REPEATS} times; {EXTRA} "
        "volumes without and with a lesion added.",
        "",
        "| trained on | AUROC | less few real | less few real, mirrored and given other lesions |",
        "|---|---|---|---|",
    ]
    first, second = list(results)[:2]
    for name, found in results.items():
        cells = [f"{np.mean(found):.3f}"]
        for other in (first, second):
            differs = name != other
            cells.append(spanned(np.subtract(found, results[other]), 3) if differs else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines, time.process_time() - begun


def main() -> None:
    """Run what was asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="brain-t1")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=("quality", "filling", "classifier"))
    options = parser.parse_args()
    model = load_model(options.model)
    data = options.data
    parts = {
        "quality": ("Quality and copying", lambda: quality(model)),
        "filling": ("Filled gaps", lambda: filling(model, data)),
        "classifier": ("Do synthetic volumes help a classifier?", lambda: classifier(model, data)),
    }
    lines = [
        "# Synthetic volumes and filled gaps",
        "",
        f"Model {model.card.name}, SHA-256 `{model.digest[:16]}…`; {platform.machine()}, "
        f"{os.cpu_count()} cores, one used; Python {platform.python_version()}. Intervals: 95 %, "
        "bootstrap over people, in the last table over repetitions.",
    ]
    for name, (title, work) in parts.items():
        if options.only in (None, name):
            found, seconds = work()
            lines += ["", f"## {title}", "", *found, "", f"{seconds:.0f} s of one core."]
            print("\n".join(lines[-len(found) - 6 :]), flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
