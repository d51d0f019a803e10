"""Several readers of one project side by side, and what an adjudicator decides."""

import shutil

import numpy as np
import pytest

from napari_normative.errors import ReviewError
from napari_normative.review.assign import Plan
from napari_normative.review.book import Book
from napari_normative.review.combine import adjudication, combine, own_repeats
from napari_normative.review.create import add_readers, create_reviews
from napari_normative.review.masks import decode_mask
from napari_normative.review.records import NewEvent
from napari_normative.review.results import results
from napari_normative.review.store import Store
from reviewed import add_ball, decide_all, material

ADDED = (0.0, 60.0, -20.0)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    create_reviews(root / "study", ["anna", "ben"], material(root, 4), Plan())
    return root


@pytest.fixture
def files(study, tmp_path):
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    return [tmp_path / "study" / f"{name}.review" for name in ("anna", "ben")]


def opened(files):
    return [Book.open(path, read_only=True) for path in files]


def combined(files):
    books = opened(files)
    made = combine(books)
    made.masks  # noqa: B018 - read before the books close
    return made, books


def test_reads_lie_side_by_side_whatever_their_order(files):
    decide_all(files[0], lambda c, again: "accept" if c.endswith("c1") else "reject")
    decide_all(files[1], lambda c, again: "reject" if c.endswith("c3") else "accept")
    made, _ = combined(files)
    said = {unit.candidate.id: unit.answers for unit in made.units}
    assert said["case-001-c1"] == ("accept", "accept")
    assert said["case-002-c2"] == ("reject", "accept")
    assert said["case-004-c3"] == ("reject", "reject")
    ratings = made.ratings()
    assert ratings.readers == tuple(b.project.reader_code for b in made.books)
    assert len(ratings.units) == 12
    # c1 and c2 are balls of one size: one of two found.
    (dice,) = made.dice().values()
    assert dice["case-001"] == pytest.approx(2 / 3, abs=0.05)


def test_what_both_added_is_one_thing_and_who_left_it_out_rejected_it(files):
    for path in files:
        decide_all(path, lambda c, again: "reject")
    add_ball(files[0], "case-001", ADDED)
    add_ball(files[1], "case-001", np.add(ADDED, (3, 0, 0)))
    add_ball(files[1], "case-002", ADDED)
    made, _ = combined(files)
    added = [unit for unit in made.units if "added" in unit.candidate.id]
    assert [(u.candidate.image, u.answers) for u in added] == [
        ("case-001", ("accept", "accept")),
        ("case-002", ("reject", "accept")),
    ]
    both = decode_mask(made.masks[added[0].candidate.mask])
    assert both.sum() > decode_mask(made.masks[added[1].candidate.mask]).sum()
    np.testing.assert_allclose(added[0].candidate.centroid_mm, np.add(ADDED, (1.5, 0, 0)), atol=2)


def test_a_merged_candidate_has_the_decision_of_what_took_it(files):
    with Book.open(files[0]) as book:
        at = book.reading.first_passes()["case-001"]
        mask = at.read("case-001-c2").mask
        details = {"mask": mask, "with": ["case-001-c1"]}
        book.record(NewEvent("merge", at.number, "case-001-c2", details)).result()
        book.record(NewEvent("accept", at.number, "case-001-c2")).result()
    made, _ = combined(files)
    said = {unit.candidate.id: unit.answers for unit in made.units}
    assert said["case-001-c1"] == said["case-001-c2"] == ("accept", "")


def test_only_reviews_of_one_project_by_different_readers_combine(files, tmp_path):
    with pytest.raises(ReviewError, match="one review only"):
        combine(opened(files[:1]))
    with pytest.raises(ReviewError, match="same reader"):
        combine(opened([files[0], files[0]]))
    (other,) = create_reviews(tmp_path / "other", ["carla"], material(tmp_path / "x", 3), Plan())
    with pytest.raises(ReviewError, match="different projects"):
        combine(opened([files[0], other]))


def test_an_adjudicator_decides_what_is_disputed_and_agreement_stands(files, tmp_path):
    decide_all(files[0], lambda c, again: "accept" if c.endswith("c1") else "reject")
    decide_all(
        files[1],
        lambda c, again: "uncertain" if c == "case-002-c2" else "accept" if "c1" in c else "reject",
    )
    made, books = combined(files)
    project, masks = adjudication(made, "carla")
    assert [(a.image, a.candidates) for a in project.assignments] == [
        ("case-002", ("case-002-c2",))
    ]
    assert project.role == "adjudicator" and len(project.reads) == 24
    path = tmp_path / "study" / "adjudication.review"
    Store.create(path, project, masks).close()
    with Book.open(path) as book:
        before = results(book)
        assert set(before) == {"case-001", "case-003", "case-004"}  # case-002 waits
        book.record(NewEvent("accept", 1, "case-002-c2")).result()
        after = results(book)
    found = {r.candidate: (r.decision, r.by) for of in after.values() for r in of}
    assert found["case-002-c2"] == ("accept", "adjudicator")
    assert found["case-002-c1"] == ("accept", "readers")
    assert found["case-001-c3"] == ("reject", "readers")
    assert len(found) == 12
    for book in books:
        book.close()


def test_readers_who_agree_need_no_adjudicator(files):
    for path in files:
        decide_all(path, lambda c, again: "reject")
    made, _ = combined(files)
    with pytest.raises(ReviewError, match="REV-041"):
        adjudication(made, "carla")


def test_a_readers_own_second_look_is_compared(files):
    with Book.open(files[0], read_only=True) as book, pytest.raises(ReviewError, match="REV-042"):
        own_repeats(book)
    decide_all(files[0], lambda c, again: "accept" if again or c.endswith("c1") else "reject")
    with Book.open(files[0], read_only=True) as book:
        ratings, dice = own_repeats(book)
    assert ratings.readers == ("first look", "second look")
    assert sorted(ratings.values) == [
        ("accept", "accept"), ("reject", "accept"), ("reject", "accept"),
    ]  # fmt: skip
    (of_images,) = dice.values()
    assert list(of_images.values()) == [pytest.approx(0.5, abs=0.1)]


def test_further_readers_get_the_same_candidates(files):
    (path,) = add_readers(files[0].parent, ["Carla D."])
    assert path.name == "Carla-D.review"
    with Book.open(path, read_only=True) as new, Book.open(files[0], read_only=True) as old:
        assert new.project.candidates == old.project.candidates
        assert new.project.id == old.project.id
        assert len(new.project.assignments) == len(old.project.assignments)
        mask = new.project.candidates[0].mask
        assert new.mask(mask) == old.mask(mask)
    with pytest.raises(ReviewError, match="REV-036"):
        add_readers(files[0].parent, ["ANNA"])
    with pytest.raises(ReviewError, match="REV-038"):
        add_readers(files[0].parent.parent, ["x"])
