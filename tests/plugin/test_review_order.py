"""Likely findings first: off unless asked for, and it says what it is worth."""

import shutil

import pytest

from desks import desk_for
from napari_normative.review.assign import Plan
from napari_normative.review.book import Book
from napari_normative.review.create import create_reviews
from napari_normative.review.ranking import rank
from reviewed import decide_all, material


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Twelve scans with four candidates; the reader accepts what is brighter, in eight of them."""
    root = tmp_path_factory.mktemp("study")
    made = material(root, 12, candidates=4, spacing_mm=(6.0, 6.0, 6.0))
    (path,) = create_reviews(root / "study", ["anna"], made, Plan(order="evidence", repeats=0))
    read = {f"case-{n:03d}" for n in range(5, 13)}

    def decide(candidate, again):
        brighter = candidate.endswith(("c1", "c3"))
        return ("accept" if brighter else "reject") if candidate[:8] in read else ""

    decide_all(path, decide)
    return root


@pytest.fixture
def path(study, tmp_path):
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    return tmp_path / "study" / "anna.review"


def test_what_is_like_the_accepted_comes_first(path):
    with Book.open(path, read_only=True) as book:
        made = rank(book)
        again = rank(book)
    assert not made.blocked and made.order == again.order
    assert len(made.order) == 16  # four scans are left
    assert {name[-2:] for name in made.order[:8]} == {"c1", "c3"}
    assert made.probabilities[made.order[0]] > 0.7 > 0.3 > made.probabilities[made.order[-1]]
    assert made.effect is not None and made.effect.line


def test_too_few_decisions_leave_the_order_as_it_is(tmp_path, path):
    shutil.rmtree(path.parent)
    (fresh,) = create_reviews(
        tmp_path / "fresh", ["ben"], material(tmp_path / "m", 2, spacing_mm=(6.0, 6.0, 6.0)), Plan()
    )
    made = desk_for(tmp_path)
    made.review.open(str(fresh))
    made.state.ranked = True
    assert made.state.rank_line.startswith("The queue's order holds")
    made.review.close()
    assert not made.state.ranked and made.state.rank_line == ""


def test_in_the_window_the_likely_ones_are_shown_first_when_it_is_switched_on(path, tmp_path):
    made = desk_for(tmp_path)
    made.review.open(str(path))
    assert not made.state.ranked
    made.requests.step_case.emit(1)
    while made.review.book.reading.passes[made.review.desk.number].done:
        made.requests.step_case.emit(1)
    first = made.state.selected
    made.requests.decide.emit("accept")
    assert (first[-2:], made.state.selected[-2:]) == ("c1", "c2")
    made.requests.undo.emit()
    made.state.ranked = True
    assert made.state.rank_line
    made.requests.decide.emit("accept")
    assert made.state.selected[-2:] == "c3"  # brighter, as those that were accepted
    made.requests.decide.emit("accept")
    assert made.state.selected[-2:] in {"c2", "c4"}
    made.review.close()
