"""Control of false candidates: against closed forms, and on made healthy people."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from napari_normative.core.calibration import Calibration
from napari_normative.core.false_candidates import (
    benjamini_hochberg,
    candidate_p_values,
    expected_false,
    false_discovery,
    least_rate,
)

NOTHING = np.zeros((1, 2, 2, 2), np.float32)


def calibration(evidence, per_scan):
    return Calibration(
        NOTHING, NOTHING, np.zeros(26), np.zeros(0), np.sort(np.asarray(evidence, float)),
        5.0, per_scan, 0.0, 2.0, len(evidence),
    )  # fmt: skip


def healthy_scans(random, people, mean=1.0, clumped=False):
    """Return the evidence of each false candidate of each healthy person."""
    means = random.gamma(0.5, mean / 0.5, people) if clumped else np.full(people, mean)
    return [random.exponential(1.0, n) for n in random.poisson(means)]


def test_q_is_that_of_benjamini_and_hochberg():
    p = np.random.default_rng(0).uniform(size=40) ** 2
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p), rtol=1e-12)
    assert benjamini_hochberg(np.zeros(0)).shape == (0,)


def test_poisson_gives_the_expected_number_from_the_chance_of_any():
    # Of 999 people, 63.2 % have a candidate and one each on average: as Poisson has it.
    known = calibration([1.0] * 631 + [0.0] * 368, 1.0)
    np.testing.assert_allclose(
        expected_false(np.array([0.1, 0.001]), known), [-np.log(0.9), 0.0010005], rtol=1e-3
    )
    np.testing.assert_allclose(candidate_p_values(np.array([0.632]), known), [1.0], atol=1e-3)


def test_candidates_in_clumps_raise_what_is_expected():
    p = np.array([0.05])
    plain = calibration([1.0] * 20 + [0.0] * 20, 0.7)
    clumps = calibration([1.0] * 20 + [0.0] * 20, 2.8)
    assert expected_false(p, clumps)[0] == pytest.approx(
        expected_false(p, plain)[0] * 2.8 / max(0.7, -np.log(1 - 21 / 41)), rel=1e-9
    )
    assert expected_false(np.array([1.0]), clumps)[0] == 2.8


def test_nobody_with_a_candidate_makes_the_first_one_rare_but_its_share_one():
    known = calibration([0.0] * 19, 0.0)
    assert least_rate(known) == pytest.approx(-np.log(1 - 1 / 20))
    np.testing.assert_allclose(candidate_p_values(np.array([1 / 20]), known), [1.0])


@pytest.mark.parametrize("clumped", [False, True])
def test_the_rate_and_the_share_of_scans_hold_for_healthy_people(clumped):
    random = np.random.default_rng(1)
    rates = {0.1: [], 0.5: []}
    any_found = []
    for _ in range(60):
        known = healthy_scans(random, 40, clumped=clumped)
        strongest = [scan.max(initial=0.0) for scan in known]
        made = calibration(strongest, float(np.mean([len(scan) for scan in known])))
        for scan in healthy_scans(random, 40, clumped=clumped):
            p = np.array([made.candidate_p(value) for value in scan])
            expected, q = expected_false(p, made), false_discovery(p, made)
            for rate, counts in rates.items():
                counts.append((expected <= rate).sum())
            any_found.append((q <= 0.2).any())
    for rate, counts in rates.items():
        assert 0.3 * rate < np.mean(counts) < 1.2 * rate
    assert 0.02 < np.mean(any_found) < 0.22
