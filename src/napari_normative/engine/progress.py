"""How far a training is, for whoever watches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.card import CurvePoint


@dataclass(frozen=True)
class TrainProgress:
    """How far training is.

    Attributes
    ----------
    stage : {"check", "align", "train", "calibrate", "compare"}
    fraction : float
        Of the stage, 0 to 1.
    message : str
        The scan or step at hand.
    point : CurvePoint or None
        Newest point of the curves, nats per volume.
    seconds_left : float or None
        Of the stage.
    picture : uint8 array, shape (rows, columns), or None
        A new look at people who took no part; see :func:`thumbnails.montage`.
    left_out : str
        Why a scan was left out, when this tells of one.
    """

    stage: str
    fraction: float
    message: str = ""
    point: CurvePoint | None = None
    seconds_left: float | None = None
    picture: NDArray[np.uint8] | None = None
    left_out: str = ""

    def describe(self) -> str:
        """Return the ELBO and its terms in nats, active units and the time left, in one line."""
        parts = [self.message] if self.message else []
        if (point := self.point) is not None:
            parts.append(
                f"ELBO {point.elbo_nats:.0f} nats "
                f"(reconstruction {point.reconstruction_nats:.0f}, KL {point.kl_nats:.1f}), "
                f"{point.active_units} active units"
            )
        if self.seconds_left is not None:
            minutes, seconds = divmod(round(self.seconds_left), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
        return ", ".join(parts)
