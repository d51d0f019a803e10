"""From a scan to its maps on every device that is here: seconds for each step, and equality.

    python benchmarks/detection.py [SCAN...] [--runs 5] [--out results/detection-NAME.md]

Without SCAN the sample scan is used (needs nilearn). On a GPU it is also made to run out of memory,
and what is freed by unloading the model is measured. Nothing here is a test; what is printed is.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import napari_normative as nn
from napari_normative.engine.device import list_devices

STEPS = ("align", "reconstruct", "score", "candidates", "restore")


def title_of(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def measured(model: nn.NormativeModel, scans: list[nn.Volume], device: str, runs: int) -> Any:
    """Return the last detection of the first scan and the lines of a device."""
    on_gpu = device.startswith("cuda")
    model.unload()
    if on_gpu:
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    first = model.detect(scans[0], device=device)
    cold = time.perf_counter() - begun
    seconds: list[dict[str, float]] = []
    walls = []
    for _ in range(runs):
        for scan in scans:
            begun = time.perf_counter()
            seconds.append(model.detect(scan, device=device).provenance["seconds"])
            walls.append(time.perf_counter() - begun)
    median = {step: statistics.median(s[step] for s in seconds) for step in STEPS}
    wall = statistics.median(walls)
    memory = f"{torch.cuda.max_memory_allocated() / 2**20:.0f} MiB" if on_gpu else "-"
    cells = [title_of(device), f"{cold:.2f}", f"{wall:.3f}"]
    cells += [f"{1000 * median[step]:.0f}" for step in STEPS]
    cells += [f"{100 * median['reconstruct'] / wall:.1f} %", memory]
    return first, "| " + " | ".join(cells) + " |"


def compared(model: nn.NormativeModel, scan: nn.Volume, one: Any, device: str) -> list[str]:
    """Return what differs between the CPU and another device."""
    other = model.detect(scan, device=device)
    z = np.abs(one.anomaly_z.data - other.anomaly_z.data).max()
    share = np.abs(one.reconstruction.data - other.reconstruction.data).max()
    share /= np.percentile(scan.data[one.mask], 99)
    same = [c.volume_mm3 for c in one.candidates] == [c.volume_mm3 for c in other.candidates]
    here, there = (model.encode(scan, device=d).mean for d in ("cpu", device))
    drawn = [model.sample(2, seed=1, device=d) for d in ("cpu", device)]
    samples = max(float(np.abs(a.data - b.data).max()) for a, b in zip(*drawn, strict=True))
    return [
        f"- largest difference of z between CPU and {title_of(device)}: {z:.1e}; of the "
        f"reconstruction {share:.1e} of the 99th percentile of the scan; of latents "
        f"{np.abs(here - there).max():.1e}; of samples {samples:.1e} model units; candidates "
        f"{'equal' if same else 'NOT equal'} ({len(one.candidates)}); it was done on "
        f"{other.provenance['device']} ({other.provenance['device_reason']})",
    ]


def without_memory(model: nn.NormativeModel, scan: nn.Volume, one: Any, device: str) -> list[str]:
    """Let the GPU run out of memory for real, and say what became of the scan."""
    model.unload()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-4, device)
    try:
        found = model.detect(scan, device=device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    z = np.abs(one.anomaly_z.data - found.anomaly_z.data).max()
    warned = [text for text in found.warnings if "memory" in text]
    lines = [
        f"- out of memory: done on {found.provenance['device']}, z differs by {z:.1e}; {warned}"
    ]
    model.detect(scan, device=device)
    before = torch.cuda.memory_reserved(device)
    model.unload()
    after = torch.cuda.memory_reserved(device)
    return [*lines, f"- unload: {before / 2**20:.0f} MiB held before, {after / 2**20:.0f} after"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="file for the table")
    options = parser.parse_args()
    model = nn.load_model("brain-t1")
    read = [nn.read_volume(path) for path in options.scans]
    scans = read or [nn.make_sample("brain-with-lesion")]
    devices = [name for name in list_devices() if name not in {"auto", "mps"}]
    size = " × ".join(map(str, scans[0].shape))
    lines = [
        "# From a scan in memory to its maps, by device",
        "",
        f"brain-t1 (sha256 {model.digest[:12]}), {len(scans)} scans, the first of {size} voxels; "
        f"median of {options.runs} runs; load average {os.getloadavg()[0]:.1f} at the start; "
        f"torch {torch.__version__}, Python {platform.python_version()}.",
        "",
        "| device | cold, s | warm, s | "
        + " | ".join(f"{step}, ms" for step in STEPS)
        + " | network's share | GPU memory |",
        "|---" * (5 + len(STEPS)) + "|",
    ]
    notes: list[str] = []
    reference: Any = None
    for device in devices:
        first, line = measured(model, scans, device, options.runs)
        lines.append(line)
        print(line, flush=True)
        if device == "cpu":
            reference = first
        else:
            notes += compared(model, scans[0], reference, device)
            notes += without_memory(model, scans[0], reference, device)
    text = "\n".join([*lines, "", *notes]).rstrip() + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
