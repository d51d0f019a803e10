"""The tabs "Write a set" and "Tell a column" in a real window: from clicks to files and words."""

from __future__ import annotations

import time

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog

from napari_normative.engine.probe_file import ProbeCard
from napari_normative.io.nifti import write_volume
from napari_normative.plugin.controllers.probe import FitController, TellController
from napari_normative.plugin.controllers.sample_set import SetController
from napari_normative.plugin.session import session_for
from napari_normative.plugin.work import probe as probe_work
from napari_normative.plugin.work import sample_set as set_work
from phantoms import phantom

PLUGIN = "napari-normative"


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    return viewer


def open_dock(viewer, name, model_path):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    session = session_for(viewer)
    session.context.models.add_file(str(model_path))
    session.context.models.state.device = "cpu"
    return dock, session


def click(qtbot, button):
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_idle(qtbot, state):
    qtbot.waitUntil(lambda: not state.running, timeout=60_000)


def test_a_set_from_the_dialog_to_its_report_and_a_layer(
    window, qtbot, tmp_path, tiny_model_path, monkeypatch, capfd
):
    dock, session = open_dock(window, "Samples", tiny_model_path)
    state, block = session.get(SetController).state, dock.dataset
    dock.tabs.setCurrentIndex(2)
    assert not block.table.isVisibleTo(dock)
    assert not block.report.isEnabled()
    target = tmp_path / "set"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    click(qtbot, block.folder.buttons[0])
    assert block.folder.edit.text() == str(target)
    block.count.setValue(4)
    click(qtbot, block.job.run)
    wait_idle(qtbot, state)
    assert state.error == ""
    state.report = str(target / "quality.html")  # real scans take their time; tested elsewhere
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    click(qtbot, block.report)
    assert opened == [str(target / "quality.html")]
    block.shown.setValue(3)
    click(qtbot, block.show_some)
    wait_idle(qtbot, state)
    assert window.layers[0].data.shape[0] == 3
    assert "synthetic" in window.layers[0].name
    assert "4 synthetic volumes" in block.job.summary.text()
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_cancelled_set_keeps_what_is_finished_and_goes_on(
    window, qtbot, tmp_path, tiny_model_path, monkeypatch
):
    dock, session = open_dock(window, "Samples", tiny_model_path)
    state, block = session.get(SetController).state, dock.dataset
    dock.tabs.setCurrentIndex(2)
    state.folder, state.count = str(tmp_path / "set"), 5
    write = set_work.WriteSet.__call__

    def held(self, progress, cancelled):
        def at_the_third(step, fraction):
            progress(step, fraction)
            while "3 of" in step and not cancelled():
                time.sleep(0.01)

        return write(self, at_the_third, cancelled)

    with monkeypatch.context() as patched:
        patched.setattr(set_work.WriteSet, "__call__", held)
        click(qtbot, block.job.run)
        qtbot.waitUntil(lambda: "3 of" in state.step, timeout=20_000)
        click(qtbot, block.job.run)
        wait_idle(qtbot, state)
    assert block.job.summary.text().startswith("Cancelled. Finished volumes are kept")
    click(qtbot, block.job.run)
    wait_idle(qtbot, state)
    assert state.summary == "5 synthetic volumes, 3 of them there before, in set."


def test_a_probe_is_chosen_asked_and_another_fitted(
    window, qtbot, tmp_path, tiny_model_path, phantom_cohort, monkeypatch, capfd
):
    window.open(write_volume(tmp_path / "scan.nii.gz", phantom(7)), plugin=PLUGIN)
    dock, session = open_dock(window, "Latent map", tiny_model_path)
    told, fit = session.get(TellController).state, session.get(FitController).state
    dock.tabs.setCurrentIndex(1)
    block = dock.probe
    assert block.job.run_reason.text() == "Choose a probe first, or fit one below."
    foreign = tmp_path / "other.safetensors"
    foreign.write_bytes(b"no probe")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(foreign), ""))
    click(qtbot, block.probe.buttons[0])
    qtbot.waitUntil(lambda: "[PRB-005]" in block.probe_error.text(), timeout=20_000)
    assert not block.job.run.isEnabled()

    table = tmp_path / "people.tsv"
    rows = [f"{file}\t{30 + n}" for n, file in enumerate(sorted(phantom_cohort.glob("*.gz")))]
    table.write_text("\n".join(["path\tage", *rows]) + "\n")
    dock.source.setText(str(table))
    dock.source.editingFinished.emit()
    qtbot.waitUntil(lambda: block.column.count() == 1, timeout=20_000)
    assert block.column.currentText() == "age (14)"
    fit.folder = str(tmp_path / "age")
    click(qtbot, block.fit_job.run)
    wait_idle(qtbot, fit)
    assert "[PRB-002]" in block.fit_job.error.text(), "fourteen people are too few"

    card = ProbeCard(
        target="age", kind="number", model="m", model_sha256="0" * 64, penalty=1.0, people=9,
        scans=9, figures={"rmse": 5.0},
    )  # fmt: skip
    fitted = probe_work.Fitted(str(tmp_path / "p"), str(tmp_path / "probe.html"), "They tell.")
    monkeypatch.setattr(probe_work.FitProbe, "__call__", lambda *_: fitted)
    monkeypatch.setattr(probe_work.ReadProbe, "__call__", lambda *_: card)
    click(qtbot, block.fit_job.run)
    qtbot.waitUntil(lambda: "fitted to 9 people" in block.probe_line.text(), timeout=20_000)
    assert block.report.isEnabled()
    assert block.probe_error.isHidden()
    click(qtbot, block.job.run)
    wait_idle(qtbot, told)
    assert block.job.error.text().startswith("[PRB-005] p"), "there is no such file"
    assert "Traceback" not in "".join(capfd.readouterr())
