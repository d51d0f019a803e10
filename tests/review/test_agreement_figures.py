"""Formulas of agreement against textbooks and against libraries that know nothing of ours."""

from __future__ import annotations

import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from napari_normative.review.agreement_figures import (
    accepted_or_not,
    alpha,
    answers_given,
    coincidences,
    confusions,
    kappa,
    mean,
    mean_kappa,
    negative,
    observed,
    pabak,
    positive,
)
from napari_normative.review.records import DECISIONS

PSYCHIATRISTS = """00060 03003 01401 00006 03030 20400 00402 20310 20040 00006
10050 11040 03300 10050 02031 00501 30012 51000 02040 10203
00006 01050 02013 20040 10041 05010 40002 02040 10500 00006"""
"""Fleiss 1971, table 1: six raters, thirty patients, five diagnoses."""

FOURTEEN = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
"""Wikipedia, Fleiss' kappa: fourteen raters, ten subjects, five categories."""

FOUR_OBSERVERS = ["123321412***", "1233224125*3", "*3332342251*", "12332441251*"]
"""Krippendorff, Computing Krippendorff's alpha-reliability, 2011, section C."""

THREE_CODERS = ["*****34121133*3", "1*213343*******", "**21344*21133*4"]
"""Wikipedia, Krippendorff's alpha."""

FEINSTEIN = (np.array([[40.0, 9], [6, 45]]), np.array([[80.0, 10], [5, 5]]))
"""Feinstein & Cicchetti 1990: equal observed agreement, far apart kappas."""


def times_of(coders: list[str]) -> np.ndarray:
    """How often each of the values 1 to 5 was given to each unit."""
    given_values = np.array([list(coder) for coder in coders])
    return np.stack([(given_values == str(v)).sum(axis=0) for v in range(1, 6)], axis=1) * 1.0


def test_fleiss_of_textbooks() -> None:
    patients = np.array([list(row) for row in PSYCHIATRISTS.split()], dtype=float)
    assert patients.sum(axis=0).tolist() == [26, 26, 30, 55, 43]
    assert kappa(coincidences(patients).sum(axis=0)) == pytest.approx(0.430, abs=5e-4)
    subjects = coincidences(np.array(FOURTEEN, dtype=float)).sum(axis=0)
    assert observed(subjects) == pytest.approx(0.378, abs=5e-4)
    assert kappa(subjects) == pytest.approx(0.210, abs=5e-4)


def test_alpha_of_textbooks() -> None:
    four = coincidences(times_of(FOUR_OBSERVERS)).sum(axis=0)
    assert np.diag(four).tolist() == pytest.approx([7, 10, 8, 4, 3])  # 40 pairable values
    assert four.sum() == pytest.approx(40)
    assert alpha(four) == pytest.approx(0.743, abs=5e-4)
    three = coincidences(times_of(THREE_CODERS)).sum(axis=0)
    assert alpha(three) == pytest.approx(0.691, abs=5e-4)


def test_two_tables_of_equal_agreement_and_unequal_kappa() -> None:
    even, skewed = FEINSTEIN
    assert (observed(even), observed(skewed)) == (0.85, 0.85)
    assert kappa(even) == pytest.approx(0.70, abs=5e-3)
    assert kappa(skewed) == pytest.approx(0.32, abs=5e-3)
    assert (pabak(even), pabak(skewed)) == (pytest.approx(0.70), pytest.approx(0.70))
    assert positive(even) == pytest.approx(80 / 95)
    assert negative(even) == pytest.approx(90 / 105)
    assert positive(skewed) == pytest.approx(160 / 175)
    assert negative(skewed) == pytest.approx(10 / 25)


def test_uncertain_is_on_the_side_that_was_asked_for() -> None:
    table = np.arange(1.0, 10).reshape(3, 3)  # accept, reject, uncertain
    assert accepted_or_not(table, "not accepted").tolist() == [[1, 5], [11, 28]]
    assert accepted_or_not(table, "accepted").tolist() == [[1 + 3 + 7 + 9, 10], [10, 5]]
    assert accepted_or_not(table, "left out").tolist() == [[1, 2], [4, 5]]


def test_no_answers_have_no_figure_and_one_answer_is_no_agreement_beyond_chance() -> None:
    nothing = np.zeros((2, 2))
    for formula in (observed, kappa, alpha, pabak, positive, negative, mean):
        assert np.isnan(formula(nothing if formula is not mean else nothing[0]))
    rejected = np.array([[0.0, 0], [0, 7]])
    assert observed(rejected) == negative(rejected) == pabak(rejected) == 1
    assert np.isnan([kappa(rejected), alpha(rejected), positive(rejected)]).all()
    assert mean_kappa(np.stack([rejected, FEINSTEIN[0]])) == kappa(FEINSTEIN[0])
    assert np.isnan(mean_kappa(np.stack([rejected, nothing])))


def test_formulas_take_axes_in_front() -> None:
    tables = np.random.default_rng(0).integers(0, 9, (4, 5, 2, 2)).astype(float)
    for formula in (observed, kappa, alpha, pabak, positive, negative):
        each = [[formula(table) for table in row] for row in tables]
        assert np.array_equal(formula(tables), np.array(each), equal_nan=True)


answers = st.sampled_from([*DECISIONS, ""])


@st.composite
def given_answers(draw: st.DrawFn) -> np.ndarray:
    """Answers of two to five readers to one to twenty units, some missing, one often rare."""
    shape = (draw(st.integers(1, 20)), draw(st.integers(2, 5)))
    return draw(hnp.arrays(object, shape, elements=answers, fill=answers))


@pytest.mark.filterwarnings("ignore::RuntimeWarning:statsmodels")  # of figures we do not use
@given(given_answers())
def test_cohen_is_that_of_statsmodels_and_scikit_learn(values: np.ndarray) -> None:
    said = answers_given(values, values.shape[1])
    table = confusions(said[:, 0], said[:, 1]).sum(axis=0)
    both = values[(values[:, :2] != "").all(axis=1)].astype(str)
    assert table.sum() == len(both)
    assume(len(np.unique(both[:, :2])) > 1)
    expected = cohen_kappa_score(both[:, 0], both[:, 1], labels=DECISIONS)
    assert kappa(table) == pytest.approx(expected, abs=1e-12)
    assert kappa(table) == pytest.approx(cohens_kappa(table).kappa, abs=1e-12)


@given(given_answers())
def test_fleiss_is_that_of_statsmodels(values: np.ndarray) -> None:
    complete = values[(values != "").all(axis=1)]
    assume(len(np.unique(complete.astype(str))) > 1)
    times = answers_given(complete, values.shape[1]).sum(axis=1)
    expected = fleiss_kappa(times, method="fleiss")
    assert kappa(coincidences(times).sum(axis=0)) == pytest.approx(expected, abs=1e-12)


@given(given_answers())
def test_alpha_is_that_of_the_library(values: np.ndarray) -> None:
    times = answers_given(values, values.shape[1]).sum(axis=1)
    pairable = times[times.sum(axis=1) > 1]
    ours = alpha(coincidences(times).sum(axis=0))
    if (pairable.sum(axis=0) > 0).sum() < 2:
        assert np.isnan(ours)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = krippendorff.alpha(value_counts=times, level_of_measurement="nominal")
    assert ours == pytest.approx(theirs, abs=1e-12)


@given(given_answers(), st.randoms(use_true_random=False))
def test_who_said_it_does_not_matter_for_coincidences(values: np.ndarray, random) -> None:
    shuffled = np.array([random.sample(list(row), len(row)) for row in values], dtype=object)
    readers = values.shape[1]
    first, second = (
        coincidences(answers_given(v, readers).sum(axis=1)).sum(axis=0) for v in (values, shuffled)
    )
    assert np.array_equal(first, second)
    assert np.allclose(first, first.T)


@given(given_answers())
def test_figures_stay_within_their_bounds(values: np.ndarray) -> None:
    said = answers_given(values, values.shape[1])
    table = confusions(said[:, 0], said[:, 1]).sum(axis=0)
    sides = accepted_or_not(table, "not accepted")
    for value, least in (
        (observed(table), 0), (kappa(table), -1), (pabak(sides), -1),
        (positive(sides), 0), (negative(sides), 0),
    ):  # fmt: skip
        assert np.isnan(value) or least <= value <= 1
    if table.sum():
        assert pabak(sides) == pytest.approx(2 * observed(sides) - 1)
