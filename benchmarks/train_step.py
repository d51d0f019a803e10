"""The training step on whatever is here: time, its parts, memory, fp32 beside bf16.

Synthetic prepared scans, so that nothing is aligned: needs neither SimpleITK nor nilearn. Under
four minutes on an H100 or H200; on a CPU only what fits into --seconds per line. Writes
train_step-DEVICE.json beside the table train_step.md, which is made of all such files.

    python benchmarks/train_step.py [--results benchmarks/results] [--seconds 12]
    python benchmarks/train_step.py --tables-only      # after copying a JSON file there
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from synthetic import Synthetic

from napari_normative.core.augment import augment
from napari_normative.core.objective import evaluate
from napari_normative.core.vae import VAE, Latent
from napari_normative.engine import loop
from napari_normative.engine.device import bf16_is_fast
from napari_normative.engine.feed import Feed
from napari_normative.engine.optimise import quiet
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import PRESETS, Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.engine.start import architecture, start_from_components
from napari_normative.errors import CancelledError

PEOPLE = 96
WARM = 5
STEPS = 40
SEEDS = (0, 1, 2)
CONVERGED_STEPS = 200


def device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def trainee_of(
    cohort: PreparedCohort, preset: Preset, folder: Path, times: list[float], seconds: float,
    seed: int = 0,
) -> loop.Trainee:  # fmt: skip
    """Return a training at its start; it notes when each step ended."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VAE(architecture(preset, cohort))
    start_from_components(network, cohort, flip=preset.augment.flip)
    return loop.Trainee(
        network,
        cohort,
        preset,
        seed=seed,
        max_minutes=None,
        checkpoints=folder,
        report=lambda point, fraction, left: times.append(time.perf_counter()),
        cancel=lambda: len(times) > WARM + 1 and times[-1] - times[0] > seconds,
    )


def peak_bytes(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return psutil.Process().memory_info().rss


def timed(cohort: PreparedCohort, preset: Preset, device: str, bf16: bool, seconds: float) -> dict:
    """Return the seconds of a step of the program's own loop, and the largest memory."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder, quiet():
        trainee = trainee_of(cohort, preset, Path(folder), times, seconds)
        with contextlib.suppress(CancelledError):
            loop.run(trainee, device=device, bf16=bf16)
    # The last step of all also looks at people who are held out.
    gaps = np.diff(times)[min(WARM, len(times) // 3) : -1]
    step_s = float(np.median(gaps))
    return {
        "step_s": step_s,
        "volumes_per_s": preset.batch / step_s,
        "steps_timed": len(gaps),
        "peak_bytes": peak_bytes(device),
    }


def parts(cohort: PreparedCohort, preset: Preset, device: str, bf16: bool, repeats: int) -> dict:
    """Return the seconds of a step's parts, each waited for, so that they may add up to more."""
    with tempfile.TemporaryDirectory() as folder:
        trainee = trainee_of(cohort, preset, Path(folder), [], 0.0)
    network = trainee.network.to(device)
    gpu = device.startswith("cuda")
    feed = Feed(cohort, preset, network.config, seed=0, first=0, ranks=Ranks(), gpu=gpu)
    adam = torch.optim.AdamW(network.parameters(), lr=1e-5)
    found: dict[str, list[float]] = {}

    def clock(name: str, began: float) -> float:
        if gpu:
            torch.cuda.synchronize()
        now = time.perf_counter()
        found.setdefault(name, []).append(now - began)
        return now

    for n in range(repeats + 1):
        now = time.perf_counter()
        batch = feed.batch(n)
        now = clock("read and draw (one thread)", now)
        chance = type(batch.chance)(*(t.to(device, non_blocking=True) for t in batch.chance))
        images, masks = (t.to(device)[:, None].float() for t in (batch.images, batch.masks))
        now = clock("move", now)
        seen, target, mask = augment(
            images, masks, preset.augment, preset.preprocess.spacing_mm, chance
        )
        now = clock("augment", now)
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=bf16):
            latent = network.encode(seen)
            latent = Latent(latent.mean.float(), latent.log_variance.float())
            z = latent.mean + chance.latent * torch.exp(0.5 * latent.log_variance)
            out = network.decode(z).float()
        terms = evaluate(target, out, latent, mask, preset.objective, 1.0, network.log_sigma)
        now = clock("forward", now)
        adam.zero_grad()
        (terms.loss / terms.voxels).backward()
        now = clock("backward", now)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        clock("clip and Adam", now)
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def converged(cohort: PreparedCohort, preset: Preset, device: str, bf16: bool, seed: int) -> dict:
    """Return where a short training ends, its curve, and how long it took."""
    times: list[float] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, quiet():
        trainee = trainee_of(cohort, preset, Path(folder), times, float("inf"), seed)
        loop.run(trainee, device=device, bf16=bf16)
    curve = [point.elbo_nats for point in trainee.curves]
    errors = [p.held_out_mae for p in trainee.curves if p.held_out_mae is not None]
    return {
        "precision": "bf16" if bf16 else "fp32",
        "seed": seed,
        "elbo_nats": statistics.fmean(curve[-len(curve) // 10 :]),
        "held_out_mae": errors[-1],
        "seconds": time.perf_counter() - began,
        "curve": curve,
    }


def measure(device: str, seconds: float, presets: list[str], full: bool) -> dict[str, Any]:
    """Return all figures of a device."""
    gpu = device.startswith("cuda")
    rows, split, ends = [], [], []
    loop.HELD_OUT_CHECKS = 0
    for name in presets:
        cohort = Synthetic(PRESETS[name]).cohort(PEOPLE)
        for batch in (8, 32) if gpu else (8,):
            preset = PRESETS[name].model_copy(
                update={"steps": WARM + STEPS, "batch": batch, "balance_by": ()}
            )
            # Emulated bfloat16 is many times slower; nothing is trained with it.
            for bf16 in (False, True) if bf16_is_fast(device) else (False,):
                kind = {"preset": name, "precision": "bf16" if bf16 else "fp32", "batch": batch}
                rows.append(kind | timed(cohort, preset, device, bf16, seconds))
                print(rows[-1], flush=True)
                if batch == 8:
                    split.append(
                        kind | {"parts": parts(cohort, preset, device, bf16, 10 if gpu else 2)}
                    )
                    print(split[-1], flush=True)
    loop.HELD_OUT_CHECKS = 20
    if full:
        name = "brain-4mm" if gpu else "brain-8mm"
        preset = PRESETS[name].model_copy(update={"steps": CONVERGED_STEPS})
        cohort = Synthetic(preset).cohort(PEOPLE)
        for seed in SEEDS:
            for bf16 in (False, True):
                ends.append({"preset": name} | converged(cohort, preset, device, bf16, seed))
                print({k: v for k, v in ends[-1].items() if k != "curve"}, flush=True)
        # The loss to reach: where the first fp32 run is after three quarters of its steps.
        goal = statistics.fmean(ends[0]["curve"][140:150])
        for end in ends:
            curve = end.pop("curve")
            smooth = np.convolve(curve, np.ones(10) / 10, "valid")
            there = np.flatnonzero(smooth >= goal)
            end["goal_elbo_nats"] = goal
            end["steps_to_goal"] = int(there[0]) + 10 if len(there) else None
    return {
        "device": device_name(device),
        "machine": f"{platform.machine()}, {psutil.cpu_count(logical=False)} cores",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "people": PEOPLE,
        "parameters": {
            name: sum(p.numel() for p in VAE(architecture(PRESETS[name], _few(name))).parameters())
            for name in presets
        },
        "steps": rows,
        "parts": split,
        "converged": ends,
    }


def _few(name: str) -> PreparedCohort:
    synthetic = Synthetic(PRESETS[name])
    return PreparedCohort(
        synthetic.people(PEOPLE), np.zeros(0), np.zeros(0), PRESETS[name].preprocess,
        synthetic.template, "", [],
    )  # fmt: skip


def table(results: Path) -> str:
    """Return the tables of all devices measured."""
    lines = [
        "# The training step",
        "",
        "`python benchmarks/train_step.py`; synthetic prepared scans, the program's own loop "
        "(Lightning, AdamW, moving average, curves). Median of the steps timed. Research use only, "
        "not for diagnosis.",
    ]
    for path in sorted(results.glob("train_step-*.json")):
        found = json.loads(path.read_text())
        versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
        lines += ["", f"## {found['device']}", "", f"{found['machine']}; {versions}.", ""]
        counts = ", ".join(f"{k} {v / 1e6:.2f} M" for k, v in found["parameters"].items())
        lines += [f"Parameters (all of them are summed over processes): {counts}.", ""]
        lines += ["| preset | precision | batch | step | volumes/s | largest memory |"]
        lines += ["|---|---|---|---|---|---|"]
        for r in found["steps"]:
            lines.append(
                f"| {r['preset']} | {r['precision']} | {r['batch']} | {1000 * r['step_s']:.1f} ms "
                f"| {r['volumes_per_s']:.1f} | {r['peak_bytes'] / 2**30:.2f} GiB |"
            )
        names = list(found["parts"][0]["parts"])
        lines += ["", "Parts of a step, each waited for (ms):", ""]
        lines += ["| preset | precision | " + " | ".join(names) + " |"]
        lines += ["|---" * (2 + len(names)) + "|"]
        for r in found["parts"]:
            cells = " | ".join(f"{1000 * r['parts'][name]:.1f}" for name in names)
            lines.append(f"| {r['preset']} | {r['precision']} | {cells} |")
        if found["converged"]:
            lines += ["", *_ends(found["converged"])]
    return "\n".join(lines) + "\n"


def _ends(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"Short trainings ({rows[0]['preset']}, {CONVERGED_STEPS} steps) to an ELBO of "
        f"{rows[0]['goal_elbo_nats']:.0f} nats:",
        "",
        "| precision | seed | ELBO at the end (nats) | held-out MAE | steps to the goal | s |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['precision']} | {r['seed']} | {r['elbo_nats']:.0f} | {r['held_out_mae']:.5f} "
            f"| {r['steps_to_goal']} | {r['seconds']:.1f} |"
        )
    for key, name, digits in (("elbo_nats", "ELBO", 0), ("held_out_mae", "held-out MAE", 5)):
        full = [r[key] for r in rows if r["precision"] == "fp32"]
        half = [r[key] for r in rows if r["precision"] == "bf16"]
        pairs = [b - a for a, b in zip(full, half, strict=True)]
        lines += [
            "",
            f"{name}: bf16 minus fp32 {statistics.fmean(pairs):+.{digits}f} (mean of "
            f"{len(pairs)} pairs of one seed); SD between seeds of fp32 "
            f"{statistics.stdev(full):.{digits}f}.",
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=12.0, help="per line of the table")
    parser.add_argument("--presets", nargs="+", default=["brain-2mm", "brain-4mm"])
    parser.add_argument("--no-convergence", action="store_true")
    parser.add_argument("--tables-only", action="store_true")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    if not options.tables_only:
        began = time.perf_counter()
        found = measure(
            options.device, options.seconds, options.presets, not options.no_convergence
        )
        assert "SimpleITK" not in sys.modules
        slug = re.sub(r"[^a-z0-9]+", "-", found["device"].lower()).strip("-")
        path = options.results / f"train_step-{slug}.json"
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{path.name}: {time.perf_counter() - began:.0f} s")
    (options.results / "train_step.md").write_text(table(options.results))


if __name__ == "__main__":
    main()
