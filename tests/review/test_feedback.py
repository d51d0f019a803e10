"""What a reader decided puts the rest in order, and says honestly whether that helps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from napari_normative.core.metrics import Interval
from napari_normative.review.effect import Effect, _folds, _Levels, _read
from napari_normative.review.feedback import FEATURES, Known, compactness, features_of, rerank
from napari_normative.review.records import ReviewCandidate


def project(images=30, each=12, *, evidence=0.0, hidden=0.0, open_share=0.25, seed=0):
    """A simulated review: acceptance depends on evidence and on another feature, as told."""
    random = np.random.default_rng(seed)
    known, chances = [], {}
    for image in range(images):
        for number in range(each):
            features = random.standard_normal(len(FEATURES))
            chance = 1 / (1 + np.exp(0.7 - evidence * features[0] - hidden * features[7]))
            decision = "accept" if random.random() < chance else "reject"
            if random.random() < open_share:
                decision = ""
            one = Known(f"{image:03d}-{number}", f"case-{image:03d}", tuple(features), decision)
            known.append(one)
            chances[one.id] = chance
    return known, chances


def test_what_evidence_does_not_know_is_learnt_and_said_to_help():
    known, chances = project(evidence=0.5, hidden=2.0)
    made = rerank(known)
    assert not made.blocked
    assert made.effect.auroc.value > 0.8
    assert made.effect.auroc_evidence.value < 0.7
    assert made.effect.better
    assert made.effect.gain.low > 0.1
    assert made.effect.brier.value < made.effect.brier_evidence.value
    assert made.effect.read < made.effect.read_evidence
    assert "is better than the order by evidence" in made.effect.line
    undecided = [one for one in known if not one.decision]
    assert set(made.probabilities) == {one.id for one in undecided} == set(made.order)
    found = [made.probabilities[one] for one in made.order]
    assert found == sorted(found, reverse=True)
    truth = [chances[one] for one in made.order]
    assert np.corrcoef(found, truth)[0, 1] > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_decisions_by_chance_are_not_said_to_help(seed):
    effect = rerank(project(seed=seed)[0]).effect
    assert not effect.better
    assert effect.auroc.low < 0.5 + 1e-9
    assert "not shown to be better" in effect.line or "is worse" in effect.line


@pytest.mark.parametrize("seed", range(4))
def test_where_evidence_is_all_there_is_nothing_is_gained(seed):
    effect = rerank(project(evidence=2.0, seed=seed)[0]).effect
    assert effect.auroc_evidence.value > 0.8
    assert not effect.better
    assert abs(effect.gain.value) < 0.03


def test_probabilities_are_calibrated():
    known, chances = project(240, 20, evidence=0.8, hidden=1.2, open_share=0.5)
    made = rerank(known)
    for probability, share, number in made.effect.reliability:
        assert abs(probability - share) < 0.05
        assert number > 400
    found = np.array([made.probabilities[one] for one in made.order])
    truth = np.array([chances[one] for one in made.order])
    for part in np.array_split(np.arange(len(found)), 5):
        assert abs(found[part].mean() - truth[part].mean()) < 0.05


def test_the_order_in_which_candidates_come_does_not_matter():
    known, _ = project(12, 8, hidden=1.0)
    assert rerank(known[::-1], seed=3) == rerank(known, seed=3)


def test_no_scan_is_judged_by_what_was_learnt_from_it():
    # What tells the candidates of a scan apart is a mark of that scan alone: by scan nothing
    # can be learnt, by candidate everything could.
    random = np.random.default_rng(0)
    known = []
    for image in range(40):
        kind = "accept" if image % 2 else "reject"
        mark = random.standard_normal(len(FEATURES))
        known += [Known(f"{image}-{n}", f"{image}", tuple(mark), kind) for n in range(20)]
    assert rerank(known).effect.auroc.value < 0.75


def test_folds_keep_scans_whole_and_have_both_kinds():
    random = np.random.default_rng(1)
    for _ in range(50):
        images = random.integers(0, 12, 60).astype(str)
        y = random.random(60) < random.uniform(0.1, 0.9)
        folds = _folds(y, images, 0)
        assert np.array_equal(np.sum(folds, axis=0), np.ones(60))
        assert all(not set(images[out]) & set(images[~out]) for out in folds)
        if len(set(images[y])) >= 5 and len(set(images[~y])) >= 5:
            assert all(y[out].any() and (~y[out]).any() for out in folds)
            assert all(y[~out].any() and (~y[~out]).any() for out in folds)


def decided(accepted, rejected, images):
    kinds = ["accept"] * accepted + ["reject"] * rejected
    return [
        Known(f"{n}", f"case-{n % images}", (float(n),) * len(FEATURES), kind)
        for n, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ([], "0 candidates were accepted so far; at least 10"),
        (decided(9, 40, 8), "9 candidates were accepted so far; at least 10"),
        (decided(40, 0, 8), "0 candidates were rejected so far; at least 10"),
        (decided(20, 20, 4), "candidates were accepted in 4 scans so far; at least 5"),
    ],
)
def test_too_little_to_learn_from_leaves_the_order_by_evidence(known, why):
    left = [
        Known(name, "case-0", (evidence, *[0.0] * (len(FEATURES) - 1)), "uncertain")
        for name, evidence in (("a", 1.0), ("b", 3.0), ("c", float("nan")), ("d", 2.0))
    ]
    made = rerank([*known, *left])
    assert why in made.blocked
    assert made.order == ("b", "d", "a", "c")
    assert made.probabilities == {}
    assert made.effect is None


def test_just_enough_is_enough_and_nothing_left_is_nothing_to_order():
    made = rerank(decided(10, 10, 5))
    assert made.blocked == ""
    assert made.order == ()
    assert made.effect.images == 5
    assert made.effect.candidates == 20


def test_an_unknown_p_is_no_obstacle():
    known, _ = project(hidden=2.0)
    p = FEATURES.index("p")
    without = [
        dataclasses.replace(one, features=(*one.features[:p], np.nan, *one.features[p + 1 :]))
        for one in known
    ]
    made = rerank(without)
    assert made.effect.auroc.value > 0.8
    assert all(0 < value < 1 for value in made.probabilities.values())
    mixed = [a if n % 2 else b for n, (a, b) in enumerate(zip(known, without, strict=True))]
    assert rerank(mixed).effect.auroc.value > 0.8


def test_a_candidate_without_its_features_is_refused():
    known = decided(10, 10, 5)
    known = [dataclasses.replace(one, features=one.features[:4]) for one in known]
    with pytest.raises(ValueError, match="11 features"):
        rerank(known)


def test_a_classifier_that_its_own_check_contradicts_says_the_share_accepted():
    known, _ = project(8, 10, seed=2)
    made = rerank(known)
    decisions = [one.decision for one in known if one.decision]
    share = decisions.count("accept") / len(decisions)
    assert made.probabilities
    assert set(np.round(list(made.probabilities.values()), 6)) == {round(share, 6)}
    by_evidence = sorted(
        (one for one in known if not one.decision), key=lambda one: -one.features[0]
    )
    assert made.order == tuple(one.id for one in by_evidence)


def test_pairs_are_counted_as_scikit_learn_does_with_one_fold():
    random = np.random.default_rng(0)
    y = random.random(200) < 0.4
    score = np.round(random.standard_normal(200) + y, 1)
    weight = random.integers(0, 4, 200).astype(float)
    levels = _Levels.of(score, np.zeros(200, dtype=int))
    assert levels.auroc(y, weight) == pytest.approx(roc_auc_score(y, score, sample_weight=weight))


def test_pairs_of_two_folds_are_not_compared():
    y = np.array([True, False, True, False])
    score = np.array([0.2, 0.1, 0.9, 0.8])
    assert _Levels.of(score, np.array([0, 0, 1, 1])).auroc(y, np.ones(4)) == 1
    assert _Levels.of(score, np.zeros(4, dtype=int)).auroc(y, np.ones(4)) == 0.75
    assert np.isnan(_Levels.of(score, np.array([0, 1, 0, 1])).auroc(y, np.ones(4)))


def test_the_share_to_read_counts_from_the_highest_score():
    y = np.array([True] * 9 + [False] * 10 + [True])
    assert _read(y, -np.arange(20.0)) == 9 / 20
    assert _read(y, np.arange(20.0)) == 19 / 20


def test_a_difference_below_zero_is_said_to_be_worse():
    one = Interval(0.6, 0.5, 0.7)
    gain = Interval(-0.1, -0.15, -0.05)
    effect = Effect(12, 80, one, Interval(0.7, 0.6, 0.8), gain, one, one, (), 0.8, 0.7)
    assert effect.line == (
        "On scans it did not learn from, the order learnt from 80 decisions in 12 scans is worse "
        "than the order by evidence: AUROC 0.60 against 0.70, difference -0.10 [-0.15, -0.05]; "
        "90% of what was accepted is seen after 80% of the candidates, by evidence after 70%."
    )


def candidate(name="a", **more):
    given = {
        "id": name, "image": "case-001", "value": 1, "sign": -1, "peak_z": -6.0, "mean_z": -4.5,
        "volume_ml": 2.0, "centroid_mm": (-30.0, 10.0, 5.0), "p": 0.1, "mask": "",
    }  # fmt: skip
    return ReviewCandidate(**{**given, **more})


def test_features_are_those_of_the_candidate():
    cube = np.ones((5, 5, 5), dtype=bool)
    one, other = candidate(), candidate("b", mean_z=3.5, volume_ml=18.0)
    got = dict(
        zip(
            FEATURES,
            features_of(
                one, cube, (2, 2, 2), middle_mm=(2.0, -10.0, 5.0), siblings=(one, other),
                threshold_z=3.0,
            ),
            strict=True,
        )
    )  # fmt: skip
    assert got == pytest.approx(
        {
            "log evidence": np.log(3.0), "peak |z|": 6.0, "mean |z|": 4.5, "log ml": np.log(2.0),
            "sign": -1.0, "p": 0.1, "mm from the midline": 32.0, "mm anterior": 20.0,
            "mm superior": 0.0, "compactness": (np.pi / 6) ** (1 / 3), "share of the scan": 0.25,
        },
        abs=1e-3,
    )  # fmt: skip


def test_features_of_a_candidate_without_z_and_p_are_finite_but_for_p():
    one = candidate(sign=0, peak_z=0.0, mean_z=0.0, p=None)
    got = features_of(
        one,
        np.ones((2, 2, 2), dtype=bool),
        (1, 1, 1),
        middle_mm=(0, 0, 0),
        siblings=(one,),
        threshold_z=3.0,
    )
    assert [name for name, value in zip(FEATURES, got, strict=True) if np.isnan(value)] == ["p"]


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 1, 2)])
def test_a_ball_is_more_compact_than_a_rod_or_dust(spacing):
    i, j, k = np.ix_(*(((np.arange(60) - 29.5) * x) ** 2 for x in spacing))
    ball = i + j + k <= 13**2
    assert compactness(ball, spacing) == pytest.approx(0.66, abs=0.03)
    rod = np.zeros((60, 3, 3), dtype=bool)
    rod[:, 1, 1] = True
    dust = np.indices((8, 8, 8)).sum(axis=0) % 2 == 0
    assert compactness(rod, spacing) < 0.45
    assert compactness(dust, spacing) < 0.3
    assert np.isnan(compactness(np.zeros((3, 3, 3), dtype=bool), spacing))
