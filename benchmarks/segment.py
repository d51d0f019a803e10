"""What segmentation and control of false candidates are worth, beside thresholds.

    python benchmarks/segment.py PEOPLE DATA [--model brain-t1] [--work FOLDER] [--out FILE]
        [--most N] [--without-head]

PEOPLE is a table of healthy people with the columns path, subject, site and split; DATA the folder
of the real volumes (lesion-shapes, open-ms-mni). Judged are people of the split test. What the head
learns from, and what the constants of the random walker were chosen on, are people of the
calibration splits with other shapes. A scan that was measured is a file in FOLDER and is not
measured again; six CPU minutes in all.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_normative.core.false_candidates import expected_false, false_discovery
from napari_normative.core.lesions import place_shape, simulate
from napari_normative.core.metrics import (
    COVERED,
    Interval,
    bootstrap,
    dice,
    paired_difference,
)
from napari_normative.core.preprocess import own_foreground, prepare
from napari_normative.core.reviewed import ReviewedScan
from napari_normative.engine.detection import Detection
from napari_normative.engine.head import Head, HeadCard, load_head
from napari_normative.engine.head_fit import fit_head
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.io.nifti import read_volume
from napari_normative.volume import Mask, Volume

OUT = Path(__file__).parent / "results" / "segment.md"
KINDS = ("hypointense", "hyperintense")
STRENGTH, LEAST_ML = 0.8, 0.5
RATES, LEVELS = (0.5, 0.2, 0.1), (0.2, 0.1)
EVERY_DIRECTION = np.ones((3, 3, 3))
LOW_Z = 3.0
"""Down to which hysteresis grows; the best of 4, 3, 2.5, 2 and 1.5 on the calibration people."""

EXTREME = 0.01
"""Share of the foreground that the threshold on intensity takes, half at each end."""

METHODS = {
    "threshold": "candidates as `detect` has them",
    "hysteresis": f"the same, grown to z {LOW_Z:g}",
    "grown": "the same, grown by the random walker",
    "grown, rate 0.2": "of these those with 0.2 false ones to be expected or fewer",
    "Otsu on z": "Otsu's threshold on the absolute z of the scan, no calibration",
    "intensity": "the darkest and brightest half per cent of the scan, no model",
}


def lesion(
    model: NormativeModel, scan: Volume, shapes: Sequence[Path], kind: str, seed: int
) -> tuple[Volume, Mask]:
    """Return a scan with a simulated lesion of a real shape, and where it is."""
    random, inside = np.random.default_rng(seed), own_foreground(scan)
    assert inside is not None
    prepared = prepare(scan, model.card.preprocess, model.template)
    to_template = prepared.alignment.scan_to_template @ scan.affine
    truth = np.zeros(scan.shape, dtype=bool)
    while truth.sum() * scan.voxel_ml < LEAST_ML:
        shape = read_volume(shapes[random.integers(len(shapes))])
        truth = place_shape(shape.data > 0, shape.affine, scan.shape, to_template) & inside
    made = simulate(scan.data, inside, truth, scan.spacing_mm, kind, strength=STRENGTH, seed=seed)
    return scan.with_data(made.image), made.truth


def cleaned(mask: Mask, scan: Volume) -> NDArray[np.int32]:
    """Return the pieces of a mask of at least 0.1 ml, as candidates have them."""
    pieces, _ = ndimage.label(mask, EVERY_DIRECTION)
    size = np.bincount(pieces.ravel()) * scan.voxel_ml
    size[0] = 0
    return np.where((size >= 0.1)[pieces], pieces, 0).astype(np.int32)


def hysteresis(found: Detection) -> NDArray[np.int32]:
    labels, z = found.candidate_labels.data.astype(np.int32), found.anomaly_z.data
    out = labels.copy()
    for one in found.candidates:
        core = labels == one.label
        grown = ndimage.binary_propagation(
            core, structure=EVERY_DIRECTION, mask=(one.sign * z > LOW_Z) | core
        )
        out[grown & (out == 0)] = one.label
    return out


def otsu(found: Detection) -> NDArray[np.int32]:
    z = np.abs(found.anomaly_z.data)
    return cleaned(z > threshold_otsu(z[found.mask]), found.scan)


def intensity(found: Detection) -> NDArray[np.int32]:
    values, inner = found.scan.data, ndimage.binary_erosion(found.mask, iterations=2)
    low, high = np.quantile(values[inner], (EXTREME / 2, 1 - EXTREME / 2))
    return cleaned(inner & ((values < low) | (values > high)), found.scan)


def segmented(model: NormativeModel) -> dict[str, Callable[[Detection], NDArray[np.int32]]]:
    def grown(**rule: Any) -> Callable[[Detection], NDArray[np.int32]]:
        return lambda found: model.segment(found, device="cpu", **rule).labels.data.astype(np.int32)

    return {
        "threshold": lambda found: found.candidate_labels.data.astype(np.int32),
        "hysteresis": hysteresis,
        "grown": grown(),
        "grown, rate 0.2": grown(rate=0.2),
        "Otsu on z": otsu,
        "intensity": intensity,
    }


def lesionwise(labels: NDArray[np.int32], truth: Mask, voxel_ml: float) -> dict[str, float]:
    """Return found, missed and false, as the FROC of `evaluate` counts them."""
    lesions, count = ndimage.label(truth, EVERY_DIRECTION)
    size = np.bincount(lesions.ravel(), minlength=count + 1)[1:]
    large = size * voxel_ml >= 0.1
    rim = ndimage.binary_dilation(truth, EVERY_DIRECTION)
    own = np.bincount(labels.ravel())
    inside = np.bincount(labels[rim], minlength=len(own))
    true = (inside >= COVERED * np.maximum(own, 1)) & (own > 0)
    true[0] = False
    covered = np.bincount(lesions[true[labels]], minlength=count + 1)[1:]
    hit = (covered >= COVERED * size) & large
    false = int((own[1:] > 0).sum() - true[1:].sum())
    found, missed = int(hit.sum()), int((large & ~hit).sum())
    return {
        "found": found,
        "lesions": found + missed,
        "false": false,
        "f1": 2 * found / max(2 * found + missed + false, 1),
    }


def judged(model: NormativeModel, found: Detection, truth: Mask) -> dict[str, dict[str, float]]:
    out = {}
    for name, method in segmented(model).items():
        start = time.process_time()
        labels = method(found)
        spent = time.process_time() - start
        out[name] = {
            "dice": dice(labels > 0, truth),
            **lesionwise(labels, truth, found.scan.voxel_ml),
            "seconds": spent,
        }
    return out


def controlled(model: NormativeModel, found: Detection) -> dict[str, int]:
    """Return how many candidates of a healthy scan pass each rule."""
    calibration = model.calibration
    p = np.array([c.p for c in found.candidates], dtype=np.float64)
    peak = np.array([abs(c.peak_z) for c in found.candidates])
    expected, q = expected_false(p, calibration), false_discovery(p, calibration)
    out = {"all": len(p)}
    for rate in RATES:
        out[f"rate {rate:g}"] = int((expected <= rate).sum())
        thresholds = np.arange(calibration.threshold_z, 12.1, 0.1)
        rates = [calibration.false_per_scan_at(float(t)) or 0.0 for t in thresholds]
        fitting = [t for t, r in zip(thresholds, rates, strict=True) if r <= rate]
        least = fitting[0] if fitting else np.inf
        out[f"peak {rate:g}"] = int((peak >= least).sum())
    out |= {f"fdr {level:g}": int((q <= level).sum()) for level in LEVELS}
    return out


class Work:
    """Measures scans, each once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.model = load_model(options.model)
        self.work = options.work or Path(tempfile.mkdtemp())
        self.work.mkdir(parents=True, exist_ok=True)
        self.data = options.data
        with options.people.open(encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        self.test = [r for r in rows if r["split"] == "test"][: options.most]
        self.known = [r for r in rows if r["split"].startswith("calibration")][::2]
        self.known = self.known[: options.most]
        shapes = sorted((options.data / "lesion-shapes").glob("*/*.nii.gz"))
        self.seen, self.unseen = shapes[::2], shapes[1::2]

    def head(self) -> Head:
        """Return the head, trained at the first call."""
        path = self.work / "head.safetensors"
        if not path.exists():
            fit_head(self.reviews(), path, model=self.model, device="cpu")
        return load_head(path)

    def reviews(self) -> Iterator[ReviewedScan]:
        """Yield what a reader would accept and reject who knows the simulated lesion."""
        for number, row in enumerate(self.known):
            scan = read_volume(row["path"])
            kind = KINDS[number % len(KINDS)]
            changed, truth = lesion(self.model, scan, self.seen, kind, number)
            for volume, marked, name in (
                (scan, np.zeros(scan.shape, dtype=bool), "healthy"),
                (changed, truth, kind),
            ):
                found = self.model.detect(volume, device="cpu")
                yield reviewed(found, marked, row["subject"], f"{number} {name}")

    def measured(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what is in the file of a measurement, made at the first call."""
        path = self.work / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(make()), encoding="utf-8")
            print(name, flush=True)
        made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return made

    def healthy(self) -> list[dict[str, Any]]:
        """Return what the rules let through of each healthy test person."""
        return [
            self.measured(
                f"healthy-{row['subject']}",
                lambda row=row: {  # type: ignore[misc]
                    "person": row["subject"],
                    "site": row["site"],
                    "candidates": controlled(
                        self.model, self.model.detect(row["path"], device="cpu")
                    ),
                },
            )
            for row in self.test
        ]

    def simulated(self) -> list[dict[str, Any]]:
        """Return what each method makes of simulated lesions in test people."""

        def make(row: dict[str, str], kind: str, seed: int) -> dict[str, Any]:
            scan = read_volume(row["path"])
            changed, truth = lesion(self.model, scan, self.unseen, kind, 1000 + seed)
            found = self.model.detect(changed, device="cpu")
            return {
                "person": row["subject"],
                "kind": kind,
                "ml": float(truth.sum()) * scan.voxel_ml,
                "methods": judged(self.model, found, truth),
            }

        return [
            self.measured(
                f"simulated-{row['subject']}",
                lambda row=row, seed=seed: make(row, KINDS[seed % len(KINDS)], seed),  # type: ignore[misc]
            )
            for seed, row in enumerate(self.test)
        ]

    def patients(self) -> list[dict[str, Any]]:
        """Return what each method makes of the real patients."""

        def make(folder: Path) -> dict[str, Any]:
            scan = read_volume(next(folder.glob("T1_*")))
            truth = read_volume(next(folder.glob("GOLD_STANDARD*"))).data > 0
            found = self.model.detect(scan, device="cpu")
            ml = float(truth.sum()) * scan.voxel_ml
            return {
                "person": folder.name,
                "ml": ml,
                "methods": judged(self.model, found, truth),
            }

        return [
            self.measured(f"real-{folder.name}", lambda folder=folder: make(folder))  # type: ignore[misc]
            for folder in sorted((self.data / "open-ms-mni").glob("patient*"))
        ]


def reviewed(found: Detection, truth: Mask, person: str, name: str) -> ReviewedScan:
    labels = found.candidate_labels.data.astype(int)
    said = {c.label: bool(truth[labels == c.label].mean() >= COVERED) for c in found.candidates}
    return ReviewedScan(found.scan, found.candidate_labels, said, person, name)


def shown(figure: Interval, digits: int = 2) -> str:
    return (
        f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
        if np.isfinite(figure.low)
        else f"{figure.value:.{digits}f}"
    )


def of_people(rows: list[dict[str, Any]], get: Callable[[dict[str, Any]], float]) -> list[Any]:
    people = sorted({row["person"] for row in rows})
    return [[get(row) for row in rows if row["person"] == person] for person in people]


def control_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## False candidates in healthy people",
        "",
        f"{len(rows)} people of the split test.",
        "",
        "| rule | nominal | false candidates per scan | share of scans with any |",
        "|---|---:|---:|---:|",
    ]
    names = {"all": "the model's threshold"}
    names |= {f"rate {r:g}": f"`--rate {r:g}`: by evidence" for r in RATES}
    names |= {f"peak {r:g}": f"a higher threshold for the rate {r:g}, instead" for r in RATES}
    names |= {f"fdr {q:g}": f"`--fdr {q:g}`: q of Benjamini-Hochberg" for q in LEVELS}
    for key, name in names.items():
        counts = [float(row["candidates"][key]) for row in rows]
        any_ = [float(c > 0) for c in counts]
        nominal = key.split()[-1] if key != "all" else "1"
        kind = " of scans with any" if key.startswith("fdr") else ""
        lines.append(
            f"| {name} | {nominal}{kind} | {shown(bootstrap(counts))} | {shown(bootstrap(any_))} |"
        )
    return lines


def method_table(rows: list[dict[str, Any]], title: str) -> list[str]:
    lines = [
        f"## {title}",
        "",
        "| | Dice | Dice less that of the threshold | found lesions | false per scan "
        "| lesion-wise F1 | CPU seconds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]

    def values(method: str, figure: str) -> list[Any]:
        return of_people(rows, lambda row: row["methods"][method][figure])

    for method, words in METHODS.items():
        found = sum(row["methods"][method]["found"] for row in rows)
        lesions = sum(row["methods"][method]["lesions"] for row in rows)
        seconds = np.mean([row["methods"][method]["seconds"] for row in rows])
        gain = paired_difference(values(method, "dice"), values("threshold", "dice"))
        lines.append(
            f"| **{method}**: {words} | {shown(bootstrap(values(method, 'dice')))} | "
            f"{shown(gain) if method != 'threshold' else ''} | {found} of {lesions} | "
            f"{shown(bootstrap(values(method, 'false')))} | "
            f"{shown(bootstrap(values(method, 'f1')))} | {seconds:.2f} |"
        )
    return lines


def kind_table(rows: list[dict[str, Any]]) -> list[str]:
    names = [m for m in METHODS if m in ("threshold", "hysteresis", "grown", "intensity")]
    groups = [(kind, lambda row, kind=kind: row["kind"] == kind) for kind in KINDS]
    groups += [
        ("up to 10 ml", lambda row: row["ml"] <= 10),
        ("above 10 ml", lambda row: row["ml"] > 10),
    ]
    lines = ["| mean Dice | n | " + " | ".join(names) + " |", "|---|---:|" + "---:|" * len(names)]
    for title, wanted in groups:
        some = [row for row in rows if wanted(row)]
        if some:
            cells = [f"{np.mean([r['methods'][m]['dice'] for r in some]):.2f}" for m in names]
            lines.append(f"| {title} | {len(some)} | " + " | ".join(cells) + " |")
    gap = paired_difference(
        of_people(rows, lambda row: row["methods"]["grown"]["dice"]),
        of_people(rows, lambda row: row["methods"]["hysteresis"]["dice"]),
    )
    return [*lines, "", f"Random walker less hysteresis, paired: {shown(gap)}."]


def head_lines(card: HeadCard) -> list[str]:
    f = card.figures
    return [
        "## The head",
        "",
        f"Trained and judged in folds of people on {card.scans} scans of {card.people} calibration "
        f"people, one as found and one with a lesion each: a reader who knows the lesion accepts "
        f"{card.accepted} candidates and rejects {card.rejected}.",
        "",
        "| accepted against rejected candidates, people out of fold | AUROC |",
        "|---|---:|",
        f"| evidence alone, no head | {f['candidate_auroc_evidence']:.2f} |",
        f"| head | {f['candidate_auroc']:.2f} |",
        f"| head without the encoder's features | {f['candidate_auroc_plain']:.2f} |",
        f"| head less evidence | {f['gain_over_evidence']:+.2f} "
        f"[{f['gain_over_evidence_low']:+.2f}, {f['gain_over_evidence_high']:+.2f}] |",
        f"| of voxels: head | {f['voxel_auroc']:.3f} |",
        f"| of voxels: absolute z alone | {f['voxel_auroc_z']:.3f} |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("people", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="brain-t1")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--most", type=int, default=16)
    parser.add_argument("--without-head", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    work = Work(options)
    healthy = work.healthy()
    simulated, real = work.simulated(), work.patients()
    learnt = [] if options.without_head else [*head_lines(work.head().card), ""]
    card = work.model.card
    lines = [
        "# Segmentation and control of false candidates",
        "",
        f"`python benchmarks/segment.py PEOPLE DATA --model {card.name}`. {card.one_line()} "
        "Nothing was chosen on the people below: the constants of the walker and of hysteresis "
        "were chosen on 14 calibration people with other shapes. Intervals are 95 %, a bootstrap "
        "over people (seed 0).",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, scikit-image "
        f"{skimage.__version__}; one thread, CPU seconds.",
        "",
        *control_table(healthy),
        "",
        *method_table(
            simulated,
            f"Simulated lesions: {len(simulated)} scans of {len({r['person'] for r in simulated})} "
            "test people",
        ),
        "",
        f"Real shapes, {' and '.join(KINDS)}, strength {STRENGTH:g}, one scan a person.",
        "",
        *kind_table(simulated),
        "",
        *learnt,
        *method_table(real, "Real lesions: two people with multiple sclerosis, T1 alone"),
        "",
        "Most lesions of multiple sclerosis do not show on T1; two people make no interval worth "
        "the name.",
        "",
        *[
            f"- {row['person']}, {row['ml']:.1f} ml: Dice "
            + ", ".join(f"{m} {row['methods'][m]['dice']:.2f}" for m in METHODS)
            for row in real
        ],
    ]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
