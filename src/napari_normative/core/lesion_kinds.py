"""How each kind of simulated lesion changes a scan; see :mod:`napari_normative.core.lesions`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.core.volume_change import (
    displaced,
    displacement,
    growth,
    jacobian,
    scaled_to,
    shrinkage,
    smoothed_within,
)
from napari_normative.errors import SimulationError
from napari_normative.volume import FloatArray, Mask

REPLACED = 0.9
"""Share of the way to the lesion's own intensity at strength 1."""

MASS_EXPANSION = 0.6
"""At strength 1 the tissue in a mass's place took up 1 - 0.6 of its volume before."""

SHRINKAGE = 0.3
"""Share of its volume that tissue loses by atrophy of strength 1."""

REGIONAL_LOSS = 0.3
"""Share of the intensity that is lost in a region at strength 1, as in ClinicaDL."""

REGIONAL_EDGE_MM = 12.0
TEXTURE_MM = 4.0
"""Gaussian σ below which structure counts as texture."""

GRAIN_MM = 1.6
"""Gaussian σ of the structure that replaces it."""


@dataclass(frozen=True)
class Levels:
    """Typical intensities; in a T1 scan of a brain: fluid, grey matter, white matter."""

    dark: float
    middle: float
    bright: float


@dataclass(frozen=True, eq=False)
class Site:
    """The part of a scan around a lesion.

    Attributes
    ----------
    image : float32 array, shape (i, j, k)
    mask, shape : bool array, shape (i, j, k)
        Foreground, and the lesion's shape within it.
    spacing_mm : array, shape (3,)
    levels : Levels
    strength, edge_mm : float
    random : Generator
    """

    image: FloatArray
    mask: Mask
    shape: Mask
    spacing_mm: NDArray[np.float64]
    levels: Levels
    strength: float
    edge_mm: float
    random: np.random.Generator

    @property
    def amount(self) -> float:
        """Share of the way to the lesion's own intensity."""
        return min(1.0, REPLACED * self.strength)

    def blend(self, width_mm: float) -> FloatArray:
        """Weight of the lesion: 1 at its core, 0 far off, an edge of that width between.

        Smoothed inside the foreground alone, so that a lesion at the foreground's rim
        is as strong there as inside and leaves no bare rim.
        """
        weight = smoothed_within(
            self.shape.astype(np.float32), self.mask, width_mm / 2 / self.spacing_mm
        )
        weight /= max(float(weight[self.shape].max()), 1e-9)  # a single voxel counts in full
        weight[(weight < 0.01) | ~self.mask] = 0
        return weight

    def noise(self, width_mm: float) -> FloatArray:
        """Smooth random field of mean 0 and SD 1 over this part of the scan."""
        white = self.random.standard_normal(self.image.shape, dtype=np.float32)
        field: FloatArray = ndimage.gaussian_filter(white, width_mm / self.spacing_mm)
        field -= field.mean()
        field /= max(float(field.std()), 1e-6)
        return field

    def fluid(self) -> FloatArray:
        """How much of each voxel is fluid, 0 to 1, by its intensity."""
        span = 0.65 * (self.levels.middle - self.levels.dark)
        share: FloatArray = np.clip((self.levels.dark + span - self.image) / span, 0, 1)
        return share

    def near(self, reach_mm: float) -> FloatArray:
        """Weight that falls off around the shape; 1 at its most."""
        soft: FloatArray = ndimage.gaussian_filter(
            self.shape.astype(np.float32), reach_mm / self.spacing_mm, truncate=3.0
        )
        soft /= max(float(soft.max()), 1e-9)
        return soft


Painted = tuple[FloatArray, Mask]
"""The changed part of the scan, and the truth."""


def tissue_levels(values: FloatArray) -> Levels:
    """Return three typical intensities of the foreground.

    K-means in one dimension, started at quantiles.

    Raises
    ------
    SimulationError
        ``SIM-004`` when all values are equal.
    """
    values = values[:: max(1, len(values) // 20_000)].astype(np.float64)
    low, high = np.quantile(values, (0.005, 0.995))
    if high - low <= 1e-6 * abs(high):
        raise SimulationError(
            "SIM-004",
            "the foreground has no contrast for a lesion to follow (all values are equal)",
            "Check the file in a viewer; it may be a mask or an empty export.",
        )
    centres = np.quantile(values, (0.05, 0.4, 0.85))
    if np.diff(centres).min() < 0.05 * (high - low):  # one tissue outweighs the others
        centres = np.linspace(low, high, 3)
    for _ in range(12):
        borders = (centres[1:] + centres[:-1]) / 2
        nearest = np.searchsorted(borders, values)
        count = np.bincount(nearest, minlength=3)
        total = np.bincount(nearest, weights=values, minlength=3)
        centres = np.where(count > 0, total / np.maximum(count, 1), centres)
    dark, middle, bright = (float(c) for c in centres)
    return Levels(dark, middle, bright)


def hypointense(site: Site) -> Painted:
    """Darken towards fluid, unevenly; nothing becomes brighter."""
    span = site.levels.middle - site.levels.dark
    target = site.levels.dark + 0.15 * span * site.noise(3.0)
    change = np.minimum(target - site.image, 0)
    return site.image + site.amount * site.blend(site.edge_mm) * change, site.shape


def hyperintense(site: Site) -> Painted:
    """Brighten above the brightest tissue, unevenly; nothing becomes darker."""
    span = site.levels.bright - site.levels.middle
    target = site.levels.bright + span * (1.0 + 0.2 * site.noise(3.0))
    change = np.maximum(target - site.image, 0)
    return site.image + site.amount * site.blend(site.edge_mm) * change, site.shape


def texture(site: Site) -> Painted:
    """Replace fine structure by a random one of the same SD; the mean stays."""
    weight = site.blend(site.edge_mm)
    detail = site.image - smoothed_within(site.image, site.mask, TEXTURE_MM / site.spacing_mm)
    grain = float(detail[site.mask].std()) * site.noise(GRAIN_MM)
    change = site.amount * weight * (grain - detail)
    change -= weight * (change[site.shape].mean() / weight[site.shape].mean())
    return np.maximum(site.image + change, min(0.0, float(site.image.min()))), site.shape


def mass(site: Site) -> Painted:
    """Push the surroundings outward and fill the shape with a body of low intensity."""
    grown = min(0.75, MASS_EXPANSION * site.strength)
    body = site.blend(2 * site.edge_mm)
    # The skull gives no room: fluid nearby is pressed out, and at the rim nothing moves.
    room = site.near(12.0) * site.fluid() * (site.mask & ~site.shape)
    room *= min(0.5, float(body.sum()) / max(float(room.sum()), 1e-9))
    deep = ndimage.gaussian_filter(
        site.mask.astype(np.float32), 3.0 / site.spacing_mm, truncate=3.0
    )
    field = displacement(room - body, site.spacing_mm) * np.clip(2 * deep - 1, 0, 1)
    field = scaled_to(field, site.shape, site.spacing_mm, growth, grown)
    moved = displaced(site.image, site.mask, field, site.spacing_mm, outside=None)
    span = site.levels.middle - site.levels.dark
    target = site.levels.dark + span * (0.65 + 0.15 * site.noise(4.0))
    return moved + site.amount * site.blend(site.edge_mm) * (target - moved), site.shape


def atrophy(site: Site) -> Painted:
    """Shrink the tissue of the shape; fluid beside it, also beyond the foreground, widens.

    Truth is where volume changes by half of what was asked, and where fluid took the place
    of tissue.
    """
    lost = min(0.6, SHRINKAGE * site.strength)
    fluid = np.where(site.mask, site.fluid(), 1)
    tissue = site.shape & (fluid < 0.5)
    if not tissue.any():
        tissue = site.shape
    body = site.blend(2 * site.edge_mm) * (1 - fluid)
    # Smooth, or the foreground's voxel steps would show as a ragged rim.
    wide = ndimage.gaussian_filter(fluid, 2.0 / site.spacing_mm, truncate=3.0)
    room = site.near(10.0) * (0.02 + wide)
    room *= min(1.0, float(body.sum()) / max(float(room.sum()), 1e-9))
    field = displacement(body - room, site.spacing_mm)
    field = scaled_to(field, tissue, site.spacing_mm, shrinkage, lost)
    moved = displaced(site.image, site.mask, field, site.spacing_mm, outside=site.levels.dark)
    shrunk = np.abs(np.log(jacobian(field, site.spacing_mm))) > -0.5 * np.log(1 - lost)
    flooded = dataclasses.replace(site, image=moved).fluid() - fluid > 0.5
    return moved, site.mask & (shrunk | flooded)


def regional(site: Site) -> Painted:
    """Lose a share of the intensity over a smooth region.

    Truth is where at least half of it is lost, in the shape a quarter: thin parts lose less.
    """
    weight = site.blend(max(REGIONAL_EDGE_MM, site.edge_mm))
    loss = min(0.9, REGIONAL_LOSS * site.strength)
    return site.image * (1 - loss * weight), (weight > 0.5) | (site.shape & (weight > 0.25))


PAINTERS: dict[str, tuple[Callable[[Site], Painted], float]] = {
    "hypointense": (hypointense, 0.0),
    "hyperintense": (hyperintense, 0.0),
    "texture": (texture, 3 * TEXTURE_MM),
    "mass": (mass, 25.0),
    "atrophy": (atrophy, 20.0),
    "regional": (regional, 1.5 * REGIONAL_EDGE_MM),
}
"""How each kind is made, and how far beyond its shape it may reach, mm."""
