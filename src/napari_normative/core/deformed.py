"""Displacements that change volume by a stated amount, for simulated lesions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_normative.volume import FloatArray, Mask

FOLDING = 0.15
"""A voxel's volume never falls below this share: no tissue is folded over."""


def divergence_field(rate: FloatArray, spacing_mm: NDArray[np.float64]) -> FloatArray:
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
    frequency = [
        2 * np.pi * (fft.rfftfreq if axis == 2 else fft.fftfreq)(n, d)
        for axis, (n, d) in enumerate(zip(rate.shape, spacing_mm, strict=True))
    ]
    k = np.meshgrid(*frequency, indexing="ij", sparse=True)
    square = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    square[0, 0, 0] = 1
    potential = -spectrum / square
    fade = np.ones(rate.shape, dtype=np.float32)
    for axis, n in enumerate(rate.shape):
        from_end = np.minimum(np.arange(n), np.arange(n)[::-1])
        ramp = np.clip(from_end / max(1.0, n / 6), 0, 1)
        line = 0.5 - 0.5 * np.cos(np.pi * ramp)
        fade *= line.reshape([-1 if a == axis else 1 for a in range(3)]).astype(np.float32)
    field: FloatArray = np.stack(
        [fft.irfftn(1j * k[a] * potential, s=rate.shape) * fade for a in range(3)]
    )
    return field.astype(np.float32)


def jacobian(field: FloatArray, spacing_mm: NDArray[np.float64]) -> FloatArray:
    """Return the local volume of the source over that of the target, shape (I, J, K).

    Above 1 tissue has shrunk, below 1 it has grown. Never below ``FOLDING``.
    """
    rows = [np.gradient(component, *spacing_mm) for component in field]
    (a, b, c), (d, e, f), (g, h, i) = rows
    a, e, i = a + 1, e + 1, i + 1
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    volume: FloatArray = np.maximum(det, FOLDING).astype(np.float32)
    return volume


def scaled_to(
    field: FloatArray,
    spacing_mm: NDArray[np.float64],
    measure: Callable[[FloatArray], float],
    wanted: float,
) -> FloatArray:
    """Scale a displacement until ``measure(jacobian)`` is ``wanted``, or it would fold."""
    for _ in range(4):
        found = measure(jacobian(field, spacing_mm))
        if abs(found) < 1e-6:
            break
        field = field * np.float32(np.clip(wanted / found, 0.2, 5.0))
    return field


def displaced(
    image: FloatArray,
    mask: Mask,
    field: FloatArray,
    spacing_mm: NDArray[np.float64],
    *,
    outside: float | None,
) -> FloatArray:
    """Return ``image(x + field(x))``; cubic, so that texture survives.

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
    if outside is None:
        away = ndimage.distance_transform_edt(
            ~mask, sampling=spacing_mm, return_distances=False, return_indices=True
        )
        filled = image[tuple(away)]
    else:
        filled = np.where(mask, image, np.float32(outside))
    steps = field / spacing_mm[:, None, None, None]
    index = np.indices(image.shape, dtype=np.float32) + steps
    moved = ndimage.map_coordinates(filled, index, order=3, mode="nearest")
    moved = np.clip(moved, filled.min(), filled.max())
    still = np.abs(steps).max(axis=0) < 0.02
    out: FloatArray = np.where(still | ~mask, image, moved).astype(np.float32)
    return out
