"""Simulated lesions in the scans of healthy people, on the scans' own grids."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_normative.core.lesions import drawn_shape, place_shape, simulate
from napari_normative.core.preprocess import Prepared
from napari_normative.engine.measure import Look
from napari_normative.errors import EvaluationError
from napari_normative.io.nifti import find_volumes, read_volume
from napari_normative.volume import Mask

DRAWN_ML = (0.5, 50.0)
"""Volumes of drawn shapes, drawn evenly on a logarithmic scale."""

LEAST_ML = 0.1
"""A real shape of which less lies in the brain is passed over."""

MOST_TRIES = 20


def find_shapes(folder: Path | None) -> list[Path]:
    """Return the shape files of a folder, none for None.

    Raises
    ------
    EvaluationError
        ``EVA-003`` when the folder holds no volume.
    """
    if folder is None:
        return []
    files = find_volumes(folder)
    if not files:
        raise EvaluationError(
            "EVA-003",
            "no lesion shape was found here",
            "Name a folder with lesion masks in the space of the model's template, or leave "
            "--shapes out for drawn shapes.",
            subject=folder.name,
        )
    return files


def shape_for(
    healthy: Look, prepared: Prepared, inside: Mask, shapes: Sequence[Path], seed: int
) -> Mask | None:
    """Return the shape of a person's simulated lesions of one seed, on the scan's grid.

    All kinds of a seed have the same shape, so that kinds can be compared. The draw depends
    on seed and scan alone, not on the other cases.

    Parameters
    ----------
    healthy : Look
    prepared : Prepared
        Tells where the template lies in the scan.
    inside : bool array, shape of the scan
        Foreground, not eroded: a shape is cut by nothing else.
    shapes : sequence of Path
        Real lesion masks in the template's world; a shape is drawn when there are none.
    seed : int

    Returns
    -------
    bool array or None
        None when none of the shapes tried lies in the foreground.
    """
    scan = healthy.scan
    draw = np.random.default_rng([seed, int(scan.source.digest[:12], 16)])
    if not shapes:
        volume_ml = float(np.exp(draw.uniform(*np.log(DRAWN_ML))))
        return drawn_shape(inside, volume_ml, scan.spacing_mm, seed=int(draw.integers(2**31)))
    to_template = prepared.alignment.scan_to_template @ scan.affine
    for _ in range(MOST_TRIES):
        source = read_volume(shapes[int(draw.integers(len(shapes)))])
        placed = place_shape(source.data > 0, source.affine, scan.shape, to_template) & inside
        if placed.sum() * scan.voxel_ml >= LEAST_ML:
            return placed
    return None


def with_lesion(healthy: Look, inside: Mask, shape: Mask, kind: str, seed: int) -> Look:
    """Return a healthy person's scan with a simulated lesion of that shape and kind."""
    scan = healthy.scan
    made = simulate(scan.data, inside, shape, scan.spacing_mm, kind, seed=seed)
    return dataclasses.replace(
        healthy,
        group="simulated",
        kind=kind,
        seed=seed,
        scan=scan.with_data(made.image),
        truth=made.truth,
    )
