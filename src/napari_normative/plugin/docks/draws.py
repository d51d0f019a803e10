"""What the tabs that draw volumes ask alike."""

from __future__ import annotations

from qtpy.QtWidgets import QDoubleSpinBox

from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.samples import INTERPOLATION, POSTERIOR, PRIOR

KINDS = (
    Choice(PRIOR, "from the cohort (prior)"),
    Choice(POSTERIOR, "about a scan (posterior)"),
    Choice(INTERPOLATION, "from one scan to another"),
)


def temperature_box() -> QDoubleSpinBox:
    """Return a box for the spread of draws."""
    box = QDoubleSpinBox()
    box.setRange(0.0, 3.0)
    box.setSingleStep(0.1)
    box.setToolTip("Spread of the draws: 1 as learnt, 0 the mean")
    return box
