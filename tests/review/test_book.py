"""An open review: what is taken in is shown at once, and saved once."""

import threading

import pytest

from napari_normative.errors import ReviewError
from napari_normative.review.assign import Plan
from napari_normative.review.book import Book
from napari_normative.review.create import create_reviews
from napari_normative.review.masks import encode_mask
from napari_normative.review.records import NewEvent
from reviewed import material


@pytest.fixture
def path(tmp_path):
    made = material(tmp_path, 1, spacing_mm=(8.0, 8.0, 8.0))
    return create_reviews(tmp_path / "study", ["anna"], made, Plan(order="evidence", repeats=0))[0]


def decided(candidate="c1", action="accept"):
    return NewEvent(action, 1, f"case-001-{candidate}")


def log(path):
    with Book.open(path, read_only=True) as book:
        return [e.candidate[-2:] for e in book.store.events()]


def test_what_does_not_fit_changes_neither_state_nor_file(path):
    with Book.open(path) as book:
        with pytest.raises(ReviewError, match="REV-020"):
            book.record(decided("nobody"))
        assert book.unsaved == 0 and book.reading.progress().decided == 0
    assert log(path) == []


def test_what_could_not_be_saved_is_kept_in_order_and_saved_once(path, monkeypatch):
    import numpy as np

    with Book.open(path) as book:
        append, gate = book.store.append, threading.Event()

        def full(*_):
            raise ReviewError("REV-009", "the disk is full", "Free space.")

        monkeypatch.setattr(book.store, "append", full)
        digest, data = encode_mask(np.ones(book.images["case-001"].shape, bool))
        details = {"masks": {"case-001-c2": digest}}
        edit = NewEvent("edit_mask", 1, "case-001-c2", details)
        futures = [book.record(decided()), book.record(edit, masks={digest: data})]
        for future in futures:
            assert isinstance(future.exception(10), ReviewError)
        assert book.unsaved == 2 and book.mask(digest) == data
        assert book.reading.progress().decided == 1  # the reader still sees the decision

        def slow(*given):
            gate.wait(10)
            return append(*given)

        monkeypatch.setattr(book.store, "append", slow)
        again = book.save_again()
        assert book.save_again() is None  # pressed twice
        gate.set()
        again.result(10)
        assert book.unsaved == 0 and book.save_again() is None
    assert log(path) == ["c1", "c2"]


def test_a_review_that_can_only_be_read_says_so(path):
    with Book.open(path), Book.open(path) as second, pytest.raises(ReviewError, match="REV-021"):
        second.record(decided())
