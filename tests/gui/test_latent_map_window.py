"""The dock "Latent map" in a real window: from click to dots, to an opened scan, and closed."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QScrollArea

from napari_normative.plugin.controllers.latent_map import LatentMapController
from napari_normative.plugin.session import session_for

PLUGIN = "napari-normative"


@pytest.fixture
def window(make_napari_viewer, tmp_path_factory):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    session = session_for(viewer)
    session.get(LatentMapController).cache = tmp_path_factory.getbasetemp() / "places"
    return viewer


@pytest.fixture
def folder(phantom_cohort, tmp_path):
    target = tmp_path / "scans"
    target.mkdir()
    for n in (0, 2, 3):
        shutil.copy(phantom_cohort / f"sub-{n:02d}_T1w.nii.gz", target)
    return target


def open_dock(viewer, model):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Latent map")
    controller = session_for(viewer).get(LatentMapController)
    controller.context.models.add_file(str(model))
    controller.context.models.state.device = "cpu"
    return dock, controller


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_idle(qtbot, state):
    qtbot.waitUntil(lambda: not state.running, timeout=120_000)


def click_dot(qtbot, dock, x, y):
    """Click where a dot is drawn, with the mouse."""
    plot = dock.plot._plot
    point = plot.getViewBox().mapViewToScene(type(plot.viewRect().center())(x, y))
    where = plot.mapFromScene(point)
    assert plot.viewport().rect().contains(where)
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(where.x(), where.y()))


def test_from_click_to_dots_to_an_opened_scan(window, qtbot, folder, tiny_model_path, capsys):
    dock, controller = open_dock(window, tiny_model_path)
    state = controller.state
    assert not dock.job.run.isEnabled()
    assert dock.job.run_reason.text() == "Choose a folder or a table of scans first."
    assert not dock.export.isEnabled()
    assert dock.export.toolTip() == "Make a map first."
    dock.source.setText(str(folder))
    dock.source.editingFinished.emit()
    click(qtbot, dock.job.run)
    assert dock.job.run.text() == "Cancel"
    wait_idle(qtbot, state)
    assert state.error == ""
    assert dock.job.summary.text().startswith("3 of 3 scans placed")
    assert dock.colour_by.currentText() == "Scan score"
    assert "Scan score" in dock.plot.legend.text()
    assert "small dots: the model's people" in dock.plot.legend.text()
    items = dock.plot._items
    assert len(items["scans"].points()) == 3
    assert len(items["training"].points()) + len(items["unseen"].points()) == len(
        state.scatter.people
    )

    dock.findChild(QScrollArea).ensureWidgetVisible(dock.plot)
    qtbot.wait(300)
    click_dot(qtbot, dock, *state.scatter.scans[1])
    wait_idle(qtbot, state)
    qtbot.waitUntil(lambda: len(window.layers) == 1, timeout=20_000)
    assert window.layers[0].name == "sub-02_T1w"
    assert dock.scan.currentText() == "sub-02_T1w"
    assert len(items["star"].points()) == 1
    assert dock.neighbours.rowCount() == 8

    rows = [row.row for row in state.neighbours]
    named = next(n for n, row in enumerate(rows) if row >= 0)
    nobody = next(n for n, row in enumerate(rows) if row < 0)
    dock.neighbours.cellDoubleClicked.emit(nobody, 0)
    dock.neighbours.cellDoubleClicked.emit(named, 0)
    qtbot.waitUntil(lambda: len(window.layers) == 2, timeout=20_000)
    wait_idle(qtbot, state)
    assert "Traceback" not in "".join(capsys.readouterr())


def test_umap_that_is_not_there_cannot_be_chosen(
    window, qtbot, folder, tiny_model_path, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    dock, controller = open_dock(window, tiny_model_path)
    controller.state.source = str(folder)
    item = dock.method.model().item(1)
    assert not item.isEnabled()
    assert "napari-normative[umap]" in item.toolTip()
    assert "napari-normative[umap]" in dock.method_note.text()


def test_a_dock_closed_during_work_comes_back_with_the_map(
    window, qtbot, folder, tiny_model_path, capsys
):
    dock, controller = open_dock(window, tiny_model_path)
    controller.state.source = str(folder)
    click(qtbot, dock.job.run)
    window.window.remove_dock_widget(dock)
    dock.deleteLater()
    del dock
    wait_idle(qtbot, controller.state)
    assert controller.state.scatter is not None
    again, same = open_dock(window, tiny_model_path)
    assert same is controller
    assert len(again.plot._items["scans"].points()) == 3
    assert "Traceback" not in "".join(capsys.readouterr())


def test_cancel_leaves_no_map(window, qtbot, folder, tiny_model_path):
    dock, controller = open_dock(window, tiny_model_path)
    controller.state.source = str(folder)
    click(qtbot, dock.job.run)
    click(qtbot, dock.job.run)
    assert controller.state.cancelling
    wait_idle(qtbot, controller.state)
    assert dock.job.summary.text() == "Cancelled. Nothing was kept."
    assert controller.state.scatter is None


def test_opening_the_dock_loads_neither_torch_nor_pyqtgraph():
    code = (
        "import sys, napari_normative.plugin.panels;"
        "print([m for m in ('torch', 'pyqtgraph', 'umap', 'sklearn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
