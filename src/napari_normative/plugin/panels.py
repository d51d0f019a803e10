"""The widgets that the manifest names, and commands that open them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.explorer import ExplorerController
from napari_normative.plugin.controllers.latent_map import LatentMapController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.docks.anomaly import AnomalyView
from napari_normative.plugin.docks.latent_map import LatentMapView
from napari_normative.plugin.docks.samples import SamplesView
from napari_normative.plugin.session import notify_error, session_for

if TYPE_CHECKING:
    import napari


class AnomalyMap(AnomalyView):
    """The dock "Anomaly map".

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made = session.get(AnomalyController)
        super().__init__(made.state, made.requests, session.context.shared)


class LatentMap(LatentMapView):
    """The dock "Latent map".

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made = session.get(LatentMapController)
        super().__init__(made.state, made.requests, session.context.shared)


class Samples(SamplesView):
    """The dock "Samples".

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made, explorer = session.get(SamplesController), session.get(ExplorerController)
        super().__init__(
            made.state, made.requests, explorer.state, explorer.requests, session.context.shared
        )


def open_dock(name: str) -> None:
    """Show a dock of ours in the current window."""
    import napari

    viewer = napari.current_viewer()
    if viewer is not None:
        dock, _ = viewer.window.add_plugin_dock_widget("napari-normative", name)
        dock.show()


def open_anomaly_map() -> AnomalyController | None:
    """Show the dock "Anomaly map" in the current window and return its controller."""
    import napari

    open_dock("Anomaly map")
    viewer = napari.current_viewer()
    return None if viewer is None else session_for(viewer).get(AnomalyController)


def run_on_selected() -> None:
    """Open the dock with the selected layer as the scan and start."""
    import napari

    controller = open_anomaly_map()
    viewer = napari.current_viewer()
    if controller is None or viewer is None:
        return
    layer = viewer.layers.selection.active
    if layer is None or not controller.choose(layer):
        notify_error("Select the image layer of a scan first, then choose this command again.")
        return
    controller.run()


def draw_samples() -> None:
    """Open the dock "Samples" and draw from the cohort of the chosen model."""
    import napari

    viewer = napari.current_viewer()
    if viewer is not None:
        open_dock("Samples")
        session_for(viewer).get(SamplesController).draw()
