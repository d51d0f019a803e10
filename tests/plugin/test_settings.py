"""What is remembered: by napari, in a file of the test."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml
from napari.components import ViewerModel

from napari_normative.plugin import settings as plugin_settings
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.session import Session, session_for
from napari_normative.plugin.settings import SECTIONS, stored_settings
from napari_normative.plugin.state.settings import Settings


@pytest.fixture
def stored():
    from napari.settings import get_plugin_settings

    return get_plugin_settings("napari-normative")


def in_file(stored):
    return yaml.safe_load(stored.config_path.read_text())


def test_napari_has_a_setting_for_every_field_with_the_same_default(stored):
    default = Settings()
    assert set(SECTIONS) == {field.name for field in fields(Settings)}
    for name, section in SECTIONS.items():
        assert getattr(getattr(stored, section), name) == getattr(default, name)


def test_the_settings_of_the_person_who_tests_are_left_alone(stored, tmp_path):
    assert stored.config_path.is_relative_to(tmp_path)


def test_what_is_written_is_in_the_file_and_comes_back(stored):
    settings = stored_settings()
    settings.device, settings.memory_gib, settings.models_folder = "cuda:1", 2.5, "/data/models"
    assert in_file(stored) == {
        "computing": {"device": "cuda:1", "memory_gib": 2.5},
        "folders": {"models_folder": "/data/models"},
    }
    from napari import settings as napari_settings

    napari_settings._clear_plugin_settings_cache()  # as a new start of napari does
    again = stored_settings()
    assert again is not settings
    assert (again.device, again.memory_gib, again.models_folder) == ("cuda:1", 2.5, "/data/models")


def test_a_change_in_preferences_is_heard(stored):
    settings, heard = stored_settings(), []
    settings.events.memory_gib.connect(heard.append)
    stored.computing.memory_gib = 4.0
    assert heard == [4.0]
    stored.reset()
    assert settings == Settings()


def test_what_preferences_do_not_offer_holds_for_the_session(stored):
    settings = stored_settings()
    with pytest.warns(UserWarning, match="device is not remembered"):
        settings.device = "cuda:12"
    assert settings.device == "cuda:12"
    assert stored.computing.device == "auto"


def test_without_napari_settings_the_defaults_hold(monkeypatch):
    monkeypatch.setattr(plugin_settings, "PLUGIN", "no-such-plugin")
    settings = stored_settings()
    assert settings == Settings()
    settings.device = "cpu"
    assert stored_settings().device == "cpu"


def test_the_device_of_a_dock_is_remembered(stored, tmp_path):
    def picker():
        shelf = ModelShelf(tmp_path / "recent.json")
        return ModelsController(shelf, print, settings=stored_settings())

    first = picker()
    first.state.device = "mps"
    assert in_file(stored) == {"computing": {"device": "mps"}}
    later = picker().state
    assert later.device == "mps"
    assert [choice.key for choice in later.devices] == ["auto", "cpu", "mps"]
    stored.computing.device = "cpu"
    assert first.state.device == "cpu"


def test_a_new_window_has_the_convention_that_was_chosen_last(stored):
    viewer = ViewerModel()
    layout = session_for(viewer).get(LayoutController)
    assert layout.state.convention == "radiological"
    layout.state.convention = "neurological"
    assert in_file(stored) == {"reading": {"convention": "neurological"}}
    other = ViewerModel()
    session = Session(other)
    assert session.get(LayoutController).state.convention == "neurological"
    session.view.prepare()
    assert [str(side) for side in other.scene.camera.orientation] == ["towards", "up", "right"]
