"""The commands of the palette: in an empty window, with a scan, and without a window."""

from __future__ import annotations

from pathlib import Path

import pytest
from npe2 import PluginManager, PluginManifest

from napari_normative.io.nifti import write_volume
from napari_normative.plugin import actions, commands
from napari_normative.plugin.actions import ACTIONS, perform
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.controllers.explorer import ExplorerController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.reading import ReadingController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.session import session_for
from phantoms import phantom

PLUGIN = "napari-normative"
MANIFEST = PluginManifest.from_file(Path(__file__).parents[2] / "napari.yaml")


@pytest.fixture
def told(monkeypatch):
    """Sentences of commands that could not do their thing."""
    sentences = []
    monkeypatch.setattr(actions, "notify_error", sentences.append)
    return sentences


@pytest.fixture
def window(make_napari_viewer, told):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    return viewer


def command(name):
    PluginManager.instance().commands.execute(f"{PLUGIN}.{name}")


def docks(viewer):
    return [name.partition(" (")[0] for name in viewer.window.dock_widgets]


def test_without_a_window_nothing_happens(qapp, told):
    for name in ACTIONS:
        getattr(commands, name)()
    assert told == []


def test_in_an_empty_window_every_command_says_one_sentence_or_does_its_thing(
    window, qtbot, told, capfd
):
    session = session_for(window)
    session.context.models.state.model = ""  # nothing to start: what runs has its own tests
    notes = []
    session.context.__dict__["notify"] = notes.append  # of a frozen dataclass
    for name in ACTIONS:
        told.clear()
        if name not in {"settings", "open_session"}:  # dialogs that wait for a person
            command(name)
        assert len(told) <= 1, name
        assert all(sentence.rstrip().endswith(".") or "SMP" in sentence for sentence in told), told
    assert notes == ["Open a scan first."] * 3  # the layouts with panes
    assert set(docks(window)) == {widget.display_name for widget in MANIFEST.contributions.widgets}
    assert "Traceback" not in "".join(capfd.readouterr())


def test_commands_do_what_they_say(window, qtbot, told, tmp_path, tiny_model_path, capfd):
    path = write_volume(tmp_path / "sub-07_T1w.nii.gz", phantom(7, lesion_ml=8.0))
    (scan,) = window.open(path, plugin=PLUGIN)
    session = session_for(window)
    models = session.context.models
    models.add_file(str(tiny_model_path))
    models.state.device = "cpu"
    window.layers.selection.active = scan
    command("anomaly_map_of_selected")
    state = session.get(AnomalyController).state
    qtbot.waitUntil(lambda: not state.running and bool(state.summary), timeout=60_000)
    assert "sub-07_T1w · candidates" in window.layers

    candidates = session.get(CandidatesController).state
    command("next_candidate")
    assert candidates.selected == candidates.rows[0].label
    command("candidate_before")
    assert candidates.selected == candidates.rows[-1].label

    layout = session.get(LayoutController).state
    for name, expected in (
        ("coronal", "coronal"), ("sagittal", "sagittal"), ("planes", "planes"),
        ("planes_3d", "planes+3d"), ("side_by_side", "side-by-side"), ("axial", "axial"),
    ):  # fmt: skip
        command(f"layout_{name}")
        assert layout.layout == expected
    command("neurological")
    assert [str(s) for s in window.scene.camera.orientation] == ["towards", "up", "right"]
    command("radiological")
    assert [str(s) for s in window.scene.camera.orientation] == ["away", "up", "left"]
    for field in ("crosshair", "letters"):
        before = getattr(layout, field)
        command(field)
        assert getattr(layout, field) is not before
    command("fit")

    reading = session.get(ReadingController).state
    assert window.layers["sub-07_T1w · anomaly z"].visible
    assert "Reading room" not in docks(window)
    command("hide_overlay")  # looks at the scan first
    qtbot.waitUntil(lambda: reading.hidden)
    assert not window.layers["sub-07_T1w · anomaly z"].visible
    command("hide_overlay")
    assert window.layers["sub-07_T1w · anomaly z"].visible
    qtbot.waitUntil(lambda: not reading.compare_blocked and not reading.window_blocked)
    for kind in ("flicker", "checkerboard", "swipe"):
        command(kind)
        assert reading.compare == kind
        command(kind)
        assert reading.compare == ""
    level = reading.level
    reading.level = 2 * level
    command("reset_window")
    assert reading.level == pytest.approx(level)

    command("draw_samples")
    samples = session.get(SamplesController).state
    qtbot.waitUntil(lambda: not samples.running and bool(samples.summary), timeout=60_000)
    command("play_samples")
    assert samples.playing
    command("play_samples")
    assert not samples.playing
    command("explore")
    explorer = session.get(ExplorerController)
    qtbot.waitUntil(lambda: bool(explorer.state.rows), timeout=60_000)
    explorer.move(0, 2.0)
    command("reset_explorer")
    assert not any(explorer.state.values)
    qtbot.waitUntil(lambda: not explorer._decoding)
    assert told == []

    command("cancel")
    assert told == ["Nothing is running."]
    command("unload_model")
    assert not models.state.loaded
    command("unload_model")
    assert told == ["Nothing is running.", "No model is in memory."]
    assert "Traceback" not in "".join(capfd.readouterr())


def test_cancel_ends_what_runs(window, qtbot, told, tmp_path, tiny_model_path):
    path = write_volume(tmp_path / "sub-07_T1w.nii.gz", phantom(7))
    (window.layers.selection.active,) = window.open(path, plugin=PLUGIN)
    session = session_for(window)
    session.context.models.add_file(str(tiny_model_path))
    session.context.models.state.device = "cpu"
    perform("anomaly_map_of_selected")
    perform("unload_model")
    assert told == ["The model is at work: cancel first."]
    perform("cancel")
    state = session.get(AnomalyController).state
    qtbot.waitUntil(lambda: not state.running, timeout=60_000)
    assert state.summary == "Cancelled. Nothing was kept."


def test_settings_open_preferences_at_our_page(window, qtbot, told):
    command("settings")
    dialog = window.window._pref_dialog
    assert dialog.isVisible()
    assert dialog._list.currentItem().text() == MANIFEST.display_name
    dialog.close()
