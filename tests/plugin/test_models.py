"""The list of models: packaged, recent, from a file."""

from __future__ import annotations

import json

import pytest

from napari_normative.errors import ModelFileError
from napari_normative.plugin.models import RECENT_COUNT, ModelShelf


@pytest.fixture
def shelf(tmp_path):
    return ModelShelf(tmp_path / "settings" / "recent.json")


def test_a_chosen_file_is_remembered_first(shelf, tiny_model_path, tmp_path):
    key = shelf.add(tiny_model_path)
    again = ModelShelf(tmp_path / "settings" / "recent.json")
    assert key in {choice.key for choice in again.choices()}
    card = again.load(key).card
    assert again.about(key).line == f"{card.one_line()}\n{card.verdict(figures=False)}"


def test_a_foreign_file_is_refused_and_not_remembered(shelf, tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"not a model")
    with pytest.raises(ModelFileError, match=r"foreign\.safetensors"):
        shelf.add(foreign)
    assert str(foreign) not in {choice.key for choice in shelf.choices()}


@pytest.mark.parametrize("content", ["", "{", "3", '["/nowhere/x.safetensors", 7]'])
def test_a_damaged_list_of_recent_files_is_an_empty_one(tmp_path, content):
    path = tmp_path / "recent.json"
    path.write_text(content)
    assert ModelShelf(path).choices() == ModelShelf(tmp_path / "none.json").choices()


def test_the_list_stays_short(shelf, tiny_model_path, tmp_path):
    for number in range(RECENT_COUNT + 3):
        copy = tmp_path / f"{number}.safetensors"
        copy.write_bytes(tiny_model_path.read_bytes())
        shelf.add(copy)
    stored = json.loads((tmp_path / "settings" / "recent.json").read_text())
    assert len(stored) == RECENT_COUNT
    assert stored[0].endswith(f"{RECENT_COUNT + 2}.safetensors")


def test_a_model_is_read_once_and_can_be_let_go(shelf, tiny_model_path):
    key = shelf.add(tiny_model_path)
    assert not shelf.is_loaded(key)
    model = shelf.load(key)
    assert shelf.load(key) is model
    shelf.unload()
    assert not shelf.is_loaded(key)
    assert shelf.load(key) is not model
