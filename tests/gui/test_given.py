"""What a model is told of a person, in real windows: asked, told, shown, drawn."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from aged import made_cohort, made_model, write_scan
from napari_normative.engine.model import load_model
from napari_normative.layers.spec import facts_of
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.session import session_for

PLUGIN = "napari-normative"


@pytest.fixture(scope="module")
def aged(tiny_preset, tmp_path_factory):
    """A model that can be told age and sex, and the scans of two people."""
    folder = tmp_path_factory.mktemp("aged")
    cohort = made_cohort(tiny_preset)
    path = made_model(cohort, tiny_preset, folder)
    return path, [write_scan(cohort, n, folder) for n in (3, 5)]


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    return viewer


def open_dock(viewer, name):
    return viewer.window.add_plugin_dock_widget(PLUGIN, name)[1]


def run(qtbot, dock, state):
    qtbot.mouseClick(dock.job.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not state.running, timeout=60_000)
    assert state.error == ""


def test_the_dock_asks_what_the_model_can_be_told_and_says_what_it_was_told(window, qtbot, aged):
    path, scans = aged
    window.open(scans[1], plugin=PLUGIN)
    window.open(scans[0], plugin=PLUGIN)
    dock = open_dock(window, "Anomaly map")
    controller = session_for(window).get(AnomalyController)
    models, state = controller.context.models, controller.state
    packaged = models.state.model
    assert dock.given.isHidden()
    models.add_file(str(path))
    assert not dock.given.isHidden()
    age, sex = dock.given.fields["age"], dock.given.fields["sex"]
    assert "20 to 64" in age.placeholderText()
    assert [sex.itemText(i) for i in range(sex.count())] == ["unknown", "F", "M"]
    qtbot.keyClicks(age, "x")
    assert dock.job.run_reason.text().startswith("[MOD-071] age 'x'")
    age.selectAll()
    qtbot.keyClicks(age, "29")
    sex.setCurrentText("M")
    assert dock.job.run_reason.text() == ""
    run(qtbot, dock, state)
    assert "The model was told age 29, sex M" in dock.job.summary.text()
    told = facts_of(window.layers["3 · anomaly z"]).provenance
    assert told["given"] == {"age": 29.0, "sex": "M"}
    dock.scan.setCurrentText("5")
    assert (age.text(), sex.currentText()) == ("", "unknown")
    run(qtbot, dock, state)
    assert "The model was told nothing of the person" in dock.job.summary.text()
    dock.scan.setCurrentText("3")
    assert (age.text(), sex.currentText()) == ("29", "M")
    models.state.model = packaged
    assert dock.given.isHidden()


def test_samples_about_a_scan_are_drawn_for_what_its_person_was_told(window, qtbot, aged):
    from napari_normative.plugin.controllers.samples import SamplesController

    path, scans = aged
    window.open(scans[0], plugin=PLUGIN)
    dock, anomaly = open_dock(window, "Samples"), open_dock(window, "Anomaly map")
    controller = session_for(window).get(SamplesController)
    controller.context.models.add_file(str(path))
    controller.context.models.state.device = "cpu"
    state = controller.state
    state.count, state.maps = 2, False
    qtbot.keyClicks(dock.given.fields["age"], "60")
    assert anomaly.given.fields["age"].text() == ""  # that is nobody's scan
    run(qtbot, dock, state)
    (drawn,) = controller.layers
    wanted = load_model(path).given(age=60).sample(2, device="cpu")[1].data
    assert (drawn.data[1] == wanted.transpose(2, 1, 0)).all()
    assert "the model was told age 60" in dock.job.summary.text()
    qtbot.keyClicks(anomaly.given.fields["age"], "31")
    dock.kind.setCurrentIndex(1)
    assert dock.given.fields["age"].text() == "31"
    run(qtbot, dock, state)
    assert controller.made.record["given"] == {"age": 31.0}
    dock.kind.setCurrentIndex(2)
    assert dock.given.isHidden()
