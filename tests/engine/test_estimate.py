"""What a training will need, beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_normative.engine.estimate import Estimate, Question, estimate_apart, in_words
from napari_normative.engine.presets import Preset
from napari_normative.errors import CancelledError, TrainingError


@pytest.fixture
def question(phantom_cohort: Path, phantom_template: Path, tiny_preset: Preset) -> Question:
    return Question(
        preset=tiny_preset,
        people=14,
        scan=str(phantom_cohort / "sub-00_T1w.nii.gz"),
        template=str(phantom_template),
        device="cpu",
    )


@pytest.mark.slow
def test_time_grows_with_people_and_steps_and_a_limit_holds(question: Question) -> None:
    once = estimate_apart(question, lambda: False)
    assert once.device == "cpu"
    assert 0 < once.step_s < 30
    assert once.total_s > once.align_s + once.train_s + once.after_s
    assert 100 * 2**20 < once.memory_bytes < 4 * 2**30
    assert "about " in once.describe()
    assert "timed just now" in once.describe()
    more = question.model_copy(
        update={
            "people": 14_000,
            "preset": question.preset.model_copy(update={"steps": 400_000}),
            "max_minutes": 2.0,
        }
    )
    much = estimate_apart(more, lambda: False)
    assert much.train_s == 120
    assert much.align_s > 100 * once.align_s
    assert much.memory_bytes > once.memory_bytes + 3 * 13_000 * 20 * 24 * 20


def test_it_stops_when_asked(question: Question) -> None:
    with pytest.raises(CancelledError):
        estimate_apart(question, lambda: True)


def test_what_cannot_be_read_is_said(question: Question) -> None:
    gone = question.model_copy(update={"scan": "nowhere.nii.gz"})
    with pytest.raises(TrainingError, match=r"TRN-013.*NIF-"):
        estimate_apart(gone, lambda: False)


def test_durations_are_said_as_people_say_them() -> None:
    assert [in_words(s) for s in (0.2, 42, 600, 9000)] == ["1 s", "42 s", "10 min", "2.5 h"]
    one = Estimate(align_s=60, train_s=600, after_s=30, step_s=0.5, memory_bytes=2**30, device="x")
    assert one.total_s == 700
    assert one.describe().startswith("about 12 min (align 60 s, train 10 min")
