"""What bias field, harmonisation and mild deformation do on each site.

    python benchmarks/robustness.py MODEL DATA [--train 60] [--out FILE]

DATA is the folder of the real volumes (ixi-t1-2mm, ds002748-controls-t1, open-ms-mni,
lesion-shapes). Every variant of the preprocessing gets components, calibration and thresholds of
its own, fitted on the same people: a network trained under one variant would lose under all
others. About half an hour on one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from napari_normative.core.calibration import TAIL, Calibration
from napari_normative.core.deform import deform_to
from napari_normative.core.lesions import place_shape, simulate
from napari_normative.core.metrics import average_precision
from napari_normative.core.preprocess import Prepared, PreprocessConfig, prepare
from napari_normative.core.register import Alignment
from napari_normative.core.residual import fit_contrast
from napari_normative.core.score import ScoreConfig, judge
from napari_normative.engine.calibrate import calibrate
from napari_normative.engine.cohort import Person, read_cohort
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.io.nifti import read_volume
from napari_normative.volume import FloatArray, Mask, Volume

COHORT = Path(__file__).parent / "brain-t1" / "cohort.tsv"
COMPONENTS = 48
SIMULATED = 16
NOMINAL = 0.01
SITES = ("IXI", "ds002748")
T1_OF_MS = "T1_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
MS_TRUTH = "GOLD_STANDARD_N4_noneck_reduced_winsor_regtoFLAIR_regtoMNI.nii.gz"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to prepare scans, and whether reconstructions are bent to them."""

    name: str
    bias: bool = True
    matching: bool = True
    n4: bool = False
    deform: bool = False

    def config(self, base: PreprocessConfig) -> PreprocessConfig:
        """Return the model's preprocessing without what this variant leaves out."""
        changes: dict[str, object] = {} if self.bias else {"bias_mm": 0.0}
        if not self.matching:
            changes["reference"] = ()
        return base.model_copy(update=changes)


VARIANTS = (
    Variant("as shipped"),
    Variant("no bias field", bias=False),
    Variant("no histogram matching", matching=False),
    Variant("neither", bias=False, matching=False),
    Variant("N4 instead of the ratio", bias=False, n4=True),
    Variant("as shipped, reconstruction bent to the scan", deform=True),
)


def n4(scan: Volume) -> Volume:
    """Divide by the N4 field, found on every fourth voxel of the foreground."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(scan.data))
    image.SetSpacing([float(s) for s in scan.spacing_mm[::-1]])
    mask = sitk.Cast(image > 0, sitk.sitkUInt8)
    factor = [max(1, round(4.0 / s)) for s in scan.spacing_mm[::-1]]
    find = sitk.N4BiasFieldCorrectionImageFilter()
    find.SetNumberOfThreads(1)
    find.SetMaximumNumberOfIterations([30, 30, 20])
    find.Execute(sitk.Shrink(image, factor), sitk.Shrink(mask, factor))
    field = sitk.GetArrayFromImage(find.GetLogBiasFieldAsImage(image))
    return scan.with_data(scan.data / np.exp(field))


def lesion_shapes(data: Path) -> Iterator[Volume]:
    """Yield real stroke masks of 2 ml and more, in a fixed order that mixes their people."""
    paths = sorted((data / "lesion-shapes" / "soop").glob("*.nii.gz"))
    for path in np.random.default_rng(0).permutation(np.array(paths, dtype=object)):
        shape = read_volume(path)
        if (shape.data > 0).sum() * shape.voxel_ml >= 2:
            yield shape


class Bench:
    """The people, their alignments and one variant after another."""

    def __init__(self, model: NormativeModel, people: Sequence[Person], data: Path) -> None:
        self.model, self.people = model, list(people)
        self.base, self.template = model.card.preprocess, model.template
        self.score = model.card.score
        self.scans = [read_volume(person.path) for person in self.people]
        self.known: dict[str, Alignment] = {}
        self.flattened: dict[str, Volume] = {}
        self.shapes = list(itertools.islice(lesion_shapes(data), SIMULATED))
        self.patients = [
            (read_volume(folder / T1_OF_MS), read_volume(folder / MS_TRUTH))
            for folder in sorted((data / "open-ms-mni").glob("patient*"))
        ]

    def prepared(self, scan: Volume, variant: Variant) -> Prepared:
        """Return a scan in the model's space; its alignment is searched for once."""
        key = scan.source.digest
        if variant.n4:
            if key not in self.flattened:
                self.flattened[key] = n4(scan)
            scan = self.flattened[key]
        aligned = self.known.get(f"{key}:{variant.n4}")
        made = prepare(scan, variant.config(self.base), self.template, alignment=aligned)
        self.known[f"{key}:{variant.n4}"] = made.alignment
        return made

    def cohort(self, variant: Variant) -> PreparedCohort:
        """Return all people, prepared in one way."""
        made = [self.prepared(scan, variant) for scan in self.scans]
        return PreparedCohort(
            people=self.people,
            images=np.stack([p.image.astype(np.float16) for p in made]),
            masks=np.stack([p.mask for p in made]),
            config=variant.config(self.base),
            template=self.template,
            digest="",
            refused=[],
        )


def reconstructor(
    cohort: PreparedCohort, sites: Sequence[str], variant: Variant
) -> Callable[[FloatArray], FloatArray]:
    """Return the projection onto the first components of some sites' training people."""
    inside, spacing = cohort.template.mask, cohort.config.spacing_mm
    train = [n for n in cohort.select("train") if cohort.people[n].site in sites]
    rows = cohort.images[train][:, inside].astype(np.float32)
    mean = rows.mean(axis=0)
    basis = np.linalg.svd(rows - mean, full_matrices=False)[2][:COMPONENTS]

    def run(images: FloatArray) -> FloatArray:
        out = np.zeros(images.shape, np.float32)
        flat = images[:, inside] - mean
        out[:, inside] = mean + (flat @ basis.T) @ basis
        if variant.deform:
            for n, image in enumerate(images):
                own = image != 0
                out[n] = deform_to(fit_contrast(image, out[n], own), image, own, spacing)[0]
        return out

    return run


def of_sites(cohort: PreparedCohort, sites: Sequence[str]) -> PreparedCohort:
    """Return the cohort with the calibration people of some sites only."""
    people = [p if p.site in sites else dataclasses.replace(p, split="test") for p in cohort.people]
    return dataclasses.replace(cohort, people=people)


@dataclasses.dataclass
class Tally:
    """Figures of one variant and one set of training sites."""

    mae: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    beyond: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    simulated: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    patients: list[float] = dataclasses.field(default_factory=list)


def z_of(
    image: FloatArray,
    mask: Mask,
    run: Callable[[FloatArray], FloatArray],
    calibration: Calibration,
    score: ScoreConfig,
    spacing_mm: float,
) -> FloatArray:
    return judge(image, run(image[None])[0], mask, calibration, score, spacing_mm)


def measure(bench: Bench, cohort: PreparedCohort, sites: Sequence[str], variant: Variant) -> Tally:
    cohort = of_sites(cohort, sites)
    run = reconstructor(cohort, sites, variant)
    calibration = calibrate(cohort, run, bench.score, flip=True)
    tail = float(np.interp(np.log(NOMINAL), np.log(TAIL[::-1]), calibration.z_tail[::-1]))
    spacing, tally = cohort.config.spacing_mm, Tally()

    def z(image: FloatArray, mask: Mask) -> FloatArray:
        return z_of(image, mask, run, calibration, bench.score, spacing)

    for place, n in enumerate(cohort.select("test")):
        image, mask = cohort.images[n].astype(np.float32), cohort.masks[n]
        site = cohort.people[n].site
        error = np.abs(image - run(image[None])[0])[mask].mean() / image[mask].std()
        tally.mae.setdefault(site, []).append(float(error))
        found = z(image, mask)
        tally.beyond.setdefault(site, []).append(float((np.abs(found[found != 0]) > tail).mean()))
        if len(sites) < len(SITES) or place >= SIMULATED:
            continue
        for kind in ("hypointense", "hyperintense"):
            value = simulated(bench, n, place, kind, variant, z)
            tally.simulated.setdefault(kind, []).append(value)
    if len(sites) == len(SITES):
        for scan, truth in bench.patients:
            made = bench.prepared(scan, variant)
            tally.patients.append(
                average_precision(-z(made.image, made.mask)[made.mask],
                                  on_grid(truth, made, bench)[made.mask])
            )  # fmt: skip
    return tally


def on_grid(truth: Volume, made: Prepared, bench: Bench) -> Mask:
    """Return a mask that lies on a scan's grid on the model's grid."""
    to_template = made.alignment.scan_to_template @ truth.affine
    grid = bench.base.grid
    return place_shape(truth.data > 0, to_template, grid.shape, grid.affine)


def simulated(
    bench: Bench,
    n: int,
    place: int,
    kind: str,
    variant: Variant,
    z: Callable[[FloatArray, Mask], FloatArray],
) -> float:
    """Return the AP of a lesion of a real shape, put into the scan before it is prepared."""
    scan = bench.scans[n]
    known = bench.known[f"{scan.source.digest}:False"]
    shape = bench.shapes[place]
    # World mm of the template: the shapes lie in MNI space, as the template nearly does.
    to_scan = np.linalg.inv(known.scan_to_template) @ shape.affine
    on_scan = place_shape(shape.data > 0, to_scan, scan.shape, scan.affine)
    made = simulate(scan.data, scan.data > 0, on_scan, scan.spacing_mm, kind, strength=0.7, seed=n)
    ill = Volume.from_array(made.image, scan.affine, f"{scan.source.name}-{kind}")
    if variant.n4:
        ill = n4(ill)
    prepared = prepare(ill, variant.config(bench.base), bench.template, alignment=known)
    truth = on_grid(scan.with_data(made.truth), prepared, bench)
    signed = z(prepared.image, prepared.mask) * (-1 if kind == "hypointense" else 1)
    if not truth[prepared.mask].any():
        return float("nan")
    return average_precision(signed[prepared.mask], truth[prepared.mask])


def mean(values: Sequence[float]) -> float:
    return float(np.nanmean(values)) if len(values) else float("nan")


def variants_table(bench: Bench) -> list[str]:
    lines = [
        "| preparation | similarity IXI / ds002748 / MS | error IXI / ds002748 | beyond 1 % level "
        "IXI / ds002748 | the same, trained on IXI alone: IXI / all of ds002748 | AP simulated "
        "darker / brighter | AP MS 07 / 19 | s a scan |",
        "|" + "---|" * 8,
    ]
    cohort: PreparedCohort | None = None
    for variant in VARIANTS:
        start = time.perf_counter()
        cohort = bench.cohort(variant) if not variant.deform else bench.cohort(VARIANTS[0])
        for scan, _ in bench.patients:
            bench.prepared(scan, variant)
        seconds = (time.perf_counter() - start) / len(bench.people)
        both, alone = (measure(bench, cohort, sites, variant) for sites in (SITES, SITES[:1]))
        found = {
            site: [
                bench.known[f"{s.source.digest}:{variant.n4}"].similarity
                for s, p in zip(bench.scans, bench.people, strict=True)
                if p.site == site
            ]
            for site in SITES
        }
        found["MS"] = [
            bench.known[f"{s.source.digest}:{variant.n4}"].similarity for s, _ in bench.patients
        ]
        cells = [
            variant.name,
            " / ".join(f"{mean(v):.3f}" for v in found.values()),
            " / ".join(f"{mean(both.mae[s]):.3f}" for s in SITES),
            " / ".join(f"{mean(both.beyond[s]):.2%}" for s in SITES),
            " / ".join(f"{mean(alone.beyond[s]):.2%}" for s in SITES),
            " / ".join(f"{mean(v):.3f}" for v in both.simulated.values()),
            " / ".join(f"{v:.3f}" for v in both.patients),
            f"{seconds:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", type=int, default=60, help="training people of the larger site")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = load_model(options.model)
    lines = [
        "# Bias field, harmonisation and deformation, per site",
        "",
        f"Model {model.card.name}, SHA-256 `{model.digest[:16]}…`; {platform.machine()}, "
        f"{os.cpu_count()} cores.",
    ]
    people = read_cohort(COHORT)
    large = [p for p in people if (p.site, p.split) == ("IXI", "train")]
    people = [p for p in people if p not in large] + large[: options.train]
    lines += ["", *variants_table(Bench(model, people, options.data))]
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
