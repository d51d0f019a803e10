"""Reconstruct scans that do not fit into memory: window by window, from disk to disk.

Passes over planes, each with a bounded working set. For the hierarchical form the first brings
the scan to the blocks of the anatomy level, which fit into memory. The next walks the model's
space along its last axis: it reads the part of the scan that the next row of windows sees, blends
what the network makes of them and writes the planes that no further window reaches. The last
walks the scan: it carries those planes back onto the scan's grid and writes reconstruction and
residual.
All that must be known of the whole scan first, its alignment, bias field, intensities and
foreground, comes from an overview that fits into memory; no window is normalised by itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.applicability import Applicability
from napari_normative.core.config import VAEConfig
from napari_normative.core.grid import overlap, resample, shifted
from napari_normative.core.limits import image_limits, signed_limit
from napari_normative.core.windows import Triple, Windows
from napari_normative.engine.anatomy import blocks_of
from napari_normative.engine.clock import Clock
from napari_normative.engine.infer import DeviceNote, on_device
from napari_normative.engine.made import record_of
from napari_normative.engine.scan_in_space import ScanInSpace
from napari_normative.engine.scans import ScanLike, as_volume
from napari_normative.engine.stored_reconstruction import FILES, MARKER, StoredReconstruction
from napari_normative.io.folders import whole_folder
from napari_normative.io.streamed import Mapped, PlaneWriter, StreamedScan, on_disk, opened
from napari_normative.io.tables import json_bytes
from napari_normative.io.transforms import Trust
from napari_normative.volume import FloatArray, Volume

if TYPE_CHECKING:
    from torch import Tensor

    from napari_normative.core.baselines import Network
    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import Cancel, Progress

STEPS = {"read": 0.05, "align": 0.1, "reconstruct": 0.85, "restore": 1.0}
PIECE = 16
"""Planes that are brought to the model's space at a time: resampling holds several copies."""
GPU_BATCH = 8
"""Windows that a GPU works on at a time; a CPU one."""
OVERVIEW_SHARE = 0.15
"""Of the reconstruction's progress: the pass that brings a scan to blocks."""
SAMPLED = 8
"""Of the residual every so manieth voxel along two axes decides the limits it is shown with."""


def reconstruct_to(
    model: NormativeModel,
    scan: ScanLike,
    folder: Path,
    *,
    volume: int | None,
    trust: Trust | None,
    any_size: bool,
    device: str,
    force: bool,
    progress: Progress | None,
    cancel: Cancel | None,
) -> StoredReconstruction:
    """Reconstruct a scan from disk to disk; see :meth:`NormativeModel.reconstruct_to`."""
    clock = Clock(STEPS, progress, cancel)
    reading = {"volume": volume, "trust": trust, "any_size": any_size}
    with whole_folder(folder, MARKER) as fresh:
        grid, record = _write(model, scan, fresh, reading, device, force, clock)
        (fresh / MARKER).write_bytes(json_bytes(record))
        clock.finish()
    made, left = (on_disk(folder / name, grid) for name in FILES)
    return StoredReconstruction(folder, made, left, record)


def _write(
    model: NormativeModel,
    scan: ScanLike,
    fresh: Path,
    reading: Mapping[str, Any],
    device: str,
    force: bool,
    clock: Clock,
) -> tuple[Volume, dict[str, Any]]:
    """Write the volumes; return their grid and the record.

    Apart, so that the scan is let go of before its results are mapped: both may be all that fits.
    """
    scratch = fresh / "scratch"
    scratch.mkdir()
    with ExitStack() as held:
        with clock.step("read"):
            if isinstance(scan, str | Path):
                source = held.enter_context(opened(Path(scan), scratch, **reading))
            else:
                given = as_volume(scan, volume=reading["volume"])
                source = StreamedScan(given.data, given.shape, given.affine, given.source)
        with clock.step("align"):
            space = ScanInSpace(model, source, force)
        with clock.step("reconstruct"):
            seen, note = _walk_model(model, space, device, scratch, clock)
        with clock.step("restore"):
            bound = _walk_scan(space, scratch, fresh, clock)
    shutil.rmtree(scratch)
    fits = Applicability(space.checks)
    record = record_of(
        model,
        "streamed reconstruction",
        note,
        scan={
            "sha256": source.source.digest,
            "shape": list(source.shape),
            "spacing_mm": [round(s, 4) for s in source.grid.spacing_mm],
            "orientation": source.source.orientation,
        },
        foreground=space.prepared.foreground,
        alignment={
            "similarity": round(space.prepared.alignment.similarity, 4),
            "scan_to_template": space.prepared.alignment.scan_to_template.round(6).tolist(),
        },
        applicability=fits.record(),
        windows=seen,
        force=force,
        shown_between={"scan": list(image_limits(space.overview.data)), "residual": bound},
        seconds=clock.seconds,
        warnings=[*source.source.warnings, *space.warnings, *fits.warnings, *note.warnings],
    )
    return source.grid, record


def _walk_model(
    model: NormativeModel, space: ScanInSpace, device: str, scratch: Path, clock: Clock
) -> tuple[dict[str, Any], DeviceNote]:
    """Write what the network makes of a scan to ``scratch``, on the model's grid."""
    config = model.card.network
    windows = Windows.over(space.config.shape, space.config.shape, 0)
    if isinstance(config, VAEConfig) and config.window is not None:
        windows = Windows.over(space.config.shape, config.window, config.overlap, config.stride)

    def work(name: str) -> int:
        network = model.network(name)
        above, begun = None, 0.0
        if isinstance(config, VAEConfig) and config.anatomy is not None:
            factor, begun = config.anatomy_factor, OVERVIEW_SHARE
            blocks = in_blocks(space, factor, lambda done: clock.tick(OVERVIEW_SHARE * done))
            above = anatomy_of(network, blocks, name)
        with (scratch / "made").open("wb") as made, (scratch / "inside").open("wb") as inside:

            def finish(planes: FloatArray, first: int) -> None:
                made.write(space.in_scan_units(planes, first).tobytes(order="F"))
                mask = space.inside(first, first + planes.shape[2])
                inside.write(mask.astype(np.uint8).tobytes(order="F"))
                done = (first + planes.shape[2]) / windows.shape[2]
                clock.tick(begun + (1 - begun) * done)

            return blended(network, windows, space.seen, finish, name, above)

    looked, note = on_device(work, model, device)
    facts = {
        "window": list(windows.window),
        "count": len(windows),
        "with_foreground": looked,
        "overlap": getattr(config, "overlap", 0),
    }
    if factor := getattr(config, "anatomy_factor", 0):
        facts["anatomy_blocks"] = factor
    return facts, note


def in_blocks(space: ScanInSpace, factor: int, report: Callable[[float], None]) -> FloatArray:
    """Return a scan as the anatomy level sees it: means over blocks of ``factor``³ voxels."""
    depth = space.config.shape[2]
    step = max(PIECE // factor, 1) * factor
    parts = []
    for first in range(0, depth, step):
        last = min(first + step, depth)
        parts.append(blocks_of(space.seen(first, last), factor))
        report(last / depth)
    return np.concatenate(parts, axis=2)


def anatomy_of(network: Network, blocks: FloatArray, device: str) -> Tensor:
    """Return what the anatomy level makes of a scan in blocks, shape (1, 1, i, j, k)."""
    import torch

    from napari_normative.core.two_levels import TwoLevelVAE

    assert isinstance(network, TwoLevelVAE)
    with torch.inference_mode():
        made: Tensor = network.anatomy.reconstruct(torch.from_numpy(blocks).to(device)[None, None])
    return made


def blended(
    network: Network,
    windows: Windows,
    seen: Callable[[int, int], FloatArray],
    finish: Callable[[FloatArray, int], None],
    device: str,
    above: Tensor | None = None,
) -> int:
    """Reconstruct the windows row by row; hand on planes as soon as they are finished.

    Parameters
    ----------
    network : Network
        On ``device``.
    windows : Windows
    seen : callable
        First plane and the one after the last to what the network sees there, shape (I, J, n),
        model units, 0 outside the foreground. Asked for every plane once, in order.
    finish : callable
        Takes finished planes (I, J, n) and the number of the first, in order.
    device : str
    above : Tensor, shape (1, 1, i, j, k), optional
        Of the hierarchical form: what the anatomy level makes of the scan.

    Returns
    -------
    int
        How many windows hold foreground; the others are 0 and cost nothing.
    """
    import torch

    from napari_normative.core.vae import VAE

    i, j, _ = windows.shape
    depth, batch = windows.window[2], GPU_BATCH if device.startswith("cuda") else 1
    image = np.zeros((i, j, depth), np.float32, order="F")
    made = np.zeros((i, j, depth), np.float32, order="F")
    looked, read = 0, 0

    def look(starts: list[Triple]) -> None:
        boxes = [windows.box((a, b, 0)) for a, b, _ in starts]
        x = torch.from_numpy(np.stack([image[box] for box in boxes])[:, None]).to(device)
        with torch.inference_mode():
            if isinstance(network, VAE) and network.config.window is not None:
                origin = torch.tensor(starts, dtype=torch.float32, device=device)
                out = network.reconstruct_windows(x, origin, above)
            else:
                out = network.reconstruct(x)
        parts = out[:, 0].float().cpu().numpy()
        for box, start, part in zip(boxes, starts, parts, strict=True):
            made[box] += windows.weight(start).astype(np.float32) * part

    rows = windows.starts[2]
    for first, end in zip(rows, (*rows[1:], windows.shape[2]), strict=True):
        fresh, read = slice(read - first, depth), first + depth
        for piece in range(fresh.start, depth, PIECE):
            end_of_piece = min(piece + PIECE, depth)
            image[..., piece:end_of_piece] = seen(first + piece, first + end_of_piece)
        waiting: list[Triple] = []
        for a in windows.starts[0]:
            for b in windows.starts[1]:
                if image[windows.box((a, b, 0))].any():
                    waiting.append((a, b, first))
                    looked += 1
                if len(waiting) == batch:
                    look(waiting)
                    waiting = []
        if waiting:
            look(waiting)
        done = end - first
        finish(made[..., :done], first)
        for slab in (image, made):
            slab[..., : depth - done] = slab[..., done:].copy()
            slab[..., depth - done :] = 0
    return looked


def _walk_scan(space: ScanInSpace, scratch: Path, out: Path, clock: Clock) -> float:
    """Write reconstruction and residual on the scan's grid; return the residual's limit."""
    scan, shape, affine = space.scan, space.config.shape, space.config.grid.affine
    sampled = []
    with (
        closing(Mapped(scratch / "made", np.dtype(np.float32), shape)) as made,
        closing(Mapped(scratch / "inside", np.dtype(np.uint8), shape)) as inside,
        (out / FILES[0]).open("wb") as first,
        (out / FILES[1]).open("wb") as second,
    ):
        reconstruction, residual = PlaneWriter(first, scan.grid), PlaneWriter(second, scan.grid)
        for box in scan.slabs():
            values = scan.box(box)
            to_grid = shifted(space.to_template, box)
            i, j, k = values.shape
            part = overlap(shape, np.linalg.inv(to_grid) @ affine, (i, j, k), 1)
            expected = left = np.zeros_like(values)
            if all(s.stop > s.start for s in part):
                at = shifted(affine, part)
                known = resample(inside[part], at, (i, j, k), to_grid) > 0.5
                expected = resample(made[part], at, (i, j, k), to_grid) * known
                left = (values - expected) * known
            reconstruction.write(expected)
            residual.write(left)
            sampled.append(left[::SAMPLED, ::SAMPLED].ravel())
            clock.tick(box[2].stop / scan.shape[2])
    return signed_limit(np.concatenate(sampled))
