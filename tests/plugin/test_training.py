"""The requests of "Train a model", without Qt: real files and a real process, no window."""

from __future__ import annotations

import shutil
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
from napari.components import ViewerModel

from napari_normative.engine import background, estimate
from napari_normative.engine.background import TrainingOrder, TrainingStatus, read_training
from napari_normative.engine.estimate import Estimate
from napari_normative.errors import CancelledError
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.controllers.training import TrainingController
from napari_normative.plugin.controllers.training_shown import comparison_rows, preset_line
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.models import ModelShelf
from trainings import end_all


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Trainings are remembered in a folder of the test; nothing is timed."""
    monkeypatch.setattr(background, "registry_file", lambda: tmp_path / "state" / "trainings.json")
    known = Estimate(
        align_s=60, train_s=600, after_s=30, step_s=2, memory_bytes=2**30, device="cpu"
    )
    monkeypatch.setattr(estimate, "estimate_apart", lambda asked, cancel: known)
    yield
    end_all(background.known_trainings())


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def said():
    return []


@pytest.fixture
def make(viewer, said, tmp_path):
    def controller():
        models = ModelsController(ModelShelf(tmp_path / "recent.json"), said.append)
        runner, scans = SynchronousRunner(), ScansController(viewer)
        context = Context(weakref.ref(viewer), runner, runner, models, scans, said.append)
        return TrainingController(context)

    return controller


@pytest.fixture
def controller(make):
    return make()


def ended(state="failed", **more):
    return TrainingStatus(state=state, **more)


def fake(folder, order, status):
    """Write the files of a training that nobody works on."""
    folder.mkdir(parents=True)
    (folder / "order.json").write_text(order.model_dump_json())
    (folder / "status.json").write_text(status.model_dump_json())
    background.remember(folder)
    return folder


@pytest.fixture
def order(tmp_path):
    return TrainingOrder(cohort=str(tmp_path), out=str(tmp_path / "m.safetensors"))


def test_start_says_what_is_missing_one_thing_after_the_other(controller, phantom_cohort, tmp_path):
    state = controller.state
    assert state.run_blocked.startswith("Choose a folder")
    assert state.start_blocked == "Check a cohort first."
    state.cohort = str(phantom_cohort)
    assert state.run_blocked == ""
    controller.check()
    assert state.summary == "14 of 14 scans can be used."
    assert state.out == str(phantom_cohort.parent / "site-a.safetensors")
    assert state.start_blocked == ""
    assert state.estimate.startswith("Time and memory: about 12 min")
    state.out = str(tmp_path / "model.nii")
    assert "ends in .safetensors" in state.start_blocked
    state.out = str(tmp_path / "model.safetensors")
    state.changes = "objective.beta=-3"
    assert "TRN-007" in state.start_blocked
    state.changes = "objective.beta"
    assert "TRN-007" in state.start_blocked
    state.changes = "objective.beta=0.5"
    assert state.start_blocked == ""
    state.seed = 3
    assert "check the cohort again" in state.start_blocked
    state.seed = 0
    assert state.start_blocked == ""


def test_a_small_cohort_is_shown_and_not_trained_on(controller, phantom_cohort, tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    for path in sorted(phantom_cohort.glob("*.nii.gz"))[:5]:
        shutil.copy(path, folder)
    controller.state.cohort = str(folder)
    controller.check()
    assert len(controller.state.rows) == 5
    assert controller.state.split[-1][0] == "all people"
    assert "COH-004" in controller.state.start_blocked
    assert controller.state.problems == controller.state.start_blocked


def test_nothing_to_look_at_is_an_error_of_the_check(controller, said, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    controller.state.cohort = str(empty)
    controller.check()
    assert "COH-001" in controller.state.error
    assert said == [controller.state.error]
    assert controller.state.start_blocked == "Check a cohort first."


def test_a_row_opens_in_the_viewer_in_mm(controller, viewer, phantom_cohort):
    controller.state.cohort = str(phantom_cohort)
    controller.check()
    controller.open_file(controller.state.rows[2].path)
    (layer,) = viewer.layers
    assert layer.name == "sub-02_T1w"
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3


def test_a_real_training_from_start_to_the_picker(
    controller, said, phantom_cohort, phantom_template, tiny_preset, tiny_model_path, tmp_path
):
    state = controller.state
    controller.offer({"tiny": tiny_preset.model_copy(update={"steps": 10})})
    state.preset, state.template = "tiny", str(phantom_template)
    state.cohort, state.out = str(phantom_cohort), str(tmp_path / "own.safetensors")
    controller.context.models.state.device = "cpu"
    aligned = tiny_model_path.with_name(tiny_model_path.name + ".work") / "prepared"
    shutil.copytree(aligned, tmp_path / "own.safetensors.work" / "prepared")
    controller.check()
    controller.start()
    assert state.training == str(tmp_path / "own.safetensors.work")
    assert "It is being trained" in state.start_blocked
    assert state.stop_blocked == ""
    deadline = time.monotonic() + 120
    while controller.refresh() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (state.headline, state.train_error) == ("own.safetensors is finished.", "")
    assert state.use_blocked == ""
    assert "Phantom" in state.card
    assert len(state.comparison) == 9
    assert [len(steps) for _, steps, _ in state.curves] == [10, 10, 10, 10, 10]
    controller.use_model()
    assert controller.context.models.state.model == str((tmp_path / "own.safetensors").resolve())
    controller.start()
    assert "TRN-005" in state.train_error
    assert said == [state.train_error]


def test_a_new_window_finds_what_failed_what_died_and_what_was_stopped(make, order, tmp_path):
    sentence = "[TRN-006] the memory of cuda:0 does not suffice. Use a coarser preset."
    folders = {
        name: fake(
            tmp_path / f"{name}.safetensors.work",
            order.model_copy(update={"out": str(tmp_path / f"{name}.safetensors")}),
            status,
        )
        for name, status in {
            "stopped": ended("stopped", stage="train"),
            "failed": ended("failed", error=sentence),
            "died": ended("running", stage="align"),
        }.items()
    }
    controller = make()
    state = controller.state
    assert [c.label for c in state.trainings] == ["died · died", "failed · failed",
                                                  "stopped · stopped"]  # fmt: skip
    assert state.training == str(folders["died"])
    assert state.headline_bad
    assert "TRN-009" in state.train_error
    assert (state.resume_blocked, state.stop_blocked) == ("", "Nothing is being trained.")
    state.training = str(folders["failed"])
    assert state.train_error == sentence
    state.training = str(folders["stopped"])
    assert not state.headline_bad
    assert "was stopped while: training" in state.headline
    shutil.rmtree(folders["failed"])
    controller.refresh_known()
    assert len(state.trainings) == 2


def test_a_folder_of_something_else_is_not_attached(controller, said, tmp_path):
    controller.attach(str(tmp_path))
    assert "TRN-010" in controller.state.train_error
    assert controller.state.training == ""
    assert said == [controller.state.train_error]


def test_attaching_remembers_the_folder(controller, order, tmp_path):
    folder = fake(tmp_path / "m.safetensors.work", order, ended("stopped"))
    background.registry_file().unlink()
    controller.attach(str(folder))
    assert controller.state.training == str(folder)
    assert [t.folder for t in background.known_trainings()] == [folder]
    assert read_training(folder).state == "stopped"


def test_cancelling_the_check_keeps_nothing(controller, phantom_cohort, monkeypatch):
    from napari_normative.engine import check

    def cancelled(*args, **kwargs):
        raise CancelledError

    monkeypatch.setattr(check, "check_cohort", cancelled)
    controller.state.cohort = str(phantom_cohort)
    controller.check()
    assert controller.state.summary == "Cancelled. Nothing was kept."
    assert controller.state.rows == ()


def test_every_preset_has_a_sentence(controller):
    for name, preset in controller.presets.items():
        line = preset_line(name, preset)
        assert f"{preset.steps} steps" in line
        assert not line.startswith(preset.title + ".")


def test_the_comparison_has_a_row_for_each_figure(tiny_model_path: Path):
    from napari_normative.engine.model import load_model

    card = load_model(tiny_model_path).card
    header, *rows = comparison_rows(card)
    assert len(rows) == len(card.comparison)
    assert all(len(row) == len(header) for row in rows)
    first = dict(zip(header, rows[0], strict=True))
    assert float(first["Model"]) == pytest.approx(card.comparison[0].model, abs=0.006)
    assert first["Outcome"] == "undecided"


@pytest.fixture
def aged_table(phantom_cohort, tmp_path):
    """A table of the phantoms with columns that can be told, and one that cannot."""
    scans = sorted(phantom_cohort.glob("*.nii.gz"))
    rows = [
        f"{path}\t{30 + n}\t{'FM'[n % 2]}\t{'AB'[n % 2]}\talike" for n, path in enumerate(scans)
    ]
    table = tmp_path / "people.tsv"
    table.write_text("\n".join(["path\tage\tsex\tsite\tcoil", *rows]) + "\n", encoding="utf-8")
    return table


def test_columns_that_tell_people_apart_are_offered_and_reach_the_order(controller, aged_table):
    state = controller.state
    state.cohort = str(aged_table)
    controller.check()
    assert state.columns == ("age", "sex", "site")
    assert controller._order().chosen().condition_on == ()
    state.condition_on = ("age", "site")
    order = controller._order()
    assert order.changes["condition_on"] == ["age", "site"]
    assert order.chosen().condition_on == ("age", "site")
    assert state.start_blocked == ""


def test_a_variant_reaches_the_order_and_what_does_not_fit_is_said(controller, aged_table):
    state = controller.state
    labels = {choice.key: choice.label for choice in state.variants}
    assert state.variant == ""
    assert labels[""] == "the preset as it is"
    assert labels["beta-vae"] == "beta-vae"
    assert "vae" not in labels
    state.cohort = str(aged_table)
    controller.check()
    assert controller._order().variant is None
    state.variant = "beta-vae"
    assert state.variant_line == "the KL counts four times"
    assert controller._order().chosen().objective.beta == 4
    assert state.start_blocked == ""
    state.condition_on = ("age",)
    state.variant = "spatial"
    assert "TRN-007" in state.start_blocked
    assert "a condition needs the dense latent" in state.start_blocked
    assert state.estimate == ""
    state.condition_on = ()
    assert state.start_blocked == ""


def test_a_column_that_the_next_cohort_lacks_is_not_told(controller, aged_table, phantom_cohort):
    state = controller.state
    state.cohort = str(aged_table)
    controller.check()
    state.condition_on = ("age",)
    state.cohort = str(phantom_cohort)
    controller.check()
    assert (state.columns, state.condition_on) == ((), ())


def test_the_process_trains_the_variant_that_was_ordered(order, monkeypatch, tmp_path):
    from napari_normative.engine import train
    from napari_normative.engine.training_process import Recorder

    asked = {}

    def fit(*_, **options):
        asked.update(options)
        return SimpleNamespace(digest="d")

    monkeypatch.setattr(train, "fit", fit)
    told = {"condition_on": ["age"]}
    changed = order.model_copy(update={"variant": "beta-tc", "changes": told, "device": "cpu"})
    again = TrainingOrder.model_validate_json(changed.model_dump_json())
    changed.folder.mkdir(parents=True)
    assert Recorder(changed.folder, again, False)._fit() == "d"
    assert (asked["variant"], asked["changes"]) == ("beta-tc", told)
