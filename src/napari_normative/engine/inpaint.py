"""Missing or damaged parts of a scan, filled with what a normative model holds most probable."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.blend import Worth, blended, copy_of, join, worth_of
from napari_normative.core.gaps import AXES, Slab, empty_slabs, interpolated
from napari_normative.core.grid import antialias, resample
from napari_normative.core.preprocess import (
    Prepared,
    own_foreground,
    prepare,
    restore,
    scored_mask,
)
from napari_normative.engine.infer import prepare_scan
from napari_normative.engine.made import MadeVolume, layer_of, record_of
from napari_normative.engine.observed import Completion, complete
from napari_normative.errors import GenerationError
from napari_normative.io.folders import whole_folder
from napari_normative.io.nifti import write_volume
from napari_normative.io.tables import json_bytes
from napari_normative.layers.spec import INPAINTED, MADE, LayerSpec, LayerTuple, spec_of
from napari_normative.volume import Mask, Volume, require_same_grid

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import Cancel, Progress

MARKER = "inpaint.json"
MOST_MISSING = 0.5
"""Share of the model's region beyond which what is observed says too little."""

_MISSED = 0.1
"""Share of a voxel of the model's grid that may be missing before it counts as missing."""

_SLAB = re.compile(r"([ijk]):(\d+)(?:-(\d+))?")


@dataclass(frozen=True, eq=False)
class Inpainted:
    """A scan with its missing voxels made.

    Attributes
    ----------
    filled : MadeVolume
        The scan; observed voxels bit for bit, made ones synthetic.
    made : Volume
        1 where a voxel was made, else 0.
    interpolation : Volume
        The same scan filled without a model: linearly across slices, else by a membrane.
    record : dict
        What made it, JSON-ready.
    """

    filled: MadeVolume
    made: Volume
    interpolation: Volume
    record: dict[str, Any] = field(default_factory=dict)

    def layers(self) -> list[LayerSpec]:
        """Return the layers that show it, bottom first: the scan filled, and where it was made."""
        name = f"{self.made.source.name} · made (synthetic)"
        made = spec_of([self.made], name, MADE, provenance=self.record)
        return [layer_of(self.filled), made]

    def to_layers(self) -> list[LayerTuple]:
        """Return the layer data tuples (data, attributes, kind) that napari takes."""
        return [layer.as_tuple() for layer in self.layers()]

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``filled``, ``made`` and ``interpolation`` (``.nii.gz``) and ``inpaint.json``.

        The folder appears whole or not at all.

        Raises
        ------
        OutputError
            When the folder holds other files, or cannot be written.
        """
        target = Path(folder)
        volumes = {"filled": self.filled, "made": self.made, "interpolation": self.interpolation}
        like = self.filled.like
        with whole_folder(target, MARKER) as fresh:
            for name, volume in volumes.items():
                write_volume(fresh / f"{name}.nii.gz", volume, like=like)
            (fresh / MARKER).write_bytes(json_bytes(self.record))
        return [target / f"{name}.nii.gz" for name in volumes] + [target / MARKER]


def parse_slab(text: str, shape: tuple[int, int, int]) -> Slab:
    """Return slices from their text, such as ``k:40-44``: axis as stored, counted from 0.

    Raises
    ------
    GenerationError
        ``GEN-012`` if it is no range of slices of this scan.
    """
    found = _SLAB.fullmatch(text.strip().lower())
    if found:
        axis = AXES.index(found[1])
        first, last = int(found[2]), int(found[3] or found[2])
        if first <= last < shape[axis]:
            return Slab(axis, first, last)
    ends = ", ".join(f"{name}:0-{n - 1}" for name, n in zip(AXES, shape, strict=True))
    raise GenerationError(
        "GEN-012",
        f"{text!r} names no slices of the scan",
        f"Write them as k:40-44 or k:40; axes as stored and counted from 0, at most {ends}.",
    )


def what_is_missing(
    scan: Volume, gaps: Mask | None, mask: Volume | None, slices: Sequence[str]
) -> tuple[Mask, list[str]]:
    """Return what is missing in a scan, and in words; see :func:`inpaint`."""
    missing, words = np.zeros(scan.shape, dtype=bool), []
    if gaps is not None and gaps.any():
        missing |= gaps
        words.append(f"{int(gaps.sum()):,} voxels that are not numbers or infinite")
    if mask is not None:
        require_same_grid(scan, mask)
        missing |= mask.data != 0
        words.append(f"{int((mask.data != 0).sum()):,} voxels of a mask")
    slabs = [parse_slab(text, scan.shape) for text in slices]
    words += [f"slices {slab}" for slab in slabs]
    if mask is None and not slabs:
        slabs = empty_slabs(scan.data)
        words += [f"slices {slab} without signal" for slab in slabs]
    for slab in slabs:
        missing |= slab.mask(scan.shape)
    if not missing.any():
        raise GenerationError(
            "GEN-010",
            "nothing is missing: no voxel is marked, none is without a number, no slice is empty",
            "Name slices (such as k:40-44), or mark what is missing in a mask.",
            subject=scan.source.name,
        )
    return missing, words


def inpaint(
    model: NormativeModel,
    scan: Volume,
    *,
    gaps: Mask | None = None,
    mask: Volume | None = None,
    slices: Sequence[str] = (),
    device: str = "auto",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Inpainted:
    """Fill missing voxels; see :meth:`NormativeModel.inpaint`.

    Parameters
    ----------
    model : NormativeModel
    scan : Volume
    gaps : bool array, shape of the scan, optional
        Where the file holds no finite number.
    mask : Volume, optional
        On the scan's grid; anything but 0 is missing.
    slices : sequence of str
        As for :func:`parse_slab`. Without mask and slices, slices without signal between others
        are missing.
    device : str
    progress, cancel : callable, optional
    """
    tell = progress or (lambda step, fraction: None)
    gap, words = what_is_missing(scan, gaps, mask, slices)
    tell("aligning", 0.0)
    bare, background = _without_model(scan, gap)
    space = model.card.preprocess
    prepared, _ = prepare_scan(model, bare)
    observed = ~_on_grid(gap, scan, prepared, model)
    inside = scored_mask(prepared, space, scan) & ~background
    share = float((prepared.mask & ~observed).sum() / prepared.mask.sum())
    if share > MOST_MISSING:
        raise GenerationError(
            "GEN-011",
            f"{share:.0%} of the model's region is missing, at most {MOST_MISSING:.0%} may be",
            "There is no way to make a person from so little; scan again.",
            subject=scan.source.name,
        )
    tell("measuring on a copy of the gap", 0.2)
    worth = _worth(model, bare, prepared, gap, inside, observed, device, cancel)
    tell("fitting the latents to what is there", 0.6)
    image, completion, note = complete(
        model, prepared.image, prepared.mask, observed, device, cancel
    )
    guide = restore(image, prepared, space, scan)
    values = join(bare.data, guide, gap, inside, scan.spacing_mm)
    if worth is not None:
        values = blended(bare.data, values, gap, inside, worth, scan.spacing_mm)
    whole = np.where(gap, values, scan.data).astype(np.float32)
    made_ml = float(gap.sum()) * scan.voxel_ml
    record = record_of(
        model, "inpainting", note, synthetic=True,
        scan={"sha256": scan.source.digest},
        mask_sha256=None if mask is None else mask.source.digest,
        missing=words, slices=list(slices), made_voxels=int(gap.sum()), made_ml=round(made_ml, 3),
        share_of_region=round(share, 4), fit=_facts(completion),
        share_of_model=None if worth is None else _table(worth),
        warnings=[*scan.source.warnings, *note.warnings],
        meaning="Voxels of made.nii.gz are synthetic; all others are the scan's, bit for bit.",
    )  # fmt: skip
    name = f"{scan.source.name} · filled (synthetic)"
    filled = MadeVolume.of(
        scan.with_data(whole, is_label=False), name, INPAINTED, record, like=scan
    )
    return Inpainted(
        filled,
        scan.with_data(gap.astype(np.float32), is_label=True),
        scan.with_data(np.where(gap, bare.data, scan.data), is_label=False),
        record,
    )


def _without_model(scan: Volume, gap: Mask) -> tuple[Volume, Mask]:
    """Return the scan with its gap interpolated, and where it is a constant background."""
    plain = interpolated(np.where(gap, 0, scan.data), gap, scan.spacing_mm)
    own = own_foreground(scan.with_data(plain))
    if own is None:
        return scan.with_data(plain), np.zeros(scan.shape, dtype=bool)
    outside = plain[~own & ~gap]
    level = float(outside[0]) if outside.size else 0.0
    inside = interpolated((own & ~gap).astype(np.float32), gap, scan.spacing_mm) > 0.5
    background = np.where(gap, ~inside, ~own)
    return scan.with_data(np.where(background, level, plain)), background


def _on_grid(gap: Mask, scan: Volume, prepared: Prepared, model: NormativeModel) -> Mask:
    """Return the gap on the model's grid: voxels of which a part is missing."""
    grid = model.card.preprocess.grid
    to_grid = prepared.alignment.scan_to_template @ scan.affine
    spacing = np.linalg.norm(to_grid[:3, :3], axis=0)
    soft = antialias(gap.astype(np.float32), spacing, grid.spacing_mm)
    missed: Mask = resample(soft, to_grid, grid.shape, grid.affine) > _MISSED
    return missed


def _worth(
    model: NormativeModel,
    bare: Volume,
    prepared: Prepared,
    gap: Mask,
    inside: Mask,
    observed: Mask,
    device: str,
    cancel: Cancel | None,
) -> Worth | None:
    """Return how much the model is worth beside the interpolation; None where nothing tells.

    A copy of the gap is hidden, too, and filled in both ways; no voxel of it has a say in that.
    """
    copy = copy_of(gap, inside)
    if copy is None:
        return None
    space, spacing = model.card.preprocess, bare.spacing_mm
    plain = bare.with_data(interpolated(bare.data, copy, spacing))
    hidden = prepare(plain, space, model.template, alignment=prepared.alignment)
    seen = observed & ~_on_grid(copy, bare, prepared, model)
    image, _, _ = complete(model, hidden.image, hidden.mask, seen, device, cancel)
    guide = restore(image, hidden, space, bare)
    joined = join(plain.data, guide, copy, inside, spacing)
    return worth_of(bare.data, plain.data, joined, copy, inside, spacing)


def _table(worth: Worth) -> list[dict[str, float]]:
    pairs = zip(worth.depth_mm, worth.share, strict=True)
    return [{"depth_mm": round(float(d), 2), "share": round(float(s), 3)} for d, s in pairs]


def _facts(completion: Completion) -> dict[str, Any]:
    return {key: round(value, 4) for key, value in dataclasses.asdict(completion).items()}
