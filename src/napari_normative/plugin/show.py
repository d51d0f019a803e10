"""Results in a viewer, from a script or a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_normative.display import has_display, require_qt
from napari_normative.engine.detection import Detection
from napari_normative.engine.detection_layers import detection_layers
from napari_normative.engine.draw_layers import draw_layers
from napari_normative.engine.draws import Draws
from napari_normative.engine.inpaint import Inpainted
from napari_normative.engine.made import MadeVolume, layer_of
from napari_normative.engine.scans import ScanLike, as_volume
from napari_normative.errors import DeviceError
from napari_normative.layers.spec import SCAN, LayerSpec, facts_of, origin_of, spec_of
from napari_normative.plugin.layers import add_spec, place
from napari_normative.plugin.session import session_for
from napari_normative.volume import Volume

if TYPE_CHECKING:
    from napari.components import ViewerModel


def show(
    result: Detection | Draws | Inpainted | MadeVolume | ScanLike,
    viewer: ViewerModel | None = None,
    *,
    block: bool = False,
) -> ViewerModel:
    """Show a detection, samples, a filled scan, another volume of a model, or a scan.

    What is shown twice takes the place of the first; labels that somebody edited stay. The view
    goes to the strongest candidate of a scan that was not there before.

    Parameters
    ----------
    result : Detection, Draws, Inpainted, MadeVolume, or a scan
        Of a result the scan it belongs to is shown, too.
    viewer : napari Viewer or ViewerModel, optional
        A new window unless given. ``napari.components.ViewerModel()`` works without Qt and
        without a display.
    block : bool
        Wait until the window is closed; for a script that ends here. In IPython and in
        notebooks the window lives beside them.

    Returns
    -------
    napari Viewer or ViewerModel
        In a notebook ``napari.utils.nbscreenshot(viewer)`` is its picture.

    Raises
    ------
    DeviceError
        ``DEV-022`` without Qt, ``DEV-023`` without a display, where a window is to be opened.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> viewer = show(detection, ViewerModel())
    >>> [layer.name.rpartition(" · ")[2] for layer in viewer.layers][-2:]
    ['|z|', 'candidates']
    """
    viewer = new_window() if viewer is None else viewer
    session = session_for(viewer)
    session.view.prepare()
    scan, specs = _parts(result)
    is_new = False
    if scan is not None:
        origin = origin_of(scan)
        known = [facts for layer in viewer.layers if (facts := facts_of(layer)) is not None]
        is_new = (SCAN, origin) not in {(facts.role, facts.origin) for facts in known}
        if is_new:
            add_spec(viewer, spec_of([scan], scan.source.name, SCAN, colormap="gray"))
    place(viewer, specs, replace_earlier=True)
    if isinstance(result, Detection):
        session.context.detections.add(result)  # the docks list its candidates
        if is_new and result.candidates:
            axes = range(viewer.dims.ndim - 3, viewer.dims.ndim)  # S, A, R
            viewer.dims.set_point(tuple(axes), result.candidates[0].centroid_mm[::-1])
    if block:
        import napari

        napari.run()
    return viewer


def new_window() -> ViewerModel:
    """Open a napari window.

    Raises
    ------
    DeviceError
        ``DEV-022`` without Qt, ``DEV-023`` without a display.
    """
    require_qt()
    if not has_display():
        raise DeviceError(
            "DEV-023",
            "there is no display for a window",
            "Pass viewer=napari.components.ViewerModel(), or run the script with xvfb-run.",
        )
    import napari

    viewer: ViewerModel = napari.Viewer()
    return viewer


def _parts(
    result: Detection | Draws | Inpainted | MadeVolume | ScanLike,
) -> tuple[Volume | None, list[LayerSpec]]:
    """Return the scan to be shown, if any, and the layers on it."""
    if isinstance(result, Detection):
        return result.scan, detection_layers(result)
    if isinstance(result, Draws):
        return result.like, draw_layers(result)
    if isinstance(result, Inpainted):
        return result.filled.like, result.layers()
    if isinstance(result, MadeVolume):
        return result.like, [layer_of(result)]
    return as_volume(result), []
