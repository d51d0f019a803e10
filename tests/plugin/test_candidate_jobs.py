"""Candidates grown to their edges, and what one rests on, from the window; without Qt."""

from __future__ import annotations

import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_normative.core.integrated import Shares
from napari_normative.engine.infer import recount
from napari_normative.layers.spec import ATTRIBUTION, SCAN, SEGMENTATION, THROUGH, facts_of, spec_of
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.attribution import AttributionController
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.controllers.segment import SegmentController
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.readout import _label_text
from napari_normative.plugin.state.models import NONE
from napari_normative.plugin.state.segment import FDR, RATE
from napari_normative.plugin.work.segment import rests_on
from phantoms import phantom


@pytest.fixture
def desk(tmp_path, tiny_model_path):
    viewer, notes, runner = ViewerModel(), [], SynchronousRunner()
    models = ModelsController(ModelShelf(tmp_path / "recent.json"), notes.append)
    models.add_file(str(tiny_model_path))
    models.state.device = "cpu"
    context = Context(
        weakref.ref(viewer), runner, runner, models, ScansController(viewer), notes.append
    )
    kinds = (AnomalyController, CandidatesController, SegmentController, AttributionController)
    anomaly, listed, segment, attribution = map(context.get, kinds)
    add_spec(viewer, spec_of([phantom(7, lesion_ml=8.0)], "ill", SCAN))
    return SimpleNamespace(
        viewer=viewer, notes=notes, context=context, models=models, anomaly=anomaly,
        listed=listed, segment=segment, attribution=attribution,
    )  # fmt: skip


def of_role(desk, role):
    return [layer for layer in desk.viewer.layers if facts_of(layer).role == role]


def test_the_candidates_become_one_labels_layer_with_their_numbers(desk):
    state = desk.segment.state
    assert state.run_blocked == "Run the anomaly map first."
    desk.segment.run()
    assert of_role(desk, SEGMENTATION) == []
    desk.anomaly.run()
    assert state.run_blocked == ""
    before = desk.viewer.layers["ill · candidates"].data.copy()
    desk.segment.run()
    (layer,) = of_role(desk, SEGMENTATION)
    found = desk.listed.detection
    assert layer.name == "ill · segmentation"
    assert set(np.unique(layer.data)) == {0, *(c.label for c in found.candidates)}
    candidates = desk.viewer.layers["ill · candidates"]
    np.testing.assert_array_equal(candidates.data, before)
    assert (layer.contour, candidates.contour) == (1, 2)
    np.testing.assert_array_equal(candidates.scale, layer.scale)
    np.testing.assert_array_equal(candidates.translate, layer.translate)
    label = found.candidates[0].label
    np.testing.assert_array_equal(layer.get_color(label), candidates.get_color(label))
    model = desk.models.shelf.load(desk.models.state.model)
    own = model.segment(found)
    assert (layer.data == label).sum() == (own.labels.data == label).sum()
    count = len(found.candidates)
    assert state.summary.startswith(f"{count} of {count} candidate")
    assert f"{own.volume_ml:.1f} ml within their edges" in state.summary
    told = facts_of(layer).provenance
    assert (told["kind"], told["kept"]) == ("segmentation", count)
    assert told["model"]["sha256"] == model.digest
    assert _label_text(layer, label, facts_of(layer)).startswith(f"candidate {1}, ")
    desk.segment.run()  # again: the same layer
    assert len(of_role(desk, SEGMENTATION)) == 1


def test_a_rule_that_cannot_be_kept_to_is_a_sentence_and_no_layer(desk):
    desk.anomaly.run()
    desk.segment.state.rule, desk.segment.state.rate = RATE, 0.01
    desk.segment.run()
    assert desk.segment.state.error.startswith("[SEG-001] rate 0.01 is asked for")
    assert of_role(desk, SEGMENTATION) == []
    desk.segment.state.rule, desk.segment.state.fdr = FDR, 1.0
    desk.segment.run()
    assert desk.segment.state.error == ""
    assert "q of 1 or less" in desk.segment.state.summary


def test_an_edited_segmentation_is_kept_and_the_new_one_named(desk):
    desk.anomaly.run()
    desk.segment.run()
    first = desk.viewer.layers["ill · segmentation"]
    first.data[0, 0, 0] = 9
    desk.segment.run()
    assert first.data[0, 0, 0] == 9
    assert "It is in ill · segmentation 2" in desk.segment.state.summary


def test_candidates_at_another_threshold_are_not_grown_but_attributed(desk):
    desk.anomaly.run()
    found = desk.listed.detection
    model = desk.models.shelf.load(desk.models.state.model)
    lower = found.threshold_z / 2
    desk.context.detections.recounted(found, recount(model, found, lower)[1], lower)
    assert "go back to the model's threshold" in desk.segment.state.run_blocked
    desk.listed.step(1)
    desk.attribution.run()
    assert desk.attribution.state.error == ""
    assert len(of_role(desk, ATTRIBUTION)) == 1


def test_what_a_candidate_rests_on_lies_on_the_scan_and_goes_with_the_next(desk):
    state = desk.attribution.state
    desk.anomaly.run()
    assert state.run_blocked == "Choose a candidate in the list."
    desk.listed.step(1)
    desk.attribution.run()
    (layer,), (through,) = of_role(desk, ATTRIBUTION), of_role(desk, THROUGH)
    assert layer.name == "ill · candidate 1 · attribution"
    assert (layer.visible, through.visible) == (True, False)
    assert not desk.viewer.layers["ill · anomaly z"].visible  # two signed maps cannot be read
    low, high = layer.contrast_limits
    assert low == -high
    order = [each.name for each in desk.viewer.layers]
    assert order.index(layer.name) < order.index("ill · candidates")  # the outline stays seen
    found = desk.listed.detection
    model = desk.models.shelf.load(desk.models.state.model)
    own = model.explain(found, 1, device="cpu").attribution
    np.testing.assert_allclose(facts_of(layer).volumes[0].data, own.on_scan.data, atol=1e-5)
    assert facts_of(layer).volumes[0].same_grid(found.scan)
    share = (own.shares.residual_inside + own.shares.expectation_inside) / own.shares.total
    assert f"{100 * share:.0f} % of it in the candidate itself" in state.summary
    assert facts_of(layer).provenance["shares"]["sum"] == pytest.approx(own.shares.total, rel=1e-5)
    desk.listed.step(1)
    assert state.summary == ""  # it was about the other
    desk.attribution.run()
    assert layer.name == "ill · candidate 2 · attribution"
    assert (len(of_role(desk, ATTRIBUTION)), len(of_role(desk, THROUGH))) == (1, 1)
    assert state.summary.startswith("Candidate 2 lies")


def test_without_a_fresh_map_or_latents_it_says_why_not(desk, tiny_model_path):
    desk.anomaly.run()
    desk.listed.step(1)
    assert desk.attribution.state.run_blocked == ""
    desk.models.state.latents = NONE
    assert "no latents" in desk.attribution.state.run_blocked
    desk.models.state.latents = "vector"
    read = replace(desk.listed.detection, in_model=None)
    desk.context.detections.add(read, desk.anomaly.state.scan)
    desk.listed.step(1)
    assert "read from files" in desk.attribution.state.run_blocked
    assert desk.segment.state.run_blocked == ""
    desk.models.state.model = desk.models.state.models[0].key  # another model
    desk.segment.run()
    assert desk.segment.state.error.startswith("[MOD-021]")


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (Shares(6.0, 1.0, 2.0, 1.0), "+10.0 SD|80 % of it in the candidate|20 % around|30 % goes"),
        (Shares(-9.0, -3.0, 1.0, 1.0), "-10.0 SD|80 % of it|20 % around it|hides 20 %"),
        (Shares(0.0, 0.0, 0.0, 0.0), "+0.0 SD of healthy people from its reconstruction."),
    ],
)
def test_the_sentence_says_what_lies_where(shares, words):
    said = rests_on(3, shares)
    assert said.startswith("Candidate 3 ")
    assert all(part in said for part in words.split("|")), said
