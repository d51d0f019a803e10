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


def _action(name: str) -> Callable[[], None]:
    """Return the command that does an action of the table."""

    def command() -> None:
        from napari_normative.plugin.actions import perform

        perform(name)

    command.__name__ = command.__qualname__ = name
    return command


open_anomaly_map = _action("open_anomaly_map")
open_reading_room = _action("open_reading_room")
open_samples = _action("open_samples")
open_latent_map = _action("open_latent_map")
open_train = _action("open_train")
open_restore = _action("open_restore")
open_review = _action("open_review")
getting_started = _action("getting_started")
settings = _action("settings")
save_session = _action("save_session")
open_session = _action("open_session")
anomaly_map_of_selected = _action("anomaly_map_of_selected")
anomaly_map_of_all = _action("anomaly_map_of_all")
next_candidate = _action("next_candidate")
candidate_before = _action("candidate_before")
segment_candidates = _action("segment_candidates")
attribute_candidate = _action("attribute_candidate")
draw_samples = _action("draw_samples")
play_samples = _action("play_samples")
fill_missing = _action("fill_missing")
explore = _action("explore")
reset_explorer = _action("reset_explorer")
cancel = _action("cancel")
unload_model = _action("unload_model")
layout_axial = _action("layout_axial")
layout_coronal = _action("layout_coronal")
layout_sagittal = _action("layout_sagittal")
layout_planes = _action("layout_planes")
layout_planes_3d = _action("layout_planes_3d")
layout_side_by_side = _action("layout_side_by_side")
radiological = _action("radiological")
neurological = _action("neurological")
crosshair = _action("crosshair")
letters = _action("letters")
fit = _action("fit")
hide_overlay = _action("hide_overlay")
flicker = _action("flicker")
checkerboard = _action("checkerboard")
swipe = _action("swipe")
reset_window = _action("reset_window")
reset_threshold = _action("reset_threshold")
