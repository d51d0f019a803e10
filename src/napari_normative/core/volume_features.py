"""A few plain figures of a prepared scan: what a probe of latents has to do better than."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.preprocess import Prepared, PreprocessConfig

NAMES = (
    "foreground_ml",
    "intensity_median_log",
    "intensity_mean",
    "intensity_sd",
    "intensity_q05",
    "intensity_q25",
    "intensity_q75",
    "intensity_q95",
    "dark_share",
    "middle_share",
    "bright_share",
)
"""Volume of the foreground in the scan's own size; log of the median intensity as stored;
intensities over that median; shares of the foreground in three classes of intensity (in T1
much like fluid, grey and white)."""


def volume_features(prepared: Prepared, config: PreprocessConfig) -> NDArray[np.float64]:
    """Return the figures of :data:`NAMES`, shape (11,).

    Intensities are the scan's own inside the mask, without its bias field and before they
    are matched to the cohort's. The classes are split where Otsu's method does.

    References
    ----------
    .. [1] Liao, Chen & Chung, A fast algorithm for multilevel thresholding, J. Inf. Sci. Eng.
       17:713-727, 2001.
    """
    from skimage.filters import threshold_multiotsu

    values = prepared.intensity.backward(prepared.image[prepared.mask]).astype(np.float64)
    low, high = np.quantile(values, (0.005, 0.995))
    values = np.clip(values, low, high)
    median = max(float(np.median(values)), 1e-12)
    relative = values / median
    scaled = float(abs(np.linalg.det(prepared.alignment.scan_to_template[:3, :3])))
    volume_ml = prepared.mask.sum() * config.spacing_mm**3 / 1000 / max(scaled, 1e-12)
    try:
        classes = np.digitize(relative, threshold_multiotsu(relative, classes=3))
    except ValueError:  # fewer than three different intensities
        classes = np.ones(len(relative), dtype=int)
    shares = np.bincount(classes, minlength=3) / len(relative)
    quantiles = np.quantile(relative, (0.05, 0.25, 0.75, 0.95))
    spread = relative.mean(), relative.std()
    return np.array([volume_ml, np.log(median), *spread, *quantiles, *shares])
