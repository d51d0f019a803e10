"""The dock "Train a model" in a real window: from a folder to the model in all pickers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_normative.engine import background, estimate
from napari_normative.engine.background import read_training
from napari_normative.engine.estimate import Estimate
from napari_normative.engine.model import load_model
from napari_normative.plugin.controllers.training import TrainingController
from napari_normative.plugin.session import session_for
from stalls import StallMeter
from trainings import end_all

PLUGIN = "napari-normative"


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Trainings are remembered in a folder of the test."""
    monkeypatch.setattr(background, "registry_file", lambda: tmp_path / "state" / "trainings.json")
    yield
    end_all(background.known_trainings())


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1500, 950)
    return viewer


def open_dock(viewer):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Train a model")
    return dock, session_for(viewer).get(TrainingController)


def click(qtbot, button):
    assert button.isEnabled(), button.toolTip()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def ordered(phantom_cohort, phantom_template, tiny_preset, tiny_model_path, tmp_path):
    """Give a dock all it needs to train on phantoms that are aligned already."""

    def order(controller, out="mine", steps=40):
        preset = tiny_preset.model_copy(update={"steps": steps})
        controller.offer({"tiny": preset})
        state = controller.state
        state.preset = "tiny"
        state.template = str(phantom_template)
        state.cohort = str(phantom_cohort)
        state.out = str(tmp_path / f"{out}.safetensors")
        controller.context.models.state.device = "cpu"
        folder = Path(state.out + ".work")
        if not folder.exists():
            aligned = tiny_model_path.with_name(tiny_model_path.name + ".work") / "prepared"
            shutil.copytree(aligned, folder / "prepared")
        return folder

    return order


def checked(qtbot, dock, controller):
    click(qtbot, dock.cohort.job.run)
    qtbot.waitUntil(lambda: not controller.state.running, timeout=30_000)


def started(qtbot, dock, controller):
    click(qtbot, dock.run.start)
    qtbot.waitUntil(lambda: not controller.state.starting, timeout=60_000)
    assert controller.state.train_error == ""


def test_from_a_folder_to_the_model_in_every_picker(window, qtbot, ordered, capfd):
    dock, controller = open_dock(window)
    state = controller.state
    assert not dock.run.start.isEnabled()
    assert dock.run.start_reason.text() == "Start: Check a cohort first."
    assert dock.run.stop.toolTip() == "Nothing is being trained."
    folder = ordered(controller)
    meter = StallMeter()
    qtbot.wait(2000)
    idle = meter.report("idle")
    meter = StallMeter()
    checked(qtbot, dock, controller)
    assert dock.cohort.files_model.rowCount() == 14
    assert dock.cohort.job.summary.text() == "14 of 14 scans can be used."
    assert dock.cohort.split_model.rows == (
        ("site-a", "8", "2", "2", "2", "14"),
        ("all people", "8", "2", "2", "2", "14"),
    )
    dock.cohort.files.selectRow(3)
    assert not dock.cohort.preview.pixmap().isNull()
    dock.run.words["credit"].clear()
    qtbot.keyClicks(dock.run.words["credit"], "Nobody")
    started(qtbot, dock, controller)
    before = meter.report("check and start")
    meter = StallMeter()
    assert dock.pages.currentWidget() is dock.run
    qtbot.waitUntil(lambda: "mine.safetensors" in dock.run.headline.text())
    qtbot.waitUntil(lambda: state.use_blocked == "", timeout=200_000)
    stalls = meter.report("training to card")
    assert dock.pages.currentWidget() is dock.model
    assert dock.run.headline.text() == "mine.safetensors is finished."
    assert not dock.run.montage.isHidden()
    drawn = {name: curve.getData()[0] for name, curve in dock.run.curves._lines.items()}
    assert [len(steps) for steps in drawn.values()] == [40, 40, 40, 40, 20]
    assert "site-a" in dock.model.card.text()
    assert dock.model.rows.header[0] == "Against"
    click(qtbot, dock.model.use)
    chosen = controller.context.models.state
    assert chosen.model == str(Path(state.out).resolve())
    assert "Phantom" in chosen.model_line
    assert load_model(chosen.model).card.credit == "Nobody"
    assert read_training(folder).state == "finished"
    assert "Traceback" not in "".join(capfd.readouterr())
    with capfd.disabled():
        print(f"\n[measured] {idle}; {before}; {stalls}")


def test_it_goes_on_without_the_window_and_another_window_finds_it(
    make_napari_viewer, qtbot, ordered
):
    first = make_napari_viewer(show=True)
    dock, controller = open_dock(first)
    folder = ordered(controller, steps=60)
    checked(qtbot, dock, controller)
    started(qtbot, dock, controller)
    first.close()
    assert read_training(folder).alive
    second = make_napari_viewer(show=True)
    again, other = open_dock(second)
    assert other is not controller
    assert other.state.training == str(folder)
    assert again.run.training.currentText().startswith("mine · ")
    qtbot.waitUntil(lambda: other.state.use_blocked == "", timeout=200_000)
    assert again.run.headline.text() == "mine.safetensors is finished."


@pytest.mark.slow
def test_stop_resume_kill_and_resume_again(window, qtbot, ordered):
    dock, controller = open_dock(window)
    state = controller.state
    folder = ordered(controller, steps=200)
    checked(qtbot, dock, controller)
    started(qtbot, dock, controller)
    assert not dock.run.start.isEnabled()
    assert "It is being trained" in dock.run.start_reason.text()
    qtbot.waitUntil(lambda: len(read_training(folder).status.points) > 3, timeout=60_000)
    click(qtbot, dock.run.stop)
    begun = time.monotonic()
    qtbot.waitUntil(lambda: "was stopped" in state.headline, timeout=10_000)
    assert time.monotonic() - begun < 3  # two seconds to stop, half a second to look
    click(qtbot, dock.run.resume)
    qtbot.waitUntil(lambda: dock.run.stop.isEnabled(), timeout=60_000)
    pid = background._process_of(folder)
    os.kill(pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: "process is gone" in dock.run.headline.text(), timeout=5_000)
    assert "TRN-009" in dock.run.error.text()
    click(qtbot, dock.run.resume)
    qtbot.waitUntil(lambda: state.use_blocked == "", timeout=200_000)
    assert load_model(state.out).card.training.steps == 200


def test_bad_files_are_rows_with_their_reason(window, qtbot, ordered, phantom_cohort, tmp_path):
    cohort = tmp_path / "mixed"
    shutil.copytree(phantom_cohort, cohort)
    good = (cohort / "sub-00_T1w.nii.gz").read_bytes()
    (cohort / "sub-90_T1w.nii.gz").write_bytes(good[: len(good) // 2])
    (cohort / "sub-91_T1w.nii.gz").write_bytes(good)
    dock, controller = open_dock(window)
    ordered(controller)
    controller.state.cohort = str(cohort)
    checked(qtbot, dock, controller)
    rows = {row.cells[0]: row for row in controller.state.rows}
    assert rows["sub-90_T1w.nii.gz"].cells[1].startswith("refused: NIF-")
    assert "The same content as sub-00_T1w.nii.gz" in rows["sub-91_T1w.nii.gz"].notes
    assert controller.state.summary == "15 of 16 scans can be used (1 refused, 1 with warnings)."
    index = dock.cohort._sorted.mapFromSource(dock.cohort.files_model.index(14, 0))
    dock.cohort.files.setCurrentIndex(index)
    assert "NIF-" in dock.cohort.notes.text()
    assert dock.cohort.preview.isHidden()
    top = dock.cohort._sorted.mapFromSource(dock.cohort.files_model.index(0, 0))
    dock.cohort.files.doubleClicked.emit(top)
    qtbot.waitUntil(lambda: len(window.layers) == 1, timeout=10_000)
    assert window.layers[0].name == "sub-00_T1w"
    assert np.isfinite(window.layers[0].data).all()


def test_columns_and_a_variant_are_chosen_where_a_training_is_started(
    window, qtbot, phantom_cohort, tmp_path, monkeypatch
):
    known = Estimate(align_s=60, train_s=600, after_s=3, step_s=2, memory_bytes=9, device="cpu")
    monkeypatch.setattr(estimate, "estimate_apart", lambda asked, cancel: known)
    scans = sorted(phantom_cohort.glob("*.nii.gz"))
    rows = [f"{path}\t{30 + n}\t{'FM'[n % 2]}" for n, path in enumerate(scans)]
    table = tmp_path / "people.tsv"
    table.write_text("\n".join(["path\tage\tsex", *rows]) + "\n", encoding="utf-8")
    dock, controller = open_dock(window)
    told = dock.run.told
    assert told.none.text() == "age, sex, site…, once a table that has them is checked"
    controller.state.cohort = str(table)
    checked(qtbot, dock, controller)
    dock.pages.setCurrentWidget(dock.run)
    assert list(told.boxes) == ["age", "sex"]
    assert told.none.isHidden()
    told.boxes["age"].click()
    assert controller.state.condition_on == ("age",)
    assert dock.run.variant.currentText() == "the preset as it is"
    dock.run.variant.setCurrentIndex(dock.run.variant.findData("spatial"))
    assert "a condition needs the dense latent" in dock.run.start_reason.text()
    dock.run.variant.setCurrentIndex(dock.run.variant.findData("beta-vae"))
    assert dock.run.start.isEnabled()
    order = controller._order()
    assert (order.variant, order.changes) == ("beta-vae", {"condition_on": ["age"]})
    if shot := os.environ.get("SHOT"):
        qtbot.wait(500)
        window.screenshot(shot, canvas_only=False, flash=False)


def test_opening_the_dock_is_quick_and_loads_no_torch(tmp_path):
    code = (
        "import sys, time, napari; viewer = napari.Viewer(show=False);"
        "start = time.perf_counter();"
        "viewer.window.add_plugin_dock_widget('napari-normative', 'Train a model');"
        "print('ms', 1000 * (time.perf_counter() - start));"
        "print([m for m in ('torch', 'lightning', 'pyqtgraph') if m in sys.modules])"
    )
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert out.stdout.strip().endswith("[]"), out.stdout
