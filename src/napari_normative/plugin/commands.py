"""The commands that ``napari.yaml`` names. Nothing heavy is imported at the top."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_normative.errors import NormativeError

LayerTuple = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Any]] | None:
    """Return the reader for a volume file; None for a list (files are never stacked)."""
    if isinstance(path, list):
        if len(path) != 1:
            return None
        path = path[0]
    from napari_normative.io.nifti import SUFFIXES

    if not str(path).lower().endswith(tuple(SUFFIXES)):
        return None
    return read


def read(path: str | list[str]) -> list[Any]:
    """Read a volume file into layers.

    A refused file is a notification at the window, and an exception in a script. Where a
    person can decide (left and right, size), the window asks.

    Raises
    ------
    VolumeFileError
        In a script, if the file is refused.
    """
    from napari_normative.plugin.files import in_window, open_file, report

    file = path[0] if isinstance(path, list) else path
    if not in_window():
        layers = open_file(file)
    else:
        from napari_normative.plugin.docks.questions import ask

        try:
            layers = open_file(file, ask)
        except NormativeError as error:
            report(error)
            return [(None,)]
    prepare_current_viewer()
    return layers


def prepare_current_viewer() -> None:
    """Set the radiological view in the window that is about to get a layer of ours."""
    import napari

    from napari_normative.plugin.session import session_for

    viewer = napari.current_viewer()
    if viewer is not None:
        session_for(viewer).view.prepare()


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer on the grid of its source."""
    from napari_normative.plugin.files import save_layer

    return save_layer(path, data, attributes, labels=False)


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer on the grid of its source."""
    from napari_normative.plugin.files import save_layer

    return save_layer(path, data, attributes, labels=True)


def write_folder(path: str, layers: list[LayerTuple]) -> list[str]:
    """Write several layers into a folder, one file each."""
    from napari_normative.plugin.files import save_folder

    return save_folder(path, layers)


def _sample(key: str) -> list[LayerTuple]:
    from napari_normative.plugin.files import make_sample_layers

    layers = make_sample_layers(key)
    prepare_current_viewer()
    return layers


def sample_healthy_brain() -> list[LayerTuple]:
    """Make the sample ``healthy-brain``."""
    return _sample("healthy-brain")


def sample_brain_with_lesion() -> list[LayerTuple]:
    """Make the sample ``brain-with-lesion``."""
    return _sample("brain-with-lesion")


def sample_whole_head() -> list[LayerTuple]:
    """Make the sample ``whole-head``."""
    return _sample("whole-head")


def sample_whole_head_with_lesion() -> list[LayerTuple]:
    """Make the sample ``whole-head-with-lesion``."""
    return _sample("whole-head-with-lesion")


def anomaly_map_of_selected() -> None:
    """Open the dock with the selected volume and start."""
    from napari_normative.plugin.panels import run_on_selected

    run_on_selected()


def draw_samples() -> None:
    """Draw synthetic volumes from the chosen model."""
    from napari_normative.plugin import panels

    panels.draw_samples()


def hide_overlay() -> None:
    """Hide maps and candidates, or show them again."""
    from napari_normative.plugin import panels

    panels.hide_overlay()


def flicker() -> None:
    """Let scan and reconstruction take turns, or end it."""
    from napari_normative.plugin import panels

    panels.compare("flicker")


def checkerboard() -> None:
    """Mix scan and reconstruction in squares, or end it."""
    from napari_normative.plugin import panels

    panels.compare("checkerboard")


def reset_window() -> None:
    """Set the automatic grey-value window."""
    from napari_normative.plugin import panels

    panels.reset_window()
