"""Growing a region from a click: what is tried, what leaks, what stands out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_normative.volume import Mask

REACH_MM = 40.0
"""How far from the click a region may reach; what arrives there has leaked."""

NEAR_MM = 2.0
"""The median within this distance of the click is the level of the region."""

TOLERANCES = (0.25, 0.18, 0.13, 0.09, 0.06)
"""Differences from the level that are tried, as shares of the contrast around the click."""

TIGHTENINGS = 20
"""How often a given tolerance is tightened, by a fifth each time, before it is given up."""

NEARLY = 0.85
"""Of regions that stand out this much of the most, the largest is taken."""

FEWEST = 8
"""Voxels; smaller regions are taken where there is no other."""

Numbers = NDArray[np.floating]
Box = tuple[slice, ...]
Voxel = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Region:
    """A region inside its bounding box."""

    mask: Mask
    box: Box
    seed: Voxel

    @classmethod
    def connected(cls, seed: Voxel, mask: Mask, within: Box) -> Region:
        """Return what hangs together over faces with a voxel, of a mask that fills a box."""
        from scipy import ndimage

        labels, _ = ndimage.label(mask)
        return cls.of(labels == labels[seed], within, seed)

    @classmethod
    def of(cls, mask: Mask, within: Box, seed: Voxel) -> Region:
        """Return a region, given inside a larger box."""
        found = bounds(mask)
        moved = tuple(s - box.start for s, box in zip(seed, found, strict=True))
        return cls(mask[found], _inner(within, found), moved)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.count_nonzero(self.mask))

    def without_bridges(self) -> Region | None:
        """Return the part around the seed that thin bridges do not lead to."""
        from scipy import ndimage

        core = _eroded(self.mask)
        if not core[self.seed]:
            return None
        labels, _ = ndimage.label(core)
        wide = _dilated(labels == labels[self.seed])
        return Region.of(wide, self.box, self.seed)

    def filled(self, free: Mask) -> Region:
        """Return it with its holes, as far as these may be entered."""
        from scipy import ndimage

        outside, holes = ndimage.label(np.pad(~self.mask, 1, constant_values=True))
        if holes == 1:
            return self
        hole = ((outside > 0) & (outside != outside[0, 0, 0]))[1:-1, 1:-1, 1:-1]
        return Region.connected(self.seed, self.mask | (hole & free[self.box]), self.box)


@dataclass(frozen=True, eq=False)
class Around:
    """What lies around a click.

    Attributes
    ----------
    values : float array, shape (i, j, k)
    free, edge : bool array, shape (i, j, k)
        Voxels that may be entered, and where the reach ends.
    seed : tuple of 3 int
    level, contrast : float
        Median near the click; spread of all values.
    brighter : bool
        Whether the click lies above what is around it.
    most : float
        Voxels.
    """

    values: Numbers
    free: Mask
    edge: Mask
    seed: Voxel
    level: float
    contrast: float
    brighter: bool
    most: float

    @classmethod
    def of(
        cls, values: Numbers, free: Mask, seed: Voxel, spacing: NDArray[np.float64], most_ml: float
    ) -> Around | None:
        """Return it; None where nothing near may be entered."""
        axes = ((np.arange(n) - s) * x for n, s, x in zip(values.shape, seed, spacing, strict=True))
        i, j, k = np.ix_(*(axis**2 for axis in axes))
        distance = np.sqrt(i + j + k)
        free = free & (distance <= REACH_MM)
        near = values[free & (distance <= max(NEAR_MM, spacing.max() + 1e-6))]
        if not near.size:
            return None
        level = float(np.median(near))
        low, middle, high = (float(q) for q in np.quantile(values[free], (0.05, 0.5, 0.95)))
        contrast = max(high - low, abs(level - middle))
        values = np.where(np.isfinite(values), values, level)
        edge = free & (distance > REACH_MM - spacing.max())
        most = most_ml * 1000 / float(np.prod(spacing))
        return cls(values, free, edge, seed, level, contrast, level > middle, most)

    def within(self, tolerance: float) -> Region | None:
        """Return the region of a tolerance, tightened until it does not leak."""
        limits = (tolerance * 0.8**step for step in range(TIGHTENINGS))
        difference = np.abs(self.values - self.level)
        return next(self.regions(difference, limits), None)

    def most_distinct(self) -> Region | None:
        """Return the largest of the regions that stand out nearly as much as any."""
        signed = self.values - self.level
        limits = [share * self.contrast for share in TOLERANCES]
        found = [
            region
            for difference in (np.abs(signed), -signed if self.brighter else signed)
            for region in self.regions(difference, limits)
        ]
        found = [region for region in found if region.size >= FEWEST] or found
        marks = [self.distinctness(region) for region in found]
        good = [r for r, mark in zip(found, marks, strict=True) if mark >= NEARLY * max(marks)]
        return max(good, key=lambda region: region.size, default=None)

    def regions(self, difference: Numbers, limits: Iterable[float]) -> Iterator[Region]:
        """Yield what does not leak of the regions of falling limits."""
        difference = np.where(self.free, difference, np.inf)
        difference[self.seed] = -np.inf
        whole = Region(self.free, tuple(slice(0, n) for n in self.free.shape), self.seed)
        for limit in limits:  # each region lies in the one before
            like = difference[whole.box] <= limit
            whole = Region.connected(whole.seed, like, whole.box)
            for region in (whole, whole.without_bridges()):
                if region is not None and not self.leaks(region):
                    filled = region.filled(self.free)
                    if not self.leaks(filled):
                        yield filled

    def leaks(self, region: Region) -> bool:
        """Whether a region is larger than it may be, or arrives at the reach."""
        too_large = region.size > max(1, self.most)
        return too_large or bool((region.mask & self.edge[region.box]).any())

    def distinctness(self, region: Region) -> float:
        """Return how far region and surroundings differ, relative to their spread."""
        near = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in region.box)
        mask = np.zeros(self.free[near].shape, dtype=bool)
        mask[
            tuple(
                slice(s.start - n.start, s.stop - n.start)
                for s, n in zip(region.box, near, strict=True)
            )
        ] = region.mask
        values = self.values[near]
        around = _dilated(_dilated(mask)) & ~mask & self.free[near]
        if not around.any():
            return 0.0
        own, others = values[mask], values[around]
        spread = own.std() + others.std() + 0.02 * self.contrast
        return float(abs(own.mean() - others.mean()) / spread) if spread else 0.0


def _dilated(mask: Mask) -> Mask:
    """Return a mask with the neighbours over faces; several times faster than scipy's."""
    out = mask.copy()
    for axis in range(3):
        to, of = np.moveaxis(out, axis, 0), np.moveaxis(mask, axis, 0)
        to[1:] |= of[:-1]
        to[:-1] |= of[1:]
    return out


def _eroded(mask: Mask) -> Mask:
    """Return a mask without the voxels of which a face is bare."""
    bare = _dilated(~mask)
    for axis in range(3):
        faces = np.moveaxis(bare, axis, 0)
        faces[0] = faces[-1] = True
    return ~bare


def bounds(mask: Mask) -> Box:
    """Return the bounding box of a mask that is not empty."""
    box: Box = ()
    for axis in range(mask.ndim):
        at = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box += (slice(int(at[0]), int(at[-1]) + 1),)
    return box


def _inner(outer: Box, inner: Box) -> Box:
    """Return a box that is counted from another, counted from where the other is."""
    return tuple(
        slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True)
    )
