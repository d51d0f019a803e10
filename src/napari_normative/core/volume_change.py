"""Displacements that change volume by a stated amount, for simulated lesions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_normative.volume import FloatArray, Mask

FOLDING = 0.1
"""No voxel shrinks or grows beyond this: tissue does not fold over."""

STILL_VOXELS = 0.02
"""Voxels that move less keep their value: nothing is interpolated for nothing."""


def smoothed_within(data: FloatArray, mask: Mask, sigma: NDArray[np.float64]) -> FloatArray:
    """Gaussian mean of the data inside the mask; near the mask it continues outward.

    Parameters
    ----------
    data : float32 array, shape (I, J, K)
    mask : bool array, shape (I, J, K)
    sigma : array, shape (3,)
        Voxels.
    """
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma, truncate=3.0)
    value = ndimage.gaussian_filter(np.where(mask, data, 0), sigma, truncate=3.0)
    smooth: FloatArray = value / np.maximum(weight, 1e-4)
    return smooth


def displacement(rate: FloatArray, spacing_mm: NDArray[np.float64]) -> FloatArray:
    """Return the curl-free displacement, mm, whose divergence is ``rate`` less its mean.

    Solves Poisson's equation by Fourier transform: around a source the field falls off as
    in an incompressible elastic body. It fades to 0 at the border of the array.

    Parameters
    ----------
    rate : float32 array, shape (I, J, K)
    spacing_mm : array, shape (3,)

    Returns
    -------
    float32 array, shape (3, I, J, K)
    """
    spectrum = fft.rfftn(rate - rate.mean())
    last = rate.ndim - 1
    waves = [
        2 * np.pi * (fft.rfftfreq if axis == last else fft.fftfreq)(n, d)
        for axis, (n, d) in enumerate(zip(rate.shape, spacing_mm, strict=True))
    ]
    k = [w.astype(np.float32) for w in np.meshgrid(*waves, indexing="ij", sparse=True)]
    square = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    square[0, 0, 0] = 1
    spectrum /= square
    fade = np.ones(rate.shape, dtype=np.float32)
    for axis, n in enumerate(rate.shape):
        from_end = np.minimum(np.arange(n), np.arange(n)[::-1])
        ramp = np.clip(from_end / max(1.0, n / 6), 0, 1)
        line = 0.5 - 0.5 * np.cos(np.pi * ramp)
        fade *= np.moveaxis(line.astype(np.float32)[:, None, None], 0, axis)
    field: FloatArray = np.stack(
        [fft.irfftn(-1j * component * spectrum, s=rate.shape) * fade for component in k]
    ).astype(np.float32)
    return field


def jacobian(field: FloatArray, spacing_mm: NDArray[np.float64]) -> FloatArray:
    """Return the local volume of the source over that of the target, shape (I, J, K).

    ``field`` leads from where tissue is to where it was: above 1 tissue has shrunk, below 1
    it has grown. Not below ``FOLDING``.
    """
    (a, b, c), (d, e, f), (g, h, i) = (np.gradient(part, *spacing_mm) for part in field)
    a, e, i = a + 1, e + 1, i + 1
    volume: FloatArray = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return np.maximum(volume, FOLDING, dtype=np.float32)


def growth(field: FloatArray, where: Mask, spacing_mm: NDArray[np.float64]) -> float:
    """Return the share of the room in ``where`` that its tissue did not take before."""
    return 1 - float(jacobian(field, spacing_mm)[where].mean())


def shrinkage(field: FloatArray, where: Mask, spacing_mm: NDArray[np.float64]) -> float:
    """Return the share of its volume that the tissue of ``where`` loses."""
    volume = jacobian(field, spacing_mm)
    steps = field[:, where] / spacing_mm.astype(np.float32)[:, None]
    moved_to = np.stack(np.nonzero(where)) - steps
    return 1 - float(
        (1 / ndimage.map_coordinates(volume, moved_to, order=1, mode="nearest")).mean()
    )


def scaled_to(
    field: FloatArray,
    where: Mask,
    spacing_mm: NDArray[np.float64],
    measure: Callable[[FloatArray, Mask, NDArray[np.float64]], float],
    wanted: float,
) -> FloatArray:
    """Scale a displacement until ``measure`` of it in ``where`` is ``wanted``.

    Where tissue would have to fold over for that, the change stays smaller.

    Parameters
    ----------
    field : float32 array, shape (3, I, J, K)
        mm
    where : bool array, shape (I, J, K)
    spacing_mm : array, shape (3,)
    measure : callable
        :func:`growth` or :func:`shrinkage`.
    wanted : float
        Above 0; met within 1 %.
    """
    box = tuple(
        slice(max(0, s.start - 1), s.stop + 1)
        for s in ndimage.find_objects(where.astype(np.int8))[0]
    )
    near, inside = field[(slice(None), *box)], where[box]
    if min(inside.shape) < 2:  # no derivative along one voxel
        return field
    low, high, scale = 0.0, np.inf, 1.0
    for _ in range(8):
        scaled = np.float32(scale) * near
        found = measure(scaled, inside, spacing_mm)
        if (jacobian(scaled, spacing_mm) <= FOLDING).mean() > 0.001:
            high = scale
        else:
            low = scale
            if abs(found - wanted) < 0.01 * wanted:
                break
        scale *= float(np.clip(wanted / max(found, 1e-6), 0.3, 2.0))
        if scale >= high:
            scale = (low + high) / 2
    return field * np.float32(low)


def displaced(
    image: FloatArray,
    mask: Mask,
    field: FloatArray,
    spacing_mm: NDArray[np.float64],
    *,
    outside: float | None,
) -> FloatArray:
    """Return ``image(x + field(x))`` inside the mask; cubic, so that texture survives.

    Parameters
    ----------
    image : float32 array, shape (I, J, K)
    mask : bool array, shape (I, J, K)
    field : float32 array, shape (3, I, J, K)
        mm
    spacing_mm : array, shape (3,)
    outside : float or None
        What lies beyond the mask; None continues the image.
    """
    beyond = smoothed_within(image, mask, 4.0 / spacing_mm)
    if outside is not None:
        # A step at the mask's edge, which is one of voxels, would make a ragged rim.
        share = ndimage.gaussian_filter(mask.astype(np.float32), 2.0 / spacing_mm, truncate=3.0)
        beyond = outside + np.minimum(2 * share, 1) * (beyond - outside)
    filled = np.where(mask, image, beyond).astype(np.float32)
    steps = field / spacing_mm.astype(np.float32)[:, None, None, None]
    moving = mask & (np.abs(steps).max(axis=0) >= STILL_VOXELS)
    index = np.stack(np.nonzero(moving)) + steps[:, moving]
    coefficients = ndimage.spline_filter(filled, order=3, output=np.float32, mode="nearest")
    values = ndimage.map_coordinates(coefficients, index, order=3, mode="nearest", prefilter=False)
    out = image.copy()
    out[moving] = np.clip(values, filled[mask].min(), filled[mask].max())
    return out
