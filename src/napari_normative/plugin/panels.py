"""The widgets that the manifest names, and commands that open them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.explorer import ExplorerController
from napari_normative.plugin.controllers.findings import FindingsController
from napari_normative.plugin.controllers.latent_map import LatentMapController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.reading import ReadingController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.controllers.training import TrainingController
from napari_normative.plugin.docks.anomaly import AnomalyView
from napari_normative.plugin.docks.latent_map import LatentMapView
from napari_normative.plugin.docks.reading_room import ReadingRoomView
from napari_normative.plugin.docks.samples import SamplesView
from napari_normative.plugin.docks.train import TrainView
from napari_normative.plugin.session import notify_error, session_for

if TYPE_CHECKING:
    import napari


class AnomalyMap(AnomalyView):
    """The dock "Anomaly map".

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari, as to all docks.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made, findings = session.get(AnomalyController), session.get(FindingsController)
        super().__init__(
            made.state, made.requests, session.context.shared, findings.state, findings.requests
        )


class ReadingRoom(ReadingRoomView):
    """The dock "Reading room"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made, layout = session.get(ReadingController), session.get(LayoutController)
        made.follow(layout)
        super().__init__(
            made.state, made.requests, session.context.shared, layout.state, layout.requests
        )


class Samples(SamplesView):
    """The dock "Samples"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made, explorer = session.get(SamplesController), session.get(ExplorerController)
        super().__init__(
            made.state, made.requests, explorer.state, explorer.requests, session.context.shared
        )


class LatentMap(LatentMapView):
    """The dock "Latent map"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made = session.get(LatentMapController)
        super().__init__(made.state, made.requests, session.context.shared)


class Train(TrainView):
    """The dock "Train a model"."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        session = session_for(napari_viewer)
        made = session.get(TrainingController)
        super().__init__(made.state, made.requests, session.context.shared)


def open_dock(name: str) -> None:
    """Show a dock of ours in the current window."""
    import napari

    viewer = napari.current_viewer()
    if viewer is not None:
        dock, _ = viewer.window.add_plugin_dock_widget("napari-normative", name, tabify=True)
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


def open_reading_room() -> ReadingController | None:
    """Show the dock "Reading room" in the current window and return its controller."""
    import napari

    open_dock("Reading room")
    viewer = napari.current_viewer()
    return None if viewer is None else session_for(viewer).get(ReadingController)


def hide_overlay() -> None:
    """Hide maps and candidates of the read scan, or show them again."""
    made = open_reading_room()
    if made is None:
        return
    if made.state.overlay_blocked:
        notify_error(made.state.overlay_blocked)
    else:
        made.state.hidden = not made.state.hidden


def compare(kind: str) -> None:
    """Begin a comparison of scan and reconstruction, or end it."""
    made = open_reading_room()
    if made is None:
        return
    if made.state.compare_blocked:
        notify_error(made.state.compare_blocked)
    else:
        made.state.compare = "" if made.state.compare == kind else kind


def reset_window() -> None:
    """Set the automatic grey-value window of the read scan."""
    made = open_reading_room()
    if made is None:
        return
    if made.state.window_blocked:
        notify_error(made.state.window_blocked)
    else:
        made.requests.reset_window.emit()
