"""Whether the decisions of a reader put real candidates into a better order than evidence.

    python benchmarks/feedback.py DATA [--scans 30] [--out FILE]

DATA is the folder of the real volumes (ixi-t1-2mm, lesion-shapes). Each scan of a healthy person
that the model brain-t1 was not trained on gets a simulated lesion of a real shape; every third
stays as it is. A reader is simulated who accepts what touches the lesion, and nothing else. Four
minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path

import numpy as np
import sklearn
import torch

from napari_normative.core.lesions import place_shape, simulate
from napari_normative.core.metrics import COVERED, Interval
from napari_normative.core.preprocess import own_foreground, prepare
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.detection import Detection
from napari_normative.engine.model import load_model
from napari_normative.io.nifti import read_volume
from napari_normative.review.feedback import FEATURES, Known, features_of, rerank
from napari_normative.review.records import ReviewCandidate
from napari_normative.volume import Mask

COHORT = Path(__file__).with_name("brain-t1") / "cohort.tsv"
OUT = Path(__file__).parent / "results" / "feedback.md"
KINDS = ("hypointense", "hyperintense", "mass")
STRENGTHS = (0.5, 0.8)
HEALTHY = 3  # every third


def known_of(detection: Detection, truth: Mask, image: str) -> list[Known]:
    """Return the candidates of a detection with what the simulated reader says of them."""
    labels = detection.candidate_labels.data.astype(int)
    records = [
        ReviewCandidate(
            c.id, image, c.label, c.sign, c.peak_z, c.mean_z, c.volume_mm3 / 1000, c.centroid_mm,
            c.p, "",
        )
        for c in detection.candidates
    ]  # fmt: skip
    made = []
    for found, record in zip(detection.candidates, records, strict=True):
        box = tuple(slice(*edges) for edges in found.box)
        mask = labels[box] == found.label
        features = features_of(
            record, mask, detection.scan.spacing_mm, middle_mm=detection.middle_mm,
            siblings=records, threshold_z=detection.threshold_z,
        )  # fmt: skip
        hit = truth[box][mask].mean() >= COVERED
        made.append(Known(f"{image}-{found.label}", image, features, "accept" if hit else "reject"))
    return made


def review(data: Path, scans: int) -> list[Known]:
    model = load_model("brain-t1")
    people = [p for p in read_cohort(COHORT) if p.split != "train" and p.site == "IXI"]
    people.sort(key=lambda person: person.split, reverse=True)  # test people first
    shapes = sorted((data / "lesion-shapes").glob("*/*.nii.gz"))
    random = np.random.default_rng(0)
    known: list[Known] = []
    for number, person in enumerate(people[:scans]):
        scan = read_volume(data / "ixi-t1-2mm" / Path(person.path).name)
        truth = np.zeros(scan.shape, dtype=bool)
        kind = ""
        if number % HEALTHY:
            inside = own_foreground(scan)
            assert inside is not None
            at = prepare(scan, model.card.preprocess, model.template).alignment.scan_to_template
            while truth.sum() * scan.voxel_ml < 0.5:
                shape = read_volume(shapes[random.integers(len(shapes))])
                placed = place_shape(shape.data > 0, shape.affine, scan.shape, at @ scan.affine)
                truth = placed & inside
            kind = KINDS[random.integers(len(KINDS))]
            strength = STRENGTHS[random.integers(len(STRENGTHS))]
            made = simulate(
                scan.data, inside, truth, scan.spacing_mm, kind, strength=strength, seed=number
            )
            scan, truth = scan.with_data(made.image), made.truth
        detection = model.detect(scan, device="cpu")
        known += known_of(detection, truth, f"case-{number + 1:03d}")
        print(number + 1, kind, len(detection.candidates), flush=True)
    return known


def shown(figure: Interval) -> str:
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scans", type=int, default=30)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    known = review(options.data, options.scans)
    made = rerank(known)
    accepted = sum(one.decision == "accept" for one in known)
    lines = [
        "# Whether feedback helps",
        "",
        f"{len({one.image for one in known})} of {options.scans} healthy people with candidates of "
        "the model brain-t1, two thirds of them with a simulated lesion of a real shape "
        f"({', '.join(KINDS)}; strength {STRENGTHS[0]:g} or {STRENGTHS[1]:g}): {accepted} "
        f"candidates of which a tenth or more lies in a lesion are accepted, "
        f"{len(known) - accepted} rejected. Judged on scans that nothing was learnt from; "
        "intervals by scan, 95 %.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"scikit-learn {sklearn.__version__}.",
        "",
    ]
    effect = made.effect
    if effect is None:
        lines += [f"Nothing was learnt: {made.blocked}."]
    else:
        lines += [
            effect.line,
            "",
            "| | classifier | evidence |",
            "|---|---|---|",
            f"| AUROC, pairs within folds | {shown(effect.auroc)} | "
            f"{shown(effect.auroc_evidence)} |",
            f"| Brier | {shown(effect.brier)} | {shown(effect.brier_evidence)} |",
            f"| share read until 90 % of the accepted are seen | {effect.read:.2f} | "
            f"{effect.read_evidence:.2f} |",
            "",
            "Reliability, from the least probable fifth up: "
            + "; ".join(f"{p:.2f} said, {y:.2f} accepted ({n})" for p, y, n in effect.reliability)
            + ".",
            "",
            "| feature | mean of the accepted | of the rejected |",
            "|---|---:|---:|",
        ]
        for place, name in enumerate(FEATURES):
            means = [
                np.nanmean([one.features[place] for one in known if one.decision == decision])
                for decision in ("accept", "reject")
            ]
            lines.append(
                f"| {name.replace('|', chr(92) + '|')} | {means[0]:.2f} | {means[1]:.2f} |"
            )
    lines += ["", "Written by `benchmarks/feedback.py DATA`."]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
