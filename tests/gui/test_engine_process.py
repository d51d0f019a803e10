"""Heavy work in the engine's process: the window never waits, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine_work import Double, Fail, Foreign, Unknown, Wait
from napari_normative.errors import VolumeFileError
from napari_normative.io.nifti import write_volume
from napari_normative.layers.spec import facts_of
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.jobs import Listener
from napari_normative.plugin.process import ProcessRunner
from napari_normative.plugin.session import session_for
from phantoms import phantom
from stalls import StallMeter

pytestmark = pytest.mark.process


class Heard(list):
    """What a listener was told, in order."""

    def listener(self):
        return Listener(
            lambda *news: self.append(("progress", *news)),
            lambda result: self.append(("done", result)),
            lambda error: self.append(("failed", error)),
            lambda: self.append(("cancelled",)),
        )

    @property
    def over(self):
        return bool(self) and self[-1][0] != "progress"


@pytest.fixture
def runner(qapp, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # for engine_work
    made = ProcessRunner()
    yield made
    made.release()


def run(qtbot, runner, work):
    heard = Heard()
    runner.start("", work, heard.listener())
    qtbot.waitUntil(lambda: heard.over, timeout=30_000)
    return heard


def children():
    return [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]


def test_results_errors_and_progress_come_back(qtbot, runner):
    array = np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)
    first, last = run(qtbot, runner, Double(array))
    assert first == ("progress", "doubling", 0.5)
    doubled, pid = last[1]
    np.testing.assert_array_equal(doubled, 2 * array)
    doubled[:] = 0  # a result may be written to
    assert pid != os.getpid()
    error = VolumeFileError("NIF-012", "voxel data are damaged", "Copy it again.", subject="a.nii")
    ((_, back),) = run(qtbot, runner, Fail(error))
    assert (type(back), str(back), back.code) == (VolumeFileError, str(error), "NIF-012")
    ((_, back),) = run(qtbot, runner, Fail(ZeroDivisionError("by hand")))
    assert str(back).startswith("[JOB-001] an error that was not foreseen (ZeroDivisionError")
    ((_, back),) = run(qtbot, runner, Foreign())
    assert back.code == "JOB-001"
    (_, again) = run(qtbot, runner, Double(array))
    assert again[1][1] == pid  # all in one process


def test_work_that_does_not_arrive_is_an_error_and_not_a_wait(qtbot, runner):
    ((kind, error),) = run(qtbot, runner, Unknown())
    assert (kind, error.code) == ("failed", "JOB-003")


@pytest.mark.parametrize("deaf", [False, True])
def test_a_cancel_is_heeded_within_two_seconds(qtbot, runner, deaf):
    heard = Heard()
    job = runner.start("", Wait(deaf), heard.listener())
    qtbot.waitUntil(lambda: bool(heard), timeout=30_000)
    start = time.perf_counter()
    job.cancel()
    qtbot.waitUntil(lambda: heard.over)
    assert heard[-1] == ("cancelled",)
    assert time.perf_counter() - start < 2.5
    (_, (kind, (_, pid))) = run(qtbot, runner, Double(np.ones(3)))
    assert kind == "done"
    assert (str(pid) == heard[0][1]) is not deaf


def test_a_killed_engine_is_one_sentence_and_the_next_job_works(qtbot, runner):
    heard = Heard()
    runner.start("", Wait(False), heard.listener())
    qtbot.waitUntil(lambda: bool(heard), timeout=30_000)
    os.kill(int(heard[0][1]), signal.SIGKILL)
    qtbot.waitUntil(lambda: heard.over)
    kind, error = heard[-1]
    assert (kind, error.code) == ("failed", "JOB-003")
    assert run(qtbot, runner, Double(np.ones(3)))[-1][0] == "done"


def test_releasing_ends_the_process(qtbot, runner):
    before = len(children())
    run(qtbot, runner, Double(np.ones(3)))
    assert len(children()) == before + 1
    runner.release()
    qtbot.waitUntil(lambda: len(children()) == before)


def test_from_click_to_layers_the_window_never_waits(
    make_napari_viewer, qtbot, tmp_path, tiny_model_path, capsys
):
    before = len(children())
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    viewer.open(
        write_volume(tmp_path / "sub-07_T1w.nii.gz", phantom(7, lesion_ml=8.0)),
        plugin="napari-normative",
    )
    _, dock = viewer.window.add_plugin_dock_widget("napari-normative", "Anomaly map")
    controller = session_for(viewer).get(AnomalyController)
    models = controller.context.models
    models.add_file(str(tiny_model_path))
    meter = StallMeter()
    dock.job.run.click()
    qtbot.waitUntil(lambda: controller.state.step == "showing the layers", timeout=60_000)
    working = meter.report("while the engine works")
    meter = StallMeter()
    qtbot.waitUntil(lambda: not controller.state.running, timeout=60_000)
    showing = meter.report("while layers are shown")
    assert controller.state.error == ""
    assert {facts_of(layer).role for layer in viewer.layers} >= {"anomaly z", "candidates"}
    assert models.state.loaded
    assert dock.models.unload.isEnabled()
    assert len(children()) == before + 1
    dock.models.unload.click()
    assert not models.state.loaded
    qtbot.waitUntil(lambda: len(children()) == before)
    dock.job.run.click()
    qtbot.waitUntil(lambda: not controller.state.running, timeout=60_000)
    assert controller.state.error == ""
    viewer.close()
    qtbot.waitUntil(lambda: len(children()) == before)
    with capsys.disabled():
        print(f"\n[measured] {working}; {showing}")


def test_a_window_that_detects_loads_no_torch(tmp_path, tiny_model_path):
    scan = write_volume(tmp_path / "scan.nii.gz", phantom(7, lesion_ml=8.0))
    code = f"""
        import sys, napari
        from qtpy.QtWidgets import QApplication
        from napari_normative.plugin.controllers.anomaly import AnomalyController
        from napari_normative.plugin.session import session_for
        viewer = napari.Viewer(show=False)
        viewer.open({str(scan)!r}, plugin="napari-normative")
        controller = session_for(viewer).get(AnomalyController)
        controller.context.models.state.model = {str(tiny_model_path)!r}
        controller.run()
        while controller.state.running:
            QApplication.processEvents()
        print(controller.state.error, len(viewer.layers), "torch" in sys.modules)
        viewer.close()
    """
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert (out.returncode, out.stdout.strip().splitlines()[-1]) == (0, "6 False"), out.stderr
