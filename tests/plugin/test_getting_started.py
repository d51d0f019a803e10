"""The tour without Qt: what each step does, when it is done, why it cannot be done yet."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_normative.errors import NormativeError
from napari_normative.layers.spec import (
    LABELS,
    SCAN,
    facts_of,
    spec_of,
)
from napari_normative.plugin.controllers import getting_started
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.getting_started import GettingStartedController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.state.getting_started import LIMIT_LINES
from napari_normative.plugin.work.getting_started import MakeSample
from phantoms import phantom


@dataclass(frozen=True)
class MakePhantom:
    """Stands in for the sample, which the small model does not know."""

    key: str

    def __call__(self, progress, cancelled):
        return [spec_of([phantom(7, lesion_ml=8.0)], self.key, SCAN, colormap="gray")]


@pytest.fixture
def tour(tmp_path, tiny_model_path, monkeypatch):
    monkeypatch.setattr(getting_started, "MakeSample", MakePhantom)
    viewer, runner, told = ViewerModel(), SynchronousRunner(), []
    models = ModelsController(ModelShelf(tmp_path / "recent.json"), told.append)
    models.add_file(str(tiny_model_path))
    models.state.device = "cpu"
    context = Context(
        weakref.ref(viewer), runner, runner, models, ScansController(viewer), told.append
    )
    made = context.get(GettingStartedController)
    kinds = AnomalyController, LayoutController, SamplesController
    anomaly, layout, samples = map(context.get, kinds)
    return SimpleNamespace(
        viewer=viewer, made=made, state=made.state, context=context, anomaly=anomaly,
        layout=layout, samples=samples, told=told,
    )  # fmt: skip


def done(tour):
    return [step.key for step in tour.state.steps if step.done]


def blocked(tour):
    return {step.key: step.blocked for step in tour.state.steps if step.blocked}


def test_an_empty_window_says_what_comes_first(tour):
    assert done(tour) == []
    assert blocked(tour) == {
        "map": "Open a scan first.",
        "planes": "Run the anomaly map first.",
        "compare": "Open a scan first.",
        "samples": "Open a scan first.",
    }
    for key in blocked(tour):
        tour.made.do(key)
    assert len(tour.viewer.layers) == 0
    assert tour.layout.state.layout == "axial"


def test_the_steps_one_after_another(tour, monkeypatch):
    went = []
    monkeypatch.setattr(tour.layout, "go_to", went.append)
    monkeypatch.setattr(tour.layout._board, "open", lambda *_: None)  # panes need a window
    tour.made.do("scan")
    assert done(tour) == ["scan"]
    assert tour.viewer.layers.selection.active.name == "brain-with-lesion"
    tour.made.do("map")
    assert tour.state.trouble == ""
    assert done(tour) == ["scan", "map"]
    assert blocked(tour) == {}
    tour.made.do("planes")
    assert tour.layout.state.layout == "planes"
    (detection,) = tour.context.detections.values()
    np.testing.assert_array_equal(went, [detection.candidates[0].centroid_mm])
    tour.made.do("compare")
    assert tour.layout.state.layout == "side-by-side"
    tour.made.do("samples")
    assert done(tour) == ["scan", "map", "planes", "compare", "samples"]
    series = [layer for layer in tour.viewer.layers if layer.ndim == 4]
    assert [len(layer.data) for layer in series] == [4]
    assert facts_of(series[0]).origin == facts_of(tour.viewer.layers[0]).origin
    tour.made.do("limits")
    assert tour.state.limits == LIMIT_LINES
    assert len(done(tour)) == 6


def test_a_step_done_in_another_dock_gets_its_tick_and_loses_it_with_the_layer(tour):
    tour.made.do("scan")
    tour.anomaly.run()
    assert done(tour) == ["scan", "map"]
    tour.viewer.layers.clear()
    assert done(tour) == []


def test_what_went_wrong_is_said(tour, monkeypatch):
    def without_nilearn(key):
        def work(progress, cancelled):
            raise NormativeError("SMP-002", "nilearn is not installed", "pip install nilearn")

        return work

    monkeypatch.setattr(getting_started, "MakeSample", without_nilearn)
    tour.made.do("scan")
    assert tour.state.trouble.startswith("[SMP-002]")
    assert tour.state.trouble.endswith("pip install nilearn")
    assert done(tour) == []
    assert "scan" not in blocked(tour)


def test_while_something_runs_the_next_has_to_wait(tour):
    tour.made.do("scan")
    tour.anomaly.state.step, tour.anomaly.state.fraction = "aligning", 0.25
    tour.anomaly.state.running = True
    assert tour.state.news == "Anomaly map: aligning · 25 %"
    assert blocked(tour)["samples"] == "Wait until this is done, or cancel."
    tour.anomaly.state.running = False
    assert tour.state.news == ""
    assert "samples" not in blocked(tour)


def test_the_sample_is_a_scan_with_its_true_mask():
    pytest.importorskip("nilearn")
    scan, truth = MakeSample("brain-with-lesion")(lambda *_: None, lambda: False)
    assert (scan.facts.role, truth.facts.role) == (SCAN, LABELS)
    assert truth.attributes["visible"] is False
    lesion_ml = truth.data.astype(bool).sum() * np.prod(truth.facts.volumes[0].spacing_mm) / 1000
    assert 2.0 < lesion_ml < 100.0
