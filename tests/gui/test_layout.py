"""Layouts in a real window: what is where on the screen, clicks, speed, nothing left over."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from napari._qt.qt_viewer import QtViewer
from napari._qt.utils import QImg2array
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication
from vispy.gloo.glir import JUST_DELETED

import napari_normative as nn
from napari_normative.layers.spec import (
    SCAN,
    spec_of,
)
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.docks.layout_row import LayoutRow
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.session import session_for
from napari_normative.volume import Volume
from phantoms import phantom
from placed import made_detection

BALL_MM = np.array([-36.0, 24.0, 32.0])  # patient left, anterior, superior
ROUNDS = 2
PANES = ("planes", "planes+3d", "side-by-side")


def head_with_a_ball():
    """A dim block, wider than deep than high, with one bright ball in it."""
    n = np.array([41, 47, 37])
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -2.0 * (n - 1)
    world = np.indices(n).reshape(3, -1).T * 4.0 + affine[:3, 3]
    inside = np.all(np.abs(world) < [70, 80, 60], axis=1)
    ball = np.linalg.norm(world - BALL_MM, axis=1) < 11
    values = np.where(ball, 100.0, np.where(inside, 25.0, 0.0)).reshape(n)
    return Volume.from_array(values.astype(np.float32), affine, "ball")


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 800)
    return viewer


@pytest.fixture
def ball(window, qtbot):
    add_spec(
        window,
        spec_of([head_with_a_ball()], "ball", SCAN, colormap="red", contrast_limits=(0, 100)),
    )
    controller = session_for(window).get(LayoutController)
    controller.go_to(BALL_MM)
    qtbot.wait(50)
    return window, controller


def canvases(window, controller):
    return [window.window._qt_viewer.canvas, *(view.canvas for view in controller.board.views)]


def settle(qtbot, controller):
    area = controller.board._area
    qtbot.waitUntil(lambda: area is None or not area._waiting, timeout=20_000)
    qtbot.wait(150)


def picture(canvas):
    return QImg2array(canvas.screenshot())[..., :3].astype(int)


def ball_in(image):
    """Return the pixels of the ball: bright red, which no text or arrow is."""
    return np.nonzero((image[..., 0] > 200) & (image[..., 1:].max(axis=-1) < 60))


def ball_at(canvas):
    """Return where the ball is, (across, up) from the middle, as parts of the canvas."""
    image = picture(canvas)
    assert image.std() > 5  # no empty pane
    rows, columns = ball_in(image)
    assert len(rows) > 20
    height, width, _ = image.shape
    return columns.mean() / width - 0.5, 0.5 - rows.mean() / height


def test_the_ball_is_where_the_patients_left_is(ball, qtbot):
    window, controller = ball
    controller.state.layout = "planes"
    controller.state.crosshair = False
    settle(qtbot, controller)
    axial, coronal, sagittal = (ball_at(c) for c in canvases(window, controller))
    assert axial[0] > 0.05  # radiological: patient left on the right of the screen
    assert axial[1] > 0.03  # anterior is up
    assert coronal[0] > 0.05
    assert coronal[1] > 0.05  # superior is up
    assert sagittal[0] < -0.03  # anterior is on the left
    assert sagittal[1] > 0.05

    controller.state.convention = "neurological"
    settle(qtbot, controller)
    mirrored = [ball_at(c) for c in canvases(window, controller)]
    np.testing.assert_allclose(mirrored[0], (-axial[0], axial[1]), atol=0.02)
    np.testing.assert_allclose(mirrored[1], (-coronal[0], coronal[1]), atol=0.02)
    np.testing.assert_allclose(mirrored[2], sagittal, atol=0.02)

    sizes = []
    for canvas in canvases(window, controller):
        rows, columns = ball_in(picture(canvas))
        sizes += [np.ptp(rows) + 1, np.ptp(columns) + 1]
    assert max(sizes) - min(sizes) <= 0.1 * max(sizes) + 2  # round, equally large in all


def test_3d_seen_from_the_front_has_the_patients_left_on_the_right(ball, qtbot):
    window, controller = ball
    for convention in ("radiological", "neurological"):
        controller.state.convention = convention
        for order in ((0, 1, 2), (1, 0, 2)):
            window.dims.ndisplay = 2
            window.dims.order = order
            window.dims.ndisplay = 3
            backwards = np.array([0.0, -1.0, 0.0])[list(order)]  # along S, A, R as shown
            up = np.array([1.0, 0.0, 0.0])[list(order)]
            window.scene.camera.set_view_direction(backwards, up)
            window.reset_view(reset_camera_angle=False)
            qtbot.wait(150)
            across, above = ball_at(window.window._qt_viewer.canvas)
            assert across > 0.04, (convention, order)
            assert above > 0.04, (convention, order)


def test_a_click_on_the_ball_goes_there(ball, qtbot):
    window, controller = ball
    controller.state.layout = "planes"
    controller.state.crosshair = False
    settle(qtbot, controller)
    for number, canvas in enumerate(canvases(window, controller)):
        controller.go_to(BALL_MM)
        settle(qtbot, controller)
        across, up = ball_at(canvas)
        native = canvas.native
        where = QPoint(round((across + 0.5) * native.width()), round((0.5 - up) * native.height()))
        # Away within the plane, so that the ball stays in the slice.
        away = BALL_MM + [(9, 9, 0), (9, 0, 9), (0, 9, 9)][number]
        controller.go_to(away)
        assert np.abs(np.array(controller.point_mm) - BALL_MM).max() > 4
        qtbot.mouseClick(native, Qt.MouseButton.LeftButton, pos=where)
        assert np.abs(np.array(controller.point_mm) - BALL_MM).max() <= 4.0  # a voxel


def test_the_crosshair_crosses_at_the_ball_in_every_pane(ball, qtbot):
    window, controller = ball
    controller.state.layout = "planes"
    controller.state.crosshair = False
    settle(qtbot, controller)
    without = [ball_at(c) for c in canvases(window, controller)]
    controller.state.crosshair = True
    settle(qtbot, controller)
    for canvas, (across, up) in zip(canvases(window, controller), without, strict=True):
        image = picture(canvas)
        green = (image[..., 1] > image[..., 0] + 40) & (image[..., 1] > image[..., 2] + 20)
        row, column = green.sum(axis=1).argmax(), green.sum(axis=0).argmax()
        assert column / image.shape[1] - 0.5 == pytest.approx(across, abs=0.02)
        assert 0.5 - row / image.shape[0] == pytest.approx(up, abs=0.02)


def test_letters_are_drawn_at_the_edges(ball, qtbot):
    window, controller = ball
    controller.state.layout = "planes"
    settle(qtbot, controller)
    for canvas in canvases(window, controller):
        image = picture(canvas)
        yellow = (image[..., 0] > 150) & (image[..., 2] < 0.6 * image[..., 0])
        height, width = yellow.shape
        middle = slice(height // 2 - 20, height // 2 + 20)
        centre = slice(width // 2 - 20, width // 2 + 20)
        assert yellow[middle, :35].any()
        assert yellow[middle, -35:].any()
        assert yellow[:60, centre].any()
        assert yellow[-35:, centre].any()
    shown = ["".join(letters.shown.values()) for letters in controller.board._letters]
    assert shown == ["RLAP", "RLSI", "APSI"]


def turn_wheel(native, steps):
    centre = QPointF(native.width() / 2, native.height() / 2)
    QApplication.sendEvent(
        native,
        QWheelEvent(
            centre, QPointF(native.mapToGlobal(centre.toPoint())), QPoint(), QPoint(0, 120 * steps),
            Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase, False,
        ),
    )  # fmt: skip


def test_the_wheel_moves_the_slice_and_not_the_zoom(ball, qtbot):
    window, controller = ball
    controller.state.layout = "planes"
    settle(qtbot, controller)
    zoom, (r, a, s) = window.scene.camera.zoom, controller.point_mm
    coronal, _ = controller.board.views
    turn_wheel(coronal.canvas.native, 1)
    turn_wheel(window.window._qt_viewer.canvas.native, -1)
    qtbot.wait(50)
    moved = np.array(controller.point_mm) - (r, a, s)
    assert moved[0] == 0
    assert sorted(np.abs(moved[1:])) == [4, 4]
    assert window.scene.camera.zoom == zoom


def test_painting_in_the_canvas_is_seen_in_the_panes(ball, qtbot):
    window, controller = ball
    scan = window.layers["ball"]
    labels = window.add_labels(
        np.zeros(scan.data.shape, np.uint16), name="drawn", scale=scan.scale,
        translate=scan.translate, units=scan.units, axis_labels=scan.axis_labels,
    )  # fmt: skip
    controller.state.layout = "planes"
    settle(qtbot, controller)
    coronal = controller.board.views[0].canvas
    before = picture(coronal)
    labels.mode, labels.brush_size = "paint", 8
    at = controller.point_mm
    native = window.window._qt_viewer.canvas.native
    middle = QPoint(native.width() // 2, native.height() // 2)
    qtbot.mousePress(native, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=middle)
    assert labels.data.any()  # the brush painted
    assert controller.point_mm == at  # and the click moved nothing
    labels.paint(window.dims.current_step, 1)
    settle(qtbot, controller)
    assert (np.abs(picture(coronal) - before).max(axis=-1) > 30).sum() > 20


@pytest.fixture
def results(window, qtbot):
    nn.show(made_detection(phantom(3)), window)
    qtbot.wait(50)
    return window, session_for(window).get(LayoutController)


def test_opening_and_closing_leaves_nothing(results, qtbot):
    window, controller = results

    def there():
        gc.collect()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        qtbot.wait(20)
        gc.collect()
        widgets = len(window.window._qt_window.centralWidget().findChildren(object))
        return len(QtViewer._instances), widgets, len(QApplication.topLevelWidgets())

    controller.state.layout = "planes+3d"
    settle(qtbot, controller)
    cards = [view.canvas._scene_canvas.context.shared.parser for view in controller.board.views]
    assert all(card._objects for card in cards)
    controller.state.layout = "axial"
    for card in cards:  # contexts share their textures, which outlive a widget
        assert all(each == JUST_DELETED for each in card._objects.values())
    del cards
    before = there()
    assert before[0] == 1
    for layout in PANES:
        for _ in range(ROUNDS):
            controller.state.layout = layout
            controller.state.layout = "axial"
    assert there() == before
    assert window.window._qt_viewer.isVisible()
    assert picture(window.window._qt_viewer.canvas).std() > 5


@pytest.mark.parametrize("layout", PANES[1:])
def test_the_window_may_close_with_panes_open(make_napari_viewer, qtbot, layout, capsys):
    viewer = make_napari_viewer(show=True)
    nn.show(made_detection(phantom(3)), viewer)
    controller = session_for(viewer).get(LayoutController)
    controller.state.layout = layout
    viewer.close()
    assert controller.board.models == []
    assert controller.state.layout == "axial"
    del controller
    qtbot.wait(20)
    assert "Traceback" not in capsys.readouterr().err


def test_the_window_may_be_closed_by_hand(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    nn.show(made_detection(phantom(3)), viewer)
    controller = session_for(viewer).get(LayoutController)
    controller.state.layout = "planes"
    window = viewer.window._qt_window
    controller.board._area.eventFilter(window, QEvent(QEvent.Type.Close))
    assert controller.board.models  # napari may still ask and be told "cancel"
    controller.board._area.eventFilter(window, QEvent(QEvent.Type.DeferredDelete))
    assert controller.board.models == []


def test_a_hidden_layer_costs_the_panes_nothing(results, qtbot):
    window, controller = results
    controller.state.layout = "planes+3d"
    settle(qtbot, controller)
    layer = window.layers["phantom-3"]
    for visible in (False, True):
        window.add_image(
            layer.data, visible=visible, scale=layer.scale, translate=layer.translate,
            units=layer.units, axis_labels=layer.axis_labels, contrast_limits=(0, 100),
        )  # fmt: skip
        assert bool(controller.board._area._waiting) == visible


def test_the_row_shows_and_asks(results, qtbot):
    window, controller = results
    row = LayoutRow(controller.state, controller.requests)
    qtbot.addWidget(row)
    assert row.buttons["axial"].isChecked()
    qtbot.mouseClick(row.buttons["planes"], Qt.MouseButton.LeftButton)
    assert controller.state.layout == "planes"
    assert len(controller.board.views) == 2
    assert row.crosshair.isChecked()
    row.crosshair.setChecked(False)
    row.letters.setChecked(False)
    assert (controller.state.crosshair, controller.state.letters) == (False, False)
    row.convention.setCurrentIndex(1)
    assert controller.state.convention == "neurological"
    window.scene.camera.zoom = 40
    qtbot.mouseClick(row.fit, Qt.MouseButton.LeftButton)
    assert window.scene.camera.zoom < 10
    qtbot.mouseClick(row.buttons["coronal"], Qt.MouseButton.LeftButton)
    assert window.dims.order == (1, 0, 2)
    assert all(button.toolTip() for button in row.buttons.values())
    window.layers.clear()
    assert not row.buttons["planes"].isEnabled()
    assert row.buttons["planes"].toolTip() == "Open a scan first."
