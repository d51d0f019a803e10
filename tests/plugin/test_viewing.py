"""Sides on the screen."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_normative as nn
from napari_normative.plugin.viewing import OVERLAY_KEY, sides_text
from placed import UPRIGHT, made_detection, placed


@pytest.mark.parametrize(
    ("displayed", "orientation", "text"),
    [
        (("A", "R"), ("away", "up", "left"), "Radiological · patient right on the left"),
        (("S", "R"), ("away", "up", "left"), "Radiological · patient right on the left"),
        (("A", "R"), ("towards", "up", "right"), "Neurological · patient right on the right"),
        (("S", "A"), ("away", "up", "left"), "Sagittal · anterior on the left, superior up"),
        (("A", "R"), ("away", "down", "left"), "Axial · right on the left, anterior down"),
        (("R", "A"), ("away", "up", "left"), "Axial · anterior on the left, right up"),
        (("volume", "S"), ("away", "up", "left"), ""),
    ],
)
def test_the_corner_says_where_the_sides_are(displayed, orientation, text):
    assert sides_text(displayed, orientation) == text


def corner(viewer):
    return viewer.canvas.overlays[OVERLAY_KEY]


def test_a_layer_of_ours_brings_the_radiological_view_and_its_label():
    viewer = ViewerModel()
    nn.show(made_detection(placed(UPRIGHT)), viewer)
    assert tuple(map(str, viewer.scene.camera.orientation)) == ("away", "up", "left")
    assert corner(viewer).visible
    assert corner(viewer).text == "Radiological · patient right on the left"
    assert viewer.canvas.overlays.axes.visible


def test_the_label_follows_what_the_person_turns():
    viewer = ViewerModel()
    nn.show(made_detection(placed(UPRIGHT)), viewer)
    viewer.dims.order = (2, 0, 1)
    assert corner(viewer).text.startswith("Sagittal · anterior on the left")
    viewer.dims.order = (0, 1, 2)
    viewer.scene.camera.orientation = ("towards", "up", "right")
    assert corner(viewer).text == "Neurological · patient right on the right"
    nn.show(made_detection(placed(UPRIGHT, name="other")), viewer)  # the choice stays
    assert tuple(map(str, viewer.scene.camera.orientation)) == ("towards", "up", "right")


def test_the_screen_shows_the_right_side_on_the_left_and_front_up():
    """Follow a world step through napari's own camera to the screen."""
    right, up = {"left": -1, "right": 1}, {"up": 1, "down": -1}
    viewer = ViewerModel()
    nn.show(made_detection(placed(UPRIGHT)), viewer)
    layer = viewer.layers[0]
    here = np.array(layer.data_to_world(np.array(layer.data.shape) // 2))
    step = np.array(layer.data_to_world(np.array(layer.data.shape) // 2 + [0, 1, 1])) - here
    _, vertical, horizontal = map(str, viewer.scene.camera.orientation)
    assert step[2] > 0  # towards the patient's right
    assert step[2] * right[horizontal] < 0  # is to the left on the screen
    assert step[1] * up[vertical] > 0


def test_3d_shows_the_magnitude_instead_of_the_signed_maps():
    viewer = ViewerModel()
    nn.show(made_detection(placed(UPRIGHT)), viewer)
    z, magnitude = viewer.layers["scan · anomaly z"], viewer.layers["scan · |z|"]
    residual = viewer.layers["scan · residual"]
    assert (z.visible, magnitude.visible, residual.visible) == (True, False, False)
    viewer.dims.ndisplay = 3
    assert (z.visible, magnitude.visible, residual.visible) == (False, True, False)
    assert "R" in corner(viewer).text
    viewer.dims.ndisplay = 2
    assert (z.visible, magnitude.visible, residual.visible) == (True, False, False)


def test_switching_to_3d_brings_no_warning_about_outlines():
    viewer = ViewerModel()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nn.show(made_detection(placed(UPRIGHT)), viewer)
        assert viewer.layers["scan · candidates"].contour == 2
        viewer.dims.ndisplay = 3
    assert [str(w.message) for w in caught] == []


def test_an_assumed_orientation_is_said_on_the_canvas():
    scan = placed(UPRIGHT)
    warned = dataclasses.replace(scan.source, warnings=("Orientation assumed: no transform.",))
    scan = dataclasses.replace(scan, source=warned)
    viewer = ViewerModel()
    nn.show(made_detection(scan), viewer)
    assert corner(viewer).text.endswith("orientation assumed")
