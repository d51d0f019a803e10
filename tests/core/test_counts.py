"""Voxels counted by z give the figures that the voxels themselves give."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_normative.core import metrics
from napari_normative.core.counts import STEP, VoxelCounts

Voxels = tuple[NDArray[np.float32], NDArray[np.bool_]]


def voxels(seed: int, shift: float, n: int = 20_000) -> Voxels:
    """Healthy voxels around 0, one in fifty a lesion that is shifted; some not scored (0)."""
    random = np.random.default_rng(seed)
    truth = random.random(n) < 0.02
    z = random.standard_normal(n).astype(np.float32) * 1.3 + shift * truth
    z[random.random(n) < 0.1] = 0
    return z.astype(np.float32), truth


@pytest.mark.parametrize("shift", [-3.0, -1.0, 0.0, 2.0])
def test_average_precision_agrees_with_the_exact_one(shift: float) -> None:
    z, truth = voxels(1, shift)
    counts = VoxelCounts.of(z, truth)
    for direction, score in (("both", np.abs(z)), ("darker", -z), ("brighter", z)):
        exact = metrics.average_precision(score, truth)
        assert counts.average_precision(direction) == pytest.approx(exact, abs=1.5e-3)


def test_dice_and_sensitivity_agree_with_the_exact_ones() -> None:
    z, truth = voxels(2, -3.0)
    counts = VoxelCounts.of(z, truth)
    assert counts.prevalence == truth.mean()
    best, at = counts.best_dice()
    exact, exact_at = metrics.best_dice(np.abs(z), truth)
    assert best == pytest.approx(exact, abs=2e-3)
    assert at == pytest.approx(exact_at, abs=0.3)
    for threshold in (1.0, 2.5, 4.01):
        exact = metrics.dice(np.abs(z) > threshold, truth)
        assert counts.dice_at(threshold) == pytest.approx(exact, abs=0.01)
    exact = metrics.sensitivity_at(np.abs(z), truth, 0.01)
    assert counts.sensitivity_at(0.01) == pytest.approx(exact, abs=0.01)


def test_counts_of_two_scans_add_up_to_those_of_all_voxels() -> None:
    (a, truth_a), (b, truth_b) = voxels(3, -2.0), voxels(4, 1.0, 7000)
    together = VoxelCounts.of(np.concatenate([a, b]), np.concatenate([truth_a, truth_b]))
    added = VoxelCounts.total([VoxelCounts.of(a, truth_a), VoxelCounts.of(b, truth_b)])
    np.testing.assert_array_equal(added.lesion, together.lesion)
    np.testing.assert_array_equal(added.healthy, together.healthy)
    assert added.average_precision() == together.average_precision()


def test_pooling_is_not_the_mean_of_scans() -> None:
    # A scan whose healthy voxels exceed another's lesions spoils the pool, not the mean.
    quiet = VoxelCounts.of(np.array([0, 0, 3], np.float32), np.array([False, False, True]))
    noisy = VoxelCounts.of(np.array([5, 5, 9], np.float32), np.array([False, False, True]))
    assert quiet.average_precision() == noisy.average_precision() == 1.0
    assert VoxelCounts.total([quiet, noisy]).average_precision() == pytest.approx(0.75)


def test_voxels_that_were_not_scored_are_missed() -> None:
    truth = np.array([True] * 4 + [False] * 96)
    z = np.zeros(100, np.float32)
    z[:2] = -6.0
    counts = VoxelCounts.of(z, truth)
    assert counts.sensitivity_at(0.01) == 0.5
    assert counts.dice_at(3.0) == pytest.approx(2 * 2 / (2 + 4))
    # Half the lesion at precision 1, the rest no better than chance: 0.5 + 0.5 * 0.04.
    assert counts.average_precision("darker") == pytest.approx(0.52)


def test_extreme_values_are_kept_at_the_end_of_the_scale() -> None:
    z = np.array([500.0, -500.0, 0.0], np.float32)
    counts = VoxelCounts.of(z, np.array([True, False, False]))
    assert counts.average_precision("brighter") == 1.0
    assert counts.average_precision("darker") == pytest.approx(1 / 3)
    assert counts.lesion[-1] == counts.healthy[0] == 1


def test_without_lesions_there_is_no_figure() -> None:
    counts = VoxelCounts.of(np.ones(5, np.float32), np.zeros(5, bool))
    assert counts.prevalence == 0
    values = (counts.average_precision(), counts.best_dice()[0], counts.dice_at(1.0))
    assert np.isnan([*values, counts.sensitivity_at(0.1)]).all()


def test_a_threshold_between_levels_counts_what_lies_above_it() -> None:
    z = np.array([1.0, 1.0 + STEP], np.float32)
    counts = VoxelCounts.of(z, np.array([False, True]))
    assert counts.dice_at(1.0) == 1.0
    assert counts.dice_at(1.0 - STEP) == pytest.approx(2 / 3)
