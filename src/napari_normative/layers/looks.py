"""Colours, contrast limits and tables of the result layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.limits import signed_limit

if TYPE_CHECKING:
    import pandas as pd

    from napari_normative.core.candidates import Candidate


SIGNED, MAGNITUDE = "normative signed", "normative magnitude"
_COLOURS: dict[str, tuple[list[list[float]], list[float]]] = {
    # Blue, transparent at zero, red.
    SIGNED: ([[0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1]], [0, 0.5, 1]),
    # Transparent at zero, through orange to pale yellow.
    MAGNITUDE: ([[0, 0, 0, 0], [1, 0.45, 0, 1], [1, 1, 0.7, 1]], [0, 0.6, 1]),
}


def colormap_of(name: Any) -> Any:
    """Return the colours of a name of ours by value; anything else as it is: napari knows it."""
    if name not in _COLOURS:
        return name
    colours, controls = _COLOURS[name]
    return {"name": name, "colors": colours, "controls": controls}


def magnitude_limits(data: NDArray[np.generic], threshold: float) -> tuple[float, float]:
    """Return limits of |z| for a projection.

    A projection shows the largest value on each ray, so what half of all rays reach
    without any anomaly must be transparent: the lower limit is the smaller of the 99.5th
    percentile and the candidates' threshold.
    """
    low = min(signed_limit(data), threshold)
    return low, max(float(data.max(initial=0.0)), 1.5 * low)


def candidate_features(candidates: Iterable[Candidate]) -> pd.DataFrame:
    """Return one row per candidate; ``index`` is its value in the labels."""
    import pandas as pd

    rows = [
        {
            "index": c.label,
            "id": c.id,
            "rank": c.rank,
            "sign": "brighter" if c.sign > 0 else "darker",
            "peak_z": c.peak_z,
            "mean_z": c.mean_z,
            "volume_ml": c.volume_mm3 / 1000.0,
            "right_mm": c.centroid_mm[0],
            "anterior_mm": c.centroid_mm[1],
            "superior_mm": c.centroid_mm[2],
            "p": c.p,
        }
        for c in candidates
    ]
    columns = "index id rank sign peak_z mean_z volume_ml right_mm anterior_mm superior_mm p"
    return pd.DataFrame(rows, columns=columns.split())
