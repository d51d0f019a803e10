"""Between which values an image is shown: the same in the window and in reports."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def image_limits(data: NDArray[np.generic]) -> tuple[float, float]:
    """Return contrast limits of an image: its minimum and its 99.8th percentile.

    At most a million evenly spaced voxels are looked at.
    """
    flat = data.reshape(-1) if data.flags.c_contiguous else data.ravel(order="K")
    values = flat[:: max(1, flat.size // 1_000_000)]
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low = float(values.min())
    inside = values[values > low]
    high = float(np.percentile(inside, 99.8)) if inside.size else low + 1.0
    return low, high if high > low else low + 1.0


def signed_limit(data: NDArray[np.generic]) -> float:
    """Return the 99.5th percentile of the absolute values that are not zero."""
    magnitude = np.abs(data[data != 0])
    limit = float(np.percentile(magnitude, 99.5)) if magnitude.size else 1.0
    return limit if np.isfinite(limit) and limit > 0 else 1.0
