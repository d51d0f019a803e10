"""Parts of a scan that are missing: found, interpolated without a model, and joined to it.

References
----------
.. [1] Pérez, Gangnet & Blake, Poisson image editing, ACM Trans. Graph. 22:313-318, 2003.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.volume import FloatArray, Mask

AXES = "ijk"
"""Names of the stored axes of a volume."""

SOLVED = 1e-4
"""Relative residual at which a membrane counts as solved."""

MOST_ITERATIONS = 500


@dataclass(frozen=True)
class Slab:
    """Slices ``first`` to ``last``, both included and counted from 0, across a stored axis."""

    axis: int
    first: int
    last: int

    def mask(self, shape: tuple[int, int, int]) -> Mask:
        """Return the slab as a mask."""
        inside = np.zeros(shape, dtype=bool)
        where: list[slice] = [slice(None)] * 3
        where[self.axis] = slice(self.first, self.last + 1)
        inside[tuple(where)] = True
        return inside

    def __str__(self) -> str:
        """Return the slab as a person writes it, such as ``k:40-44``."""
        span = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"{AXES[self.axis]}:{span}"


def empty_slabs(data: FloatArray) -> list[Slab]:
    """Return runs of slices without signal between slices with signal.

    A slice without signal has one value everywhere. Those at the ends of an axis are taken for
    background: nothing tells that they are missing.
    """
    found = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        signal = data.max(axis=others) > data.min(axis=others)
        if not signal.any():
            continue
        low, high = np.flatnonzero(signal)[[0, -1]]
        runs, count = ndimage.label(~signal[low : high + 1])
        for run in range(1, count + 1):
            inside = np.flatnonzero(runs == run) + low
            found.append(Slab(axis, int(inside[0]), int(inside[-1])))
    return found


def across_slices(data: FloatArray, missing: Mask, axis: int) -> FloatArray:
    """Interpolate linearly along an axis between the nearest slices that are whole.

    Beyond the last whole slice its values are repeated. Slices count as missing where any of
    their voxels is.
    """
    others = tuple(a for a in range(3) if a != axis)
    whole = np.flatnonzero(~missing.any(axis=others))
    wanted = np.flatnonzero(missing.any(axis=others))
    if not len(whole):
        return data.copy()
    after = np.searchsorted(whole, wanted)
    low, high = whole[np.maximum(after - 1, 0)], whole[np.minimum(after, len(whole) - 1)]
    low, high = np.where(after == 0, high, low), np.where(after == len(whole), low, high)
    share = np.where(high > low, (wanted - low) / np.maximum(high - low, 1), 0).astype(np.float32)
    moved = np.moveaxis(data, axis, 0)
    weight = share[:, None, None]
    between = (1 - weight) * moved[low] + weight * moved[high]
    out = moved.copy()
    out[wanted] = np.where(np.moveaxis(missing, axis, 0)[wanted], between, moved[wanted])
    return np.ascontiguousarray(np.moveaxis(out, 0, axis))


def slab_axis(missing: Mask) -> int | None:
    """Return the axis across which whole slices are missing, and nothing else; or None."""
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        some, every = missing.any(axis=others), missing.all(axis=others)
        if some.any() and (some == every).all() and not some.all():
            return axis
    return None


def membrane(
    data: FloatArray, unknown: Mask, known: Mask, spacing_mm: Sequence[float]
) -> FloatArray:
    """Return ``data`` with its unknown voxels as a membrane stretched between the known ones.

    Laplace's equation: every unknown voxel is the mean of its six neighbours, weighed by the
    inverse square of their distances. Neighbours that are neither known nor unknown have no
    say; a part that touches nothing known becomes 0.

    Parameters
    ----------
    data : float32 array, shape (I, J, K)
    unknown, known : bool array, shape (I, J, K)
    spacing_mm : 3 floats
    """
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import LinearOperator, cg

    out = data.astype(np.float32, copy=True)
    count = int(unknown.sum())
    if not count:
        return out
    place = np.full(data.shape, -1, dtype=np.int64)
    place[unknown] = np.arange(count)
    diagonal = np.full(count, 1e-9)
    right = np.zeros(count)
    rows, columns, values = [], [], []
    for axis in range(3):
        weight = 1.0 / float(spacing_mm[axis]) ** 2
        for step in (1, -1):
            ahead: list[slice] = [slice(None)] * 3
            here: list[slice] = [slice(None)] * 3
            ahead[axis] = slice(1, None) if step == 1 else slice(None, -1)
            here[axis] = slice(None, -1) if step == 1 else slice(1, None)
            own, other = place[tuple(here)], place[tuple(ahead)]
            both = (own >= 0) & (other >= 0)
            rows.append(own[both])
            columns.append(other[both])
            values.append(np.full(int(both.sum()), -weight))
            diagonal += np.bincount(own[both], minlength=count) * weight
            edge = (own >= 0) & known[tuple(ahead)] & (other < 0)
            diagonal += np.bincount(own[edge], minlength=count) * weight
            level = data[tuple(ahead)][edge].astype(np.float64)
            right += np.bincount(own[edge], weights=level * weight, minlength=count)
    index = np.arange(count)
    matrix = coo_array(
        (
            np.concatenate([*values, diagonal]),
            (np.concatenate([*rows, index]), np.concatenate([*columns, index])),
        ),
        shape=(count, count),
    ).tocsr()
    scale = LinearOperator((count, count), matvec=lambda x: x.ravel() / diagonal)
    solved, _ = cg(matrix, right, rtol=SOLVED, maxiter=MOST_ITERATIONS, M=scale)
    out[unknown] = solved.astype(np.float32)
    return out


def interpolated(data: FloatArray, missing: Mask, spacing_mm: Sequence[float]) -> FloatArray:
    """Fill missing voxels without a model: linearly across slices, else by a membrane."""
    axis = slab_axis(missing)
    if axis is not None:
        return across_slices(data, missing, axis)
    return membrane(data, missing, ~missing, spacing_mm)


def rim_of(missing: Mask, inside: Mask, spacing_mm: Sequence[float], width_mm: float) -> Mask:
    """Return observed voxels inside a mask and within a distance of what is missing."""
    distance = ndimage.distance_transform_edt(~missing, sampling=tuple(spacing_mm))
    rim: NDArray[np.bool_] = inside & ~missing & (distance <= width_mm)
    return rim
