"""The dock's requests, without Qt: a synchronous runner and a model whose answers are known."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_normative.core.condition import CategoryCovariate, Covariates, NumberCovariate
from napari_normative.errors import CancelledError, ModelFileError, PreprocessError
from napari_normative.layers.spec import (
    SCAN,
    spec_of,
)
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.given import GivenController
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.models import About
from napari_normative.plugin.state.common import Choice
from placed import UPRIGHT, made_detection, placed


class KnownModel:
    """Answers with a detection whose values are known; remembers what it was asked."""

    digest = "d1"

    def __init__(self):
        self.asked, self.told = [], []
        self.covariates = Covariates()
        self.error = None
        self.unloaded = False

    def given(self, known):
        self.told.append(dict(known))
        return self

    def detect(self, scan, **options):
        self.asked.append(SimpleNamespace(scan=scan, **options))
        options["progress"]("align", 0.25)
        if self.error:
            raise self.error
        return made_detection(scan, samples=options["samples"])

    def sample(self, n, *, seed, device):
        return [placed(UPRIGHT, name=f"sample-{i}") for i in range(n)]


class KnownShelf:
    """One model on the list."""

    def __init__(self):
        self.model = KnownModel()
        self.loaded = False

    def choices(self):
        return [Choice("known", "known model")]

    def about(self, key):
        return About("Adult brain: T1", "vector", self.model.covariates) if key else About()

    def load(self, key):
        self.loaded = True
        return self.model

    def is_loaded(self, key):
        return self.loaded

    def devices(self):
        return ("auto", "cpu")

    def unload(self):
        self.loaded = False


@pytest.fixture
def made():
    viewer, shelf, notes = ViewerModel(), KnownShelf(), []
    models, scans = ModelsController(shelf, notes.append), ScansController(viewer)
    runner = SynchronousRunner()
    controller = AnomalyController(
        Context(weakref.ref(viewer), runner, runner, models, scans, notes.append)
    )
    return SimpleNamespace(
        viewer=viewer, state=controller.state, requests=controller.requests, shelf=shelf,
        notes=notes, model=shelf.model, controller=controller, models=models.state,
        model_requests=models.requests, scans=scans.state,
    )  # fmt: skip


def add_scan(viewer, name="scan", volumes=1):
    first = placed(UPRIGHT, name=name)
    series = [first.with_data(first.data + n) for n in range(volumes)]
    return add_spec(viewer, spec_of(series, name, SCAN))


def test_run_is_blocked_with_a_reason_until_there_is_a_scan(made):
    assert made.state.run_blocked == "Open a scan first."
    made.requests.run.emit()
    assert made.model.asked == []
    add_scan(made.viewer)
    assert made.state.run_blocked == ""
    assert made.state.geometry == "24 × 28 × 20  ·  1.5 × 1 × 2 mm  ·  PLS"


def test_pickers_follow_layers_as_they_come_go_and_are_renamed(made):
    scan = add_scan(made.viewer)
    labels = made.viewer.add_labels(np.zeros((4, 4, 4), int), name="roi")
    made.viewer.add_points(np.zeros((1, 3)))
    assert [c.label for c in made.scans.scans] == ["scan"]
    assert [c.label for c in made.scans.masks] == ["roi"]
    scan.name = "renamed"
    assert [c.label for c in made.scans.scans] == ["renamed"]
    made.state.mask = made.scans.masks[0].key
    made.viewer.layers.remove(labels)
    assert (made.scans.masks, made.state.mask) == ((), "")
    made.viewer.layers.remove(scan)
    assert (made.scans.scans, made.state.scan) == ((), "")
    assert made.state.run_blocked == "Open a scan first."


def test_samples_that_need_more_memory_than_the_settings_allow_are_refused(made):
    scan = add_scan(made.viewer)
    made.controller.context.settings.memory_gib = 2.5 * 8 * scan.data.size / 2**30
    made.state.samples = 3
    made.requests.run.emit()
    assert made.state.error.startswith("[JOB-005]")
    assert made.model.asked == []
    made.state.samples = 2
    made.requests.run.emit()
    assert made.state.error == ""
    assert [asked.samples for asked in made.model.asked] == [2]


def test_run_hands_over_the_scan_and_the_choices_and_shows_the_results(made):
    add_scan(made.viewer)
    made.state.samples, made.state.seed, made.models.device = 2, 7, "cpu"
    made.state.residual = False
    made.requests.run.emit()
    (asked,) = made.model.asked
    assert (asked.samples, asked.seed, asked.device, asked.mask) == (2, 7, "cpu", None)
    np.testing.assert_array_equal(asked.scan.data, placed(UPRIGHT).data)
    assert [layer.name for layer in made.viewer.layers] == [
        "scan",
        "scan · reconstruction",
        "scan · sample 1 (synthetic)",
        "scan · sample 2 (synthetic)",
        "scan · anomaly z",
        "scan · |z|",
        "scan · candidates",
    ]
    assert not made.state.running
    assert "Scan score 1.25, p = 0.05" in made.state.summary
    assert "2 candidates at |z| > 2" in made.state.summary
    assert "⚠ The scan is unlike the training cohort." in made.state.summary
    assert made.models.device_line == "cpu: as asked"


def test_results_are_never_offered_as_scans(made):
    add_scan(made.viewer)
    made.requests.run.emit()
    assert [c.label for c in made.scans.scans] == ["scan"]
    assert [c.label for c in made.scans.masks] == ["scan · candidates"]


def test_a_mask_reaches_the_model_on_the_voxels_of_the_scan(made):
    scan = add_scan(made.viewer)
    drawn = np.zeros(scan.data.shape, int)
    drawn[5:9, 6:10, 7:11] = 1
    made.viewer.add_labels(drawn, scale=scan.scale, translate=scan.translate, units="mm")
    made.state.mask = made.scans.masks[0].key
    made.requests.run.emit()
    (asked,) = made.model.asked
    assert asked.mask.same_grid(asked.scan)
    assert asked.mask.data.sum() == 64


def test_a_series_waits_for_a_choice_and_says_so(made):
    add_scan(made.viewer, volumes=3)
    assert made.state.volume_count == 3
    assert made.state.run_blocked == "Choose which of the 3 volumes to compare."
    made.requests.run.emit()
    assert made.model.asked == []
    made.state.volume = 2
    assert made.state.run_blocked == ""
    made.requests.run.emit()
    np.testing.assert_array_equal(made.model.asked[0].scan.data, placed(UPRIGHT).data + 1)
    assert "scan (volume 2) · anomaly z" in made.viewer.layers


def test_a_layer_that_is_no_scan_says_why(made):
    made.viewer.add_image(np.zeros((8, 8)), name="photo")
    assert "[GEO-005] photo" in made.state.geometry_warning
    assert made.state.run_blocked == "This layer is not a scan; see above."


def test_an_assumed_orientation_is_said(made):
    made.viewer.add_image(np.random.default_rng(0).random((8, 8, 8)), name="array")
    assert made.state.geometry_warning.startswith("Orientation assumed")
    assert made.state.run_blocked == ""


def test_a_failure_is_shown_and_notified_and_adds_no_layer(made):
    add_scan(made.viewer)
    made.model.error = PreprocessError("PRE-001", "the scan is empty", "Choose another.")
    made.requests.run.emit()
    assert made.state.error == str(made.model.error)
    assert made.notes == [str(made.model.error)]
    assert len(made.viewer.layers) == 1
    made.model.error = None
    made.requests.run.emit()
    assert made.state.error == ""


def test_an_unforeseen_failure_is_one_sentence_too(made, capfd):
    add_scan(made.viewer)
    made.model.error = ZeroDivisionError("by zero")
    made.requests.run.emit()
    assert made.state.error.startswith("[JOB-001] an error that was not foreseen")
    assert "Traceback" not in "".join(capfd.readouterr())


def test_cancelling_keeps_nothing(made):
    add_scan(made.viewer)
    made.model.error = CancelledError()
    made.requests.run.emit()
    assert made.state.summary == "Cancelled. Nothing was kept."
    assert (made.notes, len(made.viewer.layers)) == ([], 1)


def test_a_kept_edit_is_reported(made):
    add_scan(made.viewer)
    made.requests.run.emit()
    labels = made.viewer.layers["scan · candidates"]
    labels.data_setitem((np.array([0]), np.array([0]), np.array([0])), 5)
    made.requests.run.emit()
    assert "candidates are in scan · candidates 2" in made.state.summary


def test_unloading_frees_the_model_but_not_while_it_works(made):
    add_scan(made.viewer)
    made.requests.run.emit()
    assert made.models.loaded
    made.models.busy = True
    made.model_requests.unload.emit()
    assert made.shelf.loaded
    made.models.busy = False
    made.model_requests.unload.emit()
    assert (made.shelf.loaded, made.models.loaded) == (False, False)


REFUSAL = PreprocessError("PRE-004", "the contrast is reversed", "Use another model.")


def test_a_scan_refused_for_its_contrast_may_be_run_all_the_same(made):
    add_scan(made.viewer)
    made.model.error = REFUSAL
    made.requests.run.emit()
    assert made.state.refused
    assert made.state.error == str(REFUSAL)
    assert made.model.asked[-1].force is False
    made.model.error = None
    made.state.force = True
    made.requests.run.emit()
    assert made.model.asked[-1].force is True
    assert "scan · anomaly z" in {layer.name for layer in made.viewer.layers}


def test_another_scan_is_judged_anew(made):
    add_scan(made.viewer, "first")
    made.model.error = REFUSAL
    made.requests.run.emit()
    made.state.force = True
    add_scan(made.viewer, "second")
    made.state.scan = made.scans.scans[-1].key
    assert (made.state.refused, made.state.force) == (False, False)


def test_other_refusals_cannot_be_overruled(made):
    add_scan(made.viewer)
    made.model.error = PreprocessError("PRE-002", "it does not fit", "Look at it.")
    made.requests.run.emit()
    assert not made.state.refused


@pytest.mark.parametrize("wanted", [False, True])
def test_local_volume_is_computed_only_when_it_is_ticked(made, wanted):
    add_scan(made.viewer)
    made.state.local_volume = wanted
    made.requests.run.emit()
    assert made.model.asked[-1].local_volume is wanted


AGED = Covariates(
    (
        NumberCovariate(name="age", mean=50.0, sd=15.0, low=20.0, high=86.0),
        CategoryCovariate(name="sex", levels=("F", "M"), shares=(0.5, 0.5)),
    )
)


def choose_aged(made):
    """The list's model was conditioned on age and sex."""
    made.model.covariates = AGED
    made.models.model = ""
    made.models.model = "known"
    return made.controller.context.get(GivenController)


def test_the_model_is_told_what_is_known_of_the_person_of_each_scan(made):
    add_scan(made.viewer, "first")
    add_scan(made.viewer, "second")
    given = choose_aged(made)
    first, second = (choice.key for choice in made.scans.scans)
    made.state.scan = second
    given.requests.answer.emit(second, "age", "71")
    given.requests.answer.emit(second, "sex", "F")
    given.requests.answer.emit(first, "sex", "M")
    made.requests.run.emit()
    assert made.model.told == [{"age": 71.0, "sex": "F"}]
    given.requests.answer.emit(second, "sex", "")
    made.requests.run_all.emit()
    assert made.model.told[1:] == [{"sex": "M"}, {"age": 71.0}]


def test_questions_are_those_of_the_chosen_model(made):
    given = made.controller.context.get(GivenController)
    assert given.state.questions == ()
    choose_aged(made)
    asked = [(q.name, q.levels, q.range) for q in given.state.questions]
    assert asked == [("age", (), "20 to 86"), ("sex", ("F", "M"), "")]
    made.models.model = ""
    assert given.state.questions == ()


def test_an_answer_that_is_no_number_is_said_before_the_run(made):
    add_scan(made.viewer)
    given = choose_aged(made)
    given.requests.answer.emit(made.state.scan, "age", "old")
    assert made.state.run_blocked.startswith("[MOD-071] age 'old' is no number")
    made.requests.run.emit()
    assert made.model.asked == []
    given.requests.answer.emit(made.state.scan, "age", "")
    assert made.state.run_blocked == ""


def test_what_the_chosen_model_does_not_ask_for_or_has_no_word_for_is_not_told_it(made):
    add_scan(made.viewer)
    given = made.controller.context.get(GivenController)
    for name, text in (("age", "30"), ("sex", "unsure"), ("site", "IXI")):
        given.requests.answer.emit(made.state.scan, name, text)
    assert given.known(made.state.scan) == {}
    choose_aged(made)
    assert given.known(made.state.scan) == {"age": 30.0}
    with pytest.raises(ModelFileError, match="MOD-070"):
        given.replace(made.state.scan, {"site": "IXI"})
