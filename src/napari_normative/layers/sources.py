"""From a layer to the voxels behind it.

A :class:`Snapshot` is taken on the main thread and read in a job, so that no job ever
touches a layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_normative.core.grid import resample
from napari_normative.errors import GeometryMismatchError
from napari_normative.layers.grid import (
    from_display,
    to_display,
)
from napari_normative.layers.spec import (
    LayerFacts,
    content_digest,
    facts_of,
)
from napari_normative.volume import Affine, Volume

_REVERSE = np.eye(4)[[2, 1, 0, 3]]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a layer holds at one moment.

    Attributes
    ----------
    name : str
    data : array, shape (S, A, R) or (volumes, S, A, R)
    affine : float64 array, shape (4, 4)
        Index of the last three axes to world mm in RAS+ order.
    facts : LayerFacts or None
        None for a layer that another reader or a script made.
    moved : bool
        The layer is ours but no longer lies where we put it.
    """

    name: str
    data: NDArray[np.generic]
    affine: Affine
    facts: LayerFacts | None
    moved: bool = False

    @property
    def assumed(self) -> bool:
        """Whether the anatomical directions are an assumption (axes S, A, R)."""
        return self.facts is None

    @property
    def count(self) -> int:
        """Number of volumes: more than 1 for a series."""
        return int(self.data.shape[0]) if self.data.ndim == 4 else 1


def _world_affine(layer: Any) -> Affine:
    """Return index (last three axes) to world mm, RAS+, from a layer's transforms."""
    lead = layer.ndim - 3
    points = np.zeros((4, layer.ndim))
    points[1:, lead:] = np.eye(3)
    world = np.array([layer.data_to_world(p) for p in points], dtype=np.float64)[:, lead:]
    world = world * np.array([_mm_per(unit) for unit in layer.units[lead:]])
    matrix = np.eye(4)
    matrix[:3, :3] = (world[1:] - world[0]).T
    matrix[:3, 3] = world[0]
    return _REVERSE @ matrix


def _mm_per(unit: Any) -> float:
    """Return mm per unit; a pixel counts as 1 mm."""
    text = str(unit)
    if text == "pixel":
        return 1.0
    try:
        return float((1 * unit).to("millimeter").magnitude)
    except Exception as error:  # pint raises several types; each means "not a length"
        raise GeometryMismatchError(
            "GEO-004",
            f"the layer's unit {text!r} is not a length",
            "Give the layer units of mm, for instance layer.units = 'mm'.",
        ) from error


def snapshot(layer: Any) -> Snapshot:
    """Take what a layer holds now; on the main thread.

    Raises
    ------
    GeometryMismatchError
        If the layer is neither one volume nor a series of volumes, is RGB or multiscale,
        or has units that are not a length.
    """
    facts = facts_of(layer)
    rgb, multiscale = getattr(layer, "rgb", False), getattr(layer, "multiscale", False)
    if rgb or multiscale or layer.ndim not in (3, 4):
        kind = "RGB" if rgb else "multiscale" if multiscale else f"{layer.ndim}-dimensional"
        raise GeometryMismatchError(
            "GEO-005",
            f"the layer is {kind}, a scan is one 3D volume or a series of them",
            "Choose a layer with three axes.",
            subject=layer.name,
        )
    affine = _world_affine(layer)
    moved = facts is not None and not np.allclose(affine, facts.grid.affine, atol=1e-4)
    return Snapshot(layer.name, layer.data, affine, facts, moved)


def geometry_lines(taken: Snapshot) -> tuple[str, str]:
    """Return the geometry of a layer in one line, and what was assumed or repaired."""
    facts = taken.facts
    if facts is None or taken.moved:
        shape = taken.data.shape[-3:][::-1]
        spacing = np.linalg.norm(taken.affine[:3, :3], axis=0)[::-1]
        codes = "".join(str(c) for c in nib.aff2axcodes(taken.affine))[::-1]
        notes = (
            ["The layer was moved after it was opened."]
            if taken.moved
            else ["Orientation assumed: axes taken as superior, anterior, right."]
        )
        tilt = 0.0
    else:
        volume = facts.volumes[0]
        shape, spacing, codes = volume.shape, volume.spacing_mm, volume.orientation
        tilt = volume.tilt_deg
        notes = list(volume.source.warnings)
        if not facts.grid.exact:
            notes.append("Tilted: resampled for display only; results use the scan's own voxels.")
    line = " × ".join(str(n) for n in shape)
    line += "  ·  " + " × ".join(f"{mm:.3g}" for mm in spacing) + f" mm  ·  {codes}"
    if tilt >= 0.05:
        line += f"  ·  tilt {tilt:.1f}°"
    if taken.count > 1:
        line += f"  ·  {taken.count} volumes"
    return line, "\n".join(notes)


def volume_of(taken: Snapshot, index: int | None = None) -> Volume:
    """Return the volume behind a layer, on its stored grid; in a job.

    Parameters
    ----------
    taken : Snapshot
    index : int, optional
        Which volume of a series, from 0. Required for a series: the first is never
        taken in silence.

    Raises
    ------
    GeometryMismatchError
        If a series is given without ``index``.
    """
    if taken.count > 1 and index is None:
        raise GeometryMismatchError(
            "GEO-006",
            f"the layer is a series of {taken.count} volumes",
            "Choose which volume of it to compare.",
            subject=taken.name,
        )
    at = index or 0
    shown = np.asarray(taken.data[at] if taken.data.ndim == 4 else taken.data)
    name = f"{taken.name} (volume {at + 1})" if taken.count > 1 else taken.name
    facts = taken.facts
    if facts is None or taken.moved or at >= len(facts.volumes):
        return Volume.from_array(shown, taken.affine, name)
    stored = facts.volumes[at]
    if taken.count > 1:
        source = replace(stored.source, name=f"{stored.source.name} (volume {at + 1})")
        stored = Volume(stored.data, stored.affine, source)
    if content_digest(np.asarray(taken.data)) == facts.digest:
        return stored
    current = from_display(shown, facts.grid, stored)
    # Somebody changed the values: they are what is compared, and no longer the file's.
    return Volume.from_array(current.data, current.affine, stored.source.name)


def labels_of(taken: Snapshot) -> Volume:
    """Return labels on their stored grid, with edits; in a job.

    Labels of a tilted scan are edited on the display grid. Only voxels whose display
    voxel was changed take the new value, so everything untouched stays exact.
    """
    facts = taken.facts
    shown = np.asarray(taken.data)
    if facts is None or taken.moved:
        return Volume.from_array(shown, taken.affine, taken.name)
    stored = facts.volumes[0]
    if content_digest(shown) == facts.digest:
        return stored
    if facts.grid.exact:
        return from_display(shown, facts.grid, stored)
    before = to_display(stored, facts.grid, nearest=True)
    changed = from_display(np.asarray(shown != before, dtype=np.float32), facts.grid, stored)
    current = from_display(shown, facts.grid, stored)
    return stored.with_data(np.where(changed.data > 0.5, current.data, stored.data))


def mask_on(taken: Snapshot, scan: Volume) -> Volume:
    """Return 1 where labels are not zero, on the voxels of ``scan``; in a job.

    A mask drawn on another grid is read at the nearest voxel.

    Raises
    ------
    GeometryMismatchError
        If the mask covers no voxel of the scan.
    """
    labels = labels_of(taken)
    if labels.same_grid(scan):
        mask = labels.data != 0
    else:
        filled = (labels.data != 0).astype(np.float32)
        mask = resample(filled, labels.affine, scan.shape, scan.affine, order=0) > 0.5
    if not mask.any():
        raise GeometryMismatchError(
            "GEO-007",
            f"the mask {taken.name} covers no voxel of the scan",
            "Choose another mask, or none.",
            subject=scan.source.name,
        )
    return Volume.from_array(mask, scan.affine, taken.name)
