"""Contributions that add up, on functions whose integral is known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.core.calibration import TAIL, Calibration
from napari_normative.core.integrated import (
    Judged,
    Shares,
    account_of,
    integrated_gradients,
)
from napari_normative.core.residual import smooth_inside
from napari_normative.core.score import ScoreConfig

SHAPE = (18, 20, 16)


def test_a_cubic_function_falls_apart_into_its_terms() -> None:
    random = np.random.default_rng(0)
    start, end, slope = (random.normal(size=(4, 5)).astype(np.float32) for _ in range(3))
    found = integrated_gradients(lambda x: 3 * slope * x**2, start, end, steps=2)
    np.testing.assert_allclose(found, slope * (end**3 - start**3.0), rtol=1e-4, atol=1e-5)


def test_what_interacts_is_shared_and_adds_up() -> None:
    start, end = np.zeros(2, np.float32), np.array([2.0, 3.0], np.float32)
    found = integrated_gradients(lambda x: x[::-1], start, end)  # of the product of both
    np.testing.assert_allclose(found, [3.0, 3.0])


def test_a_direction_that_is_not_walked_adds_nothing() -> None:
    start, end = np.array([1.0, 5.0], np.float32), np.array([2.0, 5.0], np.float32)
    assert integrated_gradients(lambda x: np.exp(x), start, end)[1] == 0


def calibrated(scales: int, random: np.random.Generator) -> Calibration:
    sd = random.uniform(0.05, 0.2, (scales, *SHAPE)).astype(np.float32)
    mean = random.normal(0, 0.02, (scales, *SHAPE)).astype(np.float32)
    tail = np.linspace(0, 5, len(TAIL))
    return Calibration(mean, sd, tail, np.ones(3), np.ones(3), 4, 1, 0, 2, 3)


def test_the_weights_give_the_mean_over_the_candidate_of_the_smoothed_residual_in_healthy_sd():
    random = np.random.default_rng(1)
    mask = random.random(SHAPE) > 0.2
    mask[:, :3] = False
    region = np.zeros(SHAPE, bool)
    region[6:9, 8:12, 5:8] = True
    region &= mask
    score = ScoreConfig(scales_mm=(1.0, 4.0, 8.0))
    calibration = calibrated(3, random)
    residual = random.normal(0, 0.3, SHAPE).astype(np.float32)
    wanted = np.mean(
        [
            ((smooth_inside(residual, mask, mm / 2.0) - mean) / sd)[region].mean()
            for mm, mean, sd in zip(score.scales_mm, calibration.mean, calibration.sd, strict=True)
        ]
    )
    judged = Judged.inside(region, mask, calibration, score, 2.0)
    assert judged.of(residual) == pytest.approx(wanted, rel=1e-4)
    assert (judged.weights[~mask] == 0).all()


def test_four_shares_add_up_to_the_change() -> None:
    random = np.random.default_rng(2)
    own, through = random.normal(size=SHAPE), random.normal(size=SHAPE)
    region = random.random(SHAPE) > 0.9
    shares = Shares.of(own, through, region)
    assert shares.total == pytest.approx((own + through).sum())
    assert shares.expectation_elsewhere == pytest.approx(through[~region].sum())


def test_an_account_adds_up_and_names_the_largest_first() -> None:
    found = account_of(
        np.array([0.5, -2.0, 0.0, 0.25]), np.array([1.0, 2.0, 3.0, 4.0]), 10.0, 8.7, 8.0, 2
    )
    assert [(c.index, c.contribution, c.coordinate_sd) for c in found.directions] == [
        (1, -2.0, 2.0),
        (0, 0.5, 1.0),
    ]
    assert found.others == pytest.approx(0.25)
    assert found.local == pytest.approx(-0.7)
    assert found.error == pytest.approx(-1.25 - (8.7 - 10.0))
    named = sum(c.contribution for c in found.directions)
    total = found.average + named + found.others + found.local - found.error
    assert total == pytest.approx(found.expected)
