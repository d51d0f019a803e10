"""Grey-value windows: level and width, presets, and a default that fits the modality.

A window maps ``level - width / 2`` to black and ``level + width / 2`` to white, as on a
viewing station; napari calls the two ends contrast limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Modality = Literal["MR", "CT", "other"]
MODALITIES: tuple[Modality, ...] = ("MR", "CT", "other")

MOST_VOXELS = 1_000_000
"""Quantiles are taken of at most so many evenly spaced voxels."""

FULL_DRAG_PX = 500.0
"""A drag of so many pixels changes level or width by the window's range."""


@dataclass(frozen=True)
class Window:
    """A grey-value window, in the units of the scan.

    Attributes
    ----------
    level : float
        Value shown as middle grey.
    width : float
        From black to white; positive.
    """

    level: float
    width: float

    @property
    def limits(self) -> tuple[float, float]:
        """Values shown as black and as white."""
        return self.level - self.width / 2, self.level + self.width / 2

    @classmethod
    def between(cls, low: float, high: float) -> Window:
        """Return the window from black at ``low`` to white at ``high``."""
        width = high - low
        return cls((low + high) / 2, width if width > 0 else 1.0)

    def dragged(self, right_px: float, down_px: float, scale: float) -> Window:
        """Return the window after a drag from where the mouse button went down.

        Right widens, left narrows; down lowers the level, which brightens the picture, as on
        most viewing stations.

        Parameters
        ----------
        right_px, down_px : float
            Way of the mouse on the screen.
        scale : float
            Range of the scan's values that matters, such as the width of the default window.
        """
        step = scale / FULL_DRAG_PX
        least = scale / 1000
        return Window(self.level - down_px * step, max(self.width + right_px * step, least))


@dataclass(frozen=True)
class WindowPreset:
    """A named window for CT, in Hounsfield units."""

    key: str
    label: str
    window: Window


CT_PRESETS = tuple(
    WindowPreset(key, f"{label} {width:g}/{level:g}", Window(level, width))
    for key, label, width, level in (
        ("brain", "Brain", 80.0, 40.0),
        ("stroke", "Stroke", 40.0, 40.0),
        ("subdural", "Subdural", 200.0, 75.0),
        ("bone", "Bone", 2800.0, 600.0),
        ("soft-tissue", "Soft tissue", 400.0, 50.0),
        ("abdomen", "Abdomen", 350.0, 40.0),
        ("lung", "Lung", 1500.0, -600.0),
        ("mediastinum", "Mediastinum", 350.0, 50.0),
        ("angiography", "Angiography", 600.0, 300.0),
    )
)


def _sample(data: NDArray[np.generic]) -> NDArray[np.float64]:
    flat = data.reshape(-1) if data.flags.c_contiguous else data.ravel(order="K")
    values = flat[:: max(1, flat.size // MOST_VOXELS)].astype(np.float64)
    return values[np.isfinite(values)]


def recognise(data: NDArray[np.generic]) -> Modality:
    """Return what the range of values says: CT, or MR for the rest.

    Air of at most -500 Hounsfield units in a hundredth of the voxels, and nothing below what
    scanners write as padding or above what they write for metal, is taken for CT. PET cannot
    be told from MR by its range: it has to be chosen.
    """
    values = _sample(data)
    if values.size == 0:
        return "other"
    low, air, high = np.quantile(values, (0.0, 0.01, 0.999))
    is_ct = air <= -500 and low >= -10_000 and 0 < high <= 32_000
    return "CT" if is_ct else "MR"


def foreground_values(data: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the values of what is not background air: brighter than an eighth of the mean.

    The rule is that of SPM's global signal: the mean of the voxels that are brighter than an
    eighth of the mean of all is a robust estimate of the signal, and an eighth of it separates
    air from the darkest tissue.
    """
    values = _sample(data)
    if values.size == 0:
        return values
    lowest = values.min()
    above = values - lowest
    signal = above[above > above.mean() / 8]
    if signal.size == 0:
        return values
    bright: NDArray[np.float64] = values[above > signal.mean() / 8]
    return bright


def robust_window(data: NDArray[np.generic], modality: Modality) -> Window:
    """Return the window in which a scan is first seen.

    MR: from the 1st to the 99.5th percentile of the foreground. CT: brain, 80/40. Others:
    from the lowest value to the 99.5th percentile.

    Parameters
    ----------
    data : array
    modality : {"MR", "CT", "other"}
    """
    if modality == "CT":
        return CT_PRESETS[0].window
    if modality == "MR":
        values, low_quantile = foreground_values(data), 0.01
    else:
        values, low_quantile = _sample(data), 0.0
    if values.size == 0:
        return Window(0.5, 1.0)
    low, high = np.quantile(values, (low_quantile, 0.995))
    return Window.between(float(low), float(high))
