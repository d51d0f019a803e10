"""Mixtures of filters: the noise is measured, and the estimated error is the true one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_normative.core.denoise import (
    Filter,
    Mixture,
    average_of,
    local_shrinkage,
    mixture,
    noise_sd,
)

SD = 12.0


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    i, j, k = np.indices((40, 44, 36))
    smooth = 300 + 40 * np.sin(i / 5.0) * np.cos(j / 6.0) + 2.0 * k
    return (smooth + 150 * ((i - 20) ** 2 + (j - 22) ** 2 < 100)).astype(np.float32)


@pytest.fixture(scope="module")
def noisy(truth: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, SD, truth.shape)
    return (truth + noise).astype(np.float32)


@pytest.fixture(scope="module")
def everywhere(truth: np.ndarray) -> np.ndarray:
    return np.ones(truth.shape, dtype=bool)


def rmse(made: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((made - truth) ** 2)))


def box(edge: int, inside: np.ndarray) -> Filter:
    return average_of(inside, lambda image: ndimage.uniform_filter(image, edge))


def mixed(*arguments: object) -> Mixture:
    made = mixture(*arguments)  # type: ignore[arg-type]
    assert made is not None
    return made


def test_noise_is_measured_within_a_twentieth_where_there_is_an_edge(
    noisy: np.ndarray, everywhere: np.ndarray
) -> None:
    assert noise_sd(noisy, everywhere) == pytest.approx(SD, rel=0.05)


def test_of_no_voxels_no_noise_is_known(noisy: np.ndarray, everywhere: np.ndarray) -> None:
    assert noise_sd(noisy, ~everywhere) == 0.0


def test_smoothed_noise_is_underestimated_never_over(
    noisy: np.ndarray, truth: np.ndarray, everywhere: np.ndarray
) -> None:
    half = (noisy + np.roll(noisy, 1, axis=0)) / 2
    assert noise_sd(half, everywhere) < np.std(half - truth)


def test_shrinkage_is_the_mean_where_nothing_but_noise_varies() -> None:
    flat = np.full((12, 12, 12), 7.0, dtype=np.float32)
    flat[6, 6, 6] = 7.5
    made = local_shrinkage(flat, 1.0, box(3, np.ones(flat.shape, dtype=bool)))
    assert made[6, 6, 6] == pytest.approx(7 + 0.5 / 27, abs=1e-4)


def test_what_lies_outside_has_no_say() -> None:
    inside = np.zeros((9, 9, 9), dtype=bool)
    inside[:, :, :5] = True
    image = np.where(inside, 3.0, 1e6).astype(np.float32)
    assert box(3, inside)(image)[inside] == pytest.approx(3.0)


def test_the_mixture_beats_each_of_its_filters_and_knows_its_error(
    noisy: np.ndarray, truth: np.ndarray, everywhere: np.ndarray
) -> None:
    made = mixed(noisy, SD, everywhere)
    own = rmse(made.image, truth)
    assert own < 0.5 * SD
    for edge in (3, 5):
        assert own < rmse(local_shrinkage(noisy, SD, box(edge, everywhere)), truth)
    assert made.expected_rmse == pytest.approx(own, rel=0.1)


def test_a_perfect_reconstruction_is_taken_and_a_wrong_one_is_not(
    noisy: np.ndarray, truth: np.ndarray, everywhere: np.ndarray
) -> None:
    plain = mixed(noisy, SD, everywhere)
    perfect = mixed(noisy, SD, everywhere, truth)
    assert rmse(perfect.image, truth) < 0.25 * rmse(plain.image, truth)
    wrong = np.random.default_rng(5).normal(300, 60, truth.shape).astype(np.float32)
    misled = mixed(noisy, SD, everywhere, wrong)
    assert rmse(misled.image, truth) < 1.02 * rmse(plain.image, truth)
    assert perfect.expected_rmse < plain.expected_rmse


def test_too_few_voxels_cannot_be_judged(noisy: np.ndarray, everywhere: np.ndarray) -> None:
    few = np.zeros_like(everywhere)
    few[:5, :5, :5] = True
    assert mixture(noisy, SD, few) is None
    assert mixture(noisy, SD, np.zeros_like(few)) is None
