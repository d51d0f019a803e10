"""Volumes of 128 to 512 voxels an edge under a memory limit, from disk to disk.

    python benchmarks/high_dimension.py MODEL SCAN [--work FOLDER] [--out FILE]
    python benchmarks/high_dimension.py MODEL SCAN --hierarchical [--work FOLDER] [--out FILE]

MODEL is a trained patch model of the brain, SCAN a real skull-stripped head. For every size n the
model's space is laid over a cube of 192 mm in n³ voxels and its network used as it is: its weights
were learnt at one spacing, so reconstructions at other sizes are no better than that, but what
they cost does not depend on the weights. Two volumes of each size: the head, resampled (a quarter
of the voxels are brain), and one that is foreground throughout, the most that can be asked. Each
is reconstructed by a process of its own under a limit set by the system (Linux). Beside it the
whole volume at once through the same network. About 25 minutes on one core.

With ``--hierarchical`` MODEL may be any model of the brain: its preprocessing is used with a
network as of the preset brain-1mm-hierarchical whose weights are drawn at random, in blocks of 8³
voxels at every size, so that the level above grows with the volume as the windows do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

LIMIT_BYTES = 4 * 10**9
CUBE_MM = 192.0
SIZES = (128, 256, 384, 512)
WHOLE = (128, 256, 512)
WINDOW, OVERLAP = 64, 16
NAMES = {"head": "head", "full": "foreground throughout"}
BLOCK = 8
"""Edge of the blocks that the level above sees as one, voxels."""
BORDER = 8
"""Voxels left out at the volume's faces when results are compared."""


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--kinds", nargs="+", default=tuple(NAMES))
    parser.add_argument("--hierarchical", action="store_true")
    parser.add_argument("--rows", type=Path, help="JSON lines: what is in it is not measured again")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    known = options.rows.read_text().splitlines() if options.rows and options.rows.exists() else []
    rows = [json.loads(line) for line in known]
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        for row in measure(options, rows, Path(folder)):
            rows.append(row)
            print(json.dumps(row), flush=True)
            if options.rows:
                options.rows.write_text("".join(json.dumps(r) + "\n" for r in rows))
    text = report(options.model, rows, options.hierarchical)
    print(text)
    if options.out:
        options.out.write_text(text)


def measure(
    options: argparse.Namespace, known: list[dict[str, Any]], work: Path
) -> Iterator[dict[str, Any]]:
    """Yield what the processes measured."""
    from napari_normative.engine.model import load_model

    done = {(row["n"], row["kind"], row["mode"]) for row in known}
    small = load_model(options.model)
    for n in options.sizes:
        for kind in options.kinds:
            both = n in WHOLE and kind == "head" and not options.hierarchical
            modes = ("stream", "whole") if both else ("stream",)
            left = [mode for mode in modes if (n, kind, mode) not in done]
            if not left:
                continue
            model, scan = work / "model.safetensors", work / "scan.nii"
            enlarged(small, n, kind, options.hierarchical).save(model)
            make_scan(options.scan, n, kind, scan)
            for mode in left:
                order = {"mode": mode, "model": str(model), "scan": str(scan), "n": n}
                order["out"] = str(work / "out")
                yield {"n": n, "kind": kind, "mode": mode, **run(order)}
            shutil.rmtree(work / "out", ignore_errors=True)


def enlarged(model: Any, n: int, kind: str, hierarchical: bool) -> Any:
    """Return the model with its space laid over a cube in n³ voxels."""
    from napari_normative.core.grid import Grid, resample
    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import NETWORK_PREFIX

    card, space = model.card, model.card.preprocess
    spacing = CUBE_MM / n
    middle = [
        o + (s - 1) / 2 * space.spacing_mm
        for o, s in zip(space.origin_mm, space.shape, strict=True)
    ]
    grid = Grid((n, n, n), spacing, tuple(c - (n - 1) / 2 * spacing for c in middle))
    changes = {"shape": grid.shape, "spacing_mm": spacing, "origin_mm": grid.origin_mm}
    if kind == "full":
        changes |= {"alignment": "none", "bias_mm": 0.0}
        mask = np.ones(grid.shape, bool)
        image = mask.astype(np.float32)
    else:
        own = space.grid.affine
        weight = model.template.mask.astype(np.float32)
        mask = resample(weight, own, grid.shape, grid.affine) > 0.5
        image = resample(model.template.image, own, grid.shape, grid.affine) * mask
    score = card.score.model_copy(
        update={"scales_mm": (4.0,), "asymmetry": 0.0, "guide_mm": (0.0,)}
    )
    network = card.network.model_copy(
        update={"shape": grid.shape, "window": (WINDOW,) * 3, "overlap": OVERLAP}
    )
    weights = {k: v for k, v in model._tensors.items() if k.startswith(NETWORK_PREFIX)}
    if hierarchical:
        network, weights = drawn_levels(grid.shape, mask)
    inside = int(mask.sum())
    cells = tuple(m // network.stride for m in grid.shape)
    tensors = {k: v for k, v in model._tensors.items() if k.startswith("calibration.")}
    latents = {
        "latent.mean": np.zeros((network.latent_size, *cells), np.float32),
        "latent.cholesky": np.ones((network.latent_size, *cells), np.float16),
    }
    if hierarchical:
        size = network.anatomy.latent_size
        latents = {"latent.mean": np.zeros(size, np.float32), "latent.cholesky": np.eye(size)}
    tensors |= weights
    tensors |= {
        "template.mask": np.packbits(mask),
        "template.image": image[mask].astype(np.float16),
        "calibration.mean": np.zeros((score.maps, inside), np.float16),
        "calibration.sd": np.ones((score.maps, inside), np.float16),
    }
    tensors |= latents
    card = card.model_copy(
        update={
            "network": network,
            "preprocess": space.model_copy(update=changes),
            "score": score,
        }
    )
    return NormativeModel(card, tensors)


def drawn_levels(shape: tuple[int, int, int], mask: Any) -> tuple[Any, dict[str, Any]]:
    """Return a hierarchical network of a space and its weights, drawn at random."""
    import torch

    from napari_normative.core.config import VAEConfig
    from napari_normative.core.two_levels import vae
    from napari_normative.engine.anatomy import blocks_of
    from napari_normative.engine.presets import PRESETS
    from napari_normative.engine.stored_model import NETWORK_PREFIX

    preset = PRESETS["brain-1mm-hierarchical"]
    above, coarse = preset.above(), blocks_of(mask.astype(np.float32), BLOCK) > 0
    anatomy = VAEConfig(
        shape=coarse.shape, latent_size=above.latent_size, stem=above.stem, widths=above.widths,
        bottleneck=above.bottleneck, linear_factor=1, linear_voxels=int(coarse.sum()),
    )  # fmt: skip
    config = VAEConfig(
        shape=shape, latent="spatial", latent_size=preset.latent_size, stem=preset.stem,
        widths=preset.widths, window=(WINDOW,) * 3, overlap=OVERLAP, anatomy=anatomy,
    )  # fmt: skip
    torch.manual_seed(0)
    network = vae(config)
    weights = {NETWORK_PREFIX + k: v.numpy() for k, v in network.state_dict().items()}
    voxels = np.flatnonzero(coarse).astype(np.int32)
    basis = np.random.default_rng(0).standard_normal((above.latent_size, len(voxels)))
    basis /= np.sqrt(len(voxels))
    weights |= {
        f"{NETWORK_PREFIX}anatomy.linear.voxels": voxels,
        f"{NETWORK_PREFIX}anatomy.linear.basis": basis.astype(np.float16),
    }
    return config, weights


def make_scan(source: Path, n: int, kind: str, target: Path) -> None:
    """Write a head, or noise that is foreground throughout, in n³ voxels of int16."""
    import nibabel as nib

    from napari_normative.core.grid import resample
    from napari_normative.io.nifti import read_volume

    affine = np.diag([CUBE_MM / n] * 3 + [1.0])
    if kind == "full":
        coarse = np.random.default_rng(0).random((12, 12, 12)).astype(np.float32)
        step = 12 / n
        data = np.empty((n, n, n), np.int16, order="F")
        at = (np.arange(n) + 0.5) * step - 0.5
        for k in range(n):
            plane = np.array(np.meshgrid(at, at, at[k : k + 1], indexing="ij"))
            values = ndimage.map_coordinates(coarse, plane, order=1, mode="nearest")
            data[..., k] = 100 + 800 * values[..., 0]
        affine[:3, 3] = [-80 + 80 - CUBE_MM / 2, -111 + 96 - CUBE_MM / 2, -71 + 80 - CUBE_MM / 2]
    else:
        scan = read_volume(source)
        corners = scan.corners_mm()
        affine[:3, 3] = corners.mean(axis=0) - CUBE_MM / 2
        values = resample(scan.data, scan.affine, (n, n, n), affine)
        data = np.asfortranarray(np.rint(values * 1000 / scan.data.max()).astype(np.int16))
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, target)


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Run a measurement in a process of its own, under the limit, and return what it says."""
    command = [sys.executable, __file__, "--child", json.dumps(order)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if found.returncode:
        return {"failed": found.stderr.strip().splitlines()[-1][:100] if found.stderr else "killed"}
    answer: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return answer


def child(order: dict[str, Any]) -> None:
    """Measure one thing and print it as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    began = time.perf_counter()
    import SimpleITK as sitk
    import torch

    from napari_normative.engine.model import load_model

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    model = load_model(order["model"])
    loaded = time.perf_counter()
    measured = whole if order["mode"] == "whole" else stream
    found = measured(model, order)
    found |= {"load_s": loaded - began}
    print(json.dumps(found))


def stream(model: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Reconstruct from disk to disk."""
    largest = 0

    def look(step: str, fraction: float) -> None:
        nonlocal largest
        folders = Path(order["out"]).parent.glob(f".{Path(order['out']).name}.*")
        files = [p for f in folders for p in f.rglob("*") if p.is_file()]
        largest = max(largest, sum(p.stat().st_size for p in files))

    start, spent = time.perf_counter(), time.process_time()
    stored = model.reconstruct_to(
        order["scan"], order["out"], device="cpu", force=True, progress=look
    )
    taken = time.perf_counter() - start
    return {
        "seconds": taken, "cpu_s": time.process_time() - spent,
        "peak_bytes": peak(), "disk_bytes": largest,
        "windows": stored.record["windows"], "steps": stored.record["seconds"],
    }  # fmt: skip


def whole(model: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Pass the whole volume through the network at once; compare with the windows."""
    import torch

    from napari_normative.engine.scan_in_space import ScanInSpace
    from napari_normative.io.streamed import opened

    out = Path(order["out"])
    out.mkdir(exist_ok=True)
    with opened(Path(order["scan"]), out) as scan:
        seen = ScanInSpace(model, scan, True).seen(0, order["n"])
    network = model.network("cpu")
    x = torch.from_numpy(np.ascontiguousarray(seen))[None, None]
    spent = time.process_time()
    with torch.inference_mode():
        made = network.decode(network.encode(x).mean)
        taken, largest = time.process_time() - spent, peak()
        blended = network.reconstruct(x)
    inside = (seen != 0)[BORDER:-BORDER, BORDER:-BORDER, BORDER:-BORDER]
    cut = (0, 0, *(slice(BORDER, -BORDER),) * 3)
    both, one, other = (t[cut].numpy()[inside] for t in (x, made, blended))
    return {
        "cpu_s": taken, "peak_bytes": largest,
        "sd": float(both.std()), "residual": float(np.abs(both - one).mean()),
        "difference": float(np.abs(one - other).mean()),
        "difference_99": float(np.quantile(np.abs(one - other), 0.99)),
        "correlation": float(np.corrcoef(both - one, both - other)[0, 1]),
    }  # fmt: skip


def peak() -> int:
    """Return the largest resident memory of this process so far, bytes.

    Not ``ru_maxrss``: a process inherits that from the one that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1])


def report(model: Path, measured: list[dict[str, Any]], hierarchical: bool) -> str:
    """Return the page."""
    import torch

    from napari_normative.core.card import RESEARCH_USE
    from napari_normative.engine.model import load_model

    card, digest = load_model(model).card, load_model(model).digest
    net = card.network
    order = sorted(measured, key=lambda row: (row["kind"], row["n"]))
    rows = [row for row in order if row["mode"] == "stream"]
    whole = [row for row in order if row["mode"] == "whole"]
    people = sum(card.training.people["train"].values())
    network = (
        f"Network of {card.name} (SHA-256 `{digest[:16]}…`): widths {net.widths}, stem {net.stem}, "
        f"here in windows of {WINDOW}³ with an overlap of {OVERLAP}; trained for "
        f"{card.training.steps} steps on {people} real people at {card.preprocess.spacing_mm:g} mm."
    )
    if hierarchical:
        network = (
            f"Hierarchical network as of brain-1mm-hierarchical, weights drawn at random: windows "
            f"of {WINDOW}³ with an overlap of {OVERLAP} below a dense level in blocks of {BLOCK}³ "
            "voxels."
        )
    lines = [
        "# Large volumes under a memory limit" + ", hierarchical" * hierarchical,
        "",
        f"`benchmarks/high_dimension.py{' --hierarchical' * hierarchical}`; "
        f"{platform.machine()}, {os.cpu_count()} cores, one thread used; "
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy "
        f"{np.__version__}. {RESEARCH_USE}",
        "",
        network
        + f" Every process ran under `RLIMIT_AS` = {LIMIT_BYTES / 1e9:g} GB: its whole address "
        "space, libraries and mapped files included. Memory: largest resident set, loading of the "
        "model included. CPU s: user and system time from the scan's file to the results' files, "
        "without loading libraries and model; the machine was busy with other work, so that the "
        "wall clock (s) says less. Disk: results and scratch at most, without the scan.",
        "",
        "| volume | voxels | windows run / all | memory, GB | CPU s | CPU s per million voxels | "
        "s | disk, GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        n, kind = row["n"], NAMES[row["kind"]]
        if "failed" in row:
            lines.append(f"| {kind} | {n}³ | | failed: {row['failed']} | | | | |")
            continue
        windows, spent = row["windows"], row["cpu_s"]
        lines.append(
            f"| {kind} | {n}³ | {windows['with_foreground']} / {windows['count']} | "
            f"{row['peak_bytes'] / 1e9:.2f} | {spent:.0f} | {spent / (n**3 / 1e6):.2f} | "
            f"{row['seconds']:.0f} | {row['disk_bytes'] / 1e9:.2f} |"
        )
    if not whole:
        return "\n".join(lines) + "\n"
    lines += [
        "",
        "The whole volume through the same network at once, under the same limit, and how far its "
        f"residual in the head is from that of the windows ({BORDER} voxels at the volume's faces "
        "left out; model units):",
        "",
        "| voxels | memory, GB | CPU s of the network | SD of the head | mean residual | "
        "mean difference | 99th percentile | correlation of the residuals |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in whole:
        if "failed" in row:
            lines.append(f"| {row['n']}³ | failed: {row['failed']} | | | | | | |")
            continue
        lines.append(
            f"| {row['n']}³ | {row['peak_bytes'] / 1e9:.2f} | {row['cpu_s']:.0f} | "
            f"{row['sd']:.3f} | {row['residual']:.4f} | {row['difference']:.4f} | "
            f"{row['difference_99']:.4f} | {row['correlation']:.4f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(json.loads(sys.argv[2]))
    else:
        main()
