"""A detection in a viewer, from a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_normative.engine.detection_layers import detection_layers
from napari_normative.layers.spec import (
    SCAN,
    facts_of,
    origin_of,
    spec_of,
)
from napari_normative.plugin.layers import (
    add_spec,
    place,
)
from napari_normative.plugin.session import session_for

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_normative.engine.detection import Detection


def show(detection: Detection, viewer: ViewerModel | None = None) -> ViewerModel:
    """Show a detection: the scan and its result layers.

    Parameters
    ----------
    detection : Detection
    viewer : napari Viewer or ViewerModel, optional
        A new window unless given. ``napari.components.ViewerModel()`` works without Qt.

    Returns
    -------
    napari Viewer or ViewerModel
        The viewer that shows it.
    """
    if viewer is None:
        import napari

        viewer = napari.Viewer()
    session = session_for(viewer)
    session.view.prepare()
    scan = detection.scan
    origin = origin_of(scan)
    present = [
        layer
        for layer in viewer.layers
        if (facts := facts_of(layer)) is not None and (facts.role, facts.origin) == (SCAN, origin)
    ]
    if not present:
        add_spec(viewer, spec_of([scan], scan.source.name, SCAN, colormap="gray"))
    place(viewer, detection_layers(detection), replace_earlier=True)
    session.context.detections.add(detection)  # the docks list its candidates
    return viewer
