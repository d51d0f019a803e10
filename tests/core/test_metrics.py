"""Figures of merit against closed forms, scikit-learn and cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.core.calibration import TAIL
from napari_normative.core.metrics import (
    auroc,
    average_precision,
    best_dice,
    bootstrap,
    dice,
    froc,
    froc_scan,
    paired_difference,
    realised_rates,
    sensitivity_at,
)


@pytest.mark.parametrize("levels", [3, 20, 10**9])
def test_average_precision_is_that_of_scikit_learn_with_and_without_ties(levels: int) -> None:
    from sklearn.metrics import average_precision_score

    random = np.random.default_rng(levels)
    truth = random.random((8, 9, 10)) < 0.05
    score = random.integers(0, levels, truth.shape).astype(np.float32) + truth * levels / 5
    expected = average_precision_score(truth.ravel(), score.ravel())
    assert average_precision(score, truth) == pytest.approx(expected, abs=1e-12)


def test_auroc_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    healthy, patients = random.integers(0, 6, 40), random.integers(2, 9, 30)
    expected = roc_auc_score([0] * 40 + [1] * 30, np.concatenate([healthy, patients]))
    assert auroc(healthy, patients) == pytest.approx(expected)


def test_best_dice_and_its_threshold_are_found_by_trying_all() -> None:
    random = np.random.default_rng(1)
    truth = random.random(500) < 0.1
    score = np.round(random.standard_normal(500) + 1.5 * truth, 1)
    value, threshold = best_dice(score, truth)
    tried = {t: dice(score >= t, truth) for t in np.unique(score)}
    assert value == pytest.approx(max(tried.values()))
    assert dice(score >= threshold, truth) == value


def test_sensitivity_at_a_rate_by_hand() -> None:
    score = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    truth = np.array([1, 1, 0, 1, 0, 0, 0, 1, 0, 0], dtype=bool)
    assert sensitivity_at(score, truth, 0.0) == 0.5
    assert sensitivity_at(score, truth, 1 / 6) == 0.75
    assert sensitivity_at(score, truth, 0.99) == 1.0


def test_froc_by_hand() -> None:
    z = np.zeros((20, 20, 20), np.float32)
    truth = np.zeros(z.shape, bool)
    truth[2:5, 2:5, 2:5] = True
    truth[12:15, 12:15, 12:15] = True
    z[2:4, 2:4, 2:4] = -6  # part of the first lesion, darker
    z[12:15, 12:15, 12:15] = 4  # the second
    z[2:4, 14:16, 2:4] = 5  # false
    scan = froc_scan(z, truth, 0.004, 0.001, np.array([3.0, 4.5, 5.5]))
    assert scan.false.tolist() == [1, 1, 0]
    assert scan.hit.tolist() == [[True, True], [True, False], [True, False]]
    found = froc([scan], rates=(0, 1))
    assert found.at == {0: 0.5, 1: 1.0}


def test_bootstrap_draws_people() -> None:
    one = bootstrap([1.0, 2.0, 3.0])
    assert one.value == 2.0 and one.low < 2.0 < one.high
    assert bootstrap([[0.0, 2.0], [2.0], [3.0, float("nan")]]) == one
    shift = paired_difference([1.0, 2.0, 3.0], [0.5, 1.5, 2.5])
    assert (shift.value, shift.low, shift.high) == (0.5, 0.5, 0.5)


def test_realised_rates_of_the_calibration_itself_are_nominal() -> None:
    z = np.random.default_rng(0).standard_normal((40, 50, 50)).astype(np.float32)
    tail = np.quantile(np.abs(z), 1 - TAIL)
    rates = realised_rates([z, 2 * z], (0.05, 0.01), tail)
    assert rates[0] == pytest.approx((0.05, 0.01), rel=0.05)
    assert (rates[1] > 5 * rates[0]).all()
