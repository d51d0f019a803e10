"""The dock "Samples" without Qt: draws become layers, are saved, and sliders move a volume."""

from __future__ import annotations

import json
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_normative.io.nifti import read_volume
from napari_normative.layers.spec import (
    SCAN,
    facts_of,
    spec_of,
)
from napari_normative.plugin.controllers.base import Context
from napari_normative.plugin.controllers.explorer import ExplorerController
from napari_normative.plugin.controllers.models import ModelsController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.controllers.scans import ScansController
from napari_normative.plugin.jobs import SynchronousRunner
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.models import ModelShelf
from napari_normative.plugin.work import samples as work
from phantoms import phantom


class LaterRunner(SynchronousRunner):
    """Keeps jobs until they are let go; counts them. Time passes when told to."""

    def __init__(self):
        self.waiting = []
        self.ticks = []

    def start(self, title, work, listener):
        self.waiting.append((work, listener))
        return SimpleNamespace(cancel=lambda: None)

    def let_go(self):
        work, listener = self.waiting.pop(0)
        listener.done(work(lambda *_: None, lambda: False))

    def repeat(self, interval_s, call):
        self.ticks.append(call)
        return SimpleNamespace(stop=lambda: self.ticks.remove(call))


def make(tmp_path, model_path, runner=None):
    viewer = ViewerModel()
    told = []
    models = ModelsController(ModelShelf(tmp_path / "recent.json"), told.append)
    models.add_file(str(model_path))
    models.state.device = "cpu"
    runner = runner or SynchronousRunner()
    context = Context(
        weakref.ref(viewer), runner, runner, models, ScansController(viewer), told.append
    )  # fmt: skip
    samples, explorer = SamplesController(context), ExplorerController(context)
    return SimpleNamespace(
        viewer=viewer, told=told, models=models, context=context, samples=samples,
        state=samples.state, explorer=explorer,
    )  # fmt: skip


@pytest.fixture
def made(tmp_path, tiny_model_path):
    return make(tmp_path, tiny_model_path)


def add_scan(viewer, seed):
    volume = phantom(seed)
    return add_spec(viewer, spec_of([volume], volume.source.name, SCAN, colormap="gray"))


def names(made):
    return [layer.name for layer in made.viewer.layers]


def test_draws_from_the_cohort_are_one_series_with_mean_and_sd(made):
    made.state.count = 3
    made.samples.requests.run.emit()
    assert made.state.error == ""
    model = made.models.name
    assert names(made) == [
        f"{model} · samples (synthetic)",
        f"{model} · mean of samples (synthetic)",
        f"{model} · SD of samples (synthetic)",
    ]
    series, mean, sd = made.viewer.layers
    drawn = made.models.shelf.load(made.models.state.model).sample(3, seed=0, device="cpu")
    stack = np.stack([v.data.transpose(2, 1, 0) for v in drawn])
    np.testing.assert_array_equal(series.data, stack)
    np.testing.assert_allclose(mean.data, stack.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(sd.data, stack.std(axis=0, ddof=1), atol=1e-6)
    assert [layer.visible for layer in made.viewer.layers] == [True, False, False]
    assert facts_of(series).provenance["seed"] == 0
    assert "3 synthetic volumes" in made.state.summary


def test_the_same_seed_gives_the_same_layer_and_another_another(made):
    made.state.count, made.state.maps = 2, False
    made.samples.run()
    first = made.viewer.layers[0].data.copy()
    made.samples.run()
    np.testing.assert_array_equal(made.viewer.layers[0].data, first)
    made.state.seed = 1
    made.samples.run()
    assert len(made.viewer.layers) == 1
    assert np.abs(made.viewer.layers[0].data - first).max() > 0.01


def test_draws_about_a_scan_lie_on_its_grid(made):
    scan = add_scan(made.viewer, 7)
    made.state.kind, made.state.count, made.state.temperature = "posterior", 2, 0.0
    made.samples.run()
    assert made.state.error == ""
    series = made.viewer.layers["phantom-7 · posterior samples (synthetic)"]
    assert series.data.shape == (2, *scan.data.shape)
    np.testing.assert_array_equal(series.extent.world[:, 1:], scan.extent.world)
    model = made.models.shelf.load(made.models.state.model)
    wanted = model.reconstruct(phantom(7), device="cpu").data.transpose(2, 1, 0)
    np.testing.assert_allclose(series.data[0], wanted, atol=1e-3)
    sd = made.viewer.layers["phantom-7 · SD of samples (synthetic)"]
    assert not sd.data.any(), "at temperature 0 all draws are alike"


def test_a_way_from_one_scan_to_another(made):
    add_scan(made.viewer, 7)
    add_scan(made.viewer, 8)
    made.state.kind, made.state.count = "interpolation", 4
    assert made.state.scan != made.state.second
    made.samples.run()
    (layer,) = [layer for layer in made.viewer.layers if layer.ndim == 4]
    assert layer.name == f"{made.models.name} · phantom-7 to phantom-8 (synthetic)"
    assert len(layer.data) == 4
    far = np.abs(layer.data[0] - layer.data[-1]).mean()
    assert 0 < np.abs(layer.data[0] - layer.data[1]).mean() < far


@pytest.mark.parametrize(
    ("kind", "scans", "reason"),
    [
        ("posterior", 0, "Open a scan first, or draw from the cohort."),
        ("interpolation", 1, "open and choose two"),
    ],
)
def test_what_is_missing_is_said(made, kind, scans, reason):
    for seed in range(scans):
        add_scan(made.viewer, seed)
    made.state.kind = kind
    assert reason in made.state.run_blocked
    made.samples.run()
    assert len(made.viewer.layers) == scans


def test_a_series_as_scan_and_nothing_to_show_are_refused(made):
    volumes = [phantom(7), phantom(8)]
    add_spec(made.viewer, spec_of(volumes, "rest", SCAN))
    made.state.kind = "posterior"
    assert made.state.run_blocked == "rest is a series; open one volume of it."
    made.state.kind = "prior"
    assert made.state.run_blocked == ""
    made.state.volumes = made.state.maps = False
    assert "Choose volumes" in made.state.run_blocked


def test_more_than_a_person_allows_is_refused_before_it_begins(made):
    volume_gib = 8 * made.models.shelf.load(made.models.state.model).template.mask.size / 2**30
    made.context.settings.memory_gib = 3.5 * volume_gib
    made.state.count = 4
    made.samples.run()
    assert made.state.error.startswith("[JOB-005]")
    assert "Preferences" in made.state.error
    assert not made.viewer.layers
    made.state.count = 3
    made.samples.run()
    assert made.state.error == ""
    assert "3 synthetic volumes" in made.state.summary


def test_more_than_fits_into_memory_is_refused_before_it_begins(made, monkeypatch):
    monkeypatch.setattr(work, "MEMORY_SHARE", 0.0)
    made.samples.run()
    assert made.state.error.startswith("[JOB-004]")
    assert not made.viewer.layers
    made.state.volumes = False
    made.samples.run()
    assert [name.split(" · ")[1] for name in names(made)] == [
        "mean of samples (synthetic)",
        "SD of samples (synthetic)",
    ]


def test_saved_as_drawn_and_forgotten_with_the_layers(made, tmp_path):
    assert made.state.save_blocked == "Draw something first."
    made.state.count = 2
    made.samples.run()
    assert made.state.save_blocked == ""
    made.samples.requests.save.emit(str(tmp_path / "out"))
    assert made.state.error == ""
    assert made.state.summary == "4 volumes and samples.json are in out"
    record = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert record["kind"] == "prior"
    stored = read_volume(tmp_path / "out" / "sample_02.nii.gz").data
    np.testing.assert_allclose(stored.transpose(2, 1, 0), made.viewer.layers[0].data[1], atol=1e-4)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    made.samples.save(str(tmp_path / "full"))
    assert made.state.error.startswith("[OUT-010]")
    made.viewer.layers.clear()
    assert made.state.save_blocked == "Draw something first."


def test_a_second_request_hides_what_lies_on_another_grid(made):
    add_scan(made.viewer, 7)
    made.state.count, made.state.maps = 2, False
    made.samples.run()
    made.state.kind = "posterior"
    made.samples.run()
    shown = {layer.name: layer.visible for layer in made.viewer.layers}
    assert list(shown.values()) == [True, False, True]


def test_play_steps_round_and_stops_with_its_layer(tmp_path, tiny_model_path):
    runner = LaterRunner()
    made = make(tmp_path, tiny_model_path, runner)
    assert made.state.play_blocked
    made.state.count, made.state.maps = 3, False
    made.samples.run()
    runner.let_go()
    made.samples.requests.play.emit()
    assert made.state.playing
    seen = []
    for _ in range(4):
        runner.ticks[0]()
        seen.append(made.viewer.dims.current_step[0])
    assert seen == [1, 2, 0, 1]
    made.state.rate = 10.0
    assert len(runner.ticks) == 1, "one timer, with the new rate"
    made.samples.requests.play.emit()
    assert not made.state.playing
    assert runner.ticks == []
    made.samples.play()
    made.viewer.layers.clear()
    assert not made.state.playing
    assert runner.ticks == []


def test_sliders_move_the_layer_and_reset_returns_it_exactly(made):
    explorer = made.explorer
    explorer.requests.run.emit()
    assert explorer.state.error == ""
    (layer,) = made.viewer.layers
    assert layer.name == f"{made.models.name} · latent explorer (synthetic)"
    start = layer.data.copy()
    model = made.models.shelf.load(made.models.state.model)
    np.testing.assert_allclose(
        start, model.decode(model.posterior.mean, device="cpu").data.transpose(2, 1, 0), atol=1e-6
    )
    first = model.directions()[0]
    explorer.requests.move.emit(0, 1.5)
    wanted = model.decode(model.posterior.mean + 1.5 * first.step, device="cpu").data
    np.testing.assert_allclose(layer.data, wanted.transpose(2, 1, 0), atol=1e-6)
    np.testing.assert_array_equal(facts_of(layer).volumes[0].data, layer.data.transpose(2, 1, 0))
    explorer.requests.move.emit(3, 99.0)
    assert explorer.state.values[:4] == (1.5, 0.0, 0.0, 3.0)
    explorer.requests.reset.emit()
    np.testing.assert_array_equal(layer.data, start)
    assert not any(explorer.state.values)


def test_only_the_latest_setting_is_decoded(tmp_path, tiny_model_path):
    runner = LaterRunner()
    made = make(tmp_path, tiny_model_path, runner)
    explorer = made.explorer
    explorer.run()
    runner.let_go()
    for step in range(1, 21):
        explorer.move(0, step / 10)
    assert len(runner.waiting) == 1
    runner.let_go()
    assert len(runner.waiting) == 1, "the last of nineteen that came meanwhile"
    runner.let_go()
    assert not runner.waiting
    model = made.models.shelf.load(made.models.state.model)
    wanted = model.decode(model.posterior.mean + 2 * model.directions()[0].step, device="cpu").data
    np.testing.assert_allclose(made.viewer.layers[0].data, wanted.transpose(2, 1, 0), atol=1e-6)


def test_the_layer_may_go_while_a_decode_is_under_way(tmp_path, tiny_model_path):
    runner = LaterRunner()
    made = make(tmp_path, tiny_model_path, runner)
    made.explorer.run()
    runner.let_go()
    made.explorer.move(0, 1.0)
    made.viewer.layers.clear()
    runner.let_go()
    assert made.explorer.state.rows == ()
    made.explorer.move(0, 1.0)
    assert not runner.waiting


def test_sliders_may_start_at_a_scan(made):
    add_scan(made.viewer, 7)
    key = made.context.scans.state.scans[0].key
    made.explorer.run()
    layer = made.viewer.layers[-1]
    average = layer.data.copy()
    made.explorer.state.start = key
    assert np.abs(layer.data - average).max() > 1e-4
    assert "the reconstruction of phantom-7" in made.explorer.state.note
    made.viewer.layers.remove("phantom-7")
    assert made.explorer.state.start == ""
    np.testing.assert_array_equal(layer.data, average)


def test_directions_can_be_ordered_by_variance(made):
    made.explorer.run()
    assert made.explorer.state.rows[0].share.endswith(" nats")
    made.explorer.state.order = "variance"
    shares = [float(row.share.removesuffix(" %")) for row in made.explorer.state.rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=1), "this model has eight directions in all"


def test_an_effect_is_a_signed_map_with_even_limits(made):
    made.explorer.run()
    made.explorer.requests.effect.emit(1)
    layer = made.viewer.layers[-1]
    model = made.models.shelf.load(made.models.state.model)
    direction = model.directions()[1]
    assert layer.name.endswith(f"· effect of direction {direction.index + 1} (synthetic)")
    assert layer.contrast_limits[0] == -layer.contrast_limits[1]
    up, down = (
        model.decode(model.posterior.mean + s * direction.step, device="cpu").data for s in (2, -2)
    )
    np.testing.assert_allclose(layer.data, (up - down).transpose(2, 1, 0), atol=1e-5)
    made.explorer.effect(0)
    assert [layer.visible for layer in made.viewer.layers] == [True, False, True]


def test_another_model_ends_the_sliders(made):
    made.explorer.run()
    made.models.state.model = made.models.state.models[0].key
    assert made.explorer.state.rows == ()
    assert made.explorer.state.note == ""
