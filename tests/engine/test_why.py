"""Explanations of candidates by real models, small ones, whose answer is known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_normative.core.baselines import PCA
from napari_normative.core.config import BaselineConfig
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.detection import Detection
from napari_normative.engine.infer import recount
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.why import explain, sensitivity
from phantoms import phantom

SHAPE = (8, 8, 8)


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    return load_model(tiny_model_path)


@pytest.fixture(scope="module")
def ill(model: NormativeModel) -> Detection:
    return model.detect(phantom(900, lesion_ml=30), device="cpu")


def linear_model(planted: int, region: np.ndarray) -> SimpleNamespace:
    """Four components, of which one alone is a bump in the region."""
    random = np.random.default_rng(0)
    basis = random.standard_normal((4, 512)).astype(np.float32)
    basis[:, region.ravel()] = 0
    basis[planted, region.ravel()] = 2.0
    network = PCA(BaselineConfig(kind="pca", shape=SHAPE, components=4, voxels=512))
    network.voxels.copy_(torch.arange(512))
    network.basis.copy_(torch.from_numpy(basis))
    network.scale.fill_(0.5)
    return SimpleNamespace(network=lambda device: network)


@pytest.mark.parametrize("planted", [0, 3])
def test_the_planted_direction_is_found_with_its_slope(planted: int) -> None:
    region = np.zeros(SHAPE, bool)
    region[2:5, 3:5, 1:4] = True
    gradient = sensitivity(linear_model(planted, region), np.zeros(4, np.float32), region, "cpu")  # type: ignore[arg-type]
    wanted = np.zeros(4)
    wanted[planted] = 2.0 * 0.5
    np.testing.assert_allclose(gradient, wanted, atol=1e-6)


def test_the_gradient_is_that_of_the_decoder(model: NormativeModel) -> None:
    region = np.zeros(model.card.preprocess.shape, bool)
    region[8:11, 10:14, 8:11] = True
    latent = model.posterior.draw(1, 0)[0]
    gradient = sensitivity(model, latent, region, "cpu")

    def mean(z: np.ndarray) -> float:
        with torch.inference_mode():
            image = model.network("cpu").decode(torch.from_numpy(z)[None])[0, 0]
        return float(image[torch.from_numpy(region)].double().mean())

    for d in (0, 5):
        step = np.zeros_like(latent)
        step[d] = 0.05
        assert gradient[d] == pytest.approx(
            (mean(latent + step) - mean(latent - step)) / 0.1, abs=2e-3
        )


def test_a_dark_lesion_is_darker_than_expected_and_than_similar_people(
    model: NormativeModel, ill: Detection
) -> None:
    candidate = ill.candidates[0]
    assert candidate.sign == -1
    found = explain(model, ill, candidate)
    assert found.observed_mean < found.expected_mean
    assert found.neighbours is not None
    assert len(found.neighbours) == 5
    assert not any(n.same for n in found.neighbours)
    assert found.observed_mean < found.neighbours_mean
    assert "darker than the model expects" in found.sentence()
    assert found.voxels * 0.512 == pytest.approx(candidate.volume_mm3 / 1000, rel=0.3)
    for profile in found.profiles:
        centre = profile.offset_mm.index(0.0)
        assert profile.inside[centre]
        assert profile.observed[centre] < profile.expected[centre]
    assert len(found.directions) == 5
    sizes = [abs(d.effect_per_sd) for d in found.directions]
    assert sizes == sorted(sizes, reverse=True)
    json.dumps(found.record(), allow_nan=False)


def test_a_person_of_the_cohort_is_recognised(model: NormativeModel, phantom_cohort: Path) -> None:
    member = next(p.path for p in read_cohort(phantom_cohort) if p.split == "train")
    own = model.detect(member, device="cpu")
    _, candidates = recount(model, own, 2.0)
    found = explain(model, own, candidates[0], threshold_z=2.0)
    assert found.neighbours is not None
    assert [n.same for n in found.neighbours] == [True, False, False, False, False, False]
    assert not found.neighbours[0].unseen


def test_without_people_the_neighbours_are_unknown(model: NormativeModel, ill: Detection) -> None:
    forgetful = NormativeModel(
        model.card,
        {n: a for n, a in model._tensors.items() if not n.startswith("latent.people")},
        model.digest,
    )
    found = explain(forgetful, ill, ill.candidates[0])
    assert found.neighbours is None
    assert found.neighbours_mean is None
    assert "similar" not in found.sentence()


def test_what_does_not_belong_together_is_refused(model: NormativeModel, ill: Detection) -> None:
    candidate = ill.candidates[0]
    with pytest.raises(ValueError, match="not one of this detection"):
        explain(model, ill, dataclasses.replace(candidate, peak_z=candidate.peak_z - 1))
    with pytest.raises(ValueError, match="not one of this detection"):
        explain(model, ill, candidate, threshold_z=ill.threshold_z + 50)
    with pytest.raises(ValueError, match="from this session"):
        explain(model, dataclasses.replace(ill, in_model=None), candidate)
    other = NormativeModel(model.card, model._tensors, "another")
    with pytest.raises(ValueError, match="by this model"):
        explain(other, ill, candidate)


def test_a_model_without_latents_names_no_directions(tiny_model_path: Path) -> None:
    atlas = load_model(
        tiny_model_path.with_name(tiny_model_path.name + ".work") / "baselines/atlas.safetensors"
    )
    found = atlas.detect(phantom(900, lesion_ml=30), device="cpu")
    assert found.candidates
    assert explain(atlas, found, found.candidates[0]).directions == ()
