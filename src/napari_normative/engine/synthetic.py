"""Synthetic volumes in any number, as a dataset: each labelled, made once, the same for a seed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative import __version__
from napari_normative.engine.draws import Latents, decode_levels
from napari_normative.engine.infer import on_device
from napari_normative.engine.made import record_of
from napari_normative.engine.recipes import (
    Recipe,
    about_scan,
    between_scans,
    of_cohort,
    of_group,
    require_latents,
)
from napari_normative.engine.scans import ScanLike, as_volume
from napari_normative.engine.synthetic_page import report_parts
from napari_normative.engine.synthetic_quality import compare
from napari_normative.errors import CancelledError, GenerationError
from napari_normative.io.synthetic_set import SyntheticFolder
from napari_normative.volume import FloatArray

if TYPE_CHECKING:
    from napari_normative.engine.latent_model import LatentModel
    from napari_normative.engine.stored_model import Cancel, Progress

_SUFFIXES = (("T1", "T1w"), ("T2", "T2w"), ("FLAIR", "FLAIR"), ("PD", "PDw"))


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """A folder of synthetic volumes.

    Attributes
    ----------
    folder : Path
        A BIDS derivatives dataset.
    files : tuple of Path
        The volumes, in order.
    made, found : int
        How many were made now, and how many were there from an earlier run.
    record : dict
        What made them, JSON-ready.
    quality : dict or None
        How they compare with real scans, as ``quality.json``; None unless asked for.
    """

    folder: Path
    files: tuple[Path, ...]
    made: int
    found: int
    record: dict[str, Any]
    quality: dict[str, Any] | None = None


def augment(
    model: LatentModel,
    n: int,
    out: str | Path,
    *,
    around: ScanLike | None = None,
    between: tuple[ScanLike, ScanLike] | None = None,
    like: str | None = None,
    cohort: str | Path | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    compare_with: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SyntheticSet:
    """Write synthetic volumes; see :meth:`NormativeModel.augment`."""
    require_latents(model)
    recipe = _recipe(
        model, around, between, like, cohort, seed, temperature, device, progress, cancel
    )  # fmt: skip
    folder = SyntheticFolder(Path(out), bids_suffix(model.card.modality), _terms(model, recipe, n))
    what = {**recipe.options, "scans": [{"sha256": digest} for digest in recipe.scans]}
    facts = {
        "Software": f"napari-normative {__version__}",
        "Model": model.card.name,
        "ModelDigest": model.digest,
        **{key.capitalize(): value for key, value in model.told().items()},
        "Kind": recipe.kind,
        "Units": "model units" if recipe.like is None else "units of the scan",
        **{key.capitalize(): value for key, value in what.items()},
    }
    seen: list[tuple[FloatArray, Latents]] = []
    made = 0

    def work(name: str) -> None:
        nonlocal made
        seen.clear()
        for number, levels in enumerate(recipe.latents(n), start=1):
            if cancel is not None and cancel():
                raise CancelledError
            if progress:
                progress(f"decoding {number} of {n}", 0.2 + 0.6 * (number - 1) / n)
            there = folder.holds(number)
            if there and compare_with is None:
                continue
            image = decode_levels(model, levels, name)
            if compare_with is not None:
                seen.append((np.where(model.template.mask, image, 0), levels))
            if not there:
                folder.write(
                    number, recipe.place(image, number), recipe.like, {**facts, "Device": name}
                )
                made += 1

    with folder.claimed(n):
        _, note = on_device(work, model, device)
        record = record_of(model, recipe.kind, note, synthetic=True, count=n, **what)
        row = {"kind": recipe.kind, "seed": None, "temperature": None, **recipe.options}
        about = {"License": model.card.license, "Acknowledgements": model.card.credit}
        folder.finish(
            n,
            f"Synthetic volumes of {model.card.name}",
            {**about, "Synthetic": True, "Notice": record["notice"]},
            {**row, "model_sha256": model.digest},
        )
        folder.note(record)
        quality = None
        if compare_with is not None:
            quality = compare(
                model, seen, compare_with, leave_out=Path(out), device=device,
                progress=progress, cancel=cancel,
            )  # fmt: skip
            folder.write_report(report_parts(quality, record))
    files = tuple(folder.volume(number) for number in range(1, n + 1))
    return SyntheticSet(Path(out), files, made, n - made, record, quality)


def bids_suffix(modality: str) -> str:
    """Return the BIDS suffix of a modality such as ``T1-weighted MRI``."""
    return next((suffix for start, suffix in _SUFFIXES if modality.startswith(start)), "MRI")


def _recipe(
    model: LatentModel,
    around: ScanLike | None,
    between: tuple[ScanLike, ScanLike] | None,
    like: str | None,
    cohort: str | Path | None,
    seed: int,
    temperature: float,
    device: str,
    progress: Progress | None,
    cancel: Cancel | None,
) -> Recipe:
    given = [
        name
        for name, v in (("around", around), ("between", between), ("like", like))
        if v is not None
    ]
    if len(given) > 1 or (like is None) != (cohort is None):
        raise GenerationError(
            "GEN-001",
            "volumes are drawn around one scan, between two scans, or like a group of a cohort's "
            "table, and only one of these",
            "Pass around, or between, or like together with cohort, or none of them.",
        )
    if progress:
        progress("aligning and encoding", 0.0)
    if around is not None:
        return about_scan(model, as_volume(around), seed, temperature, device)
    if between is not None:
        first, second = map(as_volume, between)
        return between_scans(model, first, second, device)
    if like is not None and cohort is not None:
        return of_group(
            model, cohort, like, seed, temperature, device, progress=progress, cancel=cancel
        )
    return of_cohort(model, seed, temperature)


def _terms(model: LatentModel, recipe: Recipe, n: int) -> str:
    """Return what a set is known by; more draws of one seed go on with the same set."""
    steps = n if recipe.kind == "interpolation" else None
    text = json.dumps(
        [__version__, model.identity, recipe.kind, recipe.options, recipe.scans, steps],
        sort_keys=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()
