"""The dock "Getting started" in a real window: buttons, reasons, ticks."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from napari_normative.io.nifti import write_volume
from napari_normative.plugin.controllers.getting_started import GettingStartedController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.session import session_for
from phantoms import phantom

PLUGIN = "napari-normative"


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    return viewer


def test_through_the_tour_by_its_buttons(window, qtbot, tmp_path, tiny_model_path, capfd):
    _, dock = window.window.add_plugin_dock_widget(PLUGIN, "Getting started")
    session = session_for(window)
    session.context.models.add_file(str(tiny_model_path))
    session.context.models.state.device = "cpu"
    made = session.get(GettingStartedController)

    def click(key):
        qtbot.mouseClick(dock.buttons[key], Qt.MouseButton.LeftButton)

    def wait(key):
        qtbot.waitUntil(
            lambda: dock.ticks[key].text() == "✓" and not made.state.news, timeout=60_000
        )

    assert dock.buttons["scan"].isEnabled()
    for key in ("map", "planes", "compare", "samples"):
        assert not dock.buttons[key].isEnabled()
        assert dock.buttons[key].toolTip() == dock.reasons[key].text() != ""
    assert dock.cancel.isHidden()

    path = write_volume(tmp_path / "sub-07_T1w.nii.gz", phantom(7, lesion_ml=8.0))
    window.open(path, plugin=PLUGIN)
    wait("scan")
    click("map")
    assert not dock.cancel.isHidden()
    assert dock.news.text().startswith("Anomaly map: ")
    assert not dock.buttons["samples"].isEnabled()
    wait("map")
    assert dock.cancel.isHidden()
    for key in ("planes", "compare"):
        click(key)
        wait(key)
    (detection,) = session.context.detections.values()
    layout = session.get(LayoutController)
    assert layout.state.layout == "side-by-side"
    assert layout.point_mm == pytest.approx(detection.candidates[0].centroid_mm, abs=4.0)
    click("samples")
    wait("samples")
    assert [layer.data.shape[0] for layer in window.layers if layer.ndim == 4] == [4]
    click("limits")
    wait("limits")
    assert "Research use only, not for diagnosis" in dock.limits.text()
    assert made.state.trouble == ""
    assert "Traceback" not in "".join(capfd.readouterr())


def test_cancel_and_a_closed_dock_do_no_harm(window, qtbot, tmp_path, tiny_model_path, capfd):
    path = write_volume(tmp_path / "sub-07_T1w.nii.gz", phantom(7))
    window.open(path, plugin=PLUGIN)
    widget, dock = window.window.add_plugin_dock_widget(PLUGIN, "Getting started")
    session = session_for(window)
    session.context.models.add_file(str(tiny_model_path))
    session.context.models.state.device = "cpu"
    made = session.get(GettingStartedController)
    qtbot.mouseClick(dock.buttons["map"], Qt.MouseButton.LeftButton)
    qtbot.mouseClick(dock.cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not made.state.news, timeout=60_000)
    assert dock.ticks["map"].text() == "○"
    qtbot.mouseClick(dock.buttons["map"], Qt.MouseButton.LeftButton)
    window.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: not made.state.news, timeout=60_000)
    _, again = window.window.add_plugin_dock_widget(PLUGIN, "Getting started")
    assert again.ticks["map"].text() == "✓"
    assert "Traceback" not in "".join(capfd.readouterr())
