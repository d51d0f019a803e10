"""Where a scan departs from its pseudo-healthy reconstruction, signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from napari_normative.volume import FloatArray, Mask, Volume, require_same_grid

GUIDE_NOISE = 0.002
"""Variance of the scan below which the guided average sees no edge, model units squared."""

SSIM_FLOOR = 0.002
"""Variance below which two images count as equally flat, model units squared."""


def residual(image: Volume, reconstruction: Volume, mask: Mask | None = None) -> Volume:
    """Return the signed residual ``image - reconstruction``.

    Positive values mark voxels brighter than the normative model expects.

    Parameters
    ----------
    image : Volume, shape (I, J, K)
    reconstruction : Volume, shape (I, J, K), same grid, same intensity units
    mask : bool array, shape (I, J, K), optional
        Foreground; voxels outside become 0.

    Raises
    ------
    GeometryMismatchError
        If the grids differ. Nothing is resampled silently.

    References
    ----------
    .. [1] Baur et al., Med. Image Anal. 69:101952, 2021.
    """
    require_same_grid(image, reconstruction)
    difference = image.data - reconstruction.data
    return image.with_data(difference if mask is None else np.where(mask, difference, 0))


@dataclass(frozen=True)
class Contrast:
    """How a scan's intensities follow from its reconstruction's: a quadratic, then straight on.

    Attributes
    ----------
    coefficients : tuple of 3 float
        Constant, linear, quadratic.
    low, high : float
        Range of the reconstruction that was fitted; beyond it a parabola may turn back.
    """

    coefficients: tuple[float, float, float] = (0.0, 1.0, 0.0)
    low: float = -np.inf
    high: float = np.inf

    @classmethod
    def between(cls, image: FloatArray, reconstruction: FloatArray, mask: Mask) -> Contrast:
        """Fit ``image ≈ f(reconstruction)`` inside a mask, robustly."""
        x, y = reconstruction[mask][::4].astype(np.float64), image[mask][::4].astype(np.float64)
        basis = np.stack([np.ones_like(x), x, x * x], axis=1)
        weight = np.ones_like(x)
        coefficients = np.array([0.0, 1.0, 0.0])
        for _ in range(5):
            root = np.sqrt(weight)
            coefficients, *_ = np.linalg.lstsq(basis * root[:, None], y * root, rcond=None)
            error = y - basis @ coefficients
            spread = 1.4826 * np.median(np.abs(error)) + 1e-9
            # Tukey's biweight: beyond 4.7 spreads a voxel has no say.
            weight = np.clip(1 - (error / (4.685 * spread)) ** 2, 0, None) ** 2
        a, b, c = coefficients.tolist()
        low, high = np.percentile(x, [0.5, 99.5])
        return cls((a, b, c), float(low), float(high))

    def applied(self, values: Any) -> Any:
        """Return values of a reconstruction in the scan's contrast; arrays and tensors alike."""
        a, b, c = self.coefficients
        inside = values.clip(self.low, self.high)
        return a + b * inside + c * inside**2 + (values - inside)


def fit_contrast(
    image: FloatArray, reconstruction: FloatArray, mask: Mask, where: Mask | None = None
) -> FloatArray:
    """Return the reconstruction with its contrast fitted to the image.

    A robust quadratic ``image ≈ f(reconstruction)`` inside the mask takes out what
    scanner and sequence do to every voxel alike; lesions are outliers and do not pull.

    Parameters
    ----------
    image, reconstruction : float32 array, shape (I, J, K)
    mask : bool array, shape (I, J, K)
        Voxels that are fitted.
    where : bool array, shape (I, J, K), optional
        Voxels that are changed; those of the mask unless given.
    """
    wide = reconstruction.astype(np.float64)
    fitted = Contrast.between(image, reconstruction, mask).applied(wide)
    changed = mask if where is None else where
    return np.where(changed, fitted, reconstruction).astype(np.float32)


def tolerant_residual(
    image: FloatArray, reconstruction: FloatArray, radius_voxels: float
) -> FloatArray:
    """Return the signed residual, forgiving small displacements.

    Mean of the plain residual and of the signed distance to the range that the
    reconstruction takes within ``radius_voxels``: an edge that is off by less than that
    costs half, a small lesion keeps at least half of its residual.
    """
    plain = image - reconstruction
    reach = int(np.ceil(radius_voxels))
    if reach < 1:
        return plain
    axes = np.ogrid[-reach : reach + 1, -reach : reach + 1, -reach : reach + 1]
    ball = sum(a.astype(float) ** 2 for a in axes) <= radius_voxels**2
    low = ndimage.grey_erosion(reconstruction, footprint=ball)
    high = ndimage.grey_dilation(reconstruction, footprint=ball)
    beyond = np.maximum(image - high, 0) + np.minimum(image - low, 0)
    signed: FloatArray = (0.5 * (plain + beyond)).astype(np.float32)
    return signed


def smooth_inside(data: FloatArray, mask: Mask, sigma_voxels: float) -> FloatArray:
    """Gaussian smoothing of the signed data inside the mask; nothing leaks in from outside."""
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma_voxels, truncate=3.0)
    value = ndimage.gaussian_filter(np.where(mask, data, 0), sigma_voxels, truncate=3.0)
    smooth: FloatArray = np.where(mask, value / np.maximum(weight, 1e-3), 0).astype(np.float32)
    return smooth


def guided_average(data: FloatArray, guide: FloatArray, mask: Mask, radius: int) -> FloatArray:
    """Average ``data`` where ``guide`` is alike: within tissue, not across its edges.

    The guided filter: in every window the data are a straight line of the guide.

    Parameters
    ----------
    data, guide : float32 array, shape (I, J, K)
    mask : bool array, shape (I, J, K)
        Only voxels inside count; outside the result is 0.
    radius : int
        Windows have ``2 radius + 1`` voxels along each axis.

    References
    ----------
    .. [1] He, Sun & Tang, Guided Image Filtering, ECCV 2010.
    """
    weight = mask.astype(np.float32)
    side = 2 * radius + 1
    share = np.maximum(ndimage.uniform_filter(weight, side), 1e-3)

    def mean(values: FloatArray) -> FloatArray:
        inside: FloatArray = ndimage.uniform_filter(values * weight, side) / share
        return inside

    mean_guide, mean_data = mean(guide), mean(data)
    variance = mean(guide * guide) - mean_guide**2
    slope = (mean(guide * data) - mean_guide * mean_data) / (np.maximum(variance, 0) + GUIDE_NOISE)
    offset = mean_data - slope * mean_guide
    averaged: FloatArray = (mean(slope) * guide + mean(offset)) * weight
    return averaged


def local_ssim(
    image: FloatArray, reconstruction: FloatArray, mask: Mask, sigma_voxels: float
) -> FloatArray:
    """Return the structural part of the SSIM in a Gaussian window, shape (I, J, K).

    Contrast and correlation; the mean intensity, which the residual judges, is left out.

    References
    ----------
    .. [1] Wang et al., IEEE Trans. Image Process. 13:600-612, 2004.
    """
    a = image - smooth_inside(image, mask, sigma_voxels)
    b = reconstruction - smooth_inside(reconstruction, mask, sigma_voxels)
    products = [smooth_inside(p, mask, sigma_voxels) for p in (a * b, a * a, b * b)]
    structure: FloatArray = (2 * products[0] + SSIM_FLOOR) / (
        products[1] + products[2] + SSIM_FLOOR
    )
    return np.where(mask, structure, 1).astype(np.float32)
