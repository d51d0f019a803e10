"""Regions that a reader makes: grown from a click, or cut into parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.growing import REACH_MM, Around, Numbers, bounds
from napari_normative.volume import FloatArray, Mask

MOST_ML = 60.0
"""No region is grown beyond this."""

NECKS = 24
"""Depths at which a mask is looked at for a neck."""

_CORNERS = np.ones((3, 3, 3), dtype=bool)


def grow(
    values: FloatArray,
    seed: tuple[int, int, int],
    spacing_mm: Sequence[float],
    *,
    tolerance: float | None = None,
    most_ml: float = MOST_ML,
    inside: Mask | None = None,
    taken: Mask | None = None,
) -> Mask:
    """Return the region around a click that stands out most from what surrounds it.

    Connected regions of similar values are grown with several tolerances, two-sided and
    one-sided (a bright spot may be brighter still), as they are and without thin bridges.
    What leaks, by size or reach, is left out. Of the rest those are best whose mean differs
    most from that of the two voxels around, relative to the spread of both.

    It is a start for the brush: how well it does, and how much better a click in the middle
    is than one at the rim, is in ``benchmarks/results/grow.md``.

    Parameters
    ----------
    values : float32 array, shape (I, J, K)
        The scan, or a map of anomalies; any units.
    seed : tuple of 3 int
        The voxel that was clicked.
    spacing_mm : 3 floats
    tolerance : float, optional
        Largest difference from the level at the click, in units of ``values``, instead of those
        that are tried. It is tightened where the region would leak.
    most_ml : float
        Volume that is not exceeded, unless by the clicked voxel.
    inside : bool array, shape (I, J, K), optional
        Foreground: only the clicked voxel may lie outside.
    taken : bool array, shape (I, J, K), optional
        Belongs to other candidates: never entered.

    Returns
    -------
    bool array, shape (I, J, K)
        Connected over faces; holds the clicked voxel, and no other if nothing is like it.

    Raises
    ------
    ValueError
        If the clicked voxel lies outside the grid or is taken.
    """
    if not all(0 <= s < n for s, n in zip(seed, values.shape, strict=True)):
        raise ValueError("the clicked voxel lies outside the grid")
    if taken is not None and taken[seed]:
        raise ValueError("the clicked voxel belongs to another candidate")
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    where = tuple(
        slice(max(0, s - int(reach)), s + int(reach) + 1)
        for s, reach in zip(seed, np.ceil(REACH_MM / spacing), strict=True)
    )
    free = np.isfinite(values[where])
    if inside is not None:
        free &= inside[where]
    if taken is not None:
        free &= ~taken[where]
    grown = np.zeros(values.shape, dtype=bool)
    grown[seed] = True
    at = tuple(s - box.start for s, box in zip(seed, where, strict=True))
    around = Around.of(values[where], free, at, spacing, most_ml)
    if around is None:
        return grown
    region = around.most_distinct() if tolerance is None else around.within(tolerance)
    if region is not None:
        grown[where][region.box] |= region.mask
    return grown


def split(mask: Mask, spacing_mm: Sequence[float], parts: int = 2) -> tuple[Mask, ...]:
    """Return the parts of a mask that is really several, largest first.

    Pieces that lie apart are parts: the largest are kept, and each other piece goes to the
    nearest of them. While there are too few, the largest part is cut at its deepest neck, or in
    the middle of its longest axis where it has none.

    Parameters
    ----------
    mask : bool array, shape (I, J, K)
    spacing_mm : 3 floats
    parts : int

    Returns
    -------
    tuple of bool array, shape (I, J, K)
        Disjoint, none empty, together the mask; each connected (over corners too) unless it
        took in small pieces. Fewer than ``parts`` where there are not enough voxels.

    Raises
    ------
    ValueError
        If the mask is empty or ``parts`` is less than 1.
    """
    if parts < 1 or not mask.any():
        raise ValueError("only a mask with voxels can be split, into at least one part")
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    where = bounds(mask)
    labels = _pieces(mask[where], spacing, parts)
    while labels.max() < min(parts, np.count_nonzero(labels)):
        largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
        labels[_half(labels == largest, spacing)] = labels.max() + 1
    made = []
    for label in 1 + np.argsort(-np.bincount(labels.ravel())[1:], kind="stable"):
        part = np.zeros(mask.shape, dtype=bool)
        part[where] = labels == label
        made.append(part)
    return tuple(made)


def _pieces(mask: Mask, spacing: Numbers, most: int) -> NDArray[np.int32]:
    """Return labels of the pieces that lie apart; small ones go to the nearest large one."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask, _CORNERS)
    order = 1 + np.argsort(-np.bincount(pieces.ravel())[1:], kind="stable")
    numbers = np.zeros(count + 1, dtype=np.int32)
    numbers[order[:most]] = np.arange(1, min(most, count) + 1)
    if count > most:
        distance, nearest = ndimage.distance_transform_edt(
            numbers[pieces] == 0, sampling=spacing, return_indices=True
        )
        for piece, at in zip(
            order[most:], ndimage.minimum_position(distance, pieces, order[most:]), strict=True
        ):
            numbers[piece] = numbers[pieces[tuple(axis[at] for axis in nearest)]]
    labels: NDArray[np.int32] = numbers[pieces]
    return labels


def _half(mask: Mask, spacing: Numbers) -> Mask:
    """Return one of two parts of a mask of two or more voxels: beyond its neck or middle."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    markers = np.zeros(mask.shape, dtype=np.int32)
    neck = 0.5 * float(spacing.min())  # less is a step of the grid
    for level in np.linspace(0, depth.max(), NECKS, endpoint=False):
        labels, count = ndimage.label(depth > level, _CORNERS)
        if count < 2:
            continue
        peaks = np.asarray(ndimage.maximum(depth, labels, np.arange(1, count + 1)))
        first, second = 1 + np.argsort(-peaks, kind="stable")[:2]
        if peaks[second - 1] - level > neck:
            neck = float(peaks[second - 1] - level)
            markers = np.where(labels == first, 1, np.where(labels == second, 2, 0))
    if not markers.any():  # no neck: at half the length of the longest axis
        places = np.argwhere(mask)
        centred = (places - places.mean(axis=0)) * spacing
        along = np.zeros(mask.shape)
        along[mask] = centred @ np.linalg.svd(centred.T @ centred)[0][:, 0]
        middle = (along[mask].min() + along[mask].max()) / 2
        for number, end in enumerate((along <= middle, along > middle), start=1):
            labels, _ = ndimage.label(mask & end, _CORNERS)
            markers[labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])] = number
        depth = np.zeros_like(depth)
    half: Mask = watershed(-depth, markers, connectivity=3, mask=mask) == 2
    return half
