"""Neighbours of samples: by hand; copies are found, equal distributions are not blamed."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.core.sample_neighbours import (
    angles,
    closer_test,
    distances,
    nearest_other,
    precision_recall,
)


def test_distances_are_those_of_pythagoras_even_far_from_zero() -> None:
    first = np.array([[0.0, 0.0], [3.0, 4.0]]) + 1e6
    second = np.array([[0.0, 0.0]]) + 1e6
    np.testing.assert_allclose(distances(first, second), [[0.0], [5.0]], atol=1e-6)


def test_angles_do_not_depend_on_how_far_out_somebody_is() -> None:
    found = angles(np.array([[2.0, 0.0], [0.0, 0.1]]), np.array([[9.0, 9.0]]))
    np.testing.assert_allclose(found, [[45.0], [45.0]])


def test_nobody_is_their_own_nearest() -> None:
    rows = np.array([[0.0], [1.0], [5.0]])
    np.testing.assert_allclose(nearest_other(distances(rows, rows)), [1.0, 1.0, 4.0])


def test_precision_and_recall_by_hand() -> None:
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    made = np.array([[0.5], [1.5], [100.0]])
    # Radii to the nearest: real 1, 1, 1, 8; made 1, 1, 98.5. The sample at 100 is beyond all,
    # and its own wide radius covers everybody.
    found = precision_recall(real, made, k=1)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(1.0)


def test_samples_of_one_person_are_true_to_life_and_cover_little() -> None:
    random = np.random.default_rng(0)
    real = random.standard_normal((60, 4))
    made = real[:1] + 0.01 * random.standard_normal((60, 4))
    found = precision_recall(real, made)
    assert found.precision == 1.0
    assert found.recall < 0.05


def test_copies_of_training_people_are_found_and_new_people_are_not_blamed() -> None:
    random = np.random.default_rng(1)
    training, unseen, new = (random.standard_normal((40, 8)) for _ in range(3))
    copies = training[:20] + 0.2 * random.standard_normal((20, 8))
    others = distances(unseen, training).min(axis=1)
    found = closer_test(distances(copies, training).min(axis=1), others)
    assert found.p == pytest.approx(1e-4)  # the least that 9999 permutations can give
    assert found.chance > 0.95
    fair = closer_test(distances(new, training).min(axis=1), others)
    assert fair.p > 0.05
    assert (fair.samples, fair.others) == (40, 40)


def test_the_chance_is_the_share_of_pairs_with_ties_half() -> None:
    found = closer_test(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    assert found.chance == pytest.approx((1 + 1 + 0.5 + 1) / 4)


def test_a_few_copies_among_many_samples_are_counted() -> None:
    samples, others = np.array([0.1, 0.2, 3.0, 4.0]), np.array([1.0, 2.0, 5.0])
    found = closer_test(samples, others)
    assert found.nearest == 2
    assert found.p_nearest == pytest.approx(4 / 7 * 3 / 6)
    none = closer_test(samples + 9, others)
    assert (none.nearest, none.p_nearest) == (0, 1.0)


def test_p_is_uniform_when_samples_are_people_like_the_others() -> None:
    random = np.random.default_rng(2)
    found = [closer_test(random.random(12), random.random(15), seed=n).p for n in range(40)]
    assert 0.3 < np.mean(found) < 0.7
    assert np.mean(np.array(found) <= 0.1) < 0.3
