"""A cohort of 2,000 small volumes on four workers, while workers are killed from outside.

    OMP_NUM_THREADS=1 python benchmarks/cohort.py [--scans 2000] [--part faults] [--out FOLDER]

Makes phantoms and a small model in seconds (no alignment, so that a scan takes about a tenth of
a second of computing), then runs the command as people do and looks at it from outside:

1. `cohort` with four workers; 1 % of the files are corrupt; for 6 % of the scans a worker that has
   loaded its model is killed with -9 at a seeded time. Every healthy scan must be done once.
2. The same command again: nothing is missing. Then again with some folders taken away.
3. `cohort` without kills, for memory; and beside it, in turns, four single processes, each `detect`
   in a plain loop over a quarter, for throughput.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from napari_normative.engine.presets import PRESETS
from napari_normative.engine.train import fit
from napari_normative.io.nifti import read_volume, write_volume
from phantoms import phantom, write_cohort

WORKERS = 4
KILLED, CORRUPT = 0.06, 0.01
"""Some kills find a worker that has just loaded its model and has no scan yet."""

COMPARED = 40
SPACING_MM = 3.2
"""So fine that a scan takes about a tenth of a second of computing."""

TAKEN_AWAY = 25
TURNS = 3
READY_BYTES = 400 << 20
"""A worker with so much memory has loaded torch and its model and begun with scans."""
RUN = "from napari_normative.cli import main; main()"


@dataclasses.dataclass
class Ended:
    """A command that ended: its output, and what it took."""

    stdout: str
    stderr: str
    status: int
    wall_s: float
    cpu_s: float
    memory: list[tuple[float, int, float]] = dataclasses.field(default_factory=list)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    program = [sys.executable, "-c", RUN, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(program, text=True, **pipes)


def wait(*processes: subprocess.Popen[str], watch: bool = False) -> Ended:
    """Wait for processes that were started together; with ``watch`` note memory of each."""
    begin, before = time.perf_counter(), os.times()
    texts: dict[int, tuple[str, str]] = {}
    threads = [
        threading.Thread(target=lambda p=p: texts.__setitem__(p.pid, p.communicate()))
        for p in processes
    ]
    for thread in threads:
        thread.start()
    memory = []
    for thread in threads:
        while thread.is_alive():
            thread.join(timeout=1.0)
            if watch:
                now = time.perf_counter() - begin
                memory += [(now, pid, mib) for pid, mib in memories(processes[0].pid)]
    after = os.times()
    cpu = sum(getattr(after, n) - getattr(before, n) for n in ("children_user", "children_system"))
    out, err = ("".join(t[n] for t in texts.values()) for n in (0, 1))
    status = max(abs(p.returncode) for p in processes)
    return Ended(out, err, status, time.perf_counter() - begin, cpu, memory)


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the worker processes of a run."""
    try:
        children = psutil.Process(pid).children()
        return [c for c in children if "--multiprocessing-fork" in c.cmdline()]
    except psutil.Error:
        return []


def memories(pid: int) -> list[tuple[int, float]]:
    """Return own memory (USS, MiB) of a run's process and of its workers."""
    found = []
    for own in [pid, *(worker.pid for worker in workers_of(pid))]:
        try:
            process = psutil.Process(own)
            found.append((process.pid, process.memory_full_info().uss / 2**20))
        except psutil.Error:
            continue
    return found


def events(folder: Path) -> list[dict[str, object]]:
    """Return the events of the manifest."""
    lines = (folder / "manifest" / "all.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def kill_now_and_then(run: subprocess.Popen[str], folder: Path, scans: int, seed: int) -> list[int]:
    """Kill workers that are at work, at seeded counts of scans done and seeded moments after."""
    draw = random.Random(seed)
    counts = sorted(draw.randrange(scans * 95 // 100) for _ in range(round(KILLED * scans)))
    killed: list[int] = []
    manifest = folder / "manifest" / "all.jsonl"
    for count in counts:
        while run.poll() is None:
            done = manifest.read_bytes().count(b"\n") if manifest.exists() else 0
            ready = [w for w in workers_of(run.pid) if memory_of(w) > READY_BYTES]
            if done >= count and ready:
                break
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 0.15))
        ready = [w for w in workers_of(run.pid) if memory_of(w) > READY_BYTES]
        if ready:
            victim = draw.choice(sorted(ready, key=lambda w: w.pid))
            victim.kill()
            killed.append(victim.pid)
    return killed


def memory_of(process: psutil.Process) -> int:
    """Return the resident memory of a process; 0 where it is gone."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def maps(folder: Path) -> dict[str, np.ndarray]:
    """Return the volumes of a result folder."""
    return {p.name: read_volume(p).data for p in sorted(folder.glob("*.nii.gz"))}


def largest_difference(one: Path, other: Path) -> float:
    """Return the largest difference between the volumes of two results; infinite for others."""
    a, b = maps(one), maps(other)
    if a.keys() != b.keys():
        return math.inf
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


def make(folder: Path, scans: int) -> tuple[Path, Path, set[str]]:
    """Write model and scans; return them, and the names of the corrupt ones."""
    small = PRESETS["brain-8mm"]
    space = small.preprocess.model_copy(
        update={"origin_mm": (-76.0, -92.0, -76.0), "alignment": "none"}
    )
    preset = small.model_copy(
        update={"title": "Phantom", "preprocess": space, "widths": (8, 16, 16), "steps": 40,
                "batch": 4, "latent_size": 8}
    )  # fmt: skip
    template = write_volume(folder / "template.nii.gz", phantom(1))
    people = write_cohort(folder / "healthy", 14)
    model = folder / "model.safetensors"
    fit(people, model, preset=preset, template=template, device="cpu")
    source = folder / "scans"
    for n in range(scans):
        site = source / f"site-{'ab'[n % 2]}"
        write_volume(site / f"sub-{n:05d}_T1w.nii.gz", phantom(1000 + n, spacing_mm=SPACING_MM))
    corrupt = set()
    draw = random.Random(7)
    for path in draw.sample(sorted(source.rglob("*.nii.gz")), round(CORRUPT * scans)):
        block = bytearray(path.read_bytes())
        if draw.random() < 0.5:
            block[draw.randrange(200, len(block))] ^= 1 << draw.randrange(8)
        else:
            del block[draw.randrange(400, len(block)) :]
        path.write_bytes(block)
        corrupt.add(path.name.removesuffix(".nii.gz"))
    return model, source, corrupt


def with_kills(model: Path, source: Path, corrupt: set[str], out: Path) -> list[str]:
    scans = sorted(source.rglob("*.nii.gz"))
    healthy = {p.name.removesuffix(".nii.gz") for p in scans} - corrupt
    options = (source, "--out", out, "--model", model, "--device", "cpu", "--workers", WORKERS)
    run = start("cohort", *options, "--quiet")
    killed: list[int] = []
    killer = threading.Thread(
        target=lambda: killed.extend(kill_now_and_then(run, out, len(scans), seed=3))
    )
    killer.start()
    ended = wait(run)
    killer.join()
    seen = events(out)
    kinds = Counter(e["event"] for e in seen)
    computed = Counter(e["scan"] for e in seen if e["event"] == "done" and e["computed"])
    done = Counter(e["scan"] for e in seen if e["event"] == "done")
    found = sum(1 for e in seen if e["event"] == "done" and not e["computed"])
    refused = {e["scan"] for e in seen if e["event"] == "refused"}
    folders = {p.name for p in (out / "scans").iterdir()}
    named = sum(1 for name in corrupt if f"{name}.nii.gz:" in ended.stderr)
    differ = compare(model, source, sorted(healthy), out)

    begin = time.perf_counter()
    again = wait(start("cohort", *options))
    again_s = time.perf_counter() - begin
    once_more = [e for e in events(out)[len(seen) :] if e["event"] == "done"]
    gone = random.Random(5).sample(sorted(healthy), TAKEN_AWAY)
    for name in gone:
        shutil.rmtree(out / "scans" / name)
    missing = wait(start("cohort", *options))
    redone = [e["scan"] for e in events(out)[len(seen) :] if e["event"] == "done"]
    line = next(line for line in missing.stdout.splitlines() if "to do" in line)
    return [
        "| what | found |",
        "|---|---|",
        f"| scans: healthy, corrupt | {len(healthy):,}, {len(corrupt):,} |",
        f"| workers killed with -9 while at work | {len(killed):,} |",
        f"| attempts lost, as the manifest says | {kinds['lost']:,} |",
        f"| healthy scans with a result folder; folders of anything else | "
        f"{len(folders & healthy):,} of {len(healthy):,}; {len(folders - healthy)} |",
        f"| healthy scans done once; more than once; computed twice | "
        f"{sum(1 for n in healthy if done[n] == 1):,}; {sum(1 for n in done.values() if n > 1)}; "
        f"{sum(1 for n in computed.values() if n > 1)} |",
        f"| of these finished just before their worker died, and found so | {found} |",
        f"| corrupt scans refused, each named in one line | {len(refused & corrupt)} of "
        f"{len(corrupt)}, {named} |",
        f"| healthy scans refused or quarantined | {len(refused & healthy)}, "
        f"{kinds['quarantined']} |",
        f"| results of `detect` in one process, a sample of {COMPARED}: all voxels of all maps "
        f"equal; largest difference | {differ.count(0.0)}; {max(differ):.1g} |",
        f"| exit status; lines on stderr that are not about a corrupt file | {ended.status}; "
        f"{len(ended.stderr.splitlines()) - named} |",
        f"| wall time of the run | {ended.wall_s:.0f} s |",
        f"| the same command again: scans done; wall time; share of the run | {len(once_more)}; "
        f"{again_s:.1f} s ({again.cpu_s:.1f} s of CPU); {again_s / ended.wall_s:.1%} |",
        f"| with {TAKEN_AWAY} folders taken away: scans done, all of them those | {len(redone)}, "
        f"{'yes' if sorted(redone) == sorted(gone) else 'NO'} ({line}) |",
    ]


def compare(model: Path, source: Path, names: list[str], out: Path) -> list[float]:
    """Return how far some results are from those of one process without workers."""
    chosen = random.Random(11).sample(names, COMPARED)
    with tempfile.TemporaryDirectory() as folder:
        scans = [next(source.rglob(f"{name}.nii.gz")) for name in chosen]
        alone = start("detect", *scans, "--out", folder, "--model", model, "--device", "cpu", "-q")
        wait(alone)
        return [largest_difference(Path(folder) / n, out / "scans" / n) for n in chosen]


def without_kills(model: Path, source: Path, scratch: Path) -> tuple[list[str], list[str]]:
    """Compare throughput in turns; watch memory in the turns of `cohort`."""
    files = sorted(source.rglob("*.nii.gz"))
    rows, ratios, growth = [], [], []
    folder = scratch / "quarters"
    for n, path in enumerate(files):
        target = folder / str(n % WORKERS) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    for turn in range(TURNS):
        made: dict[str, Ended] = {}
        order = ("cohort", "detect") if turn % 2 == 0 else ("detect", "cohort")
        for kind in order:
            out = scratch / "results"
            shutil.rmtree(out, ignore_errors=True)
            if kind == "cohort":
                made[kind] = wait(
                    start("cohort", folder, "--out", out, "--model", model, "--device", "cpu",
                          "--workers", WORKERS, "-q"), watch=True,
                )  # fmt: skip
            else:
                made[kind] = wait(
                    *(start("detect", folder / str(n), "--out", out / str(n), "--model", model,
                            "--device", "cpu", "-q") for n in range(WORKERS))
                )  # fmt: skip
        a, b = made["cohort"], made["detect"]
        ratios.append((b.wall_s / a.wall_s, b.cpu_s / a.cpu_s))
        rows.append(
            f"| {turn + 1}: {order[0]} first | {len(files) / a.wall_s:.2f} | "
            f"{len(files) / b.wall_s:.2f} | {ratios[-1][0]:.2f} | "
            f"{1000 * a.cpu_s / len(files):.0f} | {1000 * b.cpu_s / len(files):.0f} | "
            f"{ratios[-1][1]:.2f} |"
        )
        growth.append(a.memory)
    walls, cpus = (sorted(r[n] for r in ratios) for n in (0, 1))
    middle = TURNS // 2
    rows.append(f"| median | | | {walls[middle]:.2f} | | | {cpus[middle]:.2f} |")
    return rows, memory_rows(growth[-1])


def memory_rows(seen: list[tuple[float, int, float]]) -> list[str]:
    """Compare each process's memory after a third of the run with that at its end."""
    end = max(at for at, _, _ in seen)
    parent = seen[0][1]
    rows = []
    for n, pid in enumerate(dict.fromkeys(pid for _, pid, _ in seen)):
        series = [(at, mib) for at, p, mib in seen if p == pid]
        third = [mib for at, mib in series if end / 3 <= at < end / 3 + 10]
        last = [mib for at, mib in series if end - 12 <= at < end - 2]
        if not (third and last):
            continue
        a, b = sum(third) / len(third), sum(last) / len(last)
        who = "the run's own process" if pid == parent else f"worker {n}"
        rows.append(f"| {who} | {a:.0f} | {b:.0f} | {b / a - 1:+.1%} |")
    return rows


def faults_page(model: Path, source: Path, corrupt: set[str], scratch: Path) -> list[str]:
    """Run with kills and corrupt files; return the page."""
    return ["", *with_kills(model, source, corrupt, scratch / "out")]


def throughput_page(model: Path, source: Path, corrupt: set[str], scratch: Path) -> list[str]:
    """Run without kills; return the page."""
    rows, memory = without_kills(model, source, scratch)
    return [
        "",
        f"`cohort` with {WORKERS} workers, and {WORKERS} independent processes that each run "
        "`detect` in a plain loop over a quarter of the same scans; in turns, start-up "
        "included. CPU: of all processes, the scheduler's among them.",
        "",
        "| turn | cohort, scans/s | detect, scans/s | ratio | cohort, CPU ms a scan | "
        "detect, CPU ms a scan | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        "Own memory (USS) in the last turn of `cohort`, mean of ten seconds.",
        "",
        "| process | after a third, MiB | at the end, MiB | growth |",
        "|---|---:|---:|---:|",
        *memory,
    ]


PARTS = {
    "faults": ("with kills and corrupt files", faults_page),
    "throughput": ("beside single processes", throughput_page),
}


def main() -> None:
    """Make, run, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scans", type=int, default=2000)
    parser.add_argument("--part", choices=PARTS, action="append", help="both unless given")
    parser.add_argument("--folder", type=Path, help="where the work is done")
    parser.add_argument("--out", type=Path, help="folder for cohort-PART.md")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        scratch = Path(name)
        model, source, corrupt = make(scratch, options.scans)
        for part in options.part or PARTS:
            title, page = PARTS[part]
            load = os.getloadavg()[0]
            body = page(model, source, corrupt, scratch)
            text = "\n".join(
                [
                    f"# {options.scans:,} small volumes, {WORKERS} workers, {title}",
                    "",
                    f"Machine: {platform.machine()}, {os.cpu_count()} cores; Python "
                    f"{platform.python_version()}. Load average at the start {load:.1f}, at the "
                    f"end {os.getloadavg()[0]:.1f}. All processes had nice {os.nice(0)} and one "
                    "thread each.",
                    *body,
                    "",
                    f"Written by `benchmarks/cohort.py --part {part}`.",
                ]
            )
            print(text, flush=True)
            if options.out:
                (options.out / f"cohort-{part}.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
