"""The list of candidates without Qt: which scan's, where each leads, why, and run on all."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_normative.errors import PreprocessError
from napari_normative.layers.spec import (
    CANDIDATES,
    MASK,
    SCAN,
    facts_of,
    spec_of,
)
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.models import ModelShelf
from phantoms import phantom


@pytest.fixture
def made(tmp_path, tiny_model_path):
    viewer, notes, runner = ViewerModel(), [], SynchronousRunner()
    models = ModelsController(ModelShelf(tmp_path / "recent.json"), notes.append)
    models.add_file(str(tiny_model_path))
    models.state.device = "cpu"
    context = Context(
        weakref.ref(viewer), runner, runner, models, ScansController(viewer), notes.append
    )
    anomaly, candidates = context.get(AnomalyController), context.get(CandidatesController)
    return SimpleNamespace(
        viewer=viewer, notes=notes, context=context, anomaly=anomaly, state=candidates.state,
        candidates=candidates, models=models,
    )  # fmt: skip


def add(viewer, seed, name, **options):
    return add_spec(viewer, spec_of([phantom(seed, **options)], name, SCAN))


def test_the_candidates_are_those_of_the_chosen_scan(made):
    first = add(made.viewer, 7, "ill", lesion_ml=8.0)
    assert (made.state.headline, made.state.report_blocked) == ("", "Run the anomaly map first.")
    made.anomaly.run()
    found = made.candidates.detection.candidates
    assert [f.rank for f in made.state.rows] == [c.rank for c in found]
    assert made.state.rows[0].volume_ml == pytest.approx(found[0].volume_mm3 / 1000)
    assert made.state.headline.startswith(f"{len(found)} candidate")
    assert {check.name for check in made.state.checks} >= {"spacing", "contrast"}
    add(made.viewer, 8, "other")
    made.anomaly.choose(made.viewer.layers["other"])
    assert (made.state.headline, made.state.rows) == ("", ())
    made.anomaly.choose(first)
    assert len(made.state.rows) == len(found)
    assert len(made.context.detections) == 1
    made.viewer.layers.remove(first)
    assert len(made.context.detections) == 0  # its volumes are let go


def test_a_chosen_candidate_moves_the_point_keeps_the_zoom_and_says_why(made):
    add(made.viewer, 7, "ill", lesion_ml=8.0)
    made.anomaly.run()
    made.viewer.scene.camera.zoom = 3.5
    made.candidates.step(1)
    strongest = made.candidates.detection.candidates[0]
    assert made.state.selected == strongest.label
    superior, anterior, right = made.viewer.dims.point
    half = np.array(made.candidates.detection.scan.spacing_mm).max()
    np.testing.assert_allclose((right, anterior, superior), strongest.centroid_mm, atol=half)
    assert made.viewer.scene.camera.zoom == 3.5
    why = made.state.why
    assert ("brighter" if strongest.sign > 0 else "darker") in why.sentence
    assert [curve.axis for curve in why.curves] == [
        "left to right", "back to front", "bottom to top",
    ]  # fmt: skip
    labels = next(x for x in made.viewer.layers if facts_of(x).role == CANDIDATES)
    assert labels.selected_label == strongest.label
    made.candidates.step(1)
    made.candidates.step(-1)
    assert made.state.selected == strongest.label


def test_another_model_than_the_maps_cannot_say_why(made):
    add(made.viewer, 7, "ill", lesion_ml=8.0)
    made.anomaly.run()
    packaged = made.models.state.models[0].key
    made.models.state.model = packaged
    made.candidates.step(1)
    assert made.state.why is None
    assert made.state.why_note.startswith("[MOD-021]")


def test_candidates_at_another_threshold_are_the_ones_listed_and_explained(made):
    from napari_normative.engine.infer import recount

    add(made.viewer, 7, "ill", lesion_ml=8.0)
    made.anomaly.run()
    detection = made.candidates.detection
    model = made.models.shelf.load(made.models.state.model)
    lower = detection.threshold_z / 2
    _, more = recount(model, detection, lower)
    made.context.detections.recounted(detection, more, lower)
    assert len(made.state.rows) == len(more)
    assert f"{lower:.1f}" in made.state.headline
    made.candidates.step(1)
    assert made.state.why is not None
    made.anomaly.run()  # a new map is the model's own again
    assert len(made.state.rows) == len(made.candidates.detection.candidates)


def test_run_on_all_does_every_scan_and_says_how_each_went(made, monkeypatch):
    add(made.viewer, 7, "one", lesion_ml=8.0)
    assert made.anomaly.state.all_label == ""
    add(made.viewer, 8, "two")
    pair = [phantom(1), phantom(2)]
    add_spec(made.viewer, spec_of(pair, "rest", SCAN))
    flat = phantom(3)
    add_spec(made.viewer, spec_of([flat.with_data(np.full(flat.shape, 7.0))], "flat", SCAN))
    assert made.anomaly.state.all_label == "Run on all 4 scans"
    made.anomaly.run_all()
    state = made.anomaly.state
    one, two, series, refused = state.summary.splitlines()
    assert one.startswith("one: scan score")
    assert two.startswith("two: scan score")
    assert series == "rest: a series; choose it and one of its volumes."
    assert refused.startswith("[")
    assert not state.running
    assert {x.name for x in made.viewer.layers} >= {"one · anomaly z", "two · anomaly z"}
    assert len(made.context.detections) == 2


def test_the_scored_mask_is_a_layer_when_asked_for(made):
    add(made.viewer, 7, "ill", lesion_ml=8.0)
    made.anomaly.state.scored_mask = True
    made.anomaly.run()
    layer = made.viewer.layers["ill · scored mask"]
    assert facts_of(layer).role == MASK
    assert layer.data.sum() == made.candidates.detection.mask.sum()
    assert not layer.visible


def test_a_cancel_ends_the_queue(made, monkeypatch):
    add(made.viewer, 7, "one")
    add(made.viewer, 8, "two")
    started = []

    class Held:
        def start(self, title, work, listener):
            started.append((title, listener))
            return SimpleNamespace(cancel=lambda: None)

    object.__setattr__(made.context, "engine", Held())
    made.anomaly.run_all()
    made.anomaly.cancel()
    assert made.anomaly.state.cancelling
    started[0][1].cancelled()
    assert [title for title, _ in started] == ["Anomaly map of one"]
    assert made.anomaly.state.summary == "Cancelled. Nothing was kept."


def test_a_refused_scan_of_many_offers_run_anyway_only_when_it_is_the_chosen(made, monkeypatch):
    error = PreprocessError("PRE-004", "the contrast is reversed", "Use another model.")

    def refuse(self, *_, **__):
        raise error

    monkeypatch.setattr("napari_normative.engine.model.NormativeModel.detect", refuse)
    add(made.viewer, 7, "one")
    add(made.viewer, 8, "two")
    made.anomaly.choose(made.viewer.layers["one"])
    made.anomaly.run_all()
    assert not made.anomaly.state.refused or made.anomaly._subject[0] == made.anomaly.state.scan
    assert made.anomaly.state.summary.count("PRE-004") == 2


def test_the_report_is_written_with_the_models_verdict_and_the_readers_threshold(made, tmp_path):
    from napari_normative.engine.infer import recount

    add(made.viewer, 7, "ill", lesion_ml=8.0)
    made.candidates.report(str(tmp_path / "early.html"))
    assert not (tmp_path / "early.html").exists()  # nothing was found yet
    made.anomaly.run()
    detection = made.candidates.detection
    model = made.models.shelf.load(made.models.state.model)
    _, more = recount(model, detection, detection.threshold_z / 2)
    made.context.detections.recounted(detection, more, detection.threshold_z / 2)
    made.candidates.report(str(tmp_path / "report.html"))
    assert made.state.report_note == "Written: report.html"
    text = (tmp_path / "report.html").read_text()
    assert "Research use only, not for diagnosis" in text
    assert model.card.one_line() in text
    assert f"where there are {len(more)} candidates" in text
    made.candidates.report(str(tmp_path / "nowhere" / "there" / "report.txt"))
    assert made.state.report_note.startswith("[OUT-")
    assert made.state.report_blocked == ""


def test_a_detection_shown_by_a_script_is_listed(tiny_model_path):
    from napari_normative.engine.model import load_model
    from napari_normative.plugin.session import session_for
    from napari_normative.plugin.show import show

    detection = load_model(tiny_model_path).detect(phantom(7, lesion_ml=8.0))
    viewer = show(detection, ViewerModel())
    listed = session_for(viewer).get(CandidatesController)
    assert [row.label for row in listed.state.rows] == [c.label for c in detection.candidates]
    assert listed.detection is detection
