"""What each ingredient of the score is worth: one left out or added at a time.

    python benchmarks/score.py MODEL WORKDIR [--shapes FOLDER] [--real TABLE] [--out FILE]

WORKDIR is what ``napari-normative train`` left beside the model: its aligned scans are read
again. Every variant is calibrated anew on the calibration people and judged on the test
people: false positives on their scans as they are, average precision with simulated lesions in
them. ``--real`` is a case table of ``napari-normative evaluate``: patients with a true mask.
Nothing is trained; the reconstructions are those of MODEL.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from napari_normative.core.calibration import TAIL
from napari_normative.core.candidates import components
from napari_normative.core.grid import resample
from napari_normative.core.lesions import drawn_shape, place_shape, simulate
from napari_normative.core.metrics import average_precision, paired_difference
from napari_normative.core.preprocess import prepare
from napari_normative.core.score import ScoreConfig, judge
from napari_normative.engine.calibrate import calibrate
from napari_normative.engine.cases import read_cases
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import PRESETS
from napari_normative.io.nifti import read_volume
from napari_normative.volume import FloatArray, Mask

COHORT = Path(__file__).with_name("brain-t1") / "cohort.tsv"
NOMINAL = 0.01
KINDS = {"hypointense": -1, "hyperintense": 1, "texture": 0}
"""Simulated kinds, and the sign of z that is expected."""

VARIANTS: dict[str, dict[str, object]] = {
    "default": {},
    "residual alone (one scale of 4 mm, nothing else)": {
        "scales_mm": (4.0,), "tolerance_mm": 0.0, "contrast_fit": False, "per_scan": False,
        "asymmetry": 0.0, "guide_mm": (), "erosion_mm": 0.0,
    },
    "no contrast fit": {"contrast_fit": False},
    "no tolerance": {"tolerance_mm": 0.0},
    "one scale, 4 mm": {"scales_mm": (4.0,)},
    "scales 2, 4, 8 mm": {"scales_mm": (2.0, 4.0, 8.0)},
    "no statistics of the place": {"voxel_statistics": False},
    "no per-scan z": {"per_scan": False},
    "no asymmetry": {"asymmetry": 0.0},
    "asymmetry 1": {"asymmetry": 1.0},
    "no guided average": {"guide_mm": ()},
    "guided average 6 mm alone": {"guide_mm": (6.0,)},
    "no erosion": {"erosion_mm": 0.0},
    "with deformation 4 mm": {"deform_mm": 4.0},
    "with texture 4 mm": {"texture_mm": 4.0},
}  # fmt: skip


class Cases:
    """Scans in the model's space with their reconstructions, made once."""

    def __init__(
        self, model: NormativeModel, cohort: PreparedCohort, shapes: Path | None, real: Path | None
    ) -> None:
        self.network = model.network("cpu")
        self.cohort = cohort
        self._known: dict[bytes, FloatArray] = {}
        test = cohort.select("test")
        self.healthy = [(cohort.images[n].astype(np.float32), cohort.masks[n], n) for n in test]
        self.lesions: list[tuple[str, FloatArray, Mask, Mask]] = []
        places = self._places(shapes, 2 * len(test) * len(KINDS))
        turn = 0
        for image, mask, n in self.healthy:
            for kind in KINDS:
                for strength in (0.5, 1.0):
                    shape = places(mask, turn)
                    turn += 1
                    made = simulate(
                        image, mask, shape, cohort.config.spacing_mm, kind,
                        strength=strength, seed=n,
                    )  # fmt: skip
                    self.lesions.append((kind, made.image, mask, made.truth))
        for case in [] if real is None else read_cases(real):
            scan, truth = read_volume(case.path), case.truth and read_volume(case.truth)
            if truth is None:
                continue
            found = prepare(scan, cohort.config, cohort.template)
            marked = truth.canonical()
            to_grid = found.alignment.scan_to_template @ marked.affine
            grid = cohort.config.grid
            share = resample((marked.data > 0).astype(np.float32), to_grid, grid.shape, grid.affine)
            self.lesions.append((f"real: {case.kind}", found.image, found.mask, share > 0.5))

    def reconstruct(self, images: FloatArray) -> FloatArray:
        """Reconstruct (N, I, J, K); each image once."""
        out = []
        for image in images:
            key = image[::5, ::5, ::5].tobytes()
            if key not in self._known:
                with torch.inference_mode():
                    x = torch.from_numpy(np.ascontiguousarray(image))[None, None]
                    made = self.network.reconstruct(x)[0, 0].numpy()
                self._known[key] = made.astype(np.float16)
            out.append(self._known[key].astype(np.float32))
        return np.stack(out)

    def _places(self, folder: Path | None, count: int) -> Callable[[Mask, int], Mask]:
        spacing, grid = self.cohort.config.spacing_mm, self.cohort.config.grid
        if folder is None:
            sizes = (1.0, 4.0, 16.0)
            return lambda mask, k: drawn_shape(mask, sizes[k % 3], spacing, seed=k)
        files = np.random.default_rng(0).permutation(sorted(folder.rglob("*.nii.gz")))
        found: list[Mask] = []
        for file in files:
            shape = nib.load(file)
            placed = place_shape(np.asarray(shape.dataobj), shape.affine, grid.shape, grid.affine)
            if 0.5 <= placed.sum() * spacing**3 / 1000 <= 100:
                found.append(placed)
            if len(found) == count:
                break
        return lambda mask, k: found[k % len(found)] & mask


def figures(cases: Cases, score: ScoreConfig) -> dict[str, list[float]]:
    """Return AP per lesion by kind, and false positives per test person by site."""
    cohort, spacing = cases.cohort, cases.cohort.config.spacing_mm
    known = calibrate(cohort, cases.reconstruct, score, flip=True)
    tail = float(np.interp(np.log(NOMINAL), np.log(TAIL[::-1]), known.z_tail[::-1]))
    found: dict[str, list[float]] = {}
    for image, mask, n in cases.healthy:
        z = judge(image, cases.reconstruct(image[None])[0], mask, known, score, spacing)
        site = cohort.people[n].site
        found.setdefault(f"beyond 1 %, {site}", []).append(float((np.abs(z[z != 0]) > tail).mean()))
        count = len(components(z, known.threshold_z, score.minimum_ml, spacing**3 / 1000)[1])
        found.setdefault(f"candidates, {site}", []).append(count)
    for kind, image, mask, truth in cases.lesions:
        z = judge(image, cases.reconstruct(image[None])[0], mask, known, score, spacing)
        inside = mask | truth  # what is not scored counts as missed
        found.setdefault(kind, []).append(average_precision(np.abs(z[inside]), truth[inside]))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--shapes", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.model)
    cohort = prepare_cohort(
        read_cohort(COHORT, seed=0), PRESETS["brain-2mm"], arguments.workdir / "prepared",
        report=lambda *_: None,
    )  # fmt: skip
    cases = Cases(model, cohort, arguments.shapes, arguments.real)
    lines: list[str] = []
    base: dict[str, list[float]] = {}
    for name, changes in VARIANTS.items():
        found = figures(cases, model.card.score.model_copy(update=changes))
        base = base or found
        if not lines:
            lines += ["| score | " + " | ".join(found) + " |", "|" + "---|" * (1 + len(found))]
        cells = []
        for key, values in found.items():
            mean = float(np.nanmean(values))
            cell = f"{mean:.2%}" if key.startswith("beyond") else f"{mean:.3f}"
            if found is not base and key in KINDS:
                pairs = [list(values[k : k + 2]) for k in range(0, len(values), 2)]
                others = [base[key][k : k + 2] for k in range(0, len(values), 2)]
                apart = paired_difference(pairs, others)
                cell += f" ({apart.value:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}])"
            cells.append(cell)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, one thread"
    text = (
        f"Model {model.card.name} {model.digest[:12]}; {len(cases.healthy)} test people; "
        f"average precision of the size of z over voxels; in brackets the paired difference to "
        f"the default with its 95 % interval over people. {machine}.\n\n" + "\n".join(lines) + "\n"
    )
    print(text)
    if arguments.out:
        head = arguments.out.read_text().split("\n## ")[0] if arguments.out.exists() else ""
        arguments.out.write_text(
            (head or "# What the score is made of\n") + "\n## Figures\n\n" + text
        )


if __name__ == "__main__":
    main()
