"""Measures of disentanglement on latents whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from napari_normative.core.disentanglement import (
    BINS,
    Covariate,
    _binned,
    _groups,
    _information,
    correlation,
    disentanglement,
    explained_variance,
    modularity,
    off_diagonal,
    total_correlation,
)

RANDOM = np.random.default_rng(0)
LATENTS = RANDOM.standard_normal((400, 5))
AGE = 40 + 10 * LATENTS[:, 2] + RANDOM.standard_normal(400)
SEX = np.where(LATENTS[:, 4] > 0, "F", "M")


def cells(values: np.ndarray) -> list[str]:
    return [str(v) for v in values]


def measured(latents: np.ndarray, **how: object) -> dict[tuple[str, str], object]:
    known = [Covariate.of("age", cells(AGE)), Covariate.of("sex", cells(SEX))]
    found = disentanglement(latents, known, permutations=40, **how)
    return {(f.measure, f.covariate): f for f in found}


def turned(latents: np.ndarray) -> np.ndarray:
    """Return the same latents with every axis a mixture of all."""
    turn, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((5, 5)))
    return latents @ turn


def test_one_latent_for_one_thing_is_told_from_the_same_latents_turned() -> None:
    apart, mixed = measured(LATENTS), measured(turned(LATENTS))
    for measure in ("mig", "sap"):
        for name, latent in (("age", 3), ("sex", 5)):
            figure = apart[measure, name]
            assert figure.latent == latent
            assert figure.p == pytest.approx(1 / 41)
            assert figure.value > 0.5
            assert mixed[measure, name].value < 0.6 * figure.value
            assert abs(figure.chance) < 0.05
    assert apart["modularity", ""].value > 0.95 > 0.9 > mixed["modularity", ""].value


def test_latents_that_know_nothing_are_within_chance() -> None:
    found = measured(np.random.default_rng(9).standard_normal((400, 5)))
    for figure in found.values():
        assert figure.p > 0.02, figure
        assert figure.value == pytest.approx(figure.chance, abs=0.06) or figure.covariate == ""


def test_total_correlation_of_known_correlations() -> None:
    r = 0.6
    given = np.array([[1, r, 0], [r, 1, 0], [0, 0, 1.0]])
    assert total_correlation(given) == pytest.approx(-0.5 * math.log(1 - r**2))
    assert off_diagonal(given) == pytest.approx(r / 3)
    drawn = np.random.default_rng(1).multivariate_normal(np.zeros(3), given, 40000)
    assert total_correlation(correlation(drawn, np.zeros(3))) == pytest.approx(
        -0.5 * math.log(1 - r**2), abs=0.01
    )
    # A person's own variance is part of the cohort's: half of it halves the correlation.
    halved = correlation(drawn, np.ones(3))
    assert halved[0, 1] == pytest.approx(r / 2, abs=0.02)
    assert total_correlation(np.ones((3, 3))) == math.inf


def test_correlated_latents_are_beyond_chance() -> None:
    mixed = LATENTS.copy()
    mixed[:, 0] += mixed[:, 1]
    found = measured(mixed, variances=np.full((400, 5), 0.1))
    wanted = -0.5 * math.log(1 - 1 / (2.1 * 1.1))
    assert found["total_correlation", ""].value == pytest.approx(wanted, abs=0.06)
    assert found["total_correlation", ""].chance < 0.06
    assert found["off_diagonal", ""].p == pytest.approx(1 / 41)


def test_information_is_that_of_scikit_learn_less_the_bias_of_counting() -> None:
    groups = _groups("category", Covariate.of("sex", cells(SEX)).values)
    bins = _binned(LATENTS)
    ours = _information(bins, groups)
    for z in range(5):
        counted = mutual_info_score(SEX, bins[z].argmax(axis=0))
        assert ours[z] == pytest.approx(max(0, counted - (BINS - 1) / 800), abs=1e-9)


def test_a_latent_that_is_the_covariate_has_a_gap_of_all_but_the_bias() -> None:
    age = Covariate.of("age", cells(LATENTS[:, 1]))
    assert age.kind == "number"
    mig, sap = disentanglement(LATENTS, [age], permutations=0)[:2]
    assert mig.value == pytest.approx(1.0, abs=0.03)
    assert sap.value == pytest.approx(1.0, abs=0.02)


def test_explained_variance_of_numbers_and_of_categories() -> None:
    two = np.array([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [1.0, 2.0]])
    groups = np.array([0.0, 0, 1, 1])
    assert explained_variance(two, groups, "category").tolist() == pytest.approx([1.0, 0.0])
    assert explained_variance(two, np.array([1.0, 2, 3, 4]), "number").tolist() == pytest.approx(
        [np.corrcoef(two[:, z], [1, 2, 3, 4])[0, 1] ** 2 for z in (0, 1)]
    )


def test_modularity_of_known_information() -> None:
    assert modularity(np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])) == 1.0
    assert modularity(np.array([[1.0], [1.0]])) == 0.0
    assert modularity(np.array([[2.0], [1.0]])) == pytest.approx(0.75)
    assert math.isnan(modularity(np.zeros((2, 3))))


def test_people_of_whom_a_value_is_not_known_have_no_say() -> None:
    age = ["n/a" if n % 3 == 0 else str(AGE[n]) for n in range(400)]
    found = disentanglement(
        LATENTS, [Covariate.of("age", age), Covariate.of("same", ["a"] * 400)], permutations=5
    )
    by_name = {(f.measure, f.covariate): f for f in found}
    assert by_name["mig", "age"].people == 266
    assert not [f for f in found if f.covariate == "same" or f.measure == "modularity"]
