"""Which layers of the viewer can be scans and masks; the same for all docks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from napari_normative.plugin.state.common import Choice


@dataclass
class ScansState:
    """The scans and masks among the layers, in the layers' order.

    Attributes
    ----------
    scans, masks : tuple of Choice
        Image layers that are no results of ours; labels layers.
    selected : str
        Key of the scan whose layer was selected last; empty before.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    scans: tuple[Choice, ...] = ()
    masks: tuple[Choice, ...] = ()
    selected: str = ""
