"""File dialogs begin where the last one of their kind ended."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_normative.plugin.docks.files import (
    COHORTS,
    MODELS,
    RESULTS,
    ask_file,
    ask_folder,
    ask_target,
)
from napari_normative.plugin.state.settings import Settings


@pytest.fixture
def dialogs(monkeypatch):
    """Answers of the dialogs to come, and where each began."""
    answers, began = [], []

    def file(_parent, _title, start, _patterns):
        began.append(start)
        return answers.pop(0), ""

    def folder(_parent, _title, start):
        began.append(start)
        return answers.pop(0)

    monkeypatch.setattr(QFileDialog, "getOpenFileName", file)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", file)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", folder)
    return answers, began


def test_each_kind_of_dialog_remembers_its_folder(qtbot, dialogs):
    answers, began = dialogs
    parent, settings = QWidget(), Settings()
    qtbot.addWidget(parent)
    answers += ["/a/m.safetensors", "", "/c/site-a", "/r/samples", "/r2/map.tsv"]
    assert ask_file(parent, settings, MODELS, "Model", "*") == "/a/m.safetensors"
    assert ask_file(parent, settings, MODELS, "Model", "*") == ""
    assert ask_folder(parent, settings, COHORTS, "Cohort") == "/c/site-a"
    assert ask_target(parent, settings, RESULTS, "Save", "samples") == "/r/samples"
    assert ask_target(parent, settings, RESULTS, "Save", "map.tsv", "*") == "/r2/map.tsv"
    assert began == ["", "/a", "", "samples", "/r/map.tsv"]
    assert (settings.models_folder, settings.cohorts_folder) == ("/a", "/c")
    assert settings.results_folder == "/r2"


def test_a_whole_path_is_offered_as_it_is(qtbot, dialogs):
    answers, began = dialogs
    parent, settings = QWidget(), Settings(models_folder="/a")
    qtbot.addWidget(parent)
    answers.append("")
    ask_target(parent, settings, MODELS, "Write to", "/b/new.safetensors")
    assert began == ["/b/new.safetensors"]
    assert settings.models_folder == "/a"
