"""Loading what draws curves, before somebody waits for it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from napari_normative.plugin.jobs import Cancelled, Listener, Progress, Runner


@dataclass(frozen=True)
class LoadPlots:
    """Load pyqtgraph, and compute the dashes of napari's polygons.

    On the main thread both would stall the window: the dashes, which vispy keeps, with the first
    labels layer.
    """

    def __call__(self, progress: Progress, cancelled: Cancelled) -> None:
        """Do it."""
        importlib.import_module("pyqtgraph")
        importlib.import_module("vispy.visuals.line.dash_atlas").DashAtlas()


def load_plots(runner: Runner) -> None:
    """Load it in a thread; who needs it earlier loads it then."""
    ignore = Listener(lambda *_: None, lambda _: None, lambda _: None, lambda: None)
    runner.start("Loading the plots", LoadPlots(), ignore)
