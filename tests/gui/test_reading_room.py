"""The dock "Reading room" in a real window: mouse, keys, sliders, timers."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication
from scipy import ndimage

from napari_normative.io.nifti import write_volume
from napari_normative.plugin import models
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.reading import ReadingController
from napari_normative.plugin.panels import ReadingRoom
from napari_normative.plugin.session import session_for
from phantoms import phantom

PLUGIN = "napari-normative"
NONE, CONTROL = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def window(make_napari_viewer, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "recent_file", lambda: tmp_path / "recent.json")
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 950)
    return viewer


@pytest.fixture
def scan_path(tmp_path):
    return write_volume(tmp_path / "sub-07_T1w.nii.gz", phantom(7, lesion_ml=8.0))


def open_dock(viewer, qtbot):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Reading room")
    controller = session_for(viewer).get(ReadingController)
    if controller.subject.scan is not None:
        qtbot.waitUntil(lambda: controller.subject.measured is not None)
    return dock, controller


def compared(viewer, qtbot, scan_path, tiny_model_path):
    """Open a scan, make its anomaly map, and open the reading room."""
    viewer.open(scan_path, plugin=PLUGIN)
    session = session_for(viewer)
    session.context.models.add_file(str(tiny_model_path))
    anomaly = session.get(AnomalyController)
    anomaly.requests.run.emit()
    qtbot.waitUntil(lambda: not anomaly.state.running, timeout=60_000)
    assert anomaly.state.error == ""
    dock, controller = open_dock(viewer, qtbot)
    qtbot.waitUntil(lambda: not controller.state.threshold_blocked)
    return dock, controller


def drag(viewer, qtbot, button, modifiers, way):
    canvas = viewer.window._qt_viewer.canvas.native
    start = QPoint(canvas.width() // 2, canvas.height() // 2)
    qtbot.mousePress(canvas, button, modifiers, start)
    for part in (0.5, 1.0):
        end = QPointF(start) + part * QPointF(*way)
        move = QMouseEvent(
            QEvent.Type.MouseMove, end, canvas.mapToGlobal(end), Qt.MouseButton.NoButton, button,
            modifiers,
        )  # fmt: skip
        QApplication.sendEvent(canvas, move)
        qtbot.wait(30)
    qtbot.mouseRelease(canvas, button, modifiers, end.toPoint())
    qtbot.wait(30)


def press(viewer, qtbot, key):
    """Press a key in the window, made active: a bare X server has nobody who would do so."""
    main = viewer.window._qt_window
    QApplication.setActiveWindow(main)
    qtbot.waitUntil(main.isActiveWindow)
    qtbot.keyClick(main, key)


def camera_of(viewer):
    viewer.screenshot(canvas_only=True, flash=False)  # napari follows its canvas at drawing
    return viewer.scene.camera.zoom, tuple(viewer.scene.camera.center)


def names(viewer):
    return [layer.name for layer in viewer.layers]


def timers():
    gc.collect()
    return [t for t in gc.get_objects() if isinstance(t, QTimer) and t.isActive()]


def test_dragging_with_control_changes_the_window_and_not_the_camera(window, qtbot, scan_path):
    (layer,) = window.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(window, qtbot)
    qtbot.wait(100)
    level, width = controller.state.level, controller.state.width
    camera = camera_of(window)
    drag(window, qtbot, Qt.MouseButton.LeftButton, CONTROL, (100, 50))
    assert camera_of(window) == camera
    low, high = layer.contrast_limits
    assert high - low == pytest.approx(width * (1 + 100 / 500), rel=0.02)
    assert (low + high) / 2 == pytest.approx(level - 0.1 * width, rel=0.02)
    assert dock.window_width.value() == pytest.approx(high - low, abs=0.01)
    assert dock.preset.currentIndex() == -1

    press(window, qtbot, "W")
    assert tuple(layer.contrast_limits) == pytest.approx((level - width / 2, level + width / 2))
    drag(window, qtbot, Qt.MouseButton.LeftButton, NONE, (40, 0))
    assert camera_of(window) != camera
    assert controller.state.width == pytest.approx(width)


def test_the_right_button_zooms_until_it_is_given_to_the_window(window, qtbot, scan_path):
    window.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(window, qtbot)
    qtbot.wait(100)
    width, camera = controller.state.width, camera_of(window)
    drag(window, qtbot, Qt.MouseButton.RightButton, NONE, (60, 40))
    assert controller.state.width == width
    assert camera_of(window) != camera
    dock.right_button.click()
    camera = camera_of(window)
    qtbot.wait(QApplication.doubleClickInterval() + 50)
    drag(window, qtbot, Qt.MouseButton.RightButton, NONE, (60, 40))
    assert controller.state.width > width
    assert camera_of(window) == camera


def test_keys_hide_compare_and_restore(window, qtbot, scan_path, tiny_model_path, capfd):
    dock, _ = compared(window, qtbot, scan_path, tiny_model_path)
    before = {layer.name: layer.visible for layer in window.layers}
    assert dock.hide_overlay.text() == "Hide overlay (H)"
    press(window, qtbot, "H")
    assert {layer.name for layer in window.layers if layer.visible} == {"sub-07_T1w"}
    assert dock.hide_overlay.text() == "Show overlay (H)"
    press(window, qtbot, "H")
    assert {layer.name: layer.visible for layer in window.layers} == before

    press(window, qtbot, "K")
    assert dock.compare["checkerboard"].isChecked()
    assert "sub-07_T1w · checkerboard (scan and reconstruction)" in window.layers
    qtbot.wait(100)
    assert window.screenshot(canvas_only=True, flash=False)[..., :3].std() > 5
    press(window, qtbot, "J")
    assert "sub-07_T1w · flicker (scan and reconstruction)" in window.layers
    assert not dock.compare["checkerboard"].isChecked()
    press(window, qtbot, "J")
    assert not window.layers["sub-07_T1w · flicker (scan and reconstruction)"].visible
    shown = {layer.name: layer.visible for layer in window.layers}
    assert {name: shown[name] for name in before} == before
    assert "Traceback" not in "".join(capfd.readouterr())


def test_flicker_takes_turns_and_leaves_no_timer_when_the_dock_is_removed(
    window, qtbot, scan_path, tiny_model_path
):
    dock, controller = compared(window, qtbot, scan_path, tiny_model_path)
    before = {layer.name: layer.visible for layer in window.layers}
    qtbot.wait(500)
    controller.state.flicker_hz = 10.0
    qtbot.mouseClick(dock.compare["flicker"], Qt.MouseButton.LeftButton)
    layer = window.layers["sub-07_T1w · flicker (scan and reconstruction)"]
    seen = []
    layer.events.opacity.connect(lambda: seen.append(layer.opacity))
    qtbot.waitUntil(lambda: len(seen) >= 4, timeout=3_000)
    assert seen[:4] == [0, 1, 0, 1]
    assert any(timer.interval() == 100 for timer in timers())
    window.window.remove_dock_widget(dock)
    assert controller.state.compare == ""
    assert {layer.name: layer.visible for layer in window.layers} == before
    qtbot.wait(50)
    assert not any(timer.interval() == 100 for timer in timers())


def test_flicker_ends_when_the_window_is_closed(
    make_napari_viewer, tmp_path, monkeypatch, qtbot, scan_path, tiny_model_path, capfd
):
    monkeypatch.setattr(models, "recent_file", lambda: tmp_path / "recent.json")
    viewer = make_napari_viewer(show=True)
    dock, controller = compared(viewer, qtbot, scan_path, tiny_model_path)
    controller.state.flicker_hz = 10.0
    dock.compare["flicker"].click()
    viewer.close()
    qtbot.wait(300)
    assert controller.state.compare == ""
    assert not any(timer.interval() == 100 for timer in timers())
    assert "Traceback" not in "".join(capfd.readouterr())


def groups(z, threshold, minimum_voxels):
    """Count connected groups of one sign with scipy, on the model's grid."""
    count, neighbours = 0, ndimage.generate_binary_structure(3, 2)
    for sign in (1, -1):
        labels, n = ndimage.label(sign * z > threshold, structure=neighbours)
        count += int((np.bincount(labels.ravel(), minlength=n + 1)[1:] >= minimum_voxels).sum())
    return count


def test_the_slider_changes_the_candidates_and_edited_ones_survive(
    window, qtbot, scan_path, tiny_model_path
):
    dock, controller = compared(window, qtbot, scan_path, tiny_model_path)
    state, detection = controller.state, controller.subject.detection()
    assert "at the model's threshold" in dock.rate.text()
    labels = window.layers["sub-07_T1w · candidates"]
    told = detection.provenance["parameters"]
    least = told["score"]["minimum_ml"] / (told["preprocess"]["spacing_mm"] ** 3 / 1000)
    for threshold in (2.0, 2.5, 3.0):
        dock.threshold.setValue(threshold)
        qtbot.waitUntil(lambda: not state.threshold_busy)
        count = groups(detection.in_model.z, threshold, least)
        assert dock.count.text().startswith(f"{count} candidate")
        assert len(np.unique(labels.data)) - 1 == count
    dock.reset_threshold.click()
    qtbot.waitUntil(lambda: not state.threshold_busy)
    assert dock.threshold.value() == detection.threshold_z
    assert len(labels.features) == len(detection.candidates)

    labels.data_setitem((np.array([3]), np.array([3]), np.array([3])), 99)
    edited = labels.data.copy()
    dock.threshold.setValue(2.0)
    qtbot.waitUntil(lambda: not state.threshold_busy)
    np.testing.assert_array_equal(labels.data, edited)
    assert dock.threshold_note.text().startswith("The candidates layer was edited")


def test_moving_the_mouse_is_cheap_and_tells_place_and_values(
    window, qtbot, scan_path, tiny_model_path, capsys
):
    dock, controller = compared(window, qtbot, scan_path, tiny_model_path)
    times = []
    for step in range(200):
        start = time.perf_counter()
        controller.read((10.0 + step / 20, 20.0, -40.0 + step / 4))
        times.append(1000 * (time.perf_counter() - start))
        QApplication.processEvents()
    with capsys.disabled():
        print(f"\n[measured] readout: median {np.median(times):.2f} ms, p99 "
              f"{np.percentile(times, 99):.2f} ms")  # fmt: skip
    assert np.percentile(times, 90) < 5
    lines = dock.readout.text().splitlines()
    assert lines[0].startswith("R +10, A +20, S +20")
    assert lines[1].startswith("voxel ")
    assert "sub-07_T1w: " in dock.readout.text()


def test_the_mouse_over_the_picture_is_followed(window, qtbot, scan_path):
    window.open(scan_path, plugin=PLUGIN)
    dock, _ = open_dock(window, qtbot)
    canvas = window.window._qt_viewer.canvas.native
    for x, side in ((0.4, 1), (0.6, -1)):  # radiological: the patient's left on the right half
        at = QPointF(x * canvas.width(), 0.5 * canvas.height())

        def there(at=at, side=side):
            move = QMouseEvent(
                QEvent.Type.MouseMove, at, canvas.mapToGlobal(at), Qt.MouseButton.NoButton,
                Qt.MouseButton.NoButton, NONE,
            )  # fmt: skip
            QApplication.sendEvent(canvas, move)
            return side * window.cursor.position[2] > 0

        qtbot.waitUntil(there)
        right = round(window.cursor.position[2])
        qtbot.waitUntil(lambda right=right: dock.readout.text().startswith(f"R {right:+d},"))


def test_blocked_controls_say_why(window, qtbot):
    dock, _ = open_dock(window, qtbot)
    for made in (dock.hide_overlay, dock.reset_threshold, *dock.compare.values()):
        assert not made.isEnabled()
        assert made.toolTip() == "Open a scan first."
    assert dock.count.text() == "Open a scan first."


def test_the_same_dock_twice_answers_its_keys_once(window, qtbot, scan_path, tiny_model_path):
    _, controller = compared(window, qtbot, scan_path, tiny_model_path)
    window.window.add_dock_widget(ReadingRoom(window), name="again")
    press(window, qtbot, "H")
    assert controller.state.hidden


def test_every_control_has_a_tooltip(window, qtbot, scan_path):
    from qtpy.QtWidgets import QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox

    window.open(scan_path, plugin=PLUGIN)
    dock, _ = open_dock(window, qtbot)
    for name, child in vars(dock).items():
        if isinstance(child, (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox)):
            assert child.toolTip(), name


def test_the_dock_opens_quickly_without_torch(window, qtbot):
    start = time.perf_counter()
    open_dock(window, qtbot)
    assert time.perf_counter() - start < 1.0  # 0.3 s on an idle machine
