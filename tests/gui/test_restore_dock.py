"""The dock "Restore" in a real window: slices filled and saved, a large file, a cancel."""

from __future__ import annotations

import time

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_normative.io.nifti import write_volume
from napari_normative.plugin.controllers.large import LargeController
from napari_normative.plugin.controllers.restore import RestoreController
from napari_normative.plugin.session import session_for
from napari_normative.plugin.work import restore as work
from phantoms import phantom

PLUGIN = "napari-normative"


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    return viewer


def open_dock(viewer, model_path):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Restore")
    session = session_for(viewer)
    session.context.models.add_file(str(model_path))
    session.context.models.state.device = "cpu"
    return dock, session.get(RestoreController), session.get(LargeController)


def click(qtbot, button):
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_idle(qtbot, state):
    qtbot.waitUntil(lambda: not state.running, timeout=60_000)


def test_from_a_slice_on_the_screen_to_a_filled_scan_in_files(
    window, qtbot, tmp_path, tiny_model_path, monkeypatch, capfd
):
    window.open(write_volume(tmp_path / "scan.nii.gz", phantom(7)), plugin=PLUGIN)
    dock, controller, _ = open_dock(window, tiny_model_path)
    block = dock.scan
    assert not block.slices.isVisibleTo(dock)
    assert block.save.toolTip() == "Fill or denoise this scan first."
    block.missing.setCurrentIndex(1)
    assert block.slices.isVisibleTo(dock)
    assert not block.labels.isVisibleTo(dock)
    assert "Name the slices" in block.job.run_reason.text()
    window.dims.set_current_step(0, 21)
    click(qtbot, block.add_slice)
    assert block.slices.text() == "k:21"
    block.slices.clear()
    qtbot.keyClicks(block.slices, "k:21-22")
    click(qtbot, block.job.run)
    wait_idle(qtbot, controller.state)
    assert controller.state.error == ""
    assert [layer.name for layer in window.layers][1:] == [
        "scan · filled (synthetic)",
        "scan · made (synthetic)",
    ]
    assert window.layers[-1].data.any(axis=(1, 2)).nonzero()[0].tolist() == [21, 22]
    picture = window.screenshot(canvas_only=True, flash=False)[..., :3]
    assert picture.astype(float).std() > 5
    target = tmp_path / "filled"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    click(qtbot, block.save)
    wait_idle(qtbot, controller.state)
    assert (target / "inpaint.json").is_file()
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_large_file_from_the_dialogs_to_layers_on_disk(
    window, qtbot, tmp_path, tiny_model_path, monkeypatch, capfd
):
    path = write_volume(tmp_path / "big.nii.gz", phantom(7))
    dock, _, controller = open_dock(window, tiny_model_path)
    dock.tabs.setCurrentIndex(1)
    assert "Choose the file" in dock.large.job.run_reason.text()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    click(qtbot, dock.large.source.buttons[0])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "out"), ""))
    click(qtbot, dock.large.folder.buttons[0])
    click(qtbot, dock.large.job.run)
    qtbot.waitUntil(lambda: bool(controller.state.summary), timeout=60_000)
    assert [layer.name for layer in window.layers] == ["big · reconstruction", "big · residual"]
    assert window.layers[0].data.shape == phantom(7).shape[::-1]
    assert np.ptp(window.screenshot(canvas_only=True, flash=False)[..., :3]) > 50
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_cancelled_fill_leaves_nothing_and_can_be_repeated(
    window, qtbot, tmp_path, tiny_model_path, monkeypatch
):
    window.open(write_volume(tmp_path / "scan.nii.gz", phantom(7)), plugin=PLUGIN)
    dock, controller, _ = open_dock(window, tiny_model_path)
    dock.scan.missing.setCurrentIndex(1)
    controller.state.slices = "k:21"
    fill = work.Fill.__call__

    def held(self, progress, cancelled):
        progress("held", 0.5)
        while not cancelled():
            time.sleep(0.01)
        return fill(self, progress, cancelled)

    with monkeypatch.context() as patched:
        patched.setattr(work.Fill, "__call__", held)
        click(qtbot, dock.scan.job.run)
        assert dock.scan.job.run.text() == "Cancel"
        click(qtbot, dock.scan.job.run)
        wait_idle(qtbot, controller.state)
    assert dock.scan.job.summary.text() == "Cancelled. Nothing was kept."
    assert len(window.layers) == 1
    click(qtbot, dock.scan.job.run)
    wait_idle(qtbot, controller.state)
    assert len(window.layers) == 3
