"""What a level above the windows is worth: patch models at 4 mm, with and without it.

    python benchmarks/hierarchical.py COHORT --prepared FOLDER --work FOLDER [--steps 300]
        [--dense MODEL] [--only ROW ...] [--out benchmarks/results/hierarchical.md]

COHORT is a table as for ``napari-normative train`` with the columns path, subject, site and split
(others are not looked at). FOLDER of ``--prepared`` holds its scans aligned at 4 mm (``prepared``
in the work folder of a training by the preset brain-4mm; they are aligned there if they are not).
MODEL is such a training's model file; without it the dense row is left out. All patch rows see
windows of 24³ voxels for the same steps. Judged on the test people, whom no row has seen: error of
reconstruction, and simulated lesions found with the full score, calibrated on both calibration
splits. A row is a JSON file in FOLDER/rows and is not done again.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_normative.core import vae
from napari_normative.core.lesions import drawn_shape, simulate
from napari_normative.core.metrics import average_precision, bootstrap, paired_difference
from napari_normative.core.score import judge
from napari_normative.core.two_levels import TwoLevelVAE
from napari_normative.core.windows import Windows
from napari_normative.engine.calibrate import calibrate
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.model import load_model
from napari_normative.engine.optimise import How, optimise
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import PRESETS
from napari_normative.engine.ranks import Ranks
from napari_normative.engine.start import architecture, start_from_components
from napari_normative.io.atomic import replace_files

Image = NDArray[np.float32]
Reconstruct = Callable[[Image], Image]

PRESET = "brain-4mm-hierarchical"
KINDS = {"hypointense": 0.5, "hyperintense": 0.5}
SIZES_ML = (2.0, 10.0)
ROWS = {
    "mean": "mean image",
    "components": "principal components (64), dense",
    "dense": "dense, brain-4mm",
    "nowhere": "windows, no places",
    "patch": "windows with places",
    "anatomy": "anatomy level alone, with the mean image's detail",
    "hierarchical": "hierarchical: anatomy level and windows",
}


class Nowhere(vae.Place):
    """Tells a network of windows that every voxel lies in the middle."""

    def forward(self, h: Tensor, origin: Tensor | None) -> Tensor:
        """Join three channels of 0 to features."""
        return torch.cat([h, h.new_zeros(len(h), 3, *h.shape[2:])], 1)


def reconstruction_by(
    row: str, cohort: PreparedCohort, work: Path, steps: int, dense: Path | None
) -> Reconstruct:
    """Return what reconstructs a prepared image (I, J, K) in a row."""
    inside = cohort.template.mask
    if row == "mean":
        return lambda image: cohort.template.image
    network: Any
    if row == "dense":
        assert dense is not None
        network = load_model(dense).network("cpu")
    elif row == "components":
        preset = PRESETS["brain-4mm"].changed({"local_edge": 0})
        network = vae.VAE(architecture(preset, cohort)).eval()
        start_from_components(network, cohort, flip=True)
    else:
        network = trained("hierarchical" if row == "anatomy" else row, cohort, work, steps)
    look = by_the_guide if row == "anatomy" else network.reconstruct

    def reconstruct(image: Image) -> Image:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(image))[None, None]
            made = look(network, x) if row == "anatomy" else look(x)
        out: Image = made[0, 0].float().numpy()
        return out * inside

    return reconstruct


def trained(row: str, cohort: PreparedCohort, work: Path, steps: int) -> vae.VAE:
    """Return a network of windows after training; what was trained before is taken up."""
    preset = PRESETS[PRESET].model_copy(update={"steps": steps})
    if row != "hierarchical":
        preset = preset.model_copy(update={"anatomy": None})
    place = vae.Place
    if row == "nowhere":
        vae.Place = Nowhere  # type: ignore[misc]
    try:
        how = How("cpu", "auto", None, True, False, work / row, Ranks())
        how.folder.mkdir(parents=True, exist_ok=True)
        return optimise(
            cohort, preset, how, 0,
            report=lambda point, done, left: None, cancel=lambda: False,
        ).network  # fmt: skip
    finally:
        vae.Place = place  # type: ignore[misc]


def by_the_guide(network: TwoLevelVAE, x: Tensor) -> Tensor:
    """Return what the anatomy level alone says of a volume, voxel by voxel."""
    config, above, out = network.config, network.overview(x), torch.zeros_like(x)
    windows = Windows.over(config.shape, config.seen, config.overlap, config.stride)
    for start in windows:
        weight = torch.from_numpy(windows.weight(start)).to(x)
        out[(..., *windows.box(start))] += weight * network.guide(above, x.new_tensor([start]))
    return out


def measured(
    row: str, cohort: PreparedCohort, reconstruct: Reconstruct, lesions: bool
) -> dict[str, Any]:
    """Return error, and average precision unless it is left out, of the test people."""
    preset, spacing = PRESETS[PRESET], cohort.config.spacing_mm
    facts: dict[str, Any] = {"mae": {}, "ap": {kind: {} for kind in KINDS}}
    calibration = None
    if lesions:
        calibration = calibrate(
            cohort,
            lambda images: np.stack([reconstruct(image) for image in images]),
            preset.score,
            flip=preset.augment.flip,
        )
    for n in cohort.select("test"):
        image, mask = cohort.images[n].astype(np.float32), cohort.masks[n]
        who = cohort.people[n].subject
        facts["mae"][who] = float(np.abs(image - reconstruct(image))[mask].mean(dtype=np.float64))
        for kind, strength in KINDS.items() if calibration is not None else ():
            found = []
            for number, volume_ml in enumerate(SIZES_ML):
                shape = drawn_shape(mask, volume_ml, spacing, seed=1000 * n + number)
                ill = simulate(image, mask, shape, spacing, kind, strength=strength, seed=n)
                z = judge(
                    ill.image, reconstruct(ill.image), mask, calibration, preset.score, spacing
                )
                found.append(average_precision(np.abs(z)[mask], ill.truth[mask]))
            facts["ap"][kind][who] = found
    return facts


def table(work: Path, cohort: PreparedCohort, steps: int) -> str:
    """Return the finished rows as a page."""
    done = {
        row: json.loads(path.read_text(encoding="utf-8"))
        for row in ROWS
        if (path := work / "rows" / f"{row}.json").exists()
    }
    people = {cohort.people[n].subject: cohort.people[n].site for n in cohort.select("test")}
    lines = [
        "# A level above the windows",
        "",
        f"`benchmarks/hierarchical.py COHORT --steps {steps}`; {platform.machine()}, one thread, "
        f"torch {torch.__version__}. Seed 0, one. {len(cohort.select('train'))} training people "
        f"of two sites, {len(people)} test people ({sum(s == 'IXI' for s in people.values())} IXI) "
        "whom no row has seen. Error: mean absolute, model units, inside the mask, means over "
        "people. AP of |z| for SIMULATED lesions (drawn shapes, 2 and 10 ml), full score. "
        "Brackets: 95 %, bootstrap over people, which holds people alone, not seeds.",
        "",
        "| what reconstructs | error | minus the mean image's | AP darker | AP brighter | "
        "AP both, minus the mean image's |",
        "|---|---|---|---|---|---|",
    ]
    usual = done.get("mean")
    for row, facts in done.items():
        errors = [[facts["mae"][who]] for who in people]
        error = bootstrap(errors)
        cells = [ROWS[row], f"{error.value:.4f} [{error.low:.4f}, {error.high:.4f}]"]
        apart, precision, gain = "", ["", ""], ""
        if usual is not None and row != "mean":
            gap = paired_difference(errors, [[usual["mae"][who]] for who in people])
            apart = f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        if facts["ap"]["hypointense"]:
            for place, kind in enumerate(KINDS):
                mean = np.nanmean([facts["ap"][kind][who] for who in people])
                precision[place] = f"{mean:.3f}"
            if usual is not None and row != "mean":
                more = paired_difference(
                    [both(facts, who) for who in people], [both(usual, who) for who in people]
                )
                gain = f"{more.value:+.3f} [{more.low:+.3f}, {more.high:+.3f}]"
        cells += [apart, *precision, gain]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def both(facts: dict[str, Any], who: str) -> list[float]:
    """Return a person's AP values of both kinds."""
    return [value for kind in KINDS for value in facts["ap"][kind][who]]


def main() -> None:
    """Do the rows that are missing and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--dense", type=Path, help="model file of brain-4mm, trained on COHORT")
    parser.add_argument(
        "--only", nargs="*", choices=tuple(ROWS), help="rows to do; all unless given"
    )
    parser.add_argument("--no-lesions", action="store_true", help="errors of reconstruction alone")
    parser.add_argument("--out", type=Path, help="write the page there as well")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    cohort = prepare_cohort(
        read_cohort(wanted.cohort), PRESETS["brain-4mm"], wanted.prepared,
        report=lambda stage, done, name: None,
    )  # fmt: skip
    for row in ROWS:
        path = wanted.work / "rows" / f"{row}.json"
        left_out = wanted.only is not None and row not in wanted.only
        if path.exists() or left_out or (row == "dense" and wanted.dense is None):
            continue
        reconstruct = reconstruction_by(row, cohort, wanted.work, wanted.steps, wanted.dense)
        facts = measured(row, cohort, reconstruct, not wanted.no_lesions)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: json.dumps(facts, indent=1).encode()})
        print(row, round(float(np.mean(list(facts["mae"].values()))), 4), flush=True)
    text = table(wanted.work, cohort, wanted.steps)
    print(text)
    if wanted.out is not None:
        wanted.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
