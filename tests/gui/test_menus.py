"""Every dock opens from napari's own menu."""

from __future__ import annotations

from pathlib import Path

import pytest
from npe2 import PluginManifest

MANIFEST = PluginManifest.from_file(Path(__file__).parents[2] / "napari.yaml")
DOCKS = [widget.display_name for widget in MANIFEST.contributions.widgets]


def plugin_actions(viewer):
    """Return the entries of Plugins > Normative models by their text."""
    found = {}
    for top in viewer.window._qt_window.menuBar().actions():
        if top.menu() is None or "Plugins" not in top.text():
            continue
        for entry in top.menu().actions():
            if entry.menu() is not None and "Normative" in entry.text():
                for action in entry.menu().actions():
                    found[action.text().removesuffix(" (Normative models)")] = action
    return found


@pytest.fixture
def viewer(make_napari_viewer):
    made = make_napari_viewer(show=True)
    made.window.resize(1400, 900)
    return made


def test_the_menu_has_every_dock_of_the_manifest(viewer):
    assert set(plugin_actions(viewer)) >= set(DOCKS)
    assert set(DOCKS) >= {
        "Anomaly map", "Reading room", "Samples", "Latent map", "Train a model", "Getting started",
    }  # fmt: skip


@pytest.mark.parametrize("name", DOCKS)
def test_a_dock_opens_from_the_menu_and_closes(viewer, qtbot, capfd, name):
    action = plugin_actions(viewer)[name]
    action.trigger()
    shown = f"{name} (Normative models)"
    qtbot.waitUntil(lambda: shown in viewer.window.dock_widgets, timeout=10_000)
    dock = viewer.window._wrapped_dock_widgets[shown]
    qtbot.waitUntil(dock.isVisible, timeout=10_000)
    assert dock.width() < 600
    viewer.window.remove_dock_widget(dock.inner_widget())
    assert shown not in viewer.window.dock_widgets
    assert "Traceback" not in "".join(capfd.readouterr())
