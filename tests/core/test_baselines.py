"""The baselines' arithmetic, by value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_normative.core.baselines import PCA, MeanAtlas, Threshold, build_network
from napari_normative.core.calibration import Calibration
from napari_normative.core.config import BaselineConfig, VAEConfig
from napari_normative.core.preprocess import Template
from napari_normative.core.score import ScoreConfig, judge
from napari_normative.engine.baselines import _best_count, fit_baseline, score_of
from napari_normative.engine.cohort import Person
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import PRESETS

SHAPE = (8, 10, 8)


def cohort_of_rank(rank: int, people: int, *, noise: float = 0.0) -> PreparedCohort:
    """People whose images are a mean and a mixture of ``rank`` patterns, in half the grid."""
    random = np.random.default_rng(0)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1:-1, 1:-1, 1:-1] = True
    mean = np.where(mask, 1 + 0.1 * random.standard_normal(SHAPE), 0)
    patterns = random.standard_normal((rank, *SHAPE))
    weights = random.standard_normal((people, rank)) * 0.02
    weights -= weights.mean(axis=0)
    images = mean + np.tensordot(weights, patterns, 1)
    images += noise * random.standard_normal(images.shape)
    splits = ["train"] * (people - 4) + ["calibration-a"] * 2 + ["calibration-b", "test"]
    own = PRESETS["brain-8mm"].preprocess.model_copy(update={"shape": SHAPE})
    return PreparedCohort(
        people=[Person(Path(f"{i}"), f"{i}", "s", split) for i, split in enumerate(splits)],
        images=(images * mask).astype(np.float32),  # type: ignore[arg-type]  # exact on purpose
        masks=np.repeat(mask[None], people, axis=0),
        config=own,
        template=Template(mean.astype(np.float32), mask),
        digest="",
        refused=[],
    )


def volumes(cohort: PreparedCohort, *splits: str) -> torch.Tensor:
    return torch.from_numpy(cohort.images[cohort.select(*splits)].astype(np.float32))[:, None]


def test_components_reconstruct_a_cohort_of_their_rank_exactly() -> None:
    cohort = cohort_of_rank(3, 24)
    network = fit_baseline("pca", cohort, flip=False)
    assert network.config.components == 3
    x = volumes(cohort, "test", "train")
    torch.testing.assert_close(network.reconstruct(x), x, atol=1e-5, rtol=0)


def test_their_coordinates_are_white_and_decode_to_where_they_came_from() -> None:
    cohort = cohort_of_rank(3, 24)
    network = fit_baseline("pca", cohort, flip=False)
    z = network.encode(volumes(cohort, "train")).mean
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(network.encode(network.decode(z)).mean, z, atol=1e-4, rtol=0)


def test_as_many_components_as_serve_people_who_were_not_fitted() -> None:
    """One odd voxel that components beyond the eighth would smear over the whole image."""
    cohort = cohort_of_rank(1, 60, noise=0.1)
    voxels = np.flatnonzero(cohort.template.mask)
    random = np.random.default_rng(1).standard_normal((len(voxels), 16))
    random[0, :8] = 0
    basis = np.linalg.qr(random)[0].T.astype(np.float32)
    for n in cohort.select("calibration-a"):
        image = cohort.template.image.ravel().copy()
        image[voxels] += basis[:8].sum(axis=0) * 0.1
        image[voxels[0]] += 1
        cohort.images[n] = image.reshape(SHAPE)
    assert _best_count(cohort, voxels, basis)[0] == 8
    for n in cohort.select("calibration-a"):
        cohort.images[n].flat[voxels] += basis[8:].sum(axis=0)
    kept, left = _best_count(cohort, voxels, basis)
    assert kept == 16
    odd = np.zeros(len(voxels))
    odd[0] = 1
    odd -= basis.T @ (basis @ odd)
    assert left == pytest.approx((odd**2).mean(), rel=1e-3)


def test_mirrored_people_make_components_that_mirror() -> None:
    cohort = cohort_of_rank(2, 24)
    cohort.template.image[:] = (cohort.template.image + cohort.template.image[::-1]) / 2
    network = fit_baseline("pca", cohort, flip=True)
    x = volumes(cohort, "test")
    mirrored = network.reconstruct(x.flip(2)).flip(2)
    torch.testing.assert_close(mirrored, network.reconstruct(x), atol=1e-4, rtol=0)


def test_outside_the_foreground_is_no_deviation() -> None:
    cohort = cohort_of_rank(3, 24)
    network = fit_baseline("pca", cohort, flip=False)
    nothing = torch.zeros(1, 1, *SHAPE)
    torch.testing.assert_close(network.encode(nothing).mean, torch.zeros(1, 3))
    torch.testing.assert_close(network.reconstruct(nothing)[0], network.mean_image)


@pytest.mark.parametrize("kind", ["atlas", "threshold"])
def test_atlas_and_threshold_ignore_the_scan(kind: str) -> None:
    cohort = cohort_of_rank(3, 24)
    network = fit_baseline(kind, cohort, flip=True)  # type: ignore[arg-type]
    both = network.reconstruct(torch.cat([volumes(cohort, "test"), torch.rand(1, 1, *SHAPE)]))
    torch.testing.assert_close(both[0], both[1])
    inside = cohort.template.image[cohort.template.mask]
    if kind == "atlas":
        np.testing.assert_allclose(both[0, 0].numpy(), cohort.template.image)
    else:
        assert both.unique().item() == pytest.approx(float(np.median(inside)))


def test_the_thresholds_z_rises_with_the_intensity_and_with_nothing_else() -> None:
    score = score_of(
        "threshold",
        ScoreConfig(scales_mm=(1e-3,), erosion_mm=0.0, asymmetry=0.0, guide_mm=()),
    )
    ones = np.ones((1, *SHAPE), np.float32)
    calibration = Calibration(
        ones * 0, ones, np.zeros(26), np.zeros(2), np.zeros(2), 2.0, 1.0, 0.5, 1.5, 2
    )
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    mask = np.ones(SHAPE, dtype=bool)
    level = np.full(SHAPE, 0.3, np.float32)
    z = judge(image, level, mask, calibration, score, 8.0)
    order = np.argsort(image, axis=None)
    assert (np.diff(z.ravel()[order]) >= 0).all()
    assert z.ravel()[order[-1]] > 0 > z.ravel()[order[0]]


def test_the_score_is_the_models_but_for_the_threshold() -> None:
    score = ScoreConfig(scales_mm=(3.0,), minimum_ml=0.7)
    assert score_of("pca", score) == score_of("atlas", score) == score
    own = score_of("threshold", score)
    assert (own.scales_mm, own.minimum_ml) == ((3.0,), 0.7)
    assert (own.contrast_fit, own.tolerance_mm, own.voxel_statistics) == (False, 0.0, False)


def test_the_kind_of_a_configuration_decides_the_network() -> None:
    made = build_network(BaselineConfig(kind="pca", shape=SHAPE, components=2, voxels=5))
    assert isinstance(made, PCA)
    assert isinstance(build_network(BaselineConfig(kind="atlas", shape=SHAPE)), MeanAtlas)
    assert isinstance(build_network(BaselineConfig(kind="threshold", shape=SHAPE)), Threshold)
    vae = build_network(VAEConfig(shape=(8, 8, 8), stem=1, widths=(8, 8)))
    assert vae.config.kind == "vae"


@pytest.mark.parametrize(
    "given",
    [{"kind": "pca"}, {"kind": "atlas", "components": 3, "voxels": 9}, {"kind": "oracle"}],
)
def test_a_configuration_that_contradicts_itself_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BaselineConfig.model_validate({"shape": SHAPE, **given})


def test_coordinates_are_as_uncertain_as_unseen_people_are_badly_explained() -> None:
    """With all components nothing is left of those who were fitted: not what counts."""
    cohort = cohort_of_rank(3, 24, noise=0.05)
    network = fit_baseline("pca", cohort, flip=False)
    x = volumes(cohort, "calibration-a")
    left = (x - network.reconstruct(x))[:, 0][:, torch.from_numpy(cohort.template.mask)]
    noise = float((left**2).mean())
    spread = network.scale[0] ** 2 * network.config.voxels
    wanted = np.log(noise / (float(spread) + noise))
    assert float(network.log_variance[0]) == pytest.approx(wanted, abs=1e-3)
    assert float(network.log_variance.min()) > -10
