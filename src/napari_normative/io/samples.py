"""Sample scans made at run time from the MNI152 average inside nilearn.

The average of 152 heads is turned into one that looks like a person's: a smooth
deformation with its own ventricles, tissue borders redrawn by random fields so that
sulci are sharp and asymmetric, a contrast, a bias field, noise and a pose of its own.
No scan of any person is involved; nothing is downloaded.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.errors import VolumeFileError
from napari_normative.io.headshape import HeadShape, build_head_shape
from napari_normative.volume import FloatArray, Mask, Volume

SAMPLES: dict[str, str] = {
    "healthy-brain": "a healthy brain, T1-weighted, brain only, stored LAS (made from a template)",
    "brain-with-lesion": "a brain with a simulated stroke on the left, brain only, stored PSR",
    "whole-head": "a healthy whole head with skull and scalp, stored PIR",
    "whole-head-with-lesion": "a whole head with a simulated stroke on the right, stored RAS",
}

FIELD_MM = 4.0
"""Spacing at which smooth fields are computed before they are interpolated."""
LEAST_MM = 1.0
"""Finest spacing: that of the template."""

SULCUS_T1, FLUID_T1 = 0.6, 0.25
"""Values of the average T1 (largest 1) where a sulcus begins and in pure fluid."""


@dataclass(frozen=True)
class _Recipe:
    orientation: str
    whole_head: bool
    lesion_side: int  # -1 left, +1 right (the sign of world x), 0 none
    stream: int  # keeps the random numbers of two keys apart: which person a key shows


_RECIPES = {
    "healthy-brain": _Recipe("LAS", False, 0, 41),
    "brain-with-lesion": _Recipe("PSR", False, -1, 2),
    "whole-head": _Recipe("PIR", True, 0, 11),
    "whole-head-with-lesion": _Recipe("RAS", True, 1, 4),
}


@dataclass(frozen=True)
class _Template:
    """Maps of the average head on one 1 mm RAS grid, and where its voxel 0 lies."""

    t1: FloatArray
    grey: FloatArray
    white: FloatArray
    mask: FloatArray
    origin_mm: NDArray[np.float64]
    head: HeadShape


def make_sample(key: str, *, seed: int | None = None, spacing_mm: float = 1.0) -> Volume:
    """Return a sample scan.

    Parameters
    ----------
    key : str
        One of :data:`SAMPLES`.
    seed : int, optional
        Which individual to make; the same seed gives the same bytes. Without it each key
        has one fixed individual.
    spacing_mm : float
        Distance between voxels, 1 to 4 mm. The same seed is the same head at every spacing;
        coarse ones are made in a fraction of the time.

    Returns
    -------
    Volume, shape (I, J, K)
        Arbitrary scanner units, whole numbers; 0 outside the brain unless the key names a
        whole head.

    Raises
    ------
    VolumeFileError
        ``SMP-001`` for an unknown key, ``SMP-002`` if nilearn is not installed, ``SMP-003``
        for another spacing.

    Examples
    --------
    >>> scan = make_sample("healthy-brain", seed=3, spacing_mm=2)
    >>> scan.shape, scan.orientation, scan.source.name
    ((89, 108, 92), 'LAS', 'sample-healthy-brain-3')
    """
    scan = _make(key, seed or 0, spacing_mm)[0]
    return scan.with_data(scan.data.copy())  # the caller may change it


def sample_truth(key: str, *, seed: int | None = None, spacing_mm: float = 1.0) -> Volume | None:
    """Return the true lesion mask of a sample, None for a healthy one.

    Same parameters, grid and errors as :func:`make_sample`; 1 inside the lesion.

    Examples
    --------
    >>> truth = sample_truth("brain-with-lesion", spacing_mm=2)
    >>> round(float(truth.data.sum()) * truth.voxel_ml)  # ml
    20
    >>> sample_truth("healthy-brain", spacing_mm=2) is None
    True
    """
    truth = _make(key, seed or 0, spacing_mm)[1]
    return None if truth is None else truth.with_data(truth.data.copy())


@lru_cache(maxsize=1)  # a scan and its truth are made together
def _make(key: str, seed: int, spacing_mm: float) -> tuple[Volume, Volume | None]:
    if key not in _RECIPES:
        raise VolumeFileError(
            "SMP-001",
            "no sample of this name",
            f"Choose one of: {', '.join(SAMPLES)}.",
            subject=key,
        )
    if not LEAST_MM <= spacing_mm <= FIELD_MM:
        raise VolumeFileError(
            "SMP-003",
            f"a spacing of {spacing_mm:g} mm is not made",
            f"Choose {LEAST_MM:g} to {FIELD_MM:g} mm.",
            subject=key,
        )
    recipe = _RECIPES[key]
    template = _load_template()
    rng = np.random.default_rng((recipe.stream, seed))

    low, high = (-94.0, -128.0, -98.0), (94.0, 118.0, 100.0)
    if not recipe.whole_head:
        low, high = (-88.0, -122.0, -88.0), (88.0, 92.0, 94.0)
    grid = _Grid(np.array(low), np.array(high), spacing_mm)
    where = _individual_coordinates(grid, rng)  # template mm for every voxel

    image, brain, tissue = _paint_brain(template, grid, where, rng)
    lesion = None
    if recipe.lesion_side:
        lesion = _grow_lesion(tissue, brain, where, grid, recipe.lesion_side, rng)
        image = _darken(image, lesion, grid, rng)
    if recipe.whole_head:
        outside = ~brain
        image[outside] = template.head.paint(where[:, outside], grid.field(6.0, rng)[outside])
    image = _acquire(image, grid, rng)
    if not recipe.whole_head:
        image[~brain] = 0.0

    name = f"sample-{key}" if not seed else f"sample-{key}-{seed}"
    scan = _store(image, grid, recipe.orientation, name)
    if lesion is None:
        return scan, None
    truth = _store(lesion.astype(np.float32), grid, recipe.orientation, f"{name}-truth")
    return scan, dataclasses.replace(truth, source=dataclasses.replace(truth.source, is_label=True))


class _Grid:
    """A RAS grid with smooth random fields on it."""

    def __init__(
        self, low_mm: NDArray[np.float64], high_mm: NDArray[np.float64], spacing_mm: float
    ) -> None:
        self.low_mm, self.spacing_mm = low_mm, spacing_mm
        extent = high_mm - low_mm
        self.shape = tuple(int(n) for n in np.floor(extent / spacing_mm + 1e-6) + 1)
        # The coarse grid is the same for every spacing, and with it the head.
        self.coarse_shape = tuple(int(np.ceil(mm / FIELD_MM)) + 1 for mm in extent)
        self._to_fine = [
            _linear_weights(n, c, spacing_mm)
            for n, c in zip(self.shape, self.coarse_shape, strict=True)
        ]

    def coarse_points_mm(self) -> NDArray[np.float64]:
        """World mm of the coarse grid, shape (3, *coarse_shape)."""
        axes = [
            lo + FIELD_MM * np.arange(n)
            for lo, n in zip(self.low_mm, self.coarse_shape, strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"))

    def coarse_field(self, width_mm: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Smooth random field of unit standard deviation; ``width_mm`` is its Gaussian sigma."""
        sigma = width_mm / FIELD_MM
        noise = ndimage.gaussian_filter(rng.standard_normal(self.coarse_shape), sigma, mode="wrap")
        unit: NDArray[np.float64] = (noise - noise.mean()) / noise.std()
        return unit

    def refine(self, coarse: NDArray[np.float64]) -> FloatArray:
        """Interpolate a coarse field linearly onto the grid."""
        field = coarse.astype(np.float32)
        for axis, weights in enumerate(self._to_fine):
            field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis)), 0, axis)
        return np.ascontiguousarray(field)

    def field(self, width_mm: float, rng: np.random.Generator) -> FloatArray:
        """Return a smooth random field of unit standard deviation on the grid."""
        return self.refine(self.coarse_field(width_mm, rng))


def _linear_weights(fine: int, coarse: int, spacing_mm: float) -> FloatArray:
    """Matrix (fine, coarse) that interpolates FIELD_MM-spaced values."""
    position = np.arange(fine) * (spacing_mm / FIELD_MM)
    left = np.minimum(position.astype(int), coarse - 2)
    weights = np.zeros((fine, coarse), np.float32)
    weights[np.arange(fine), left] = 1 - (position - left)
    weights[np.arange(fine), left + 1] = position - left
    return weights


@lru_cache(maxsize=1)
def _load_template() -> _Template:
    try:
        from nilearn import datasets
    except ImportError as error:
        raise VolumeFileError(
            "SMP-002",
            "the sample scans are made from the brain template of nilearn, which is not installed",
            'Install it with: pip install "napari-normative[demo]"',
        ) from error

    def load(name: str) -> FloatArray:
        image = nib.as_closest_canonical(getattr(datasets, f"load_mni152_{name}")(resolution=1))
        return np.asarray(image.dataobj, dtype=np.float32)

    first = nib.as_closest_canonical(datasets.load_mni152_template(resolution=1))
    origin = np.asarray(first.affine[:3, 3], dtype=np.float64)
    mask = load("brain_mask")
    return _Template(
        load("template"),
        load("gm_template"),
        load("wm_template"),
        mask,
        origin,
        build_head_shape(mask > 0.5, origin),
    )


def _individual_coordinates(grid: _Grid, rng: np.random.Generator) -> FloatArray:
    """Where in the template (mm) each voxel of the individual lies, shape (3, *grid.shape)."""
    points = grid.coarse_points_mm()
    shape = points.shape
    points = points.reshape(3, -1)
    # Pose and size: the head is turned and shifted in the scanner, and is larger or smaller.
    angles = np.radians(rng.uniform(-1, 1, 3) * (7.0, 3.0, 4.0))
    shift = rng.uniform(-1, 1, 3) * (3.0, 6.0, 6.0)
    size = rng.uniform(0.95, 1.04) * rng.uniform(0.97, 1.03, 3)
    points = (_rotation(angles).T @ (points - shift[:, None])) / size[:, None]
    # Ventricles: points near them are pulled to (or pushed from) their middle.
    middle = np.array([0.0, -8.0, 18.0])[:, None]
    reach = np.exp(-((points - middle) ** 2).sum(0) / (2 * 18.0**2))
    points = middle + (points - middle) * (1 - rng.uniform(-0.05, 0.3) * reach)
    for width_mm, size_mm in ((32.0, 1.9), (13.0, 1.2)):
        for axis in range(3):
            points[axis] += size_mm * grid.coarse_field(width_mm, rng).ravel()
    return np.stack([grid.refine(axis) for axis in points.reshape(shape)])


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _paint_brain(
    template: _Template, grid: _Grid, where: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, Mask, FloatArray]:
    """Return the image (white matter about 1), the brain mask and tissue shares (3, ...)."""
    index = where - template.origin_mm.astype(np.float32)[:, None, None, None]

    def sample(values: FloatArray, points: FloatArray) -> FloatArray:
        result: FloatArray = ndimage.map_coordinates(values, points, order=1, mode="constant")
        return result

    brain: Mask = sample(template.mask, index) > 0.5
    inside = index[:, brain]
    grey, white = sample(template.grey, inside), sample(template.white, inside)
    t1 = sample(template.t1, inside)
    # Sulci, too narrow for the maps of the average, are dark lines in its T1.
    fluid = np.maximum(1 - grey - white, np.clip((SULCUS_T1 - t1) / (SULCUS_T1 - FLUID_T1), 0, 1))
    rest = (1 - fluid) / np.maximum(grey + white, 1e-3)
    shares = np.stack([fluid, grey * rest, white * rest])

    # The average is blurred where people differ. Sharpening the shares and moving their borders
    # by random fields gives one plausible person: narrow or wide sulci, thick or thin cortex.
    logits = 1.7 * np.log(shares + 0.03)
    logits[0] += 0.8 * grid.field(5.0, rng)[brain] + rng.uniform(-0.6, 0.0)
    logits[1] += 0.7 * grid.field(5.0, rng)[brain]
    logits -= logits.max(axis=0)
    tissue = np.exp(logits)
    tissue /= tissue.sum(axis=0)

    contrast = np.array([rng.uniform(0.2, 0.28), rng.uniform(0.62, 0.7), 1.0], np.float32)
    # What the average shows beyond its tissue shares: deep nuclei, brain stem, myelin.
    fit, *_ = np.linalg.lstsq(shares[:, ::7].T, t1[::7], rcond=None)
    detail = (t1 - fit @ shares) / fit[2]
    values = contrast @ tissue + 0.8 * detail * (1 - tissue[0])
    values += 0.015 * grid.field(4.0, rng)[brain]

    image = np.zeros(brain.shape, np.float32)
    image[brain] = values
    full = np.zeros((3, *brain.shape), np.float32)
    full[:, brain] = tissue
    return image, brain, full


def _grow_lesion(
    tissue: FloatArray,
    brain: Mask,
    where: FloatArray,
    grid: _Grid,
    side: int,
    rng: np.random.Generator,
) -> Mask:
    """Return an irregular connected region of 12 to 28 ml in one hemisphere's middle."""
    centre = np.array([side * 40.0, -12.0, 18.0]) + rng.uniform(-1, 1, 3) * (5.0, 16.0, 9.0)
    radii = rng.uniform(0.8, 1.3, 3)
    distance = np.sqrt(
        sum(((where[a] - np.float32(centre[a])) / np.float32(radii[a])) ** 2 for a in range(3))
    )
    roughness = 5.0 * grid.field(7.0, rng) + 3.0 * grid.field(4.0, rng)
    allowed = brain & (tissue[0] < 0.6) & (where[0] * side > 5.0)
    level = np.where(allowed, distance + roughness, np.inf)
    wanted = int(rng.uniform(12.0, 28.0) * 1000 / grid.spacing_mm**3)
    region = level <= np.partition(level.ravel(), wanted)[wanted]
    labels, _ = ndimage.label(region)
    largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    lesion: Mask = ndimage.binary_fill_holes(labels == largest) & brain
    return lesion


def _darken(image: FloatArray, lesion: Mask, grid: _Grid, rng: np.random.Generator) -> FloatArray:
    """Return the image with the lesion as dark as an older stroke, its border a little soft."""
    core = np.clip(0.32 + 0.06 * grid.field(5.0, rng), 0.2, 0.45)
    soft = ndimage.gaussian_filter(lesion.astype(np.float32), 0.8 / grid.spacing_mm)
    dark: FloatArray = image + soft * 0.95 * (np.minimum(core, image) - image)
    return dark


def _acquire(image: FloatArray, grid: _Grid, rng: np.random.Generator) -> FloatArray:
    """Return the image as a scanner gives it: bias field, Rician noise, whole numbers."""
    bias = np.exp(0.09 * grid.field(40.0, rng))
    level = 0.022
    noise = rng.standard_normal((2, *image.shape), dtype=np.float32) * np.float32(level)
    signal = np.hypot(image * bias + noise[0], noise[1])
    scanned: FloatArray = np.round(signal * np.float32(rng.uniform(500, 900)))
    return scanned


def _store(image: FloatArray, grid: _Grid, orientation: str, name: str) -> Volume:
    """Reorder the RAS array to ``orientation`` without moving it in the world."""
    affine = np.diag([grid.spacing_mm] * 3 + [1.0])
    affine[:3, 3] = grid.low_mm
    ornt = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
    )
    stored = nib.orientations.apply_orientation(image, ornt)
    return Volume.from_array(
        stored, affine @ nib.orientations.inv_ornt_aff(ornt, image.shape), name=name
    )
