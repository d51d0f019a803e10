"""The dock "Samples" in a real window: draws, play, sliders, and closing in the middle."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_normative.engine.model import load_model
from napari_normative.io.nifti import write_volume
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.explorer import ExplorerController
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.process import ProcessRunner
from napari_normative.plugin.session import session_for
from napari_normative.plugin.work import samples as work
from phantoms import phantom

PLUGIN = "napari-normative"


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    return viewer


def open_dock(viewer, model_path):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Samples")
    session = session_for(viewer)
    session.context.models.add_file(str(model_path))
    session.context.models.state.device = "cpu"
    return dock, session.get(SamplesController), session.get(ExplorerController)


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_idle(qtbot, state, timeout_ms=60_000):
    qtbot.waitUntil(lambda: not state.running, timeout=timeout_ms)


def picture(viewer, qtbot):
    qtbot.wait(150)
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(float)


def test_from_click_to_a_series_played_and_saved(
    window, qtbot, tmp_path, tiny_model_path, monkeypatch, capfd
):
    dock, controller, _ = open_dock(window, tiny_model_path)
    assert dock.play.toolTip() == "Draw a series first."
    assert not dock.play.isEnabled()
    dock.count.setValue(4)
    click(qtbot, dock.job.run)
    assert dock.job.run.text() == "Cancel"
    wait_idle(qtbot, controller.state)
    series = window.layers[0]
    assert series.data.shape[0] == 4
    assert "4 synthetic volumes" in dock.job.summary.text()

    dock.rate.setValue(20)
    first = picture(window, qtbot)
    assert first.std() > 5
    click(qtbot, dock.play)
    assert dock.play.text() == "Stop"
    qtbot.waitUntil(lambda: window.dims.current_step[0] == 2, timeout=5_000)
    click(qtbot, dock.play)
    assert dock.play.text() == "Play"
    assert controller._timer is None
    step = window.dims.current_step[0]
    qtbot.wait(200)
    assert window.dims.current_step[0] == step
    window.dims.set_current_step(0, 2)
    assert np.abs(picture(window, qtbot) - first).max() > 5

    target = tmp_path / "drawn"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    click(qtbot, dock.save)
    wait_idle(qtbot, controller.state)
    assert len(list(target.iterdir())) == 4 + 2 + 1
    assert "6 volumes and samples.json are in drawn" in dock.job.summary.text()
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_slider_changes_the_picture_and_reset_brings_it_back(window, qtbot, tiny_model_path):
    dock, _, explorer = open_dock(window, tiny_model_path)
    dock.tabs.setCurrentIndex(1)
    click(qtbot, dock.explorer.job.run)
    wait_idle(qtbot, explorer.state)
    (layer,) = window.layers
    assert len(dock.explorer.sliders) == 8
    data, start = layer.data.copy(), picture(window, qtbot)
    dock.explorer.sliders[0].setValue(30)
    qtbot.waitUntil(lambda: np.abs(layer.data - data).max() > 0.01, timeout=5_000)
    assert explorer.state.values[0] == 3.0
    assert np.abs(picture(window, qtbot) - start).max() > 5
    assert dock.explorer.reset_all.isEnabled()
    dock.explorer.sliders[1].setValue(-10)
    click(qtbot, dock.explorer.resets[1])
    assert dock.explorer.sliders[1].value() == 0
    click(qtbot, dock.explorer.reset_all)
    qtbot.waitUntil(lambda: np.array_equal(layer.data, data), timeout=5_000)
    assert dock.explorer.sliders[0].value() == 0
    assert not dock.explorer.reset_all.isEnabled()
    assert dock.explorer.reset_all.toolTip() == "All sliders are at 0"
    np.testing.assert_array_equal(picture(window, qtbot), start)

    click(qtbot, dock.explorer.effects[0])
    wait_idle(qtbot, explorer.state)
    assert "effect of direction" in window.layers[-1].name
    overlaid = picture(window, qtbot)
    assert np.ptp(overlaid, axis=-1).max() > 30, "the map is in colour"


def test_dragging_never_queues(window, qtbot, tiny_model_path, monkeypatch):
    dock, _, explorer = open_dock(window, tiny_model_path)
    explorer.run()
    wait_idle(qtbot, explorer.state)
    decoded, running, most = [], threading.Semaphore(1), []
    decode = work.Decode.__call__

    def counted(self, progress, cancelled):
        most.append(running.acquire(blocking=False))
        decoded.append(self.values[0])
        try:
            return decode(self, progress, cancelled)
        finally:
            running.release()

    monkeypatch.setattr(work.Decode, "__call__", counted)
    for value in range(1, 31):
        dock.explorer.sliders[0].setValue(value)
    qtbot.waitUntil(lambda: decoded[-1:] == [3.0] and not explorer._decoding, timeout=5_000)
    assert len(decoded) <= 3
    assert all(most), "never two at a time"


def test_the_dock_may_be_closed_during_a_draw(window, qtbot, tmp_path, tiny_model_path, capfd):
    window.open(write_volume(tmp_path / "scan.nii.gz", phantom(7)), plugin=PLUGIN)
    dock, controller, _ = open_dock(window, tiny_model_path)
    dock.kind.setCurrentIndex(1)
    dock.seed.setValue(4)
    click(qtbot, dock.job.run)
    window.window.remove_dock_widget(dock)
    dock.deleteLater()
    del dock
    gc.collect()
    wait_idle(qtbot, controller.state)
    assert "scan · posterior samples (synthetic)" in window.layers
    again, same, _ = open_dock(window, tiny_model_path)
    assert same is controller
    assert again.seed.value() == 4
    assert again.kind.currentIndex() == 1
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("during", ["draw", "play", "decode"])
def test_the_window_may_be_closed_in_the_middle(window, qtbot, tiny_model_path, during, capfd):
    dock, controller, explorer = open_dock(window, tiny_model_path)
    dock.count.setValue(200 if during == "draw" else 3)
    if during == "decode":
        explorer.run()
        wait_idle(qtbot, explorer.state)
        dock.explorer.sliders[0].setValue(20)
    else:
        click(qtbot, dock.job.run)
    if during == "play":
        wait_idle(qtbot, controller.state)
        dock.rate.setValue(20)
        click(qtbot, dock.play)
        qtbot.waitUntil(lambda: window.dims.current_step[0] == 1)
    window.close()
    wait_idle(qtbot, controller.state, timeout_ms=5_000)
    qtbot.waitUntil(lambda: not explorer._decoding, timeout=5_000)
    qtbot.wait(150)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_cancelled_draw_leaves_nothing(window, qtbot, tiny_model_path):
    dock, controller, _ = open_dock(window, tiny_model_path)
    dock.count.setValue(256)
    click(qtbot, dock.job.run)
    qtbot.waitUntil(lambda: "decoding" in controller.state.step, timeout=20_000)
    click(qtbot, dock.job.run)
    wait_idle(qtbot, controller.state, timeout_ms=2_000)
    assert dock.job.summary.text() == "Cancelled. Nothing was kept."
    assert not window.layers


def test_the_command_opens_the_dock_and_draws(window, qtbot, tiny_model_path, monkeypatch):
    from npe2 import PluginManager

    session = session_for(window)
    session.context.models.add_file(str(tiny_model_path))
    PluginManager.instance().commands.execute(f"{PLUGIN}.draw_samples")
    controller = session.get(SamplesController)
    wait_idle(qtbot, controller.state)
    assert [layer.name.split(" · ")[1] for layer in window.layers] == [
        "samples (synthetic)",
        "mean of samples (synthetic)",
        "SD of samples (synthetic)",
    ]


def test_only_what_a_choice_needs_is_shown_and_explained(window, tiny_model_path):
    dock, _, _ = open_dock(window, tiny_model_path)
    assert not dock.scan.isVisibleTo(dock)
    dock.kind.setCurrentIndex(2)
    assert dock.scan.isVisibleTo(dock)
    assert dock.second.isVisibleTo(dock)
    assert not dock.seed.isVisibleTo(dock)
    assert not dock.job.run.isEnabled()
    assert "Open a scan first" in dock.job.run.toolTip()
    for widget in (dock.kind, dock.count, dock.temperature, dock.volumes, dock.maps, dock.rate):
        assert widget.toolTip()


def test_sliders_and_draws_work_through_the_engines_process(qtbot, tmp_path, tiny_model_path):
    viewer, told, engine = ViewerModel(), [], ProcessRunner()
    models = ModelsController(ModelShelf(), told.append)
    models.add_file(str(tiny_model_path))
    models.state.device = "cpu"
    context = Context(
        weakref.ref(viewer), SynchronousRunner(), engine, models, ScansController(viewer),
        told.append,
    )  # fmt: skip
    controller, explorer = SamplesController(context), ExplorerController(context)
    model = load_model(tiny_model_path)
    try:
        controller.state.count = 3
        controller.run()
        wait_idle(qtbot, controller.state)
        wanted = np.stack([v.data.transpose(2, 1, 0) for v in model.sample(3, device="cpu")])
        np.testing.assert_allclose(viewer.layers[0].data, wanted, atol=1e-5)
        controller.save(str(tmp_path / "drawn"))
        assert (tmp_path / "drawn" / "samples.json").is_file()

        explorer.run()
        wait_idle(qtbot, explorer.state)
        layer = viewer.layers[-1]
        start = layer.data.copy()
        explorer.move(0, 2.0)
        qtbot.waitUntil(lambda: not explorer._decoding, timeout=10_000)
        moved = model.posterior.mean + 2 * model.directions()[0].step
        expected = model.decode(moved, device="cpu").data.transpose(2, 1, 0)
        np.testing.assert_allclose(layer.data, expected, atol=1e-5)
        explorer.reset()
        qtbot.waitUntil(lambda: not explorer._decoding, timeout=10_000)
        np.testing.assert_array_equal(layer.data, start)
        explorer.effect(0)
        wait_idle(qtbot, explorer.state)
        assert "effect of direction" in viewer.layers[-1].name
        assert told == []
    finally:
        engine.release()
