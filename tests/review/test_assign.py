"""Who reads what in which order."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_normative.errors import ReviewError
from napari_normative.review.assign import Plan, project_for, with_repeats
from reviewed import material


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return material(tmp_path_factory.mktemp("review"), 6)


def images(project):
    return [a.image for a in project.assignments if not a.repeat]


def test_by_evidence_the_strongest_comes_first(made):
    # p is equal in all scans here, and the later ones have the larger z.
    project = project_for("anna", made, Plan(order="evidence", repeats=0))
    assert images(project) == [f"case-00{n}" for n in (6, 5, 4, 3, 2, 1)]
    assert [c.split("-")[-1] for c in project.assignments[0].candidates] == ["c1", "c2", "c3"]


def test_at_random_every_reader_has_an_order_of_their_own_that_a_seed_repeats(made):
    orders = [
        [(a.image, a.candidates) for a in project_for(name, made, Plan(seed=seed)).assignments]
        for name, seed in (("anna", 0), ("anna", 0), ("ben", 0), ("anna", 1))
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2] and orders[0] != orders[3]
    assert sorted(orders[0], key=str) != orders[0]


def test_a_list_gives_scans_and_order(made):
    plan = Plan(order="list", repeats=0)
    project = project_for("anna", made, plan, listed=["sub-03_T1w", "sub-01_T1w"])
    assert images(project) == ["case-004", "case-002"]
    for wrong in (["sub-99_T1w"], []):
        with pytest.raises(ReviewError, match="REV-035"):
            project_for("anna", made, plan, listed=wrong)


def test_files_of_all_readers_belong_together_and_names_do_not_show(made):
    first = project_for("anna", made, Plan())
    second = project_for("ben", made, Plan(), project=first.id)
    assert first.id == second.id
    assert first.reader_code != second.reader_code
    assert "anna" not in first.reader_code


@given(st.integers(3, 60), st.floats(0.01, 1.0), st.integers(0, 100))
def test_repeats_come_once_and_well_after_the_first_look(count, share, seed):
    queue = [(f"case-{n}", False) for n in range(count)]
    made = with_repeats(queue, share, np.random.default_rng(seed))
    assert [item for item in made if not item[1]] == queue
    again = [image for image, repeat in made if repeat]
    assert len(again) == min(-(-share * count // 1), count - count // 3)
    assert max(Counter(again).values()) == 1
    for image in again:
        between = made[made.index((image, False)) + 1 : made.index((image, True))]
        assert sum(not repeat for _, repeat in between) >= count // 3


def test_ten_percent_are_repeated_unless_asked_otherwise(made):
    assert sum(a.repeat for a in project_for("anna", made, Plan()).assignments) == 1
    assert sum(a.repeat for a in project_for("anna", made, Plan(repeats=0)).assignments) == 0
