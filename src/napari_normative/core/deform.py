"""Mild, smooth deformation of a reconstruction to its scan, and volume change in a field.

A reconstruction that is right but off by a millimetre leaves a residual along every edge.
A field too stiff to follow the border of a small lesion takes a part of that out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from napari_normative.volume import FloatArray, Mask


class DeformConfig(BaseModel):
    """How far and how stiffly a reconstruction may be bent; stored in the model file.

    Attributes
    ----------
    field_mm : float
        Gaussian σ that keeps the whole displacement field smooth.
    update_mm : float
        Gaussian σ of each step.
    iterations : int
    cap_mm : float
        Longest displacement; 0 for no deformation at all.
    working_mm : float
        Spacing at which the field is found; the field is smooth, finer gains nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field_mm: float = 12.0
    update_mm: float = 4.0
    iterations: int = 10
    cap_mm: float = 4.0
    working_mm: float = 4.0


WIDE = DeformConfig(field_mm=4.0, update_mm=3.0, iterations=30, cap_mm=12.0)
"""Loose enough to follow a ventricle: for :func:`local_volume`, never for the score."""


def deform_to(
    reconstruction: FloatArray,
    image: FloatArray,
    mask: Mask,
    spacing_mm: float,
    config: DeformConfig | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Bend ``reconstruction`` mildly towards ``image``.

    Demons: wherever the two differ a force along the image's gradient, each step and the
    whole field kept smooth. Both should have the same contrast (``fit_contrast`` first).
    No random numbers and no threads: the same input gives the same field, bit for bit.

    Parameters
    ----------
    reconstruction, image : float32 array, shape (I, J, K), same units
    mask : bool array, shape (I, J, K)
        Foreground of the image. Its rim exerts no force: a mask's cut edge is no anatomy.
    spacing_mm : float
    config : DeformConfig, optional

    Returns
    -------
    warped : float32 array, shape (I, J, K)
        ``reconstruction`` sampled at ``x + field(x)``, linear interpolation.
    field : float32 array, shape (3, I, J, K)
        Displacement in mm along the axes; none is longer than ``cap_mm``.

    References
    ----------
    .. [1] Thirion, Image matching as a diffusion process, Med. Image Anal. 2:243-260, 1998.
    """
    config = config or DeformConfig()
    if config.cap_mm <= 0 or config.iterations < 1 or not mask.any():
        return reconstruction, np.zeros((3, *image.shape), dtype=np.float32)
    factor = max(1, round(config.working_mm / spacing_mm))
    fixed, moving = _blocks(image, factor), _blocks(reconstruction, factor)
    full = ndimage.binary_erosion(_blocks(mask.astype(np.float32), factor) > 0.99)
    coarse = _demons(fixed, moving, full, spacing_mm * factor, config)
    field = _capped(_refined(coarse, factor, image.shape), config.cap_mm)
    return warp(reconstruction, field, spacing_mm), field


def warp(data: FloatArray, field: FloatArray, spacing_mm: float) -> FloatArray:
    """Return ``data`` sampled at ``x + field(x)``, linearly; beyond the grid its edge goes on.

    Parameters
    ----------
    data : float32 array, shape (I, J, K)
    field : float32 array, shape (3, I, J, K)
        Displacement in mm along the axes.
    spacing_mm : float
    """
    where = np.indices(data.shape, dtype=np.float32) + field / np.float32(spacing_mm)
    out: FloatArray = ndimage.map_coordinates(
        data, where, output=np.float32, order=1, mode="nearest"
    )
    return out


def log_jacobian(field: FloatArray, spacing_mm: float) -> FloatArray:
    """Return the logarithm of the local change of volume under ``x -> x + field(x)``.

    0 for a shift, ``3 log s`` for scaling by ``s``; positive where the map expands. Folded
    places (determinant 0 or less) get the logarithm of 1 %.

    Parameters
    ----------
    field : float32 array, shape (3, I, J, K)
        Displacement in mm along the axes.
    spacing_mm : float

    Returns
    -------
    float32 array, shape (I, J, K)
    """
    jacobian = np.empty((*field.shape[1:], 3, 3), dtype=np.float64)
    for a, component in enumerate(field):
        for b in range(3):
            jacobian[..., a, b] = np.gradient(component, spacing_mm, axis=b)
        jacobian[..., a, a] += 1.0
    determinant = np.maximum(np.linalg.det(jacobian), 0.01)
    out: FloatArray = np.log(determinant).astype(np.float32)
    return out


def local_volume(
    reconstruction: FloatArray, image: FloatArray, mask: Mask, spacing_mm: float
) -> FloatArray:
    """Return how much more room each place takes up than in the reconstruction, in per cent.

    +25 is a quarter more volume than expected (a widened ventricle), -20 a fifth less (tissue
    that shrank or is pushed together); 0 outside the mask. From the Jacobian of a loose
    deformation of the reconstruction to the image. Not calibrated: what is usual differs
    between places and with age. It understates: a smooth field follows a part of the change.

    Parameters
    ----------
    reconstruction, image : float32 array, shape (I, J, K), same units and contrast
    mask : bool array, shape (I, J, K)
    spacing_mm : float

    References
    ----------
    .. [1] Ashburner & Friston, Voxel-based morphometry: the methods, NeuroImage 11:805-821, 2000.
    """
    _, field = deform_to(reconstruction, image, mask, spacing_mm, WIDE)
    # The field leads from the image to the reconstruction: where it contracts, there is more.
    change = 100.0 * np.expm1(-log_jacobian(field, spacing_mm))
    return np.where(mask, change, 0).astype(np.float32)


def _demons(
    fixed: FloatArray, moving: FloatArray, free: Mask, spacing_mm: float, config: DeformConfig
) -> FloatArray:
    """Return the field (3, i, j, k) in mm.

    Four times faster here than SimpleITK's filters, which spend their time outside of the
    few operations that there are, and like its symmetric ones smooth after the last step.
    """
    gradient = np.array(np.gradient(fixed, spacing_mm), dtype=np.float32) * free
    square = (gradient**2).sum(axis=0)
    field = np.zeros_like(gradient)
    for _ in range(config.iterations):
        difference = fixed - warp(moving, field, spacing_mm)
        # Thirion's normalisation: no step is longer than half a voxel.
        strength = square + (difference / spacing_mm) ** 2
        push = np.where(strength > 1e-9, difference / np.maximum(strength, 1e-9), 0)
        for axis in range(3):
            step = _smooth(push * gradient[axis], config.update_mm / spacing_mm)
            field[axis] = _smooth(field[axis] + step, config.field_mm / spacing_mm)
    return field


def _smooth(data: FloatArray, sigma_voxels: float) -> FloatArray:
    out: FloatArray = ndimage.gaussian_filter(data, sigma_voxels, truncate=3.0)
    return out


def _blocks(data: FloatArray, factor: int) -> FloatArray:
    """Mean over blocks of ``factor``³ voxels; a rest at the far end repeats its edge."""
    rest = [(0, -n % factor) for n in data.shape]
    i, j, k = (-(-n // factor) for n in data.shape)
    full = np.pad(data, rest, mode="edge")
    out: FloatArray = full.reshape(i, factor, j, factor, k, factor).mean(axis=(1, 3, 5))
    return out


def _refined(field: FloatArray, factor: int, shape: tuple[int, ...]) -> FloatArray:
    """Linear interpolation of a field on blocks to the voxels in them."""
    for axis, n in enumerate(shape, start=1):
        field = np.moveaxis(
            np.tensordot(_weights(field.shape[axis], factor, n), field, axes=(1, axis)), 0, axis
        )
    return np.ascontiguousarray(field)


def _weights(blocks: int, factor: int, n: int) -> NDArray[np.float32]:
    """Return the matrix (n, blocks) that interpolates linearly between block centres."""
    at = np.clip((np.arange(n) - (factor - 1) / 2) / factor, 0, blocks - 1)
    centres = np.arange(blocks)
    weights: NDArray[np.float32] = np.clip(1 - np.abs(at[:, None] - centres), 0, 1).astype(
        np.float32
    )
    return weights


def _capped(field: FloatArray, cap_mm: float) -> FloatArray:
    """Shorten displacements that are longer than the cap, keeping their direction."""
    length = np.sqrt((field**2).sum(axis=0))
    out: FloatArray = field * np.minimum(1, cap_mm / np.maximum(length, 1e-6))
    return out
