"""Ten runs in a row, with the engine's process and all docks open, leave nothing behind."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import psutil
import pytest
from npe2 import PluginManifest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_normative.io.nifti import write_volume
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.session import session_for
from phantoms import phantom

pytestmark = pytest.mark.process
PLUGIN = "napari-normative"


def children():
    return {p.pid for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE}


def counted(viewer):
    """What may not grow: threads, processes, timers of the window, widgets, layers."""
    gc.collect()
    window = viewer.window._qt_window
    return {
        "threads": threading.active_count(),
        "processes": len(children()),
        "timers": len(window.findChildren(QTimer)),
        "widgets": len(QApplication.allWidgets()),
        "layers": len(viewer.layers),
    }


def open_all(viewer, registered):
    return {
        name: viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)[1]
        for name in registered
    }


@pytest.fixture
def registered():
    """Names of all docks of the manifest."""
    manifest = PluginManifest.from_file(Path(__file__).parents[2] / "napari.yaml")
    return [widget.display_name for widget in manifest.contributions.widgets]


def test_ten_runs_leave_no_threads_timers_processes_or_layers(
    make_napari_viewer, qtbot, tmp_path, tiny_model_path, registered, capfd
):
    before = children()
    viewer = make_napari_viewer(show=True, strict_qt=True)
    viewer.window.resize(1400, 900)
    viewer.open(write_volume(tmp_path / "one.nii.gz", phantom(7, lesion_ml=8.0)), plugin=PLUGIN)
    docks = open_all(viewer, registered)
    session = session_for(viewer)
    anomaly, candidates = session.get(AnomalyController), session.get(CandidatesController)
    session.context.models.add_file(str(tiny_model_path))

    def run():
        anomaly.run()
        qtbot.waitUntil(lambda: not anomaly.state.running, timeout=60_000)
        assert anomaly.state.error == ""
        candidates.step(1)
        qtbot.waitUntil(lambda: not candidates.state.why_busy, timeout=20_000)
        assert candidates.state.why is not None

    for _ in range(2):
        run()
    qtbot.wait(500)
    settled = counted(viewer)
    for _ in range(10):
        run()
    qtbot.wait(500)
    after = counted(viewer)
    assert {name: max(0, after[name] - settled[name]) for name in after} == dict.fromkeys(after, 0)
    del docks
    viewer.close()
    qtbot.waitUntil(lambda: children() <= before)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_every_dock_may_be_closed_and_the_window_too_while_the_engine_works(
    make_napari_viewer, qtbot, tmp_path, registered, capfd
):
    before = children()
    viewer = make_napari_viewer(show=True, strict_qt=True)
    viewer.open(write_volume(tmp_path / "one.nii.gz", phantom(7, lesion_ml=8.0)), plugin=PLUGIN)
    docks = open_all(viewer, registered)
    anomaly = session_for(viewer).get(AnomalyController)
    anomaly.run()
    qtbot.waitUntil(lambda: len(children()) > len(before), timeout=20_000)
    for name in list(docks):
        dock = docks.pop(name)
        viewer.window.remove_dock_widget(dock)
        dock.deleteLater()
        del dock
        qtbot.wait(20)
    viewer.layers.clear()
    viewer.close()
    qtbot.waitUntil(lambda: children() <= before)
    assert "Traceback" not in "".join(capfd.readouterr())
