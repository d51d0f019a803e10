"""Candidates grown to the edges of the scan and of its z map by a random walker.

At the threshold that keeps false candidates rare, a faint lesion shows no more than its core, and
a strong one its halo too. From each voxel in and around a candidate a walker sets out that
crosses edges unwillingly, and the voxel belongs to the lesion if the walker more likely arrives
at voxels that surely do than at voxels which look healthy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.volume import FloatArray, Mask

REACH_MM = 12.0
"""How far beyond what was found a candidate may grow."""

HEALTHY = 0.1
"""Share of the threshold below which z, in the direction of the candidate, looks healthy."""

SURE = 0.3
"""Share of a core's highest z (its 95th percentile) from which on a voxel is surely lesion."""

STEEPNESS = 5.0
"""How fast a walker loses the will to cross an edge: ``exp(-STEEPNESS * difference**2)``."""

Z_UNIT = 3.0
"""So many units of difference make up the threshold in z; in the residual a unit is a spread of
the scan's intensities."""

MOST_VOXELS = 400_000
"""In the box of a candidate; of a larger one every second voxel (or third ...) is walked on."""

Way = Literal["grown", "grown coarsely", "as found"]
Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Grown:
    """Candidates after growing.

    Attributes
    ----------
    labels : int32 array, shape (I, J, K)
        As those that were given, with more voxels, or fewer.
    ways : dict of int to str
        By label: ``grown``; ``grown coarsely`` on every n-th voxel of a large box;
        ``as found`` where there was nothing to walk on.
    """

    labels: NDArray[np.int32]
    ways: dict[int, Way]


def grow_candidates(
    labels: NDArray[np.integer],
    signs: Sequence[tuple[int, int]],
    z: FloatArray,
    residual: FloatArray,
    mask: Mask,
    spacing_mm: Sequence[float],
    *,
    threshold_z: float,
    spread: float,
) -> Grown:
    """Grow candidates, the first first; none enters another or leaves the mask.

    Voxels with a good share of a candidate's highest z stay. None farther than ``REACH_MM`` from
    what was found is entered, nor one whose z looks healthy; where no edge is in the way, a
    candidate grows by half the reach. The same input gives the same result.

    Parameters
    ----------
    labels : int array, shape (I, J, K)
        Cores; 0 elsewhere. Others than those in ``signs`` are left as they are.
    signs : sequence of (label, sign)
        What is grown, in this order; the sign is +1 brighter than expected, -1 darker.
    z : float32 array, shape (I, J, K)
    residual : float32 array, shape (I, J, K)
        Scan less reconstruction, contrast fitted.
    mask : bool array, shape (I, J, K)
    spacing_mm : 3 floats
    threshold_z : float
        ``|z|`` at which the candidates were formed.
    spread : float
        Of the scan's intensities inside the mask, in units of ``residual``.

    References
    ----------
    .. [1] Grady, Random walks for image segmentation, IEEE PAMI 28:1768-1783, 2006.
    """
    grown = np.asarray(labels, dtype=np.int32).copy()
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    channels = (Z_UNIT / threshold_z, 1.0 / max(spread, 1e-12))
    boxes = ndimage.find_objects(grown)
    ways: dict[int, Way] = {}
    for label, sign in signs:
        found = boxes[label - 1] if label <= len(boxes) else None
        if found is None:
            continue
        box = _around(found, spacing, grown.shape)
        inside = grown[box]
        core, taken = inside == label, (inside > 0) & (inside != label)
        data = np.stack([z[box] * channels[0], residual[box] * channels[1]], axis=-1)
        signed = sign * z[box]
        quiet = signed < HEALTHY * threshold_z
        sure = core & (signed >= SURE * np.quantile(signed[core], 0.95))
        region, ways[label] = _region(core, sure, quiet | taken, mask[box], data, spacing)
        inside[core] = 0
        inside[region & ~taken] = label
    return Grown(grown, ways)


def _around(found: Box, spacing: NDArray[np.float64], shape: tuple[int, ...]) -> Box:
    """Return the box of a core with room for the reach."""
    room = np.ceil(REACH_MM / spacing).astype(int) + 1
    return tuple(
        slice(max(0, s.start - int(m)), min(n, s.stop + int(m)))
        for s, m, n in zip(found, room, shape, strict=True)
    )


def _region(
    core: Mask,
    sure: Mask,
    other: Mask,
    mask: Mask,
    data: FloatArray,
    spacing: NDArray[np.float64],
) -> tuple[Mask, Way]:
    """Return the region of a core in its box; ``other`` is what it must not enter."""
    near = ndimage.distance_transform_edt(~core, sampling=spacing) <= REACH_MM
    seeds = np.where(other | ~near, 2, 0)
    seeds[sure] = 1
    seeds[~mask] = -1
    step = int(np.ceil((core.size / MOST_VOXELS) ** (1 / 3)))
    if step == 1:
        region = _walk(seeds, data, spacing)
        return (core, "as found") if region is None else (region | sure, "grown")
    every = (slice(None, None, step),) * 3
    coarse = _walk(seeds[every], data[every], spacing * step)
    if coarse is None:
        return core, "as found"
    for axis, size in enumerate(core.shape):
        coarse = np.take(coarse, np.minimum(np.arange(size) // step, coarse.shape[axis] - 1), axis)
    return sure | (coarse & (seeds == 0)), "grown coarsely"


def _walk(seeds: NDArray[np.int_], data: FloatArray, spacing: NDArray[np.float64]) -> Mask | None:
    """Return where a walker more likely arrives at a seed 1 than at a seed 2.

    None where no voxel is free, or there are not seeds of both kinds.
    """
    from skimage.segmentation import random_walker

    seeds = seeds.copy()
    pieces, count = ndimage.label(seeds >= 0)
    reached = np.zeros(count + 1, dtype=bool)
    reached[pieces[seeds == 1]] = True
    seeds[~reached[pieces]] = -1  # from there no walker arrives
    if not all((seeds == kind).any() for kind in (0, 1, 2)):
        return None
    # skimage divides by the standard deviation of the box: the same edge must count the same
    # in every box.
    beta = STEEPNESS * 10 * float(data.std()) * np.sqrt(data.shape[-1])
    arrived: Mask = (
        random_walker(
            data.astype(np.float64), seeds, beta=beta, mode="cg_j", tol=1e-4,
            spacing=spacing / spacing.min(), channel_axis=-1, prob_tol=np.inf,
        )
        == 1
    )  # fmt: skip
    return arrived
