"""From a scan to a model's space, and exactly back.

Every step is invertible: geometry by matrices, intensity by a monotone map and a
positive bias field. ``Prepared`` carries what the way back needs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from napari_normative.core.grid import Grid, antialias, overlap, resample, shifted
from napari_normative.core.register import Alignment, align, identity_alignment
from napari_normative.errors import PreprocessError
from napari_normative.volume import Affine, FloatArray, Mask, Volume, require_same_grid

LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Quantiles at which a scan's intensities are matched to the training cohort's mean."""

ForegroundKind = Literal["given", "zeros", "template"]


class PreprocessConfig(BaseModel):
    """How scans are brought to the model's space; stored in the model file.

    Attributes
    ----------
    shape : tuple of 3 int
        Voxels of the model's grid, axes right, anterior, superior.
    spacing_mm : float
    origin_mm : tuple of 3 float
        World position of the grid's first voxel centre.
    alignment : {"affine", "centre", "none"}
        Twelve parameters to the template; centres of the fields of view; or trust the world.
    min_similarity, expected_similarity : float
        Alignment below the first is refused, below the second is warned of.
    bias_mm : float
        Width of the Gaussians whose ratio to the template is the bias field; 0 for none.
    head_outside : float
        Share of foreground outside the template's mask and a rim above which the scan is
        taken for a whole head, so that the template's mask is used.
    reference : tuple of float
        Cohort mean of the intensities at ``LEVELS``; empty before it is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int, int]
    spacing_mm: float
    origin_mm: tuple[float, float, float]
    alignment: Literal["affine", "centre", "none"] = "affine"
    min_similarity: float = 0.5
    expected_similarity: float = 0.7
    bias_mm: float = 24.0
    head_outside: float = 0.15
    reference: tuple[float, ...] = ()

    @property
    def grid(self) -> Grid:
        """The model's grid."""
        return Grid(self.shape, self.spacing_mm, self.origin_mm)


@dataclass(frozen=True, eq=False)
class Template:
    """The average healthy scan in the model's space.

    Attributes
    ----------
    image : float32 array, shape of the grid
    mask : bool array, shape of the grid
        Foreground in at least half of the cohort.
    """

    image: FloatArray
    mask: Mask


@dataclass(frozen=True)
class IntensityMap:
    """A strictly increasing piecewise linear map of intensities.

    Attributes
    ----------
    scan, model : float arrays, shape (n,)
        Knots in the scan's units and in the model's.
    """

    scan: NDArray[np.float64]
    model: NDArray[np.float64]

    @classmethod
    def matching(cls, values: FloatArray, reference: tuple[float, ...]) -> IntensityMap:
        """Match the quantiles of ``values`` to ``reference``; robust scaling when it is empty."""
        found = np.quantile(values, LEVELS).astype(np.float64)
        span = found[-1] - found[0]
        found = np.maximum.accumulate(found) + np.arange(len(found)) * span * 1e-6
        wanted = np.array(reference or found / max(found[-3], 1e-12), dtype=np.float64)
        # Beyond the outer quantiles one straight line, so that bright lesions keep their order.
        slope = (wanted[-1] - wanted[0]) / (found[-1] - found[0])
        reach = 100.0 * span
        scan = np.concatenate([[found[0] - reach], found, [found[-1] + reach]])
        ends = wanted[0] - reach * slope, wanted[-1] + reach * slope
        return cls(scan, np.concatenate([[ends[0]], wanted, [ends[1]]]))

    def forward(self, values: FloatArray) -> FloatArray:
        """Scan units to model units."""
        return np.interp(values, self.scan, self.model).astype(np.float32)

    def backward(self, values: FloatArray) -> FloatArray:
        """Model units to scan units."""
        return np.interp(values, self.model, self.scan).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan in the model's space with all that leads back.

    Attributes
    ----------
    image : float32 array, shape of the grid
        Model units inside ``mask``, 0 outside.
    mask : bool array, shape of the grid
        Foreground common to scan and template.
    bias : float32 array, shape of the grid
        Smooth multiplicative field that was divided out.
    intensity : IntensityMap
    alignment : Alignment
    foreground : {"given", "zeros", "template"}
        Where the mask came from.
    """

    image: FloatArray
    mask: Mask
    bias: FloatArray
    intensity: IntensityMap
    alignment: Alignment
    foreground: ForegroundKind


def prepare(
    scan: Volume,
    config: PreprocessConfig,
    template: Template,
    *,
    mask: Volume | None = None,
    alignment: Alignment | None = None,
) -> Prepared:
    """Bring a scan to the model's space.

    Parameters
    ----------
    scan : Volume
    config : PreprocessConfig
    template : Template
    mask : Volume, optional
        Foreground on the scan's grid; anything but 0 counts.
    alignment : Alignment, optional
        Skips the search when it is known.

    Raises
    ------
    PreprocessError
        ``PRE-001`` no contrast, ``PRE-002`` alignment failed, ``PRE-003`` no overlap.
    GeometryMismatchError
        If ``mask`` lies on another grid.
    """
    if mask is not None:
        require_same_grid(scan, mask)
    grid = config.grid
    scan = scan.canonical()
    own = mask.canonical().data > 0 if mask is not None else own_foreground(scan)
    if alignment is None:
        subject = scan if mask is None or own is None else scan.with_data(scan.data * own)
        alignment = _find_alignment(subject, config, template)
    to_grid = alignment.scan_to_template @ scan.affine

    kind: ForegroundKind = "given" if mask is not None else "zeros"
    if own is None or (mask is None and _is_whole_head(own, to_grid, config, template)):
        kind = "template"
        own = np.ones(scan.shape, dtype=bool)
    spacing = np.linalg.norm(to_grid[:3, :3], axis=0)
    to_index = np.linalg.inv(grid.affine) @ to_grid
    box = overlap(scan.shape, to_index, grid.shape, round(3 * grid.spacing_mm / spacing.min()))
    values, own, to_grid = scan.data[box], own[box], shifted(to_grid, box)
    if not values.size:
        raise _elsewhere(scan, 0.0)
    weight = resample(
        antialias(own.astype(np.float32), spacing, grid.spacing_mm),
        to_grid, grid.shape, grid.affine,
    )  # fmt: skip
    value = resample(
        antialias(values * own, spacing, grid.spacing_mm), to_grid, grid.shape, grid.affine
    )
    inside = weight > 0.5
    if kind != "template":
        inside = ndimage.binary_fill_holes(inside)
    inside &= template.mask
    if inside.sum() < 0.2 * template.mask.sum():
        raise _elsewhere(scan, inside.sum() / template.mask.sum())
    # Dividing by the blurred mask keeps the rim of a bare brain as bright as its inside.
    image = np.where(inside, value / np.maximum(weight, 0.25), 0).astype(np.float32)
    bias = bias_field(image, inside, template.image, config)
    flat = image[inside] / bias[inside]
    if np.quantile(flat, 0.95) - np.quantile(flat, 0.05) <= 0:
        raise PreprocessError(
            "PRE-001",
            "the foreground has no contrast (all values are equal)",
            "Check the file in a viewer; it may be a mask or an empty export.",
            subject=scan.source.name,
        )
    intensity = IntensityMap.matching(flat, config.reference)
    model_image = np.zeros(grid.shape, dtype=np.float32)
    model_image[inside] = intensity.forward(flat)
    return Prepared(model_image, inside, bias, intensity, alignment, kind)


def own_foreground(scan: Volume) -> Mask | None:
    """Return where a scan differs from a constant background, or None if it has none."""
    data = scan.data
    faces = np.concatenate([np.take(data, (0, -1), axis=axis).ravel() for axis in range(3)])
    background = np.median(faces)
    foreground = data != background
    is_constant = np.mean(faces == background) > 0.6 and np.mean(~foreground) > 0.2
    return foreground if is_constant else None


def bias_field(
    image: FloatArray, mask: Mask, template: FloatArray, config: PreprocessConfig
) -> FloatArray:
    """Return the smooth multiplicative field by which a scan differs from the template.

    Ratio of wide Gaussians of scan and template inside the mask, geometric mean 1.
    """
    ones = np.ones(image.shape, dtype=np.float32)
    if config.bias_mm <= 0 or not template.any():
        return ones
    step = 2 if min(image.shape) >= 32 else 1
    sigma = config.bias_mm / (config.spacing_mm * step)
    inside = mask[::step, ::step, ::step]

    def smooth(data: FloatArray) -> FloatArray:
        out: FloatArray = ndimage.gaussian_filter(
            data[::step, ::step, ::step] * inside, sigma, truncate=3.0
        )
        return out

    ratio = np.log(np.maximum(smooth(image), 1e-12) / np.maximum(smooth(template), 1e-12))
    ratio = np.clip(ratio - ratio[inside].mean(), -np.log(2), np.log(2))
    factors = [n / m for n, m in zip(image.shape, ratio.shape, strict=True)]
    full = ndimage.zoom(ratio, factors, order=1, grid_mode=True, mode="nearest")
    field: FloatArray = np.exp(full).astype(np.float32)
    return field


def restore(
    image: FloatArray,
    prepared: Prepared,
    config: PreprocessConfig,
    scan: Volume,
    *,
    units: Literal["scan", "model"] = "scan",
    order: Literal[0, 1, 3] = 1,
) -> FloatArray:
    """Carry an image of the model's grid back onto the scan's grid.

    Parameters
    ----------
    image : float32 array, shape of the model's grid
    prepared : Prepared
    config : PreprocessConfig
    scan : Volume
        The scan that was prepared; gives the grid.
    units : {"scan", "model"}
        "scan" undoes intensity map and bias field; "model" keeps values (z maps, masks).
    order : int
        Spline order of the resampling; 0 for labels.

    Returns
    -------
    float32 array, shape of ``scan``
    """
    if units == "scan":
        image = prepared.intensity.backward(image) * prepared.bias
    to_grid: Affine = prepared.alignment.scan_to_template @ scan.affine
    out = np.zeros(scan.shape, dtype=np.float32)
    to_index = np.linalg.inv(config.grid.affine) @ to_grid
    box = overlap(scan.shape, to_index, image.shape, 1)
    i, j, k = out[box].shape
    out[box] = resample(image, config.grid.affine, (i, j, k), shifted(to_grid, box), order=order)
    return out


def scored_mask(prepared: Prepared, config: PreprocessConfig, scan: Volume) -> Mask:
    """Return the foreground of ``prepared`` on the scan's grid."""
    inside = prepared.mask.astype(np.float32)
    scored: Mask = restore(inside, prepared, config, scan, units="model") > 0.5
    return scored


def with_reference(config: PreprocessConfig, images: list[tuple[float, ...]]) -> PreprocessConfig:
    """Return the configuration with the cohort's mean quantiles as reference."""
    mean = tuple(float(v) for v in np.mean(images, axis=0))
    return config.model_copy(update={"reference": mean})


def _elsewhere(scan: Volume, share: float) -> PreprocessError:
    return PreprocessError(
        "PRE-003",
        f"only {share:.0%} of the model's region lies in the scan's foreground",
        "Check that the scan shows the body part the model was trained on, or the mask if one "
        "was given.",
        subject=scan.source.name,
    )


def _find_alignment(scan: Volume, config: PreprocessConfig, template: Template) -> Alignment:
    if config.alignment == "none":
        return identity_alignment()
    if config.alignment == "centre":
        matrix = np.eye(4)
        centre = (np.array(config.shape) - 1) / 2 * config.spacing_mm + np.array(config.origin_mm)
        matrix[:3, 3] = centre - scan.corners_mm().mean(axis=0)
        return dataclasses.replace(identity_alignment(), scan_to_template=matrix)
    found = align(scan, template.image, template.mask, config.grid)
    if found.similarity < config.min_similarity:
        raise PreprocessError(
            "PRE-002",
            f"it does not fit the model's template (similarity {found.similarity:.2f}, at least "
            f"{config.min_similarity:.2f} is needed)",
            "Check that it is the body part and contrast the model was trained on and that its "
            "orientation is right; pass a foreground mask if much else is in the field of view.",
            subject=scan.source.name,
        )
    return found


def _is_whole_head(
    own: Mask, to_grid: Affine, config: PreprocessConfig, template: Template
) -> bool:
    """Whether much foreground lies outside the template's mask and a 12 mm rim."""
    if config.alignment != "affine":
        return False
    rim = ndimage.binary_dilation(template.mask, iterations=round(12 / config.spacing_mm))
    step = 2
    grid_index = np.linalg.inv(config.grid.affine) @ to_grid @ np.diag([step, step, step, 1.0])
    points = np.argwhere(own[::step, ::step, ::step])
    index = np.rint(points @ grid_index[:3, :3].T + grid_index[:3, 3]).astype(int)
    valid = ((index >= 0) & (index < np.array(config.shape))).all(axis=1)
    inside = np.zeros(len(points), dtype=bool)
    inside[valid] = rim[tuple(index[valid].T)]
    return bool(1 - inside.mean() > config.head_outside)
