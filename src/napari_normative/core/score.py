"""From image and reconstruction to a calibrated z map and one number for the scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from napari_normative.core.calibration import Calibration
from napari_normative.core.residual import fit_contrast, smooth_inside, tolerant_residual
from napari_normative.volume import FloatArray, Mask


class ScoreConfig(BaseModel):
    """How residuals become evidence; stored in the model file.

    Attributes
    ----------
    scales_mm : tuple of float
        Gaussian σ at which the signed residual is judged; the z are averaged.
    tolerance_mm : float
        Displacement that is forgiven; 0 for none.
    contrast_fit : bool
        Fit the reconstruction's contrast to the scan first.
    voxel_statistics : bool
        Judge a residual by healthy mean and SD of its own voxel; else as it is.
    erosion_mm : float
        Rim of the foreground that is not scored.
    minimum_ml : float
        Smallest candidate.
    false_per_scan : float
        False candidates per healthy scan at which the threshold is set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales_mm: tuple[float, ...] = (2.0, 4.0, 8.0)
    tolerance_mm: float = 4.0
    contrast_fit: bool = True
    voxel_statistics: bool = True
    erosion_mm: float = 4.0
    minimum_ml: float = 0.1
    false_per_scan: float = 1.0


def erode(mask: Mask, distance_mm: float, spacing_mm: float) -> Mask:
    """Take a rim of ``distance_mm`` off a mask; beyond the grid counts as foreground."""
    if distance_mm <= 0:
        return mask
    depth = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))
    inner: Mask = depth[1:-1, 1:-1, 1:-1] * spacing_mm > distance_mm
    return inner


def residual_scales(
    image: FloatArray,
    reconstruction: FloatArray,
    mask: Mask,
    config: ScoreConfig,
    spacing_mm: float,
) -> FloatArray:
    """Return the signed residual at each scale, shape (S, I, J, K), model units."""
    if config.contrast_fit:
        reconstruction = fit_contrast(image, reconstruction, mask)
    signed = tolerant_residual(image, reconstruction, config.tolerance_mm / spacing_mm)
    return np.stack([smooth_inside(signed, mask, s / spacing_mm) for s in config.scales_mm])


def anomaly_z(
    scales: FloatArray, mask: Mask, calibration: Calibration, config: ScoreConfig, spacing_mm: float
) -> FloatArray:
    """Return the signed z map, shape (I, J, K); 0 outside the eroded mask.

    Each scale over the healthy mean and SD of its voxel, averaged over scales, then
    centred and scaled by the scan's own median and MAD, so that a noisier scanner does
    not raise every voxel.
    """
    inner = erode(mask, config.erosion_mm, spacing_mm) & (calibration.sd > 0).all(axis=0)
    out = np.zeros(mask.shape, dtype=np.float32)
    if not inner.any():
        return out
    sd = np.where(calibration.sd > 0, calibration.sd, 1)
    z = ((scales - calibration.mean) / sd).mean(axis=0)[inner]
    spread = 1.4826 * np.median(np.abs(z - np.median(z)))
    out[inner] = (z - np.median(z)) / max(float(spread), 1e-6)
    return out


def scan_score(z: FloatArray) -> float:
    """Return one number for a scan: the mean of the highest hundredth of |z|."""
    scored: NDArray[np.float32] = np.abs(z[z != 0])
    if not scored.size:
        return 0.0
    return float(scored[scored >= np.quantile(scored, 0.99)].mean())
