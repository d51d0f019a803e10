"""Layouts without a window: planes, sides, the linked point, layers that follow."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_normative as nn
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.panes.marks import letters_of, segments
from napari_normative.plugin.planes import (
    PLANES,
    convention_of,
    edge_letters,
    order_for,
    orientation_for,
    plane_of,
    slice_position,
)
from napari_normative.plugin.session import session_for
from placed import UPRIGHT, made_detection, placed


@pytest.mark.parametrize(
    ("plane", "convention", "letters"),
    [
        ("axial", "radiological", "RLAP"),
        ("coronal", "radiological", "RLSI"),
        ("sagittal", "radiological", "APSI"),
        ("axial", "neurological", "LRAP"),
        ("coronal", "neurological", "LRSI"),
        ("sagittal", "neurological", "APSI"),
    ],
)
def test_letters_left_right_top_bottom(plane, convention, letters):
    axes = PLANES[plane]
    found = edge_letters(axes[1:], orientation_for(axes, convention))
    assert "".join(found[edge] for edge in ("left", "right", "top", "bottom")) == letters


def test_a_letter_is_shown_only_where_the_side_is_known():
    assert edge_letters(("0", "R"), ("away", "up", "left")) == {}
    assert edge_letters(("S", "A", "R"), ("away", "up", "left")) == {}


@pytest.mark.parametrize("axes", list(itertools.permutations("SAR")))
@pytest.mark.parametrize("convention", ["radiological", "neurological"])
def test_3d_is_never_a_mirror_image(axes, convention):
    """The world's axes keep their handedness on the screen, whatever order they have."""
    grows = {"away": 1, "towards": -1, "up": 1, "down": -1, "left": -1, "right": 1}
    depth, vertical, across = (grows[side] for side in orientation_for(axes, convention))
    screen = dict(zip(axes, np.diag([depth, vertical, across]).astype(float), strict=True))
    # Rows (depth, up, right) to a right-handed (right, up, towards the eye).
    r, a, s = (np.array([v[2], v[1], -v[0]]) for v in (screen["R"], screen["A"], screen["S"]))
    assert np.linalg.det([r, a, s]) == 1  # R, A, S is right-handed


def test_orders_and_planes_are_each_others_inverse():
    labels = ("volume", "S", "A", "R")
    for plane in PLANES:
        order = order_for(plane, labels)
        assert order[0] == 0
        assert plane_of(labels, order) == plane
    assert plane_of(labels, (0, 1, 3, 2)) is None
    assert order_for("sagittal", ("-3", "-2", "-1")) == (2, 0, 1)
    assert convention_of(("R", "S", "A"), ("away", "up", "left")) is None


@pytest.fixture
def shown():
    viewer = ViewerModel()
    nn.show(made_detection(placed(UPRIGHT)), viewer)
    return viewer, session_for(viewer).get(LayoutController)


def test_letters_follow_rolling_and_transposing(shown):
    viewer, controller = shown
    assert letters_of(viewer) == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    viewer.dims.order = (1, 0, 2)
    assert letters_of(viewer) == {"left": "R", "right": "L", "top": "S", "bottom": "I"}
    assert controller.state.layout == "coronal"
    viewer.dims.transpose()  # now right runs up and superior across
    assert letters_of(viewer) == {"left": "S", "right": "I", "top": "R", "bottom": "L"}
    viewer.dims.order = (0, 1, 2)
    viewer.scene.camera.orientation = ("towards", "down", "right")
    assert letters_of(viewer) == {"left": "L", "right": "R", "top": "P", "bottom": "A"}
    assert controller.state.convention == "neurological"
    viewer.dims.ndisplay = 3
    assert letters_of(viewer) == {}


def test_every_pane_has_its_plane_and_its_sides(shown):
    viewer, controller = shown
    controller.state.layout = "planes+3d"
    coronal, sagittal, solid = controller.board.models
    assert [plane_of(m.dims.axis_labels, m.dims.order) for m in (coronal, sagittal)] == [
        "coronal",
        "sagittal",
    ]
    assert letters_of(coronal)["left"] == "R"
    controller.state.convention = "neurological"
    assert [letters_of(v)["left"] for v in (viewer, coronal, sagittal)] == ["L", "L", "A"]
    assert solid.dims.ndisplay == 3
    assert tuple(map(str, solid.scene.camera.orientation)) == ("away", "up", "left")
    zooms = {round(v.scene.camera.zoom, 6) for v in (viewer, coronal, sagittal)}
    assert len(zooms) == 1  # a millimetre is equally long in all


def test_one_point_for_all(shown):
    viewer, controller = shown
    controller.state.layout = "planes"
    told = []
    controller.point_changed.connect(told.append)
    controller.go_to((2.2, -6.4, 5.1))
    coronal, sagittal = controller.board.models
    at = np.array(controller.point_mm)
    assert np.abs(at - (2.2, -6.4, 5.1)).max() <= 1.0  # half a voxel of 1 x 1.5 x 2 mm
    assert told[-1] == controller.point_mm
    for model in (coronal, sagittal):
        np.testing.assert_allclose(model.dims.point, viewer.dims.point)
    assert slice_position(coronal) == f"P {abs(round(at[1]))} mm"
    coronal.dims.set_current_step(1, coronal.dims.current_step[1] + 2)
    assert controller.point_mm[1] == pytest.approx(at[1] + 3.0)  # two slices of 1.5 mm
    assert controller.point_mm[0] == at[0]


def test_the_crosshair_lies_at_the_point(shown):
    viewer, controller = shown
    controller.go_to((4, -3, 2))
    r, a, _ = controller.point_mm
    lines = segments(viewer)
    assert set(lines[:4, 1]) == {np.float32(a)}  # across at the height of A
    assert set(lines[4:, 0]) == {np.float32(r)}
    inner = lines[[1, 3], 0]
    assert inner[0] < r < inner[1]  # open in the middle


def test_panning_and_zooming_one_pane_moves_the_others_along_shared_axes(shown):
    viewer, controller = shown
    controller.state.layout = "planes"
    coronal, sagittal = controller.board.models
    before = sagittal.scene.camera.center
    viewer.scene.camera.center = (0, 7.0, -4.0)  # A, R
    assert coronal.scene.camera.center[2] == -4.0  # R; S stays
    assert sagittal.scene.camera.center == (0, before[1], 7.0)
    sagittal.scene.camera.zoom = 9.5
    assert viewer.scene.camera.zoom == coronal.scene.camera.zoom == 9.5
    controller.go_to((4, 0, 0))
    assert viewer.scene.camera.zoom == 9.5


def test_a_far_point_is_brought_into_view_without_zooming(shown):
    viewer, controller = shown
    controller.state.layout = "planes"
    viewer.scene.camera.zoom = 200.0  # a pane shows a few mm
    viewer.scene.camera.center = (0, 10.0, 10.0)
    controller.go_to((-4, -9, 2))
    r, a, _ = controller.point_mm
    assert viewer.scene.camera.center == pytest.approx((0, a, r))
    assert viewer.scene.camera.zoom == 200.0


def event(kind, position=(0.0, 0.0, 0.0), pos=(100, 100), **facts):
    facts = {"button": 1, "modifiers": (), "handled": False} | facts
    return SimpleNamespace(type=kind, position=position, pos=pos, **facts)


def press(viewer, position, moved=0, **facts):
    """Press, perhaps drag, and release, as napari runs its callbacks."""
    for callback in viewer.mouse_drag_callbacks:
        this = event("mouse_press", position, **facts)
        run = callback(viewer, this)
        if run is None or next(run, "over") == "over":
            continue
        if moved:
            this.type, this.pos = "mouse_move", (100 + moved, 100)
            if next(run, "over") == "over":
                continue
        this.type = "mouse_release"
        next(run, None)


def test_a_click_moves_the_point_but_a_drag_or_a_tool_does_not(shown):
    viewer, controller = shown
    controller.state.layout = "planes"
    coronal, _ = controller.board.models
    place = tuple(coronal.dims.range[i].start + 4 * coronal.dims.range[i].step for i in range(3))
    start = controller.point_mm
    press(coronal, place, moved=20)
    press(coronal, place, button=2)
    press(coronal, place, modifiers=("Alt",))
    assert controller.point_mm == start
    press(coronal, place, moved=2)  # a hand is never quite still
    assert controller.point_mm == pytest.approx(place[::-1])
    labels = viewer.layers["scan · candidates"]
    viewer.layers.selection.active = labels
    labels.mode = "paint"
    press(viewer, (0.0, 0.0, 0.0))
    assert controller.point_mm == pytest.approx(place[::-1])
    controller.state.layout = "axial"
    labels.mode = "pan_zoom"
    press(viewer, (0.0, 0.0, 0.0))
    assert controller.point_mm == pytest.approx(place[::-1])  # without a crosshair: napari's


def test_the_wheel_steps_through_slices_only_while_there_are_panes(shown):
    viewer, controller = shown

    def wheel(target, *modifiers):
        turned = event(
            "mouse_wheel",
            delta=(0, 1),
            native=SimpleNamespace(inverted=lambda: True),
            modifiers=modifiers,
        )
        target.mouse_wheel_callbacks[0](target, turned)
        return turned.handled

    at = viewer.dims.current_step
    assert not wheel(viewer)
    assert viewer.dims.current_step == at
    controller.state.layout = "planes"
    coronal, _ = controller.board.models
    at = viewer.dims.current_step
    assert wheel(viewer)
    assert wheel(coronal)
    assert viewer.dims.current_step == (at[0] + 1, at[1] + 1, at[2])
    zoom = viewer.scene.camera.zoom
    assert wheel(coronal, "Shift")
    assert viewer.scene.camera.zoom == pytest.approx(1.15 * zoom)


def copies(controller, name):
    return [m.layers[name] for m in controller.board.models if name in m.layers]


def test_panes_share_the_data_and_follow_the_layers(shown):
    viewer, controller = shown
    controller.state.layout = "planes"
    scan = viewer.layers["scan"]
    assert all(copy.data is scan.data for copy in copies(controller, "scan"))
    assert not copies(controller, "scan · residual")  # hidden layers cost nothing
    viewer.layers["scan · residual"].visible = True
    assert [c.visible for c in copies(controller, "scan · residual")] == [True, True]
    viewer.layers["scan · residual"].visible = False
    assert [c.visible for c in copies(controller, "scan · residual")] == [False, False]
    scan.contrast_limits = (20, 90)
    scan.colormap, scan.gamma, scan.opacity, scan.name = "viridis", 0.7, 0.4, "head"
    labels = viewer.layers["scan · candidates"]
    labels.contour, labels.selected_label = 1, 2
    for copy in copies(controller, "head"):
        assert copy.contrast_limits == [20, 90]
        assert (copy.colormap.name, copy.gamma, copy.opacity) == ("viridis", 0.7, 0.4)
    for copy in copies(controller, "scan · candidates"):
        assert (copy.contour, copy.selected_label) == (1, 2)
    viewer.layers.move(viewer.layers.index("scan · candidates"), 0)
    for model in controller.board.models:
        order = [layer.name for layer in viewer.layers if layer.name in model.layers]
        assert [layer.name for layer in model.layers] == order
    new = np.full(scan.data.shape, 7, np.float32)
    scan.data = new
    assert all(copy.data is new for copy in copies(controller, "head"))
    viewer.layers.remove("scan · anomaly z")
    assert not copies(controller, "scan · anomaly z")
    added = viewer.add_image(new, name="another", scale=scan.scale, translate=scan.translate)
    assert all(copy.data is added.data for copy in copies(controller, "another"))
    points = viewer.add_points([[2.0, -3.0, 5.0]], name="marks", axis_labels=("S", "A", "R"))
    points.add([4.0, -3.0, 5.0])
    assert [len(copy.data) for copy in copies(controller, "marks")] == [2, 2]
    assert {tuple(m.dims.order) for m in controller.board.models} == {(1, 0, 2), (2, 0, 1)}


def test_painted_labels_are_seen_in_the_panes(shown):
    viewer, controller = shown
    controller.state.layout = "planes"
    labels = viewer.layers["scan · candidates"]
    coronal, _ = controller.board.models
    at = viewer.dims.current_step
    before = coronal.layers["scan · candidates"]._slice.image.raw.copy()
    labels.data_setitem(tuple(np.array([i]) for i in at), 9)
    after = coronal.layers["scan · candidates"]._slice.image.raw
    assert 9 not in before
    assert (after == 9).sum() == 1
    labels.undo()
    assert 9 not in coronal.layers["scan · candidates"]._slice.image.raw
    labels.data[at] = 5  # by a script, which then says so
    labels.refresh()
    assert (coronal.layers["scan · candidates"]._slice.image.raw == 5).sum() == 1


def test_3d_shows_the_magnitude_and_not_the_signed_map(shown):
    viewer, controller = shown
    controller.state.layout = "planes+3d"
    solid = controller.board.models[2]
    assert {layer.name for layer in solid.layers if layer.visible} == {
        "scan",
        "scan · |z|",
        "scan · candidates",
    }
    viewer.layers["scan · anomaly z"].visible = False
    assert not solid.layers["scan · |z|"].visible
    assert not viewer.layers["scan · |z|"].visible


def test_side_by_side_shows_original_reconstruction_and_map(shown):
    viewer, controller = shown
    was = {layer.name: layer.visible for layer in viewer.layers}
    viewer.dims.order = (1, 0, 2)
    controller.state.layout = "side-by-side"
    original, reconstruction = controller.board.models
    assert [layer.name for layer in original.layers] == ["scan"]
    assert [layer.name for layer in reconstruction.layers] == ["scan · reconstruction"]
    seen = {layer.name for layer in viewer.layers if layer.visible}
    assert seen == {"scan", "scan · anomaly z", "scan · candidates"}
    orders = [original.dims.order, reconstruction.dims.order, viewer.dims.order]
    assert orders == [(1, 0, 2)] * 3  # the plane that was there
    viewer.dims.order = (0, 1, 2)
    assert original.dims.order == (0, 1, 2)
    controller.state.convention = "neurological"
    assert letters_of(original) == letters_of(viewer)
    assert letters_of(viewer)["left"] == "L"
    controller.state.layout = "planes"
    assert {layer.name: layer.visible for layer in viewer.layers} == was


def test_a_layout_that_cannot_be_says_why(tmp_path):
    viewer = ViewerModel()
    controller = session_for(viewer).get(LayoutController)
    assert controller.state.panes_blocked == "Open a scan first."
    said = []
    object.__setattr__(controller.context, "notify", said.append)
    controller.state.layout = "planes"
    assert (controller.state.layout, said) == ("axial", ["Open a scan first."])
    viewer.add_image(np.zeros((4, 5, 6)))
    assert controller.state.panes_blocked == ""
    controller.state.layout = "side-by-side"
    assert said[-1] == "Run the anomaly map of a scan first."
    assert controller.state.layout == "axial"
    controller.state.layout = "planes"
    assert len(controller.board.models) == 2
    viewer.layers.clear()
    assert (controller.state.layout, controller.board.models) == ("axial", [])


def test_one_plane_comes_back_as_it_was(shown):
    viewer, controller = shown
    viewer.dims.order = (1, 0, 2)
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 3.5, -8.25), 5.25
    for layout in ("planes", "side-by-side", "planes+3d", "coronal"):
        controller.state.layout = layout
    assert viewer.dims.order == (1, 0, 2)
    assert viewer.scene.camera.center == (0, 3.5, -8.25)
    assert viewer.scene.camera.zoom == 5.25
    assert controller.board.models == []


def test_one_plane_and_several_remember_their_own_crosshair(shown):
    _, controller = shown
    state = controller.state
    assert not state.crosshair
    state.layout = "planes"
    assert state.crosshair
    state.layout = "axial"
    assert not state.crosshair
    state.layout = "planes"
    state.crosshair = False
    state.layout = "axial"
    state.layout = "side-by-side"
    assert not state.crosshair


def test_a_series_keeps_its_volume_in_all_panes():
    viewer = ViewerModel()
    data = np.random.default_rng(0).random((3, 6, 7, 8)).astype(np.float32)
    viewer.add_image(data, axis_labels=("volume", "S", "A", "R"))
    viewer.add_image(data[0], name="still", axis_labels=("S", "A", "R"))
    controller = session_for(viewer).get(LayoutController)
    controller.state.layout = "planes"
    viewer.dims.set_current_step(0, 2)
    coronal, sagittal = controller.board.models
    assert coronal.dims.order == (0, 2, 1, 3)
    assert coronal.dims.point[0] == sagittal.dims.point[0] == 2
    controller.go_to((3, 4, 5))
    assert viewer.dims.point == (2, 5, 4, 3)
    assert controller.point_mm == (3, 4, 5)


def test_closed_panes_hear_nothing(shown):
    viewer, controller = shown

    def listeners():
        emitters = [
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.dims.events.point,
            viewer.dims.events.order,
            viewer.scene.camera.events.zoom,
            viewer.layers["scan"].events.contrast_limits,
            viewer.layers["scan"].events.visible,
            viewer.layers["scan · candidates"].events.labels_update,
        ]
        callbacks = (len(viewer.mouse_drag_callbacks), len(viewer.mouse_wheel_callbacks))
        return [len(emitter.callbacks) for emitter in emitters], callbacks

    before = listeners()
    for layout in ("planes", "planes+3d", "side-by-side") * 3:
        controller.state.layout = layout
        controller.state.layout = "axial"
    assert listeners() == before
