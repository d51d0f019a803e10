"""Made voxels joined to a scan: without a seam, and no more of the model than it deserves.

How much a model is worth beside an interpolation depends on the gap. It is measured in the scan
itself: on a copy of the gap a little way off, where the truth is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.core.gaps import membrane, rim_of
from napari_normative.core.residual import fit_contrast
from napari_normative.volume import FloatArray, Mask

RIM_MM = 10.0
"""Width of the observed rim to whose contrast the made voxels are fitted."""

LEAST_RIM = 200
LEAST_COPY = 200
"""Voxels of a copy of the gap below which it says nothing."""

BETWEEN = 2
"""Observed voxels that lie at least between a gap and its copy."""

FARTHEST = 80
SOME = 101
"""Of so many voxels one is looked at first: most places are ruled out by it."""

DEPTHS = 4

Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Worth:
    """How much of a model belongs into a gap, by depth.

    Attributes
    ----------
    depth_mm, share : float array, shape (n,)
        Distance to the nearest observed voxel, and the share of the model there; the rest is the
        interpolation's.
    """

    depth_mm: NDArray[np.float64]
    share: NDArray[np.float64]

    def at(self, depth_mm: NDArray[np.floating]) -> FloatArray:
        """Return the share at depths."""
        share: FloatArray = np.interp(depth_mm, self.depth_mm, self.share).astype(np.float32)
        return share


def join(
    data: FloatArray, guide: FloatArray, gap: Mask, inside: Mask, spacing_mm: Spacing
) -> FloatArray:
    """Return the scan with the guide in its gap, inside a mask, joined to what is around it.

    The guide's contrast is fitted in an observed rim; what then differs at the border is carried
    into the gap as a membrane.

    Parameters
    ----------
    data, guide : float32 array, shape (I, J, K)
        In the same units.
    gap, inside : bool array, shape (I, J, K)
        Elsewhere in the gap the data stay.
    spacing_mm : 3 floats
    """
    out = data.copy()
    if not (gap & inside).any():
        return out
    box = around(gap & inside, spacing_mm)
    data, guide, gap, inside = data[box], guide[box], gap[box], inside[box]
    target, known = gap & inside, inside & ~gap
    if not known.any():
        return out
    rim = rim_of(gap, inside, spacing_mm, RIM_MM)
    if rim.sum() >= LEAST_RIM:
        guide = fit_contrast(data, guide, rim, where=rim | target)
    offset = membrane(np.where(known, data - guide, 0), target, known, spacing_mm)
    low, high = float(data[known].min()), float(data[known].max())
    out[box] = np.where(target, np.clip(guide + offset, low, high), data)
    return out


def copy_of(gap: Mask, inside: Mask) -> Mask | None:
    """Return a copy of a gap, moved along an axis to where everything was observed.

    The nearest place in each of the six directions that keeps ``BETWEEN`` observed voxels; of
    these the one with most of the foreground. None where there is no such place.

    Parameters
    ----------
    gap, inside : bool array, shape (I, J, K)
    """
    near = gap.copy()
    for axis in range(3):  # a box, axis by axis: quicker than a dilation
        near = ndimage.maximum_filter1d(near, 2 * BETWEEN + 1, axis=axis)
    points = np.argwhere(gap)
    best, most = None, LEAST_COPY - 1
    for axis in range(3):
        for sign in (1, -1):
            for step in range(1, FARTHEST, 2):
                moved = points.copy()
                moved[:, axis] += sign * step
                moved = moved[(moved[:, axis] >= 0) & (moved[:, axis] < gap.shape[axis])]
                if near[tuple(moved[::SOME].T)].any():
                    continue
                place = tuple(moved.T)
                if near[place].any():
                    continue
                count = int(inside[place].sum())
                if count > most:
                    best, most = place, count
                break
    if best is None:
        return None
    copy = np.zeros(gap.shape, dtype=bool)
    copy[best] = True
    return copy


def worth_of(
    truth: FloatArray,
    plain: FloatArray,
    joined: FloatArray,
    copy: Mask,
    inside: Mask,
    spacing_mm: Spacing,
) -> Worth:
    """Return how much of ``joined`` beside ``plain`` comes nearest to the truth, by depth.

    Least squares in each of some equal depths, between 0 and 1.

    Parameters
    ----------
    truth, plain, joined : float32 array, shape (I, J, K)
    copy, inside : bool array, shape (I, J, K)
        Voxels of both are compared.
    spacing_mm : 3 floats
    """
    box = around(copy & inside, spacing_mm)
    depth, where = depth_mm(copy[box], spacing_mm), copy[box] & inside[box]
    found, far = depth[where], float(depth[where].max())
    ahead = (joined - plain)[box][where].astype(np.float64)
    wanted = (truth - plain)[box][where].astype(np.float64)
    which = np.minimum((DEPTHS * found / far).astype(int), DEPTHS - 1)
    rows = [
        (
            float(found[which == n].mean()),
            float(wanted[which == n] @ ahead[which == n]),
            float(ahead[which == n] @ ahead[which == n]),
        )
        for n in range(DEPTHS)
        if (which == n).sum() >= LEAST_COPY // DEPTHS
    ]
    middle, along, own = (np.array(part) for part in zip(*rows, strict=True))
    share = np.clip(along / np.maximum(own, 1e-12), 0, 1)
    return Worth(middle, share)


def blended(
    plain: FloatArray,
    joined: FloatArray,
    gap: Mask,
    inside: Mask,
    worth: Worth,
    spacing_mm: Spacing,
) -> FloatArray:
    """Return what belongs into a gap: of both as much as was found to be right.

    Outside of ``inside`` both are the same.
    """
    out = plain.copy()
    if not (gap & inside).any():
        return out
    box = around(gap & inside, spacing_mm)
    share = worth.at(depth_mm(gap[box], spacing_mm))
    mixed = plain[box] + share * (joined[box] - plain[box])
    out[box] = np.where(gap[box], mixed, plain[box])
    return out


def depth_mm(gap: Mask, spacing_mm: Spacing) -> NDArray[np.float64]:
    """Return the distance of missing voxels to the nearest observed one, mm; 0 outside."""
    depth: NDArray[np.float64] = ndimage.distance_transform_edt(gap, sampling=spacing_mm)
    return depth


def around(gap: Mask, spacing_mm: Spacing) -> Box:
    """Return the box of a gap with the rim around it."""
    found = ndimage.find_objects(gap.astype(np.int8))[0]
    margin = [int(np.ceil(RIM_MM / s)) + 1 for s in spacing_mm]
    i, j, k = (
        slice(max(0, s.start - m), min(n, s.stop + m))
        for s, m, n in zip(found, margin, gap.shape, strict=True)
    )
    return i, j, k
