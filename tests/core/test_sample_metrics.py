"""How good volumes are: closed forms, scikit-image, and what must be larger than what."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_normative.core.sample_metrics import (
    fixed_features,
    mae,
    mmd2,
    ms_ssim,
    ms_ssim_diversity,
    psnr,
    ssim,
)

SHAPE = (40, 36, 44)


def person(seed: int, blur: float = 0.0) -> np.ndarray:
    """Anatomy that all share, a smooth difference of one's own, and texture."""
    random = np.random.default_rng(seed)
    shared = ndimage.gaussian_filter(np.random.default_rng(99).standard_normal(SHAPE), 3)
    own = ndimage.gaussian_filter(random.standard_normal(SHAPE), 4)
    texture = ndimage.gaussian_filter(random.standard_normal(SHAPE), 0.7)
    image = 1 + 8 * shared + 6 * own + 0.3 * texture
    return ndimage.gaussian_filter(image, blur).astype(np.float32)


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    inside = np.zeros(SHAPE, bool)
    inside[4:-4, 4:-4, 4:-4] = True
    return inside


def test_mae_and_psnr_by_hand(mask: np.ndarray) -> None:
    image = np.zeros(SHAPE, np.float32)
    image[10] = 2
    other = np.where(mask, image + 0.1, 77).astype(np.float32)
    assert mae(image, other, mask) == pytest.approx(0.1, rel=1e-4)
    assert psnr(image, other, mask) == pytest.approx(20 * np.log10(2 / 0.1), rel=1e-4)
    assert psnr(image, image, mask) == np.inf


def test_ssim_is_one_for_equal_images_and_looks_at_the_mask_alone(mask: np.ndarray) -> None:
    image = person(0)
    assert ssim(image, image, mask) == pytest.approx(1)
    assert ssim(image, np.where(mask, image, 9).astype(np.float32), mask) == pytest.approx(1)
    slightly, much = person(0, 0.6), person(0, 2.0)
    assert 1 > ssim(image, slightly, mask) > ssim(image, much, mask) > 0


def test_ssim_is_that_of_scikit_image_for_a_full_mask() -> None:
    from skimage.metrics import structural_similarity

    first, second = person(0), person(1)
    full = np.ones(SHAPE, bool)
    expected, whole = structural_similarity(
        first, second, data_range=float(np.ptp(first)), full=True
    )
    assert ssim(first, second, full) == pytest.approx(float(whole.mean()), rel=1e-5)
    assert ssim(first, second, full) == pytest.approx(float(expected), abs=0.05)


def test_ms_ssim_falls_with_blur_and_with_distance(mask: np.ndarray) -> None:
    image = person(0)
    assert ms_ssim(image, image, mask) == pytest.approx(1, abs=1e-6)
    blurred = [ms_ssim(image, person(0, blur), mask) for blur in (0.5, 1.0, 2.0)]
    assert 1 > blurred[0] > blurred[1] > blurred[2] > ms_ssim(image, person(1), mask) > 0


def test_ms_ssim_of_one_scale_is_ssim() -> None:
    first, second = person(0)[:13, :13, :13], person(1)[:13, :13, :13]
    assert np.ptp(second) > np.ptp(first)  # the range is that of the wider one
    full = np.ones(first.shape, bool)
    assert ms_ssim(second, first, full) == pytest.approx(ssim(second, first, full), abs=0.02)


def test_background_does_not_raise_the_ssim(mask: np.ndarray) -> None:
    image, other = person(0), person(1)
    deep = np.zeros_like(mask)
    deep[10:-10, 10:-10, 10:-10] = True
    assert ssim(image, other, deep) < 0.92  # most of the grid is equal: 0 in both


def test_ms_ssim_sees_a_shift_of_brightness() -> None:
    image, full = person(0), np.ones(SHAPE, bool)
    assert ms_ssim(image, image + np.float32(1), full) < 0.98


def test_samples_that_are_alike_are_less_diverse_than_people(mask: np.ndarray) -> None:
    people = [person(seed) for seed in range(5)]
    mean = np.mean(people, axis=0)
    alike = [0.2 * p + 0.8 * mean for p in people]
    assert ms_ssim_diversity(alike, mask) > ms_ssim_diversity(people, mask) + 0.05
    assert ms_ssim_diversity([people[0]] * 3, mask) == pytest.approx(1, abs=1e-6)
    every = [ms_ssim(people[i], people[j], mask) for i in range(5) for j in range(i)]
    assert ms_ssim_diversity(people, mask) == pytest.approx(np.mean(every))  # each pair once
    some = ms_ssim_diversity(people, mask, seed=1, pairs=3)
    assert some == ms_ssim_diversity(people, mask, seed=1, pairs=3)
    assert some != ms_ssim_diversity(people, mask, seed=2, pairs=3)
    assert np.isnan(ms_ssim_diversity(people[:1], mask))


def test_mmd_of_equal_distributions_is_about_nothing() -> None:
    random = np.random.default_rng(0)
    draws = [
        mmd2(random.standard_normal((30, 5)), random.standard_normal((40, 5))) for _ in range(60)
    ]
    assert abs(np.mean(draws)) < 0.005
    assert min(draws) < 0 < max(draws)


def test_mmd_grows_with_the_shift_and_is_symmetric() -> None:
    random = np.random.default_rng(0)
    first, second = random.standard_normal((40, 5)), random.standard_normal((40, 5))
    found = [mmd2(first, second + shift) for shift in (0.0, 0.5, 1.0, 3.0)]
    assert found == sorted(found)
    assert found[2] > 0.1
    assert mmd2(second + 1, first) == pytest.approx(found[2])
    assert np.isnan(mmd2(first[:1], second))


def test_mmd_by_hand() -> None:
    """Two points 0 and 1 against 0 and 1: squared distances 1 and 0; their median is 1 of 6."""
    points = np.array([[0.0], [1.0]])
    square = np.array([1, 0, 1, 1, 0, 1])
    k = np.exp(-1 / (2 * np.median(square)))
    assert mmd2(points, points) == pytest.approx(k + k - 2 * (1 + k + k + 1) / 4)


def test_features_are_block_means_and_detail() -> None:
    image = np.zeros((32, 24, 20), np.float32)
    image[:4, :3] = 5
    features = fixed_features([image, np.zeros_like(image)])
    assert features.shape == (2, 1024)
    means = features[0, :512].reshape(8, 8, 8)
    assert means[0, 0] == pytest.approx(5)
    assert means[1:].max() == 0 and means[:, 1:].max() == 0
    assert (features[1] == 0).all()


def test_features_tell_blurred_people_from_people() -> None:
    people = fixed_features([person(seed) for seed in range(12)])
    others = fixed_features([person(seed) for seed in range(20, 32)])
    blurred = fixed_features([person(seed, 1.0) for seed in range(20, 32)])
    assert mmd2(people, blurred) > mmd2(people, others) + 0.01
