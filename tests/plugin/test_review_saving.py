""" "Saved" is said when everything is on the disk, and not before."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

from napari_normative.errors import ReviewError
from napari_normative.plugin.controllers.review_saving import Saving
from napari_normative.plugin.jobs import conclude, outcome_of
from napari_normative.plugin.state.review import ReviewState


class LaterRunner:
    """Ends a job when a test says so."""

    def __init__(self):
        self.jobs = []

    def start(self, title, work, listener):
        self.jobs.append((work, listener))

    def end(self, number):
        work, listener = self.jobs[number]
        conclude(listener, *outcome_of(work, lambda *_: None, lambda: False))


def begun():
    runner, notes, state = LaterRunner(), [], ReviewState()
    context = SimpleNamespace(runner=runner, notify=notes.append)
    saving = Saving(context, state, lambda: None)
    book = SimpleNamespace(unsaved=0, close=lambda: None, save_again=lambda: None)
    saving.begin(book)
    return saving, book, runner, state, notes


def test_one_commit_of_two_is_not_everything():
    saving, book, runner, state, _ = begun()
    first, second = Future(), Future()
    book.unsaved = 2
    saving.follow(first)
    saving.follow(second)
    first.set_result(())
    book.unsaved = 1
    runner.end(0)
    assert state.saved == "Saving…"
    second.set_result(())
    book.unsaved = 0
    runner.end(1)
    assert (state.saved, state.not_saved) == ("Saved", "")


def test_a_failure_is_told_once_and_stays_until_it_is_mended():
    saving, book, runner, state, notes = begun()
    book.unsaved = 2
    for _ in range(2):
        failed = Future()
        failed.set_exception(ReviewError("REV-009", "the disk is full", "Free space."))
        saving.follow(failed)
    runner.end(0)
    runner.end(1)
    assert state.saved == "" and state.not_saved.startswith("NOT SAVED (2 events wait)")
    assert len(notes) == 1
    saved = Future()
    saved.set_result(())
    book.unsaved, book.save_again = 0, lambda: saved
    saving.again()
    runner.end(2)
    assert (state.saved, state.not_saved) == ("Saved", "")


def test_closing_says_what_did_not_get_to_the_disk():
    saving, book, runner, state, notes = begun()
    book.unsaved = 3
    saving.end()
    assert "3 events could not be saved" in notes[0]
    late = Future()
    late.set_result(())
    saving.follow(late)  # of a review that is closed
    assert runner.jobs == [] and state.saved == ""
