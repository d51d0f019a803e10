"""The widgets that the manifest names, and commands that open them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_normative.plugin.controllers import AnomalyController
from napari_normative.plugin.docks.anomaly import AnomalyView
from napari_normative.plugin.session import notify_error, session_for, unwrapped

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
        viewer = unwrapped(napari_viewer)
        super().__init__(session_for(viewer).open_anomaly(viewer).panel)


def open_anomaly_map() -> AnomalyController | None:
    """Show the dock "Anomaly map" in the current window and return its controller."""
    import napari

    viewer = napari.current_viewer()
    if viewer is None:
        return None
    dock, _ = viewer.window.add_plugin_dock_widget("napari-normative", "Anomaly map")
    dock.show()
    return session_for(viewer).open_anomaly(viewer)


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
    """Open the dock and draw synthetic volumes from the chosen model."""
    controller = open_anomaly_map()
    if controller is not None:
        controller.draw_samples()
