"""What a large cohort costs: measured here what can be, the rest from a simple model, stated.

Measured: largest memory of a training on 100, 1,000 and 4,000 prepared scans that lie in shards;
the step of one and of two processes with the same whole batch; reading; disk; alignment (with
--scan). Modelled: hours for 10^3 to 10^5 scans on 1 to 32 GPUs, from the step time of a GPU in
train_step-*.json (benchmarks/train_step.py).

    python benchmarks/scaling.py --parts        # the plan anew, after a GPU was measured
    python benchmarks/scaling.py [--scan a_T1w.nii.gz] [--work /tmp/scaling] [--parts ...]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from synthetic import Synthetic

from napari_normative.core.vae import VAE
from napari_normative.engine import loop
from napari_normative.engine.feed import Feed
from napari_normative.engine.optimise import quiet
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import PRESETS
from napari_normative.engine.ranks import Ranks, joined
from napari_normative.engine.start import architecture, start_from_components
from napari_normative.io.shards import Stored, open_shard, scans_per_shard, write_shard

RESULTS = Path(__file__).parent / "results"
COHORTS = (100, 1000, 4000)
STEPS = 8
PASSES = 24
"""Times every training person is seen: 200 steps of 8 for 67 people, as in brain-t1."""
GPUS = (1, 4, 8, 32)
SIZES = (1_000, 10_000, 100_000)
PER_NODE = 8
ASSUMED = {
    "read of one process (GB/s)": 0.5,
    "read of all processes (GB/s)": 10.0,
    "sum over processes of one machine (GB/s)": 100.0,
    "sum over machines (GB/s)": 10.0,
    "latency of one hop (µs)": 20.0,
    "alignment processes per GPU, by --align-only": 8,
    "step of a GPU where none was measured (ms)": 60.0,
}


def stored(preset_name: str, count: int, folder: Path) -> PreparedCohort:
    """Return a synthetic cohort in shards, written unless it is there."""
    preset = PRESETS[preset_name].model_copy(update={"steps": STEPS, "balance_by": ()})
    synthetic = Synthetic(preset)
    place = folder / f"{preset_name}-shards"
    size = scans_per_shard(preset.preprocess.shape)
    index = place / "index.json"
    known = json.loads(index.read_text()) if index.exists() else []
    while len(known) * size < count:
        first = len(known) * size
        images, masks = zip(*(synthetic.scan(n) for n in range(first, first + size)), strict=True)
        keys = [f"{n}" for n in range(first, first + size)]
        shard = write_shard(place, keys, np.stack(images), np.stack(masks), [{}] * size)
        known.append(shard.path.name)
        index.write_text(json.dumps(known))
    shards = [open_shard(place / name) for name in known[: -(-count // size)]]
    places = [(shard, row) for shard in shards for row in range(size)][:count]
    return PreparedCohort(
        people=synthetic.people(count),
        images=Stored[np.float16](places),
        masks=Stored[np.bool_](places, masks=True),
        config=preset.preprocess,
        template=synthetic.template,
        digest=f"synthetic-{count}",
        refused=[],
    )


def peak_bytes() -> int:
    """Return the largest resident memory this process ever had.

    Not ``ru_maxrss``: a process inherits that from the one that started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def work(preset_name: str, count: int, folder: Path) -> None:
    """Train a few steps in this process, or in several; the first prints what it took."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with joined() as ranks:
        cohort = stored(preset_name, count, folder)
        preset = PRESETS[preset_name].model_copy(update={"steps": STEPS, "balance_by": ()})
        loop.HELD_OUT_CHECKS = 0
        times: list[float] = []
        began = peak_bytes()
        torch.manual_seed(0)
        network = VAE(architecture(preset, cohort))
        with tempfile.TemporaryDirectory() as checkpoints, quiet():
            trainee = loop.Trainee(
                network, cohort, preset, seed=0, max_minutes=None, checkpoints=Path(checkpoints),
                report=lambda *_: times.append(time.perf_counter()), cancel=lambda: False,
                ranks=ranks,
            )  # fmt: skip
            loop.run(trainee, device="cpu", bf16=False)
        trained = peak_bytes()
        if ranks.alone:
            start_from_components(VAE(architecture(preset, cohort)), cohort, flip=True)
        gaps = np.diff(times)[1:-1]
        found = {
            "people": count,
            "opened_bytes": began,
            "trained_bytes": trained,
            "started_bytes": peak_bytes(),
            "step_s": float(np.median(gaps)),
            "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        }
        if ranks.first:
            print(json.dumps(found))


def apart(preset_name: str, count: int, folder: Path, processes: int = 1) -> dict[str, Any]:
    """Run :func:`work` in processes of its own."""
    program = [sys.executable, __file__, "--worker", preset_name, str(count)]
    program += ["--work", str(folder)]
    shared = {"OMP_NUM_THREADS": "1"}
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            shared |= {"MASTER_PORT": str(probe.getsockname()[1]), "MASTER_ADDR": "127.0.0.1"}
        shared |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    running = []
    for rank in range(processes):
        own = shared | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {})
        running.append(
            subprocess.Popen(program, env=os.environ | own, stdout=subprocess.PIPE, text=True)
        )
    said = [process.communicate()[0] for process in running]
    assert not any(process.returncode for process in running)
    return json.loads(said[0])


def reading(preset_name: str, folder: Path) -> dict[str, float]:
    """Return seconds of reading one scan from a shard, and of all that a batch needs."""
    cohort = stored(preset_name, 100, folder)
    preset = PRESETS[preset_name].model_copy(update={"balance_by": ()})
    network = architecture(preset, cohort)
    feed = Feed(cohort, preset, network, seed=0, first=0, ranks=Ranks())
    order = np.random.default_rng(0).permutation(100)
    began = time.perf_counter()
    for n in order:
        cohort.images[int(n)], cohort.masks[int(n)]
    read_s = (time.perf_counter() - began) / len(order)
    batches = []
    for n in range(6):
        began = time.perf_counter()
        feed.batch(n)
        batches.append(time.perf_counter() - began)
    shard = cohort.images.places[0][0]  # type: ignore[attr-defined]
    return {
        "scan_bytes": shard.path.stat().st_size / len(shard.keys),
        "read_s": read_s,
        "batch_s": statistics.median(batches),
    }


def alignment(scan: Path) -> tuple[float, str]:
    """Return the seconds of bringing a real scan to the space of brain-2mm once, and its size."""
    from napari_normative.core.preprocess import prepare
    from napari_normative.engine.prepared import starting_template
    from napari_normative.io.nifti import read_volume

    preset = PRESETS["brain-2mm"]
    template = starting_template(preset, None)
    volume = read_volume(scan)
    times = []
    for _ in range(3):
        began = time.process_time()
        prepare(volume, preset.preprocess, template)
        times.append(time.process_time() - began)
    return min(times), " × ".join(map(str, volume.shape))


def measure(options: argparse.Namespace, found: dict[str, Any]) -> dict[str, Any]:
    """Return all figures that can be measured here; parts that were not asked for stay."""
    folder = options.work
    found |= {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "machine": f"{platform.machine()}, {psutil.cpu_count(logical=False)} cores, "
        f"torch {torch.__version__}, one thread a process",
        "load": round(os.getloadavg()[0], 1),
    }
    if "memory" in options.parts:
        for count in COHORTS:
            stored("brain-4mm", count, folder)
        found["memory"] = [apart("brain-4mm", count, folder) for count in COHORTS]
        print(found["memory"], flush=True)
    if "processes" in options.parts:
        found["processes"] = {}
        for preset, count in (("brain-4mm", 100), ("brain-2mm", 51)):
            stored(preset, count, folder)
            found["processes"][preset] = [apart(preset, count, folder, n) for n in (1, 2)]
            print(preset, found["processes"][preset], flush=True)
    if "reading" in options.parts:
        found["reading"] = {p: reading(p, folder) for p in ("brain-4mm", "brain-2mm")}
        print(found["reading"], flush=True)
    if options.scan:
        found["alignment_s"], found["aligned"] = alignment(options.scan)
    return found


def gpu_steps() -> tuple[str, dict[str, float], bool]:
    """Return a GPU's name, seconds of a step of 8 in bf16 by preset, whether it was measured."""
    for path in sorted(RESULTS.glob("train_step-*.json")):
        found = json.loads(path.read_text())
        if "cpu" not in path.name:
            rows = [r for r in found["steps"] if r["batch"] == 8 and r["precision"] == "bf16"]
            return found["device"], {r["preset"]: r["step_s"] for r in rows}, True
    assumed = ASSUMED["step of a GPU where none was measured (ms)"] / 1000
    return "a GPU (assumed)", {"brain-2mm": assumed, "brain-4mm": assumed / 4}, False


def model(preset: str, scans: int, gpus: int, step_s: float, found: dict[str, Any]) -> dict:
    """Return the hours of the stages; every assumption is in ``ASSUMED``."""
    parameters = found["processes"][preset][0]["parameters"]
    scan_bytes = found["reading"][preset]["scan_bytes"]
    per_process = min(
        ASSUMED["read of one process (GB/s)"], ASSUMED["read of all processes (GB/s)"] / gpus
    )
    read_s = 8 * scan_bytes / (per_process * 1e9)
    name = "sum over processes of one machine (GB/s)" if gpus <= PER_NODE else (
        "sum over machines (GB/s)"
    )  # fmt: skip
    ring = 2 * (gpus - 1) / gpus * 4 * parameters / (ASSUMED[name] * 1e9)
    hops = 2 * (gpus - 1) * ASSUMED["latency of one hop (µs)"] / 1e6
    step = max(step_s, read_s) + (ring + hops if gpus > 1 else 0)
    steps = PASSES * 0.7 * scans / (8 * gpus)
    align_s = found["alignment_s"] or 0.0
    workers = gpus * ASSUMED["alignment processes per GPU, by --align-only"]
    return {
        "align_h": 2 * scans * align_s / workers / 3600,
        "train_h": steps * step / 3600,
        "step_ms": 1000 * step,
        "read_ms": 1000 * read_s,
        "sum_ms": 1000 * (ring + hops) if gpus > 1 else 0.0,
        "efficiency": step_s / step,
    }


def table(found: dict[str, Any]) -> str:
    """Return the page."""
    mib = 2**20
    lines = [
        "# Training at scale",
        "",
        f"`python benchmarks/scaling.py`, {found['when']}; {found['machine']}; load average "
        f"{found['load']} (others were at work). Synthetic prepared scans. Research use only, not "
        "for diagnosis.",
        "",
        "## Memory does not grow with the cohort",
        "",
        f"`brain-4mm`, {STEPS} steps of 8 volumes on the CPU in a process of its own, scans in "
        "shards. Largest resident memory (MiB): when all shards were checked and the libraries "
        "loaded; after training; after the principal components, which are taken from at most 512 "
        "people. Beside it what the scans would take in memory.",
        "",
        "| scans | checked | trained | components | scans in memory |",
        "|---|---|---|---|---|",
    ]
    voxels = int(np.prod(PRESETS["brain-4mm"].preprocess.shape))
    for row in found["memory"]:
        lines.append(
            f"| {row['people']:,} | {row['opened_bytes'] / mib:.0f} | "
            f"{row['trained_bytes'] / mib:.0f} | {row['started_bytes'] / mib:.0f} | "
            f"{3 * voxels * row['people'] / mib:.0f} |"
        )
    lines += [
        "",
        "## One process and two, the same whole batch of 8",
        "",
        "CPU, fp32, gloo over loopback, one thread a process. A step sums the gradient (4 bytes a "
        "parameter), two vectors of statistics and the agreement to go on.",
        "",
        "| preset | parameters | summed per step | one process | two processes |",
        "|---|---|---|---|---|",
    ]
    for name, (one, two) in found["processes"].items():
        lines.append(
            f"| {name} | {one['parameters'] / 1e6:.2f} M | {4 * one['parameters'] / 1e6:.1f} MB | "
            f"{one['step_s']:.2f} s | {two['step_s']:.2f} s |"
        )
    lines += [
        "",
        "## Disk and reading",
        "",
        "| preset | bytes of a scan in a shard | and of its first alignment | read and unpack one "
        "scan | make a batch of 8 ready, random numbers included (one thread) |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["reading"].items():
        size = int(np.prod(PRESETS[name].preprocess.shape))
        lines.append(
            f"| {name} | {row['scan_bytes'] / 1e6:.2f} MB | {3 * size / 1e6:.2f} MB | "
            f"{1000 * row['read_s']:.1f} ms | {1000 * row['batch_s']:.0f} ms |"
        )
    if found["alignment_s"]:
        lines += [
            "",
            f"One alignment of a real skull-stripped T1 ({found['aligned']}) to the space of "
            f"brain-2mm takes {found['alignment_s']:.1f} s of processor time; every scan is "
            "aligned twice.",
        ]
    lines += ["", *_plan(found)]
    return "\n".join(lines) + "\n"


def _plan(found: dict[str, Any]) -> list[str]:
    device, steps, measured = gpu_steps()
    lines = [
        "## Plan (a model, not a measurement)",
        "",
        f"Step of 8 volumes a GPU in bf16 on {device}: "
        + ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in sorted(steps.items()))
        + (
            " (measured, `train_step.md`)."
            if measured
            else ": an assumption until one is measured."
        )
        + f" {PASSES} passes over the training people (70 % of the scans), 8 volumes a GPU and "
        "step, so the whole batch grows with the GPUs; whether so large a batch learns as well was "
        "not tried. A step takes the longer of computing and reading (which is done ahead), and "
        "then the sum over processes as a ring, nothing of it hidden behind computing.",
        "",
        "Assumed: " + "; ".join(f"{name} {value:g}" for name, value in ASSUMED.items()) + ".",
        "",
        "| preset | scans | GPUs | align (h) | train (h) | step (ms) | reading | sum | GPU busy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for preset in ("brain-2mm", "brain-4mm"):
        for scans in SIZES:
            for gpus in GPUS:
                row = model(preset, scans, gpus, steps[preset], found)
                lines.append(
                    f"| {preset} | {scans:,} | {gpus} | {row['align_h']:.2g} | "
                    f"{row['train_h']:.2g} | {row['step_ms']:.1f} | {row['read_ms']:.1f} | "
                    f"{row['sum_ms']:.2f} | {100 * row['efficiency']:.0f} % |"
                )
    return lines


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "scaling")
    parser.add_argument("--scan", type=Path, help="a real T1, whose alignment is timed")
    parser.add_argument("--parts", nargs="*", default=["memory", "processes", "reading"])
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker[0], int(options.worker[1]), options.work)
        return
    path = RESULTS / "scaling.json"
    found = json.loads(path.read_text()) if path.exists() else {"alignment_s": None}
    if options.parts or options.scan:
        options.work.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measure(options, found), indent=1) + "\n")
        shutil.rmtree(options.work)
    (RESULTS / "scaling.md").write_text(table(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
