"""Correlations with covariates, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from napari_normative.core.association import Covariate, associate

ONE_SITE = np.zeros(60, dtype=np.intp)


def numbers(name: str, values: np.ndarray) -> Covariate:
    return Covariate.of(name, [repr(float(v)) for v in values], "number")


def test_a_planted_column_is_found_with_its_correlation_and_the_others_are_not() -> None:
    random = np.random.default_rng(0)
    columns = random.normal(size=(60, 30))
    age = 2 * columns[:, 7] + random.normal(size=60)
    found = associate(columns, numbers("age", age), ONE_SITE, permutations=499)
    one = found[7]
    assert one.value == pytest.approx(stats.pearsonr(columns[:, 7], age)[0])
    assert one.spearman == pytest.approx(stats.spearmanr(columns[:, 7], age)[0])
    assert one.low < one.value < one.high
    assert one.p_corrected == pytest.approx(1 / 500)
    assert np.isnan(one.partial)
    assert min(a.p_corrected for n, a in enumerate(found) if n != 7) > 0.05


def test_of_nothing_one_family_in_twenty_is_found() -> None:
    hits = 0
    for seed in range(24):
        random = np.random.default_rng(seed)
        columns = random.normal(size=(40, 20))
        found = associate(
            columns, numbers("age", random.normal(size=40)), ONE_SITE[:40], permutations=99
        )
        hits += min(a.p_corrected for a in found) <= 0.05
    assert hits <= 4  # 1.2 expected; uncorrected, 15


def test_what_only_differs_between_sites_is_gone_within_them() -> None:
    random = np.random.default_rng(1)
    site = np.arange(60) % 2
    columns = random.normal(size=(60, 3)) + 4 * site[:, None]
    age = 30 + 10 * site + random.normal(size=60)
    one = associate(columns, numbers("age", age), site, permutations=199)[0]
    assert one.value > 0.7
    assert one.p_corrected < 0.01
    assert abs(one.partial) < 0.3
    assert one.partial_p_corrected > 0.05


def test_within_sites_is_the_correlation_of_what_sites_leave() -> None:
    random = np.random.default_rng(5)
    site = np.arange(60) % 2
    inner = random.normal(size=60)
    column, age = inner + 8 * site, inner + random.normal(size=60) - 8 * site
    one = associate(column[:, None], numbers("age", age), site, permutations=199)[0]
    left = [v - np.where(site, v[site == 1].mean(), v[site == 0].mean()) for v in (column, age)]
    assert one.value < -0.8
    assert one.partial == pytest.approx(np.corrcoef(*left)[0, 1])
    assert one.partial > 0.4
    assert one.partial_p_corrected == pytest.approx(1 / 200)


def test_two_categories_are_point_biserial_with_the_sign_of_the_second() -> None:
    random = np.random.default_rng(2)
    cells = ["F", "M"] * 30
    columns = random.normal(size=(60, 1)) + np.array([[0.0], [1.5]] * 30)
    covariate = Covariate.of("sex", cells)
    assert (covariate.kind, covariate.measure, covariate.classes) == ("category", "r", ("F", "M"))
    (one,) = associate(columns, covariate, ONE_SITE, permutations=99)
    wanted = stats.pointbiserialr([c == "M" for c in cells], columns[:, 0])[0]
    assert one.value == pytest.approx(wanted)
    assert one.value > 0.3
    assert np.isnan(one.spearman)


def test_several_categories_have_the_correlation_ratio() -> None:
    random = np.random.default_rng(3)
    kinds = np.arange(60) % 3
    column = random.normal(size=60) + np.array([0.0, 2.0, 0.5])[kinds]
    covariate = Covariate.of("scanner", ["abc"[k] for k in kinds])
    (one,) = associate(column[:, None], covariate, ONE_SITE, permutations=99)
    between = sum(20 * (column[kinds == k].mean() - column.mean()) ** 2 for k in range(3))
    assert covariate.measure == "eta"
    assert one.value == pytest.approx(np.sqrt(between / ((column - column.mean()) ** 2).sum()))
    assert one.p == pytest.approx(0.01)


def test_the_site_itself_has_no_figure_within_sites_and_a_still_column_none_at_all() -> None:
    site = np.arange(60) % 2
    covariate = Covariate.of("site", ["ab"[s] for s in site])
    moving, still = associate(
        np.stack([site + 0.1 * np.random.default_rng(4).normal(size=60), np.ones(60)], axis=1),
        covariate, site, permutations=99,
    )  # fmt: skip
    assert moving.value > 0.9
    assert np.isnan(moving.partial)
    assert np.isnan(moving.partial_p_corrected)
    assert (still.value, still.p) == (0, 1)
