"""Simulated lesions: known changes in scans of healthy people, for evaluation only.

What comes from here is always called simulated. It is never a training signal: a method
that has seen a simulator learns the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.core.deformed import displaced, divergence_field, jacobian, scaled_to
from napari_normative.core.grid import antialias, resample
from napari_normative.core.residual import smooth_inside
from napari_normative.errors import SimulationError
from napari_normative.volume import Affine, FloatArray, Mask

LESION_KINDS = ("hypointense", "hyperintense", "texture", "mass", "atrophy", "regional")
"""Kinds of simulated lesion; see :func:`simulate`."""

REPLACED = 0.85
"""Share of the way to the lesion's own intensity at strength 1."""

MASS_EXPANSION = 0.65
"""At strength 1 a mass holds tissue that took up 1 - 0.65 of its volume before."""

SHRINKAGE = 0.3
"""Share of its volume that tissue loses by atrophy of strength 1."""

REGIONAL_LOSS = 0.3
"""Share of the intensity that is lost in a region at strength 1, as in ClinicaDL."""

REGIONAL_EDGE_MM = 12.0
TEXTURE_MM = 4.0
"""Gaussian σ below which structure counts as texture."""


@dataclass(frozen=True, eq=False)
class SimulatedLesion:
    """A healthy scan with a simulated lesion.

    Attributes
    ----------
    image : float32 array, shape (I, J, K)
        In the units of the scan that was given; equal to it outside the foreground.
    truth : bool array, shape (I, J, K)
        What a perfect reader would mark.
    kind : str
        One of ``LESION_KINDS``.
    volume_ml : float
        Of ``truth``.
    strength : float
    """

    image: FloatArray
    truth: Mask
    kind: str
    volume_ml: float
    strength: float


@dataclass(frozen=True)
class _Levels:
    """Typical intensities; in a T1 scan of a brain: fluid, grey matter, white matter."""

    dark: float
    middle: float
    bright: float


@dataclass(frozen=True, eq=False)
class _Site:
    """The part of a scan around a lesion."""

    image: FloatArray
    mask: Mask
    shape: Mask
    spacing_mm: NDArray[np.float64]
    levels: _Levels
    strength: float
    edge_mm: float
    random: np.random.Generator

    def blend(self, width_mm: float) -> FloatArray:
        """Weight of the lesion: 1 inside, 0 far off, an edge of that width between.

        Smoothed inside the foreground alone, so that a lesion at the foreground's rim
        is as strong there as inside and leaves no bare rim.
        """
        sigma = width_mm / 2 / self.spacing_mm
        weight = ndimage.gaussian_filter(self.mask.astype(np.float32), sigma, truncate=3.0)
        value = ndimage.gaussian_filter(self.shape.astype(np.float32), sigma, truncate=3.0)
        out: FloatArray = np.where(self.mask, value / np.maximum(weight, 1e-3), 0)
        out[out < 0.01] = 0
        return out

    def noise(self, width_mm: float) -> FloatArray:
        """Smooth random field of mean 0 and SD 1 over the shape's box."""
        white = self.random.standard_normal(self.image.shape).astype(np.float32)
        field: FloatArray = ndimage.gaussian_filter(white, width_mm / self.spacing_mm)
        field -= field.mean()
        field /= max(float(field.std()), 1e-6)
        return field


def simulate(
    image: FloatArray,
    mask: Mask,
    shape: Mask,
    spacing_mm: float | Sequence[float],
    kind: str,
    *,
    strength: float = 1.0,
    seed: int = 0,
    edge_mm: float = 2.0,
) -> SimulatedLesion:
    """Put a simulated lesion into a healthy scan.

    ``hypointense``: towards fluid, as an old stroke. ``hyperintense``: above the brightest
    tissue. ``texture``: the mean stays, fine structure is replaced. ``mass``: a body of
    slightly low intensity that pushes its surroundings outward. ``atrophy``: tissue in the
    shape shrinks by ``30 % x strength`` and fluid beside it takes the room. ``regional``:
    a smooth loss of ``30 % x strength`` of the intensity.

    Changes are relative to the scan's own tissue contrast. Nothing outside ``mask`` changes.

    Parameters
    ----------
    image : float32 array, shape (I, J, K)
        A healthy scan in any units, T1-like: fluid darkest.
    mask : bool array, shape (I, J, K)
        Foreground. Not eroded: a lesion cut by an eroded mask leaves a rim that any
        method finds.
    shape : bool array, shape (I, J, K)
        The lesion's shape on the same grid.
    spacing_mm : float or 3 floats
    kind : str
        One of ``LESION_KINDS``.
    strength : float
        1 is clearly visible, 0.5 subtle; in (0, 2].
    seed : int
        Of the variation within the lesion.
    edge_mm : float
        Width over which the lesion fades into its surroundings.

    Raises
    ------
    SimulationError
        ``SIM-001`` unknown kind or strength, ``SIM-002`` no voxel of the shape in the
        foreground, ``SIM-003`` grids differ, ``SIM-004`` no contrast.
    """
    if kind not in LESION_KINDS or not 0 < strength <= 2:
        raise SimulationError(
            "SIM-001",
            f"there is no simulated lesion of kind {kind!r} and strength {strength:g}",
            f"Kinds are {', '.join(LESION_KINDS)}; strength is above 0 and at most 2.",
        )
    if not image.shape == mask.shape == shape.shape:
        raise SimulationError(
            "SIM-003",
            f"image {image.shape}, foreground {mask.shape} and shape {shape.shape} differ in size",
            "Bring the shape onto the scan's grid first, with place_shape.",
        )
    inside = shape & mask
    if not inside.any():
        raise SimulationError(
            "SIM-002",
            "no voxel of the lesion's shape lies in the foreground",
            "Choose another shape, or check that shape and scan share a space.",
        )
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
    paint, margin_mm = _PAINTERS[kind]
    voxel_ml = float(np.prod(spacing)) / 1000
    radius_mm = (3 * float(inside.sum()) * voxel_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    margin = np.ceil((max(margin_mm, 1.5 * edge_mm) + radius_mm) / spacing).astype(int) + 1
    box = tuple(
        slice(max(0, s.start - m), s.stop + m)
        for s, m in zip(ndimage.find_objects(inside.astype(np.int8))[0], margin, strict=True)
    )
    site = _Site(
        image[box].astype(np.float32), mask[box], inside[box], spacing,
        _levels(image[mask]), strength, edge_mm, np.random.default_rng(seed),
    )  # fmt: skip
    changed, marked = paint(site)
    out = image.astype(np.float32, copy=True)
    out[box] = np.where(site.mask, changed, site.image)
    truth = np.zeros(mask.shape, dtype=bool)
    truth[box] = marked & site.mask
    return SimulatedLesion(out, truth, kind, float(truth.sum()) * voxel_ml, strength)


def place_shape(
    shape: NDArray[np.generic],
    shape_affine: Affine,
    grid_shape: tuple[int, int, int],
    grid_affine: Affine,
) -> Mask:
    """Lay a real lesion's mask onto a grid of the same world.

    Parameters
    ----------
    shape : array, shape (A, B, C)
        Anything above 0 is lesion.
    shape_affine, grid_affine : array, shape (4, 4)
        Voxel index to world mm.
    grid_shape : tuple of 3 int

    Returns
    -------
    bool array, shape ``grid_shape``
        Voxels of which the lesion fills more than half; may be empty.
    """
    spacing = np.linalg.norm(shape_affine[:3, :3], axis=0)
    target_mm = float(np.linalg.norm(grid_affine[:3, :3], axis=0).min())
    soft = antialias((np.asarray(shape) > 0).astype(np.float32), spacing, target_mm)
    placed: Mask = resample(soft, shape_affine, grid_shape, grid_affine) > 0.5
    return placed


def drawn_shape(
    mask: Mask, volume_ml: float, spacing_mm: float | Sequence[float], *, seed: int
) -> Mask:
    """Draw an irregular connected shape inside the foreground.

    It grows from a random voxel through a landscape of smooth random cost until it has the
    volume; connected by construction, and exact to a voxel where the foreground allows.

    Raises
    ------
    SimulationError
        ``SIM-005`` when the foreground is empty.
    """
    from skimage.graph import MCP_Geometric

    points = np.argwhere(mask)
    if not len(points):
        raise SimulationError(
            "SIM-005", "the foreground is empty", "Check the foreground mask in a viewer."
        )
    random = np.random.default_rng(seed)
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
    start = points[random.integers(len(points))]
    wanted = max(1, round(volume_ml * 1000 / float(np.prod(spacing))))
    radius_mm = (3 * volume_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    out = np.zeros(mask.shape, dtype=bool)
    for reach_mm in (4 * radius_mm + 5, np.inf):
        reach = np.minimum(np.ceil(reach_mm / spacing), mask.shape).astype(int)
        low = np.maximum(start - reach, 0)
        box = tuple(slice(a, b) for a, b in zip(low, start + reach + 1, strict=True))
        noise = np.random.default_rng(seed).standard_normal(mask[box].shape)
        bumps = ndimage.gaussian_filter(noise, 0.35 * radius_mm / spacing)
        cost = np.exp(1.2 * bumps / max(float(bumps.std()), 1e-9))
        search = MCP_Geometric(np.where(mask[box], cost, -1), sampling=tuple(spacing))
        arrival, _ = search.find_costs([tuple(start - low)])
        order = np.argsort(arrival, axis=None, kind="stable")[:wanted]
        order = order[np.isfinite(arrival.flat[order])]
        if len(order) == wanted or not np.isfinite(reach_mm):
            break
    out[box].flat[order] = True
    return out


def _levels(values: FloatArray) -> _Levels:
    """Three typical intensities by k-means in one dimension, from quantiles."""
    values = values[:: max(1, len(values) // 50_000)]
    centres = np.quantile(values, (0.05, 0.4, 0.85)).astype(np.float64)
    for _ in range(12):
        nearest = np.abs(values[:, None] - centres).argmin(axis=1)
        for i in range(3):
            if (nearest == i).any():
                centres[i] = values[nearest == i].mean()
    dark, middle, bright = np.sort(centres)
    if not bright - dark > 1e-6 * max(abs(bright), 1e-12):
        raise SimulationError(
            "SIM-004",
            "the foreground has no contrast (all values are equal)",
            "Check the file in a viewer; it may be a mask or an empty export.",
        )
    return _Levels(float(dark), float(middle), float(bright))


_Painted = tuple[FloatArray, Mask]


def _hypointense(site: _Site) -> _Painted:
    levels, weight = site.levels, site.blend(site.edge_mm)
    span = levels.middle - levels.dark
    target = levels.dark + span * (0.25 + 0.15 * site.noise(3.0))
    amount = min(1.0, REPLACED * site.strength) * weight
    darker = np.minimum(target - site.image, 0)
    return site.image + amount * darker, site.shape


def _hyperintense(site: _Site) -> _Painted:
    levels, weight = site.levels, site.blend(site.edge_mm)
    span = levels.bright - levels.middle
    target = levels.bright + span * (0.6 + 0.2 * site.noise(3.0))
    amount = min(1.0, REPLACED * site.strength) * weight
    brighter = np.maximum(target - site.image, 0)
    return site.image + amount * brighter, site.shape


def _texture(site: _Site) -> _Painted:
    weight = site.blend(site.edge_mm)
    smooth = _smoothed(site)
    detail = site.image - smooth
    spread = float(detail[site.mask].std())
    amount = min(1.0, REPLACED * site.strength) * weight
    change = amount * (spread * site.noise(1.0) - detail)
    change -= weight * float(change[site.mask].sum() / weight[site.mask].sum())
    return np.maximum(site.image + change, 0), site.shape


def _smoothed(site: _Site) -> FloatArray:
    if np.ptp(site.spacing_mm) < 1e-6:
        return smooth_inside(site.image, site.mask, TEXTURE_MM / float(site.spacing_mm[0]))
    sigma = TEXTURE_MM / site.spacing_mm
    weight = ndimage.gaussian_filter(site.mask.astype(np.float32), sigma)
    value = ndimage.gaussian_filter(np.where(site.mask, site.image, 0), sigma)
    smooth: FloatArray = value / np.maximum(weight, 1e-3)
    return smooth


def _regional(site: _Site) -> _Painted:
    weight = site.blend(max(REGIONAL_EDGE_MM, site.edge_mm))
    weight /= weight.max()
    loss = min(0.9, REGIONAL_LOSS * site.strength)
    return site.image * (1 - loss * weight), weight > 0.5


def _fluid(site: _Site) -> FloatArray:
    """How much of each voxel is fluid, 0 to 1, by its intensity."""
    levels = site.levels
    share: FloatArray = np.clip((levels.middle - site.image) / (levels.middle - levels.dark), 0, 1)
    return share.astype(np.float32)


def _near(site: _Site, reach_mm: float) -> FloatArray:
    """Weight that falls off around the shape."""
    soft: FloatArray = ndimage.gaussian_filter(
        site.shape.astype(np.float32), reach_mm / site.spacing_mm
    )
    soft /= max(float(soft.max()), 1e-9)
    return soft


def _mass(site: _Site) -> _Painted:
    kept = 1 - min(0.9, MASS_EXPANSION * site.strength)
    body = site.blend(2 * site.edge_mm)
    # The skull gives no room: fluid nearby is pressed out, the rest moves on.
    room = _near(site, 12.0) * _fluid(site) * site.mask * ~site.shape
    room *= min(0.5, float(body.sum()) / max(float(room.sum()), 1e-9))
    deep = ndimage.gaussian_filter(site.mask.astype(np.float32), 3.0 / site.spacing_mm)
    field = divergence_field(room - body, site.spacing_mm)
    field *= np.clip(2 * deep - 1, 0, 1)
    field = scaled_to(field, site.spacing_mm, lambda j: float(j[site.shape].mean()) - 1, kept - 1)
    moved = displaced(site.image, site.mask, field, site.spacing_mm, outside=None)
    levels = site.levels
    span = levels.middle - levels.dark
    target = levels.dark + span * (0.65 + 0.15 * site.noise(4.0))
    amount = min(1.0, REPLACED * site.strength) * site.blend(site.edge_mm)
    return moved + amount * (target - moved), site.shape


def _atrophy(site: _Site) -> _Painted:
    lost = min(0.7, SHRINKAGE * site.strength)
    fluid = np.where(site.mask, _fluid(site), 1)
    body = site.blend(2 * site.edge_mm) * (1 - fluid)
    # Fluid beside the tissue, also that beyond the foreground, takes the room.
    room = _near(site, 6.0) * (0.05 + fluid)
    room *= min(1.0, float(body.sum()) / max(float(room.sum()), 1e-9))
    field = divergence_field(body - room, site.spacing_mm)
    tissue = site.shape & (fluid < 0.5)
    if not tissue.any():
        tissue = site.shape
    field = scaled_to(field, site.spacing_mm, lambda j: float((1 - 1 / j[tissue]).mean()), lost)
    change = np.log(jacobian(field, site.spacing_mm))
    truth = site.mask & (np.abs(change) > -0.5 * np.log(1 - lost))
    moved = displaced(site.image, site.mask, field, site.spacing_mm, outside=site.levels.dark)
    return moved, truth


_PAINTERS: dict[str, tuple[Callable[[_Site], _Painted], float]] = {
    "hypointense": (_hypointense, 0.0),
    "hyperintense": (_hyperintense, 0.0),
    "texture": (_texture, 3 * TEXTURE_MM),
    "mass": (_mass, 25.0),
    "atrophy": (_atrophy, 15.0),
    "regional": (_regional, 1.5 * REGIONAL_EDGE_MM),
}
"""How each kind is made, and how far beyond its shape it may reach, mm."""
