"""Noise taken out of a scan: simple filters and a reconstruction, mixed as the scan itself tells.

The error of any filter can be estimated without knowing the truth, when the noise is white and
Gaussian of known size (Stein). Of all mixtures of a few filters the one of least estimated error
is taken, so nothing has to be tuned, and the reconstruction of a model, one among them, gets the
share that it deserves in this scan at this noise.

References
----------
.. [1] Blu & Luisier, The SURE-LET approach to image denoising, IEEE Trans. Image Process.
   16:2778-2786, 2007.
.. [2] Ramani, Blu & Unser, Monte-Carlo SURE, IEEE Trans. Image Process. 17:1540-1554, 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.volume import FloatArray, Mask

NORMAL_MAD = 0.6745
"""Median of the absolute values of a standard normal variable."""

WIDTHS = (0.6, 1.0)
"""SD of the Gaussian filters, voxels."""

WINDOWS = (3, 5)
"""Edges of the windows of the local filters, voxels."""

RIDGE = 1e-4
"""What a squared weight of 1 costs, of the variance of the noise."""

PROBE = 0.1
"""Size of the change by which sensitivity is measured, SD of the noise."""

LEAST_VOXELS = 1000
"""Voxels below which a mixture cannot be judged."""

JUDGED_EDGE = 128
"""Edge of the middle block on which mixtures are judged; their time then grows slowly."""

Numbers = NDArray[np.float64]
Filter = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, eq=False)
class Mixture:
    """A denoised image and how far from the truth it should be.

    Attributes
    ----------
    image : float32 array, shape (I, J, K)
    expected_rmse : float
        Root mean square error that the mixture should have, units of the image.
    """

    image: FloatArray
    expected_rmse: float


def noise_sd(image: FloatArray, inside: Mask) -> float:
    """Return the SD of white noise in an image, its units.

    From differences along all three axes at once, in which anatomy hardly shows; their median,
    so that what does show counts little. Noise that was smoothed, by interpolation for
    instance, is underestimated.

    Parameters
    ----------
    image : float32 array, shape (I, J, K)
    inside : bool array, shape (I, J, K)
        Where to look; of 0 where it leaves nothing.

    References
    ----------
    .. [1] Donoho & Johnstone, Ideal spatial adaptation by wavelet shrinkage, Biometrika
       81:425-455, 1994.
    """
    found, known = image.astype(np.float64), inside
    for axis in range(3):
        found = np.diff(found, axis=axis) / np.sqrt(2)
        size = known.shape[axis]
        known = known.take(range(1, size), axis) & known.take(range(size - 1), axis)
    return float(np.median(np.abs(found[known]))) / NORMAL_MAD if known.any() else 0.0


def local_shrinkage(image: FloatArray, sd: float, average: Filter) -> FloatArray:
    """Return an image drawn towards its local mean, the more the less it varies beyond noise.

    Parameters
    ----------
    image : float32 array, shape (I, J, K)
    sd : float
        Of the noise, units of the image.
    average : callable
        Returns the mean about each voxel.

    References
    ----------
    .. [1] Lee, Digital image enhancement and noise filtering by use of local statistics, IEEE
       Trans. Pattern Anal. Mach. Intell. 2:165-168, 1980.
    """
    mean = average(image)
    variance = average(image * image) - mean * mean
    gain = np.maximum(variance - sd * sd, 0) / np.maximum(variance, 1e-12)
    out: FloatArray = mean + gain * (image - mean)
    return out


def average_of(inside: Mask, smooth: Filter) -> Filter:
    """Return a linear filter to which what lies outside a mask is nothing, not 0.

    Parameters
    ----------
    inside : bool array, shape (I, J, K)
    smooth : callable
        Weighs neighbours.
    """
    known = inside.astype(np.float32)
    weight = np.maximum(smooth(known), 1e-6).astype(np.float32)

    def average(image: FloatArray) -> FloatArray:
        out: FloatArray = smooth(image * known) / weight
        return out

    return average


def mixture(
    image: FloatArray, sd: float, inside: Mask, expected: FloatArray | None = None
) -> Mixture | None:
    """Return the mixture of filters that has the least estimated error; None if too few voxels.

    Parameters
    ----------
    image : float32 array, shape (I, J, K)
    sd : float
        Of the noise, units of the image; above 0.
    inside : bool array, shape (I, J, K)
        What is known and counts; outside, the mixture means nothing.
    expected : float32 array, shape (I, J, K), optional
        A reconstruction, known inside. It is taken as it is: that a little noise has passed
        into it through a few latents is left out of account.
    """
    middle = _middle(inside)
    if inside[middle].sum() < LEAST_VOXELS:
        return None
    image = image.astype(np.float32)
    weight, risk = _weights(
        image[middle], sd, inside[middle], None if expected is None else expected[middle]
    )
    filters = _filters(sd, inside, expected)
    out = np.zeros_like(image)
    for share, filtered in zip(weight, filters, strict=True):
        out += np.float32(share) * filtered(image)
    return Mixture(out, max(risk, 0.0) ** 0.5)


def _middle(inside: Mask) -> tuple[slice, ...]:
    """Return the block about the middle of a mask on which mixtures are judged."""
    box = ndimage.find_objects(inside.astype(np.int8))
    if not box:
        return tuple(slice(0, 0) for _ in inside.shape)
    starts = ((s.start, s.stop, max(0, s.stop - s.start - JUDGED_EDGE) // 2) for s in box[0])
    return tuple(slice(a + off, min(b, a + off + JUDGED_EDGE)) for a, b, off in starts)


def _weights(
    image: FloatArray, sd: float, inside: Mask, expected: FloatArray | None
) -> tuple[Numbers, float]:
    """Return the weights of the filters of least estimated risk, and that mean square error."""
    probe = np.random.default_rng(0).choice([-1.0, 1.0], image.shape).astype(np.float32)
    seen, rows, right = image[inside].astype(np.float64), [], []
    for filtered in _filters(sd, inside, expected):
        made = filtered(image)
        change = filtered(image + np.float32(PROBE * sd) * probe) - made
        divergence = float((change * probe)[inside].sum(dtype=np.float64)) / (PROBE * sd)
        rows.append(made[inside].astype(np.float64))
        right.append(float(rows[-1] @ seen) - sd**2 * divergence)
    target, stacked = np.array(right), np.stack(rows)
    system = stacked @ stacked.T
    # Filters that are nearly alike would take huge weights of either sign, to fit the chance in
    # their measured divergence.
    ridge = RIDGE * sd**2 * seen.size * np.eye(len(system))
    weight: Numbers = np.linalg.solve(system + ridge, target)
    squared = seen @ seen - 2 * weight @ target + weight @ system @ weight
    return weight, float(squared / seen.size - sd**2)


def _filters(sd: float, inside: Mask, expected: FloatArray | None) -> list[Filter]:
    """Return the filters of an image, then the same of what a reconstruction leaves of it."""
    gaussians = [average_of(inside, _gaussian(width)) for width in WIDTHS]
    boxes = [average_of(inside, _box(edge)) for edge in WINDOWS]
    plain: list[Filter] = [*gaussians, *(_shrinkage(sd, average) for average in boxes)]
    if expected is None:
        return [_same, *plain]
    base = np.where(inside, expected, 0).astype(np.float32)
    guided: list[Filter] = [lambda image: base, *(_added(base, filtered) for filtered in plain)]
    return [_same, *plain, *guided]


def _same(image: FloatArray) -> FloatArray:
    return image


def _gaussian(width: float) -> Filter:
    return lambda image: ndimage.gaussian_filter(image, width)


def _box(edge: int) -> Filter:
    return lambda image: ndimage.uniform_filter(image, edge)


def _shrinkage(sd: float, average: Filter) -> Filter:
    return lambda image: local_shrinkage(image, sd, average)


def _added(base: FloatArray, filtered: Filter) -> Filter:
    return lambda image: base + filtered(image - base)
