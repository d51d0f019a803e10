"""What is said of real scans that a model was, and was not, made for.

    python benchmarks/applicability.py MODEL WORKDIR DATA [--out FILE]

WORKDIR is what ``napari-normative train`` left beside the model, DATA the folder of the real
volumes. Two minutes on one core. Figures are the least and the largest of the scans of a row.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path

import numpy as np

from napari_normative.core.applicability import (
    Applicability,
    HealthyRange,
    check_likeness,
    check_prepared,
    reconstruction_error,
)
from napari_normative.core.preprocess import prepare
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.infer import run_network
from napari_normative.engine.likeness import healthy_range
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import PRESETS
from napari_normative.errors import NormativeError, PreprocessError
from napari_normative.io.nifti import read_volume
from napari_normative.volume import FloatArray

COHORT = Path(__file__).parent / "brain-t1" / "cohort.tsv"
SITES = ("IXI", "ds002748")
NAMES = ("spacing", "field of view", "alignment", "contrast", "latent", "reconstruction")


def foreign_scans(data: Path) -> dict[str, list[Path]]:
    """Return real scans that are not of the training cohort, by what they are."""
    zoo, kinds = data / "zoo", ("T1", "T1POST", "FLAIR", "T2")
    found = {
        f"open-MS, {kind}": sorted((data / "open-ms-mni").glob(f"patient*/{kind}_*.nii.gz"))
        for kind in kinds
    }
    found["glioma T1"] = sorted((data / "tcga-glioma").glob("*/t1.nii.gz"))
    heads = {
        "whole-head T1": "chris_t1", "T1 average of the old": "mni_icbm152*", "CT head": "CT_*",
        "diffusion": "dwi", "functional MRI": "fmri_pitch", "dog": "M2208_dog",
    }  # fmt: skip
    for kind, name in heads.items():
        found[kind] = sorted((zoo / "niivue_demo").glob(f"{name}.nii.gz"))
    found["CT of the body"] = [zoo / "totalseg_ct" / "example_ct_sm.nii.gz"]
    found["T1 of a baby"] = [zoo / "babybrain" / "data__0.14__volume.nii.gz"]
    found["echo planar"] = [zoo / "nibabel" / "doc__someones_epi.nii.gz"]
    found["macaque T1"] = [zoo / "niivue" / "inia19-t1-brain.nii.gz"]
    found["hippocampus crop"] = sorted((data / "msd-hippocampus" / "images").glob("*.nii.gz"))[:6]
    return {kind: [p for p in paths if p.is_file()] for kind, paths in found.items()}


def asked(model: NormativeModel, path: Path, healthy: HealthyRange) -> tuple[str, dict[str, float]]:
    """Return what is said of a scan, and the figures behind it."""
    try:
        scan = read_volume(path, volume=0 if "fmri" in path.name else None)
        prepared = prepare(scan, model.card.preprocess, model.template)
    except NormativeError as error:
        return error.code, {}
    checks = check_prepared(scan, prepared, model.card.preprocess, model.template)
    (image, latent, _), _ = run_network(model, prepared.image[None], "cpu")
    checks += check_likeness(
        model.posterior.distance(latent),
        reconstruction_error(prepared.image, image[0], prepared.mask),
        healthy,
    )
    fits = Applicability(checks)
    figures = {check.name: check.found for check in checks}
    try:
        fits.require(path.name)
    except PreprocessError as error:
        return error.code, figures
    wrong = [check.name for check in checks if check.status != "ok"]
    return "warns: " + ", ".join(wrong) if wrong else "ok", figures


def applicability_table(model: NormativeModel, cohort: PreparedCohort, data: Path) -> list[str]:
    def encode(image: FloatArray) -> tuple[FloatArray, FloatArray]:
        (out, mean_, _), _ = run_network(model, image[None], "cpu")
        return out[0], mean_

    healthy = healthy_range(cohort, encode, model.posterior)
    lines = [
        "| scans | n | what is said | " + " | ".join(NAMES) + " |",
        "|" + "---|" * (3 + len(NAMES)),
    ]
    groups = foreign_scans(data)
    for site in SITES:
        test = [p.path for p in cohort.people if p.site == site and p.split == "test"]
        groups[f"healthy, unseen, {site}"] = test
    trained = [p.path for p in cohort.people if p.site == "ds002748" and p.split == "train"]
    groups["healthy, of the training, ds002748"] = trained
    for kind, paths in groups.items():
        answers = [asked(model, path, healthy) for path in paths]
        said: dict[str, int] = {}
        for answer, _ in answers:
            said[answer] = said.get(answer, 0) + 1
        text = "; ".join(f"{count} {answer}" for answer, count in said.items())
        cells = []
        for name in NAMES:
            values = [figures[name] for _, figures in answers if name in figures]
            low, high = (min(values), max(values)) if values else (float("nan"),) * 2
            cells.append(f"{low:.2f} to {high:.2f}" if high > low else f"{low:.2f}")
        shown = [cell if cell != "nan" else "" for cell in cells]
        lines.append(f"| {kind} | {len(paths)} | {text} | " + " | ".join(shown) + " |")
        print(lines[-1], flush=True)
    left_out = [
        check.status
        for n, (distance, error) in enumerate(zip(healthy.distances, healthy.errors, strict=True))
        for check in check_likeness(distance, error, without(healthy, n))
    ]
    lines += [
        "",
        f"Calibration people, each against the others: {left_out.count('warn')} warnings for "
        f"{len(healthy.distances)} people.",
    ]
    return lines


def without(healthy: HealthyRange, left: int) -> HealthyRange:
    """Return the range without the one distance and the one error at a rank."""
    return HealthyRange(np.delete(healthy.distances, left), np.delete(healthy.errors, left))


def main() -> None:
    """Parse, ask, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("workdir", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = load_model(options.model)
    cohort = prepare_cohort(
        read_cohort(COHORT),
        PRESETS[model.card.training.preset],
        options.workdir / "prepared",
        report=lambda *_: None,
    )
    lines = [
        "# What is said of which scan",
        "",
        f"Model {model.card.name}, SHA-256 `{model.digest[:16]}…`; {platform.machine()}, "
        f"{os.cpu_count()} cores. Figures: the least and the largest of the scans of a row.",
        "",
        *applicability_table(model, cohort, options.data),
    ]
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
