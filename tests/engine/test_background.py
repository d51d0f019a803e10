"""Trainings in processes of their own: watched, stopped, killed, resumed, found again."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from napari_normative.engine import background
from napari_normative.engine.background import (
    Training,
    TrainingOrder,
    known_trainings,
    read_training,
    start_training,
    stop_training,
)
from napari_normative.engine.model import load_model
from napari_normative.engine.presets import Preset
from napari_normative.errors import TrainingError
from napari_normative.io.folders import claimed
from trainings import end_all

Order = Callable[..., TrainingOrder]


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trainings are remembered in a folder of the test; none outlives it."""
    monkeypatch.setattr(background, "registry_file", lambda: tmp_path / "state" / "trainings.json")
    yield
    end_all(known_trainings())


@pytest.fixture
def order(
    tmp_path: Path,
    phantom_cohort: Path,
    phantom_template: Path,
    tiny_preset: Preset,
    tiny_model_path: Path,
) -> Order:
    def make(name: str = "made", **more: object) -> TrainingOrder:
        made = TrainingOrder(
            cohort=str(phantom_cohort),
            out=str(tmp_path / f"{name}.safetensors"),
            preset=more.pop("preset", tiny_preset),
            template=str(phantom_template),
            device="cpu",
            **more,
        )
        # Aligned once for all tests.
        aligned = tiny_model_path.with_name(tiny_model_path.name + ".work") / "prepared"
        shutil.copytree(aligned, made.folder / "prepared")
        return made

    return make


def wait(
    folder: Path, until: Callable[[Training], bool], seconds: float = 120
) -> tuple[Training, float]:
    """Watch a training until something holds; return it and how long that took."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        training = read_training(folder)
        if until(training):
            return training, time.monotonic() - start
        time.sleep(0.05)
    raise AssertionError(f"{training.state} {training.status} {training.log_tail(20)}")


def pid_of(folder: Path) -> int:
    pid = background._process_of(folder)
    assert pid is not None
    return pid


def in_training(training: Training) -> bool:
    return len(training.status.points) >= 3


def endless(preset: Preset) -> Preset:
    return preset.model_copy(update={"steps": 4_000})


def test_it_is_watched_from_start_to_the_model(order: Order) -> None:
    asked = order(title="Phantom heads", credit="Nobody")
    started = start_training(asked)
    assert (started.state, started.order) == ("running", asked)
    assert psutil.Process(pid_of(asked.folder)).ppid() in {os.getpid(), 1}
    ended, _ = wait(asked.folder, lambda t: not t.alive)
    assert (ended.state, ended.problem) == ("finished", "")
    model = load_model(asked.out)
    assert ended.status.model_digest == model.digest
    assert (model.card.title, model.card.credit) == ("Phantom heads", "Nobody")
    assert ended.status.points == model.card.training.curves
    assert ended.status.device == "cpu"
    assert ended.status.device_reason.startswith("as asked")
    assert ended.montage().startswith(b"\x89PNG")
    log = "\n".join(ended.log_tail())
    assert all(word in log for word in ("started", "align", "train", "calibrate", "finished"))
    assert "Traceback" not in log
    assert [t.folder for t in known_trainings()] == [asked.folder]
    with pytest.raises(TrainingError, match=r"TRN-005.*Resume it"):
        start_training(asked)


def test_stopped_within_two_seconds_it_keeps_a_checkpoint_and_goes_on(
    order: Order, tiny_preset: Preset
) -> None:
    asked = order(preset=endless(tiny_preset))
    start_training(asked)
    wait(asked.folder, in_training)
    stop_training(asked.folder)
    assert read_training(asked.folder).state in {"stopping", "stopped"}
    stopped, seconds = wait(asked.folder, lambda t: not t.alive, 10)
    assert (stopped.state, seconds < 2.0) == ("stopped", True)
    assert list((asked.folder / "checkpoints").glob("step-*"))
    before = stopped.status.points
    start_training(asked, resume=True)
    further, _ = wait(asked.folder, lambda t: len(t.status.points) > len(before))
    assert further.status.points[: len(before)] == before
    stop_training(asked.folder)
    wait(asked.folder, lambda t: not t.alive, 10)


def test_a_killed_process_is_dead_and_resuming_makes_the_model(
    order: Order, tiny_preset: Preset
) -> None:
    asked = order(preset=tiny_preset.model_copy(update={"steps": 120}))
    start_training(asked)
    wait(asked.folder, in_training)
    os.kill(pid_of(asked.folder), signal.SIGKILL)
    dead, _ = wait(asked.folder, lambda t: not t.alive, 5)
    assert (dead.state, dead.status.state) == ("died", "running")
    assert "TRN-009" in dead.problem
    assert [t.state for t in known_trainings()] == ["died"]
    start_training(asked, resume=True)
    ended, _ = wait(asked.folder, lambda t: not t.alive)
    assert ended.state == "finished"
    assert load_model(asked.out).card.training.steps == 120


def test_two_trainings_in_one_folder_are_refused(order: Order, tiny_preset: Preset) -> None:
    asked = order(preset=endless(tiny_preset))
    start_training(asked)
    with pytest.raises(TrainingError, match="TRN-008"):
        start_training(asked, resume=True)
    with pytest.raises(TrainingError, match="TRN-008"), claimed(asked.folder):
        pass
    stop_training(asked.folder)
    wait(asked.folder, lambda t: not t.alive, 10)
    wait(asked.folder, lambda t: background._process_of(t.folder) is None, 10)
    with claimed(asked.folder):
        pass


def test_a_number_that_another_process_has_now_is_not_the_training(order: Order) -> None:
    asked = order()
    start_training(asked)
    stop_training(asked.folder)
    wait(asked.folder, lambda t: not t.alive, 10)
    own = psutil.Process()
    status = asked.folder / background.STATUS
    status.write_text(status.read_text().replace('"stopped"', '"running"'))
    record = asked.folder / background.PROCESS
    record.write_text(f'{{"pid": {own.pid}, "created": {own.create_time() - 3600}}}')
    assert read_training(asked.folder).state == "died"
    record.write_text(f'{{"pid": {own.pid}, "created": {own.create_time()}}}')
    assert read_training(asked.folder).alive


def test_what_is_wrong_is_said_in_a_sentence(order: Order, tmp_path: Path) -> None:
    asked = order(changes={"objective.beta": "-3"})
    start_training(asked)
    failed, _ = wait(asked.folder, lambda t: not t.alive)
    assert (failed.state, failed.problem[:9]) == ("failed", "[TRN-007]")
    nobody = order("nobody").model_copy(update={"cohort": str(tmp_path / "state")})
    start_training(nobody)
    assert "COH-001" in wait(nobody.folder, lambda t: not t.alive)[0].problem


def test_a_folder_of_something_else_is_not_attached(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="TRN-010"):
        read_training(tmp_path)
