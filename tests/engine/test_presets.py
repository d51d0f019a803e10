"""Presets with some values replaced."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from napari_normative.engine.presets import PRESETS, settings_from
from napari_normative.errors import TrainingError


def test_words_of_the_command_line_become_values_of_the_preset() -> None:
    words = ["objective.beta=0.3", "objective.likelihood=laplace", "widths=8,16", "steps=7"]
    made = PRESETS["brain-4mm"].changed(settings_from(words, "site, age"))
    assert made.objective.beta == 0.3
    assert made.objective.likelihood == "laplace"
    assert made.widths == (8, 16)
    assert made.steps == 7
    assert made.balance_by == ("site", "age")
    assert made.objective.warmup == PRESETS["brain-4mm"].objective.warmup


def test_no_change_is_the_preset_itself() -> None:
    for preset in PRESETS.values():
        assert preset.changed({}) == preset


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("beta=1", "no value 'beta'"),
        ("objective=1", "no value 'objective'"),
        ("objective.beta.x=1", "no value"),
        ("objective.beta=-1", "objective.beta: .*greater than or equal to 0"),
        ("balance=2", "balance: .*less than or equal to 1"),
        ("steps=many", "steps: .*integer"),
        ("objective.likelihood=poisson", "gaussian"),
        ("steps", "NAME=VALUE"),
    ],
)
def test_what_does_not_fit_is_named(word: str, says: str) -> None:
    with pytest.raises(TrainingError, match=rf"TRN-007.*{says}"):
        PRESETS["brain-4mm"].changed(settings_from([word], None))


def test_a_map_of_sigma_needs_places() -> None:
    with pytest.raises(TrainingError, match=r"TRN-007.*dense latent"):
        PRESETS["crop-1mm"].changed({"objective.likelihood": "gaussian-map"})


def test_every_row_of_the_ablations_is_a_preset_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    ablations = importlib.import_module("ablations")
    made = {row.name: ablations.preset_of(row, 7) for row in ablations.ROWS}
    assert len({ablations.slug(name) for name in made}) == len(ablations.ROWS)
    special = {"mean image", "principal components alone", "first site alone"}
    for name, preset in made.items():
        assert preset.steps == 7
        assert (preset == made["base"]) == (name == "base" or name in special)
