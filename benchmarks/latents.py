"""Whether the latents keep neighbourhoods, and what a linear probe tells from them.

    python benchmarks/latents.py DATA [--model MODEL] [--permutations N] [--out FILE]

DATA is the folder of the real volumes. Healthy people of two sites, as in
``benchmarks/brain-t1/cohort.tsv``: everybody, and those whom the model never saw in training.
A few minutes on one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from napari_normative.core.probe import FEWEST_NUMBERS
from napari_normative.core.volume_features import NAMES
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.infer import versions
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.preservation import preservation_table
from napari_normative.engine.probe_judge import judge_probe
from napari_normative.engine.probe_result import ProbeResult, with_interval
from napari_normative.engine.probe_scans import MeasuredScan, measure_scan
from napari_normative.engine.probe_table import LabelledScan
from napari_normative.io.nifti import read_volume

COHORT = Path(__file__).parent / "brain-t1" / "cohort.tsv"
FOLDERS = {"IXI": "ixi-t1-2mm", "ds002748": "ds002748-controls-t1"}
COLUMNS = {
    "category": ("auroc", "balanced_accuracy", "ap", "brier"),
    "number": ("r2", "mae", "calibration_slope"),
}


def measured(
    model: NormativeModel, data: Path
) -> Iterator[tuple[LabelledScan, MeasuredScan, bool]]:
    """Yield every scan of the cohort, and whether the model was trained on it."""
    for n, person in enumerate(read_cohort(COHORT), start=1):
        volume = read_volume(data / FOLDERS[person.site] / person.path.name)
        scan = LabelledScan(n, person.path, person.subject, person.site, person.site)
        digest = volume.source.digest
        seen = measure_scan(model, volume, device="cpu")
        yield scan.with_digest(digest), seen, person.split == "train"


def neighbourhoods(
    model: NormativeModel, groups: dict[str, list[int]], seen: list[MeasuredScan]
) -> list[str]:
    """Return the table of trustworthiness and continuity."""
    lines = [
        "| people | in | numbers | neighbours | trustworthiness | continuity |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in groups.items():
        table = preservation_table(model, [seen[n] for n in rows], device="cpu")
        lines += [
            f"| {name} ({len(rows)}) | {r['space']} | {r['numbers']} | {r['neighbours']} | "
            f"{r['trustworthiness']:.3f} | {r['continuity']:.3f} |"
            for r in table.to_dict("records")
        ]
    return lines


def probes(made: dict[str, ProbeResult]) -> list[str]:
    """Return a table for each probe."""
    lines = []
    for title, result in made.items():
        names = COLUMNS[result.target.kind]
        shown = " | ".join(name.replace("_", " ") for name in names)
        lines += ["", f"### {title}", "", f"| features | {shown} | permutation p |"]
        lines.append("|" + "---|" * (2 + len(names)))
        for features in result.made:
            cells = [with_interval(result.figure(features, name)) for name in names]
            p = result.p.get(features)
            lines.append(
                f"| {features} | {' | '.join(cells)} | {'' if p is None else f'{p:.3g}'} |"
            )
        lines += ["", *(f"- {sentence}" for sentence in result.verdict())]
    return lines


def with_cells(scans: Sequence[LabelledScan], cells: Sequence[str]) -> list[LabelledScan]:
    """Return scans with other values."""
    return [dataclasses.replace(s, cell=cell) for s, cell in zip(scans, cells, strict=True)]


def main() -> None:
    """Measure, judge, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="brain-t1")
    parser.add_argument("--permutations", type=int, default=99)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = load_model(options.model)
    scans, seen, trained = map(list, zip(*measured(model, options.data), strict=True))
    encoded_s = time.process_time()
    groups = {
        "everybody": list(range(len(scans))),
        "unseen in training": [n for n, was in enumerate(trained) if not was],
    }
    near = neighbourhoods(model, groups, seen)
    coin = np.random.default_rng(0).permutation(len(scans)) % 2
    made = {}
    for name, rows in groups.items():
        targets = {"site": [scans[n].site for n in rows]}
        if name != "everybody":
            targets["a coin (negative control)"] = [("heads", "tails")[coin[n]] for n in rows]
            volumes = [seen[n].features[NAMES.index("foreground_ml")] for n in rows]
            targets["brain volume, ml"] = [f"{v:.3f}" for v in volumes]
        for target, cells in targets.items():
            title = f"{target}, {name}: {len(rows)} people"
            made[title] = judge_probe(
                model,
                with_cells([scans[n] for n in rows], cells),
                [seen[n] for n in rows],
                "site" if target == "site" else target,
                permutations=options.permutations,
            )
            print(title, *made[title].verdict(), sep="\n  ", flush=True)
    assert len(groups["unseen in training"]) >= FEWEST_NUMBERS
    used = versions()
    sites = {s: sum(scan.site == s for scan in scans) for s in FOLDERS}
    lines = [
        "# What the latents keep and tell",
        "",
        f"Model {model.card.name}, SHA-256 `{model.digest[:16]}…`, {len(seen[0].latent)} latents. "
        f"Healthy people: {', '.join(f'{n} of {s}' for s, n in sites.items())}. "
        f"{platform.machine()}, {os.cpu_count()} cores, one thread; torch {used['torch']}, numpy "
        f"{used['numpy']}. Reading and encoding {encoded_s:.0f} s of the "
        f"processor, all {time.process_time():.0f} s.",
        "",
        "The shared data bring no age, sex or other column: site is the one that people know of "
        "these scans. Brain volume is measured on the scans themselves (the volume features hold "
        "it, and the affine alignment takes size out of what the model sees).",
        "",
        "## Neighbourhoods",
        "",
        "True neighbours: prepared voxels inside the template's mask, Euclidean. 1 is perfect, "
        "about 0.5 chance. The components are those of the very scans of the row: they are at "
        "their best, and with as many components as scans they are perfect by construction.",
        "",
        *near,
        "",
        "## Probes",
        "",
        "Nested cross-validation, folds of people; the same folds, rule and penalties for all "
        "features. Brackets: 95 % bootstrap interval over people. Everybody includes the people "
        "whom the model was trained on and knows by heart.",
        *probes(made),
    ]
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
