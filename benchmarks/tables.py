"""Make the tables in benchmarks/results anew, one after another.

    python benchmarks/tables.py DATA --work FOLDER [--people TABLE] [--only NAME ...]

DATA is the folder of the real volumes, laid out as benchmarks/brain-t1/cohort.tsv says. TABLE is
that table with age, sex and ventricles_ml where they are known: IXI's table of demographics, the
participants.tsv of ds002748, and the lateral ventricles' volumes that were published for IXI;
``n/a`` elsewhere. Tables that need it are left out without it, and named. FOLDER gets the models
that are trained for it and what every script prints, NAME.log; what lies there is not made again.
Hours on two cores; the windows among them need a display (xvfb-run -a).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
COHORT = HERE / "brain-t1" / "cohort.tsv"
CASES = HERE / "brain-t1" / "cases.tsv"


@dataclass(frozen=True)
class Table:
    """A table, and the commands that make it, words in braces filled in.

    ``program`` in the place of a script is ``napari-normative``.
    """

    name: str
    commands: tuple[str, ...]

    @property
    def needs_people(self) -> bool:
        """Whether ages and the like are needed."""
        return any("{people}" in command for command in self.commands)


TABLES = (
    Table("brain-t1", (
        "program train {cohort} --out {brain_t1} --preset brain-2mm --seed 0 --resume",
        "brain-t1/report.py {brain_t1} {brain_t1}.work --out {out} --images {images}",
    )),
    Table("brain-4mm", (
        "program train {people} --out {brain_4mm} --preset brain-4mm --seed 0 --resume",
    )),
    Table("evaluation", (
        "program evaluate {cases} --model {brain_t1} --model {baselines}/pca.safetensors "
        "--model {baselines}/atlas.safetensors --model {baselines}/threshold.safetensors "
        "--shapes {shapes} --out {work}/judged",
        "brain-t1/evaluation.py {work}/judged --out {out}",
    )),
    Table("score", (
        "score.py {brain_t1} {brain_t1}.work --real {cases} --shapes {shapes} --out {out}",
    )),
    Table("ablations", (
        "ablations.py {cohort} --work {work}/ablations --shapes {shapes} --out {out}",
    )),
    Table("applicability", ("applicability.py {brain_t1} {brain_t1}.work {data} --out {out}",)),
    Table("robustness", ("robustness.py brain-t1 {data} --out {out}",)),
    Table("latents", ("latents.py {data} --out {out}",)),
    Table("generation", ("generation.py {data} --out {out}",)),
    Table("denoise", ("denoise.py {data} --out {out}",)),
    Table("segment", ("segment.py {people} {data} --work {work}/segment --out {out}",)),
    Table("interpret", (
        "interpret.py {people} {brain_4mm} {data} --work {work}/interpret --other brain-t1 "
        "--out {out}",
    )),
    Table("imbalance", ("imbalance.py {people} --work {work}/imbalance --out {out}",)),
    Table("variants", (
        "variants.py {people} --work {work}/variants --aligned {brain_4mm}.work/prepared "
        "--shapes {shapes} --out {out}",
    )),
    Table("hierarchical", (
        "hierarchical.py {people} --prepared {brain_4mm}.work/prepared --work {work}/hierarchical "
        "--dense {brain_4mm} --out {out}",
    )),
    Table("high_dimension", (
        "high_dimension.py {brain_4mm} {scan} --work {work}/high_dimension --out {out}",
    )),
    Table("high_dimension-hierarchical", (
        "high_dimension.py {brain_4mm} {scan} --hierarchical --work {work}/high_dimension "
        "--out {out}",
    )),
    Table("feedback", ("feedback.py {data} --out {out}",)),
    Table("grow", ("grow.py {data} --out {out}",)),
    Table("review_keys", ("review_keys.py {data}/ds002748-controls-t1",)),
    Table("latent_slider", ("latent_slider.py --write",)),
    Table("export", ("export.py",)),
    Table("monai_import", ("monai_import.py {data}/msd-hippocampus",)),
    Table("convolution", ("convolution.py --out {out}",)),
    Table("train_step", ("train_step.py",)),
    Table("scaling", ("scaling.py --scan {scan} --work {work}/scaling",)),
    Table("cohort", ("cohort.py --folder {work}/cohort --out {results}",)),
)  # fmt: skip
"""In an order in which each finds what it needs."""


def make(table: Table, words: dict[str, str], log: Path) -> bool:
    """Run a table's commands; return whether all went well."""
    with log.open("w", encoding="utf-8") as file:
        for command in table.commands:
            script, *rest = command.format(**words, out=RESULTS / f"{table.name}.md").split()
            program = ["-m", "napari_normative"] if script == "program" else [str(HERE / script)]
            done = subprocess.run(
                [sys.executable, *program, *rest], stdout=file, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            if done.returncode:
                return False
    return True


def main() -> int:
    """Make the tables asked for; 1 when one could not be made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--people", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[t.name for t in TABLES])
    wanted = parser.parse_args()
    wanted.work.mkdir(parents=True, exist_ok=True)
    data, work = wanted.data.resolve(), wanted.work.resolve()
    words = {
        "data": data, "work": work, "people": wanted.people and wanted.people.resolve(),
        "cohort": COHORT, "cases": CASES, "shapes": data / "lesion-shapes", "results": RESULTS,
        "images": HERE.parent / "docs" / "images", "brain_t1": work / "brain-t1.safetensors",
        "baselines": work / "brain-t1.safetensors.work" / "baselines",
        "brain_4mm": work / "brain-4mm.safetensors",
        "scan": data / "ixi-t1-2mm" / "sub-IXI013_T1w.nii.gz",
    }  # fmt: skip
    failed = False
    for table in TABLES:
        if wanted.only and table.name not in wanted.only:
            continue
        if table.needs_people and wanted.people is None:
            print(f"{table.name}: left out, it needs --people", flush=True)
            continue
        begun = time.monotonic()
        log = work / f"{table.name}.log"
        good = make(table, {name: str(word) for name, word in words.items()}, log)
        failed |= not good
        said = "made" if good else f"FAILED, see {os.path.relpath(log)}"
        print(f"{table.name}: {said}, {time.monotonic() - begun:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
