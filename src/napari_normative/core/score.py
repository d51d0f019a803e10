"""From image and reconstruction to a calibrated z map and one number for the scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from napari_normative.core.calibration import Calibration
from napari_normative.core.deform import DeformConfig, deform_to
from napari_normative.core.residual import (
    fit_contrast,
    guided_average,
    local_ssim,
    smooth_inside,
    tolerant_residual,
)
from napari_normative.volume import FloatArray, Mask


class ScoreConfig(BaseModel):
    """How residuals become evidence; stored in the model file.

    Why each default is what it is: docs/decisions/0007.

    Attributes
    ----------
    scales_mm : tuple of float
        Gaussian σ at which the signed residual is judged; the z are averaged.
    tolerance_mm : float
        Displacement that is forgiven; 0 for none.
    contrast_fit : bool
        Fit the reconstruction's contrast to the scan first.
    deform_mm : float
        Largest displacement by which the reconstruction is bent to the scan first; 0 for none.
    texture_mm : float
        Gaussian σ at which fine structure is compared (SSIM); 0 for not at all.
    texture : float
        Weight of the texture term beside the residual's z.
    voxel_statistics : bool
        Judge a voxel by the healthy mean and SD of its place; otherwise all alike.
    per_scan : bool
        Centre and scale z by the scan's own median and MAD.
    asymmetry : float
        Weight of the difference to the mirrored place, where it has the sign of z.
    guide_mm : tuple of float
        Radii of edge-preserving averages of z, guided by the scan; 0 is z as it is.
    erosion_mm : float
        Rim of the foreground that is not scored.
    minimum_ml : float
        Smallest candidate.
    false_per_scan : float
        False candidates per healthy scan at which the threshold is set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales_mm: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 12.0)
    tolerance_mm: float = 4.0
    contrast_fit: bool = True
    deform_mm: float = 0.0
    texture_mm: float = 0.0
    texture: float = 0.5
    voxel_statistics: bool = True
    per_scan: bool = True
    asymmetry: float = 0.5
    guide_mm: tuple[float, ...] = (0.0, 2.0, 6.0)
    erosion_mm: float = 4.0
    minimum_ml: float = 0.1
    false_per_scan: float = 1.0

    @property
    def maps(self) -> int:
        """Number of maps that calibration describes voxel by voxel."""
        return len(self.scales_mm) + (self.texture_mm > 0)


def erode(mask: Mask, distance_mm: float, spacing_mm: float) -> Mask:
    """Take a rim of ``distance_mm`` off a mask; beyond the grid counts as foreground."""
    if distance_mm <= 0:
        return mask
    depth = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))
    inner: Mask = depth[1:-1, 1:-1, 1:-1] * spacing_mm > distance_mm
    return inner


def evidence_maps(
    image: FloatArray,
    reconstruction: FloatArray,
    mask: Mask,
    config: ScoreConfig,
    spacing_mm: float,
) -> FloatArray:
    """Return what speaks against health, shape (config.maps, I, J, K).

    The signed residual at each scale, model units; then, if asked for, 1 - SSIM.
    """
    if config.contrast_fit:
        reconstruction = fit_contrast(image, reconstruction, mask)
    if config.deform_mm:
        limit = DeformConfig(cap_mm=config.deform_mm)
        reconstruction, _ = deform_to(reconstruction, image, mask, spacing_mm, limit)
    signed = tolerant_residual(image, reconstruction, config.tolerance_mm / spacing_mm)
    maps = [smooth_inside(signed, mask, s / spacing_mm) for s in config.scales_mm]
    if config.texture_mm:
        maps.append(1 - local_ssim(image, reconstruction, mask, config.texture_mm / spacing_mm))
    return np.stack(maps)


def anomaly_z(
    maps: FloatArray,
    image: FloatArray,
    mask: Mask,
    calibration: Calibration,
    config: ScoreConfig,
    spacing_mm: float,
) -> FloatArray:
    """Return the signed z map, shape (I, J, K); 0 outside the eroded mask.

    Each map over the healthy mean and SD of its voxel, averaged over scales; then scaled by
    the scan's own spread, so that a noisier scanner does not raise every voxel; then the
    difference to the mirrored place, and averages that stop at the scan's edges.

    Parameters
    ----------
    maps : float32 array, shape (config.maps, I, J, K)
        From :func:`evidence_maps`.
    image : float32 array, shape (I, J, K)
        The prepared scan.
    mask : bool array, shape (I, J, K)
    calibration : Calibration
    config : ScoreConfig
    spacing_mm : float
    """
    inner = erode(mask, config.erosion_mm, spacing_mm) & (calibration.sd > 0).all(axis=0)
    out = np.zeros(mask.shape, dtype=np.float32)
    if not inner.any():
        return out
    judged = (maps[:, inner] - calibration.mean[:, inner]) / calibration.sd[:, inner]
    scales = len(config.scales_mm)
    z = judged[:scales].mean(axis=0)
    if config.texture_mm:
        z = z + config.texture * np.sign(z) * np.maximum(judged[scales], 0)
    out[inner] = _standard(z, config)
    if config.asymmetry:
        out = np.where(inner, out + config.asymmetry * _beyond_mirror(out), 0)
    if config.guide_mm:
        radii = [round(r / spacing_mm) for r in config.guide_mm]
        averages = [guided_average(out, image, inner, r) if r else out for r in radii]
        out = np.mean(averages, axis=0)
    out[inner] = _standard(out[inner], config)
    return out.astype(np.float32)


def judge(
    image: FloatArray,
    reconstruction: FloatArray,
    mask: Mask,
    calibration: Calibration,
    config: ScoreConfig,
    spacing_mm: float,
) -> FloatArray:
    """Return the signed z map of any reconstruction, shape (I, J, K); 0 where not scored."""
    maps = evidence_maps(image, reconstruction, mask, config, spacing_mm)
    return anomaly_z(maps, image, mask, calibration, config, spacing_mm)


def _standard(z: FloatArray, config: ScoreConfig) -> FloatArray:
    """Return values over the scan's own median and MAD."""
    if not config.per_scan:
        return z
    centre = np.median(z)
    spread = 1.4826 * np.median(np.abs(z - centre))
    standard: FloatArray = (z - centre) / max(float(spread), 1e-6)
    return standard


def _beyond_mirror(z: FloatArray) -> FloatArray:
    """Return the difference to the mirrored place, 0 where it speaks against z's sign.

    Limited to twice z: a strong finding must not cast its mirror image.
    """
    difference = z - z[::-1]
    agrees = np.sign(difference) == np.sign(z)
    limited = np.sign(z) * np.minimum(np.abs(difference), 2 * np.abs(z))
    gated: FloatArray = np.where(agrees, limited, 0)
    return gated


def scan_score(z: FloatArray) -> float:
    """Return one number for a scan: the mean of the highest hundredth of |z|."""
    scored: NDArray[np.float32] = np.abs(z[z != 0])
    if not scored.size:
        return 0.0
    return float(scored[scored >= np.quantile(scored, 0.99)].mean())
