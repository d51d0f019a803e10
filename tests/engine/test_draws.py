"""Draws, interpolation and latent directions: closed forms, seeds, and files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from napari_normative.engine.draws import interpolation, posterior_draws, prior_draws
from napari_normative.engine.explore import Sliders, directions, effect
from napari_normative.engine.model import NormativeModel
from napari_normative.errors import CancelledError, ModelFileError, OutputError
from napari_normative.io.nifti import read_volume
from phantoms import phantom


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    return NormativeModel.load(tiny_model_path)


@pytest.fixture
def linear(model: NormativeModel) -> NormativeModel:
    """A model whose reconstruction is the mean plus three components, and nothing else."""
    return linear_model(model)


def linear_model(like: NormativeModel) -> NormativeModel:
    """Return a PCA model on the grid and with the calibration of another."""
    from napari_normative.core.config import BaselineConfig

    inside = like.template.mask
    random = np.random.default_rng(3)
    size = int(inside.sum())
    basis, _ = np.linalg.qr(random.standard_normal((size, 3)))
    others = ("network.", "latent.people")
    tensors = {n: a for n, a in like._tensors.items() if not n.startswith(others)}
    tensors |= {
        "network.mean_image": like.template.image[None].astype(np.float32),
        "network.basis": (basis.T * np.sqrt(size)).astype(np.float32),
        "network.scale": np.array([0.1, 0.3, 0.3], np.float32),
        "network.voxels": np.flatnonzero(inside).astype(np.int32),
        "network.log_variance": np.log(np.array([0.5, 0.1, 0.9], np.float32)),
        "latent.mean": np.array([0.2, -0.1, 0.4], np.float32),
        "latent.cholesky": np.diag([2.0, 1.0, 1.5]).astype(np.float32),
    }
    config = BaselineConfig(kind="pca", shape=like.card.preprocess.shape, components=3, voxels=size)
    card = like.card.model_copy(update={"network": config, "objective": None, "name": "linear"})
    return NormativeModel(card, tensors)


def _decode(sliders: Sliders, model: NormativeModel, values: tuple[float, ...]) -> np.ndarray:
    return sliders.decode(model, values, "cpu")


def component(model: NormativeModel, index: int) -> np.ndarray:
    """Return what one unit of a latent of the linear model adds."""
    out = np.zeros(model.template.mask.size, np.float32)
    tensors = model._tensors
    out[tensors["network.voxels"]] = tensors["network.basis"][index]
    return out.reshape(model.template.mask.shape) * tensors["network.scale"][index]


def test_the_effect_of_a_component_is_four_sd_of_it(linear: NormativeModel) -> None:
    for direction in directions(linear):
        sd = {0: 2.0, 1: 1.0, 2: 1.5}[direction.index]
        made = effect(linear, direction, device="cpu")
        np.testing.assert_allclose(
            made.data, 4 * sd * component(linear, direction.index), atol=1e-5
        )
        assert "synthetic" in made.source.name


def test_directions_by_kl_follow_the_closed_form(linear: NormativeModel) -> None:
    found = directions(linear, "kl")
    mean, sd = np.array([0.2, -0.1, 0.4]), np.array([2.0, 1.0, 1.5])
    wanted = 0.5 * (mean**2 + sd**2 - 1 - np.log([0.5, 0.1, 0.9]))
    assert [d.index for d in found] == list(np.argsort(-wanted))
    for direction in found:
        assert direction.kl_nats == pytest.approx(wanted[direction.index], rel=1e-5)
        assert direction.variance_share is None


def test_directions_by_variance_of_a_linear_decoder_are_its_variances(
    linear: NormativeModel,
) -> None:
    found = directions(linear, "variance")
    power = (np.array([0.1, 0.3, 0.3]) * np.array([2.0, 1.0, 1.5])) ** 2
    assert [d.index for d in found] == [2, 1, 0] == list(np.argsort(-power, kind="stable"))
    for direction in found:
        wanted = power[direction.index] / power.sum()
        assert direction.variance_share == pytest.approx(wanted, rel=1e-4)
    assert directions(linear, "variance") is found, "measured once a model"


def test_a_model_without_latents_says_so(linear: NormativeModel) -> None:
    from napari_normative.core.config import BaselineConfig

    config = BaselineConfig(kind="atlas", shape=linear.card.preprocess.shape)
    tensors = {
        n: a
        for n, a in linear._tensors.items()
        if not n.startswith("network.") or n == "network.mean_image"
    }
    card = linear.card.model_copy(update={"network": config})
    with pytest.raises(ModelFileError, match=r"MOD-022.*no latents.*brain-t1"):
        directions(NormativeModel(card, tensors))


def test_the_mean_and_sd_of_draws_are_those_of_numpy(model: NormativeModel) -> None:
    drawn = prior_draws(model, 7, seed=3, device="cpu", maps=True)
    stack = np.stack([v.data for v in drawn.volumes]).astype(np.float64)
    assert drawn.mean is not None
    assert drawn.sd is not None
    np.testing.assert_allclose(drawn.mean.data, stack.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(drawn.sd.data, stack.std(axis=0, ddof=1), atol=1e-6)
    none_kept = prior_draws(model, 7, seed=3, device="cpu", keep=0, maps=True)
    assert none_kept.volumes == ()
    assert none_kept.mean is not None
    np.testing.assert_array_equal(none_kept.mean.data, drawn.mean.data)


def test_the_moments_of_linear_draws_are_those_of_the_latents(linear: NormativeModel) -> None:
    drawn = prior_draws(linear, 2000, seed=1, device="cpu", keep=0, maps=True)
    latents = linear.posterior.draw(2000, 1)
    parts = np.stack([component(linear, i) for i in range(3)])
    mean = linear.template.image + np.tensordot(latents.mean(axis=0), parts, axes=1)
    covariance = np.cov(latents.T)
    variance = np.einsum("ab,a...,b...->...", covariance, parts, parts)
    assert drawn.mean is not None
    assert drawn.sd is not None
    inside = linear.template.mask
    np.testing.assert_allclose(drawn.mean.data[inside], mean[inside], atol=1e-4)
    np.testing.assert_allclose(drawn.sd.data[inside], np.sqrt(variance)[inside], rtol=1e-3)


def test_the_same_seed_draws_the_same_and_temperature_0_the_mean(model: NormativeModel) -> None:
    first = model.sample(3, seed=5, device="cpu")
    again = model.sample(2, seed=5, device="cpu")
    for one, other in zip(first, again, strict=False):
        np.testing.assert_array_equal(one.data, other.data)
    assert np.abs(first[0].data - model.sample(1, seed=6, device="cpu")[0].data).max() > 0.01
    average = model.decode(model.posterior.mean, device="cpu").data
    for volume in model.sample(2, seed=5, temperature=0.0, device="cpu"):
        np.testing.assert_array_equal(volume.data, average)


def test_posterior_samples_lie_about_the_reconstruction_on_the_scans_grid(
    model: NormativeModel,
) -> None:
    scan = phantom(7)
    reconstruction = model.reconstruct(scan, device="cpu")
    (cold,) = model.posterior_samples(scan, 1, temperature=0.0, device="cpu")
    assert cold.same_grid(scan)
    np.testing.assert_allclose(cold.data, reconstruction.data, atol=1e-3)
    one, two = model.posterior_samples(scan, 2, seed=4, device="cpu")
    (again,) = model.posterior_samples(scan, 1, seed=4, device="cpu")
    np.testing.assert_array_equal(one.data, again.data)
    assert np.abs(one.data - two.data).max() > 0
    assert not one.data[reconstruction.data == 0].any()


def test_posterior_draws_have_the_posteriors_spread(linear: NormativeModel) -> None:
    """On the model's own grid and units: SD along a component is that of q(z|x)."""
    from napari_normative.engine.draws import draws_about, encode

    encoded = encode(linear, phantom(7), "cpu")
    ((mean, variance),) = encoded.levels
    np.testing.assert_allclose(variance, [0.5, 0.1, 0.9], rtol=1e-5)
    drawn = np.stack([z for (z,) in draws_about(encoded.levels, 20000, 0, 0.5)])
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(drawn.std(axis=0), 0.5 * np.sqrt([0.5, 0.1, 0.9]), rtol=0.02)


def test_interpolation_begins_and_ends_with_the_reconstructions(model: NormativeModel) -> None:
    from napari_normative.engine.draws import encode
    from napari_normative.engine.infer import run_network

    scans = phantom(7), phantom(8)
    drawn = interpolation(model, *scans, 5, device="cpu")
    assert len(drawn.volumes) == 5
    inside = model.template.mask
    for scan, volume in zip(scans, (drawn.volumes[0], drawn.volumes[-1]), strict=True):
        image = encode(model, scan, "cpu").prepared.image
        (reconstruction, _, _), _ = run_network(model, image[None], "cpu")
        np.testing.assert_allclose(volume.data[inside], reconstruction[0][inside], atol=1e-5)
    assert [s["sha256"] for s in drawn.record["scans"]] == [s.source.digest for s in scans]


def test_interpolation_of_a_linear_model_is_a_cross_fade(linear: NormativeModel) -> None:
    a, b, c = (v.data for v in linear.interpolate(phantom(7), phantom(8), 3, device="cpu"))
    np.testing.assert_allclose(b, (a + c) / 2, atol=1e-5)
    assert np.abs(a - c).max() > 0.001


def test_sliders_start_at_the_reconstruction_and_come_back(
    model: NormativeModel,
) -> None:
    from napari_normative.engine.draws import encode
    from napari_normative.engine.infer import run_network

    encoded = encode(model, phantom(7), "cpu")
    moved = directions(model)[:3]
    live = partial(_decode, Sliders.at(model, encoded.means, moved, "cpu"), model)
    start = live((0.0, 0.0, 0.0))
    (reconstruction, _, _), _ = run_network(model, encoded.prepared.image[None], "cpu")
    inside = model.template.mask
    np.testing.assert_allclose(start[inside], reconstruction[0][inside], atol=1e-5)
    assert np.abs(live((0.0, 3.0, 0.0)) - start).max() > 0.01
    np.testing.assert_array_equal(live((0.0, 0.0, 0.0)), start)


def test_sliders_add_up_in_a_linear_model(linear: NormativeModel) -> None:
    moved = sorted(directions(linear), key=lambda d: d.index)
    live = partial(_decode, Sliders.at(linear, (linear.posterior.mean,), moved, "cpu"), linear)
    change = live((1.0, -2.0, 0.5)) - live((0.0, 0.0, 0.0))
    wanted = 2 * component(linear, 0) - 2 * component(linear, 1) + 0.75 * component(linear, 2)
    np.testing.assert_allclose(change, wanted, atol=1e-5)


def test_a_local_level_stays_where_the_scan_has_it() -> None:
    """The shipped model has one: the start is the reconstruction, details of a person included."""
    from napari_normative.engine.draws import encode_image
    from napari_normative.engine.infer import run_network
    from napari_normative.engine.model import load_model

    shipped = load_model("brain-t1")
    image = shipped.template.image.copy()
    image[30:40, 40:50, 30:40] *= 0.8
    levels = encode_image(shipped, image, "cpu")
    assert len(levels) == 2
    live = partial(
        _decode,
        Sliders.at(shipped, tuple(m for m, _ in levels), directions(shipped)[:2], "cpu"),
        shipped,
    )
    (reconstruction, _, _), _ = run_network(shipped, image[None], "cpu")
    inside = shipped.template.mask
    np.testing.assert_allclose(live((0.0, 0.0))[inside], reconstruction[0][inside], atol=1e-5)


def test_a_channel_of_a_grid_of_latents_moves_in_all_cells() -> None:
    from napari_normative.core.latent import AggregatedPosterior, directions_of

    posterior = AggregatedPosterior(
        np.zeros((2, 1, 2, 1), np.float32), np.full((2, 1, 2, 1), 0.5, np.float32)
    )
    log_variance = np.zeros((2, 1, 2, 1), np.float32)
    log_variance[1] = -2
    first, second = directions_of(posterior, log_variance)
    assert (first.index, second.index) == (1, 0)
    assert first.kl_nats == pytest.approx(2 * 0.5 * (0.25 - 1 + 2))
    np.testing.assert_array_equal(first.step[1], np.full((1, 2, 1), 0.5))
    assert not first.step[0].any()


def test_saved_draws_are_whole_or_not_there(
    tmp_path: Path, model: NormativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = phantom(7)
    drawn = posterior_draws(model, scan, 2, seed=9, temperature=0.7, device="cpu", maps=True)
    written = drawn.save(tmp_path / "draws")
    assert [p.name for p in written] == [
        "sample_01.nii.gz", "sample_02.nii.gz", "mean.nii.gz", "sd.nii.gz", "samples.json",
    ]  # fmt: skip
    assert read_volume(written[0]).same_grid(scan)
    np.testing.assert_allclose(read_volume(written[2]).data, drawn.mean.data, atol=1e-4)
    record = json.loads(written[-1].read_text())
    assert record["kind"] == "posterior"
    assert (record["seed"], record["temperature"], record["count"]) == (9, 0.7, 2)
    assert record["model_sha256"] == model.digest
    assert record["scans"] == [{"sha256": scan.source.digest}]
    assert "not for diagnosis" in record["notice"]
    assert record["versions"]["torch"]

    fewer = prior_draws(model, 1, device="cpu")
    fewer.save(tmp_path / "draws")
    assert sorted(p.name for p in (tmp_path / "draws").iterdir()) == [
        "sample_01.nii.gz",
        "samples.json",
    ]

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_normative.engine.draws.write_volume", full)
    with pytest.raises(OutputError, match="No space left"):
        fewer.save(tmp_path / "none")
    assert [p.name for p in tmp_path.iterdir()] == ["draws"]


def test_cancel_is_heard_between_volumes(model: NormativeModel) -> None:
    seen: list[str] = []
    with pytest.raises(CancelledError):
        prior_draws(
            model, 50, device="cpu", progress=lambda step, _: seen.append(step),
            cancel=lambda: len(seen) >= 2,
        )  # fmt: skip
    assert seen == ["decoding 1 of 50", "decoding 2 of 50"]
