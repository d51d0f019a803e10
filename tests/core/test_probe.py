"""Probes: folds of whole people, no learning by heart, and figures against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.core.probe import (
    OutOfFold,
    Target,
    columns,
    components,
    cross_validate,
    fit_rule,
    guess,
    inner_products,
    kind_of,
    permuted,
    person_folds,
)
from napari_normative.core.probe_figures import (
    figures_of,
    permutation_p,
    permutation_values,
    reliability,
    with_intervals,
)


def two_groups(n: int = 60, *, share: float = 0.5, scans: int = 1, seed: int = 0) -> Target:
    random = np.random.default_rng(seed)
    label = (np.arange(n) < share * n).astype(float)
    random.shuffle(label)
    people = np.repeat(np.arange(n), scans)
    return Target("category", label[people], people, ("no", "yes"))


def numbers(n: int = 80, seed: int = 0) -> Target:
    values = np.random.default_rng(seed).normal(50, 10, n)
    return Target("number", values, np.arange(n))


def test_a_column_is_numbers_when_all_are_and_more_than_eight_differ() -> None:
    assert kind_of([str(n) for n in range(9)]) == "number"
    assert kind_of([str(n % 8) for n in range(40)]) == "category"
    assert kind_of([*map(str, range(20)), "old"]) == "category"
    assert kind_of([*map(str, range(20)), "inf"]) == "category"


@pytest.mark.parametrize("folds", [3, 5])
def test_folds_part_people_and_spread_what_is_to_be_told(folds: int) -> None:
    target = two_groups(40, share=0.25, scans=3)
    of = person_folds(target, folds, seed=1)
    for person in range(40):
        assert len(set(of[target.people == person])) == 1
    for fold in range(folds):
        rare = set(target.people[(of == fold) & (target.values == 1)].tolist())
        assert len(rare) in {10 // folds, -(-10 // folds)}
    assert np.array_equal(of, person_folds(target, folds, seed=1))
    assert not np.array_equal(of, person_folds(target, folds, seed=2))
    many = numbers(100)
    means = [many.values[person_folds(many, 5, 0) == fold].mean() for fold in range(5)]
    assert np.ptp(means) < 2, "a fifth of the numbers is like the others"


def test_components_are_those_of_scikit_learn_learnt_from_the_training_rows() -> None:
    from sklearn.decomposition import PCA

    voxels = np.random.default_rng(0).normal(3, 1, (20, 500)) * np.linspace(1, 3, 500)
    train, test = np.arange(14), np.arange(14, 20)
    seen, asked = components(inner_products(voxels), 5).learn(train, test)
    peer = PCA(5, svd_solver="full").fit(voxels[train])
    np.testing.assert_allclose(np.abs(seen), np.abs(peer.transform(voxels[train])), rtol=1e-6)
    np.testing.assert_allclose(np.abs(asked), np.abs(peer.transform(voxels[test])), rtol=1e-6)
    assert components(inner_products(voxels), 64).learn(train, test)[0].shape == (14, 13)


def test_components_keep_their_scale_and_other_features_do_not() -> None:
    target, random = two_groups(60), np.random.default_rng(0)
    voxels = random.normal(size=(60, 200)) * np.linspace(1, 5, 200)
    given, everybody = components(inner_products(voxels), 20), np.arange(60)
    seen, _ = given.learn(everybody, everybody)
    assert given.keep_scale
    kept = fit_rule(seen, target, 1.0, keep_scale=given.keep_scale)
    np.testing.assert_allclose(kept.scale, seen.std(axis=0).max())
    np.testing.assert_allclose(fit_rule(seen, target, 1.0).scale, seen.std(axis=0))
    assert not columns(seen).keep_scale


def test_what_is_in_the_features_is_told_and_what_is_not_is_not() -> None:
    target, random = two_groups(60), np.random.default_rng(3)
    noise = random.normal(size=(60, 6))
    told = noise + np.outer(target.values, [3, 0, 0, 0, 0, 0])
    for features, low, high in ((told, 0.95, 1.0), (noise, 0.25, 0.7)):
        found = figures_of(target, cross_validate(columns(features), target))
        assert low <= found["auroc"] <= high
    values = permutation_values(columns(told), target, 19, folds=5)
    assert permutation_p(values, 0.99) == pytest.approx(1 / 20)
    assert np.median(values) == pytest.approx(0.5, abs=0.15)


def test_a_person_with_several_scans_is_not_learnt_by_heart() -> None:
    target, random = two_groups(30, scans=4, seed=5), np.random.default_rng(5)
    face = random.normal(size=(30, 40))[target.people] + 0.01 * random.normal(size=(120, 40))
    assert figures_of(target, cross_validate(columns(face), target))["auroc"] < 0.7
    apart = Target("category", target.values, np.arange(120), target.classes)
    assert figures_of(apart, cross_validate(columns(face), apart))["auroc"] > 0.95


def test_numbers_are_told_with_their_calibration() -> None:
    target, random = numbers(), np.random.default_rng(1)
    told = np.column_stack([target.values + random.normal(0, 3, 80), random.normal(size=(80, 3))])
    found = figures_of(target, cross_validate(columns(told), target))
    assert found["r2"] > 0.8
    assert found["calibration_slope"] == pytest.approx(1, abs=0.15)
    assert found["mae"] < 4
    (curve,) = reliability(target, cross_validate(columns(told), target))
    np.testing.assert_allclose(curve.predicted, curve.found, atol=4)
    assert curve.scans.tolist() == [16] * 5


def test_probabilities_are_at_the_frequencies_and_decisions_are_not() -> None:
    target, random = two_groups(400, share=0.1), np.random.default_rng(2)
    features = random.normal(size=(400, 2)) + np.outer(target.values, [1.5, 0])
    rule = fit_rule(features, target, 1.0)
    assert rule.probabilities(features)[:, 1].mean() == pytest.approx(0.1, abs=0.03)
    assert rule.balanced(features)[:, 1].mean() > 0.2
    out = cross_validate(columns(features), target)
    assert figures_of(target, out)["balanced_accuracy"] > 0.7
    said = out.outputs[out.decided == 1, 1]
    assert said.min() < 0.5, "a rare class is decided for before it is the more probable one"


def test_three_classes_and_one_that_a_fold_lacks() -> None:
    random = np.random.default_rng(0)
    values = np.repeat([0.0, 1.0, 2.0], 20)
    target = Target("category", values, np.arange(60), ("a", "b", "c"))
    features = random.normal(size=(60, 3)) + 3 * np.eye(3)[values.astype(int)]
    found = figures_of(target, cross_validate(columns(features), target))
    assert found["auroc"] > 0.95
    assert found["accuracy"] > 0.8
    rule = fit_rule(features[:40], target.some(np.arange(40)), 1.0)
    assert rule.probabilities(features)[:, 2].max() == 0
    alone = fit_rule(features[:20], target.some(np.arange(20)), 1.0)
    assert alone.balanced(features).argmax(axis=1).max() == 0


def test_a_guess_has_no_skill_exactly() -> None:
    target = two_groups(40, share=0.25)
    found = figures_of(target, guess(target))
    assert found["auroc"] == 0.5
    assert found["ap"] == pytest.approx(0.25)
    assert found["brier"] == pytest.approx(0.25 * 0.75)
    assert found["balanced_accuracy"] == 0.5
    assert found["accuracy"] == 0.75
    many = numbers()
    assert figures_of(many, guess(many))["r2"] == pytest.approx(0)


def test_intervals_hold_the_value_and_differences_are_paired() -> None:
    target, random = two_groups(60), np.random.default_rng(3)
    out = cross_validate(columns(random.normal(size=(60, 2)) + target.values[:, None]), target)
    rows = with_intervals(target, {"latents": out, "same": out, "guess": guess(target)}, draws=200)
    own = next(r for r in rows if (r.features, r.figure) == ("latents", "auroc"))
    assert own.low < own.value < own.high
    same = next(r for r in rows if r.against == "same")
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = next(r for r in rows if r.against == "guess")
    assert better.value == pytest.approx(own.value - 0.5)


def test_values_move_among_people_with_all_their_scans() -> None:
    random = np.random.default_rng(0)
    people = np.array([0, 0, 1, 1, 2, 3, 3, 4])
    same = Target("category", np.array([0, 0, 1, 1, 0, 1, 1, 0.0]), people, ("a", "b"))
    for _ in range(10):
        moved = permuted(same, random).values
        assert all(len(set(moved[people == p])) == 1 for p in range(5))
    ages = Target("number", np.array([30, 31, 50, 51, 40, 60, 61, 70.0]), people)
    moved = permuted(ages, random).values
    assert sorted(moved[people != 2][[0, 2, 4]]) == [30, 50, 60]
    assert all(np.diff(moved[people == p]) == 1 for p in (0, 1, 3))


def test_reliability_is_the_share_found_in_bins_of_what_was_said() -> None:
    probability = np.linspace(0.05, 0.95, 100)
    truth = (np.random.default_rng(0).random(100) < probability).astype(float)
    target = Target("category", truth, np.arange(100), ("no", "yes"))
    outputs = np.column_stack([1 - probability, probability])
    (curve,) = reliability(target, OutOfFold(outputs, truth, np.zeros(100, dtype=np.intp)))
    assert curve.predicted[0] < curve.predicted[-1]
    np.testing.assert_allclose(curve.predicted, curve.found, atol=0.2)
