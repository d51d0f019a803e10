"""Figures of merit against closed forms, scikit-learn and cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.core.calibration import TAIL
from napari_normative.core.metrics import (
    FrocScan,
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


def test_average_precision_of_a_constant_is_the_prevalence() -> None:
    truth = np.arange(100) < 7
    assert average_precision(np.zeros(100), truth) == pytest.approx(0.07)
    assert average_precision(truth.astype(float), truth) == 1.0
    assert average_precision(-truth.astype(float), truth) == pytest.approx(0.07)


def test_without_positives_there_is_no_figure() -> None:
    nothing = np.zeros(10, bool)
    score = np.arange(10.0)
    assert np.isnan(average_precision(score, nothing))
    assert np.isnan(best_dice(score, nothing)).all()
    assert np.isnan(sensitivity_at(score, nothing, 0.01))
    assert np.isnan(dice(nothing, nothing))
    assert np.isnan(auroc([], [1.0]))
    assert np.isnan(bootstrap([]).value)
    assert np.isnan(bootstrap([float("nan")]).value)
    assert np.isnan(realised_rates([np.zeros((2, 2, 2), np.float32)], (0.05,), TAIL)).all()


def test_dice_by_hand() -> None:
    first, second = np.array([1, 1, 1, 0], bool), np.array([0, 1, 1, 1], bool)
    assert dice(first, second) == pytest.approx(2 * 2 / 6)
    assert dice(first, first) == 1.0
    assert dice(first, ~first) == 0.0


def test_equal_scores_are_not_told_apart_by_a_rate() -> None:
    score = np.array([2.0, 1, 1, 1, 0])
    truth = np.array([1, 1, 0, 0, 0], bool)
    assert sensitivity_at(score, truth, 0.5) == 0.5  # taking one of the ties takes all three
    assert sensitivity_at(score, truth, 0.7) == 1.0


def test_a_flood_is_no_hit() -> None:
    z = np.zeros((30, 30, 30), np.float32)
    truth = np.zeros(z.shape, bool)
    truth[10:12, 10:12, 10:12] = True
    z[2:28, 2:28, 2:28] = 5
    scan = froc_scan(z, truth, 0.004, 0.001, np.array([3.0]))
    assert not scan.hit.any()
    assert scan.false.tolist() == [1]


def test_a_lesion_is_found_when_a_tenth_of_it_is_covered() -> None:
    truth = np.zeros((30, 30, 30), bool)
    truth[5:15, 5:15, 5:15] = True
    for planes, found in ((1, True), (0, False)):
        z = np.zeros(truth.shape, np.float32)
        z[5 : 5 + planes, 5:15, 5:15] = 5  # a tenth
        z[5, 5:10, 5:12] = 5  # less than a tenth
        scan = froc_scan(z, truth, 0.004, 0.001, np.array([3.0]))
        assert scan.hit.tolist() == [[found]]
        assert scan.false.tolist() == [0]
    assert scan.lesion_ml == pytest.approx([1.0])


def test_a_candidate_in_the_rim_is_not_false_and_small_lesions_do_not_count() -> None:
    truth = np.zeros((30, 30, 30), bool)
    truth[5:15, 5:15, 5:15] = True
    truth[25, 25, 25] = True  # 0.001 ml
    z = np.zeros(truth.shape, np.float32)
    z[15, 5:15, 5:15] = -5
    z[20, 5:15, 5:15] = 5
    scan = froc_scan(z, truth, 0.01, 0.001, np.array([3.0]))
    assert scan.hit.shape == (1, 1)
    assert scan.false.tolist() == [1]


def test_froc_counts_healthy_scans_and_stops_where_the_rate_is_first_passed() -> None:
    thresholds = np.array([2.0, 3.0, 4.0])
    patient = FrocScan(
        thresholds,
        np.array([0.0, 6.0, 0.0]),  # at 2 everything has melted into one
        np.array([[True, True], [True, True], [True, False]]),
        np.array([1.0, 2.0]),
    )
    nothing = np.zeros((3, 0), bool)
    healthy = FrocScan(thresholds, np.array([0.0, 2.0, 0.0]), nothing, np.zeros(0))
    found = froc([patient, healthy], rates=(1, 4))
    assert found.false_per_scan.tolist() == [0, 4, 0]
    assert found.at == {1: 0.5, 4: 1.0}
    assert found.lesions == 2
    assert np.isnan(froc([healthy]).at[1])


def test_thresholds_with_too_many_false_candidates_are_not_used() -> None:
    z = np.zeros((40, 40, 40), np.float32)
    z[::4, ::4, ::4] = 3  # a thousand single voxels
    z[20, 20, 20] = 9
    truth = np.zeros(z.shape, bool)
    truth[20, 20, 20] = True
    scan = froc_scan(z, truth, 0.0, 0.001, np.array([2.0, 2.5, 5.0]))
    assert scan.false.tolist() == [np.inf, np.inf, 0]
    assert scan.hit[2].all()


def test_the_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for seed in range(300):
        interval = bootstrap(random.standard_normal(30).tolist(), draws=400, seed=seed)
        covered += interval.low <= 0 <= interval.high
    assert 0.89 < covered / 300 < 0.98


def test_values_of_one_person_do_not_narrow_the_interval() -> None:
    random = np.random.default_rng(0)
    people = random.standard_normal(20)
    once = bootstrap(people.tolist())
    tenfold = bootstrap([[p] * 10 for p in people])
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))
    width = once.high - once.low
    assert width == pytest.approx(2 * 1.96 * people.std() / np.sqrt(20), rel=0.15)


def test_pairs_take_out_what_people_share() -> None:
    random = np.random.default_rng(0)
    people = random.standard_normal(25)
    better = people + 0.1 + 0.02 * random.standard_normal(25)
    shift = paired_difference(better.tolist(), people.tolist())
    assert shift.low > 0.05
    assert shift.high - shift.low < 0.05
    first, second = bootstrap(better.tolist()), bootstrap(people.tolist())
    assert first.low < second.high  # the unpaired intervals overlap


def test_a_pair_with_a_missing_side_is_left_out() -> None:
    shift = paired_difference([1.0, float("nan"), 3.0], [0.0, 5.0, 1.0])
    assert shift.value == pytest.approx(1.5)
    assert np.isnan(bootstrap([2.0]).low)


def test_no_candidate_finds_nothing_however_large_the_lesion() -> None:
    truth = np.zeros((20, 20, 20), bool)
    truth[:10] = True
    scan = froc_scan(np.zeros(truth.shape, np.float32), truth, 0.1, 0.001, np.array([3.0]))
    assert scan.hit.tolist() == [[False]]
    assert scan.false.tolist() == [0]
