"""The writer thread: in order, done when on disk, nothing stored over a gap."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from napari_normative.errors import ReviewError
from napari_normative.review.store import Store
from napari_normative.review.writer import Writer
from stored import decide, edited, project

CHILD = Path(__file__).parents[1] / "review_child.py"


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "a.review", *project()) as store:
        yield store


def full(store: Store, on: bool) -> None:
    """Let the file grow no further, or let it grow again."""
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages if on else 2**30}")


def large():
    """Return a comment that needs new pages."""
    return decide(0, "comment", details={"comment": "x" * 20_000})


def test_events_are_stored_in_the_order_of_the_calls(store):
    writer = Writer(store)
    event, masks = edited(5)
    futures = [writer.append([decide(n), decide(n + 1)]) for n in range(20)]
    futures.append(writer.append([event], masks))
    stored = [e for future in futures for e in future.result(timeout=10)]
    assert [e.number for e in stored] == list(range(1, 42))
    assert store.events() == tuple(stored)
    writer.close()


def test_a_future_is_done_only_when_the_event_is_on_disk(store):
    writer = Writer(store)
    with store._lock:
        future = writer.append([decide()])
        assert not future.done()
        assert not future.cancel()
    future.result(timeout=10)
    with Store.open(store.path) as reader:
        assert len(reader.events()) == 1
    writer.close()


def test_closing_waits_for_everything_and_closes_the_file(store):
    writer = Writer(store)
    with store._lock:
        futures = [writer.append([decide(n)]) for n in range(30)]
    writer.close()
    writer.close()
    assert all(future.done() for future in futures)
    with pytest.raises(ReviewError, match="REV-015"):
        store.events()
    with pytest.raises(ReviewError, match="REV-017"):
        writer.append([decide()])
    with Store.open(store.path) as again:
        assert not again.read_only
        assert len(again.events()) == 30


def test_after_a_failure_nothing_is_stored_that_came_before_its_report(store):
    writer = Writer(store)
    first = writer.append([decide()])
    first.result(timeout=10)
    with store._lock:
        full(store, True)
        events = [large(), decide(1), decide(2)]
        futures = [writer.append([event]) for event in events]
    codes = [future.exception(timeout=10).code for future in futures]
    assert codes == ["REV-009", "REV-016", "REV-016"]
    assert store.events() == first.result()

    with store._lock:
        full(store, False)
    again = [writer.append([event]) for event in events]
    assert [f.result(timeout=10)[0].number for f in again] == [2, 3, 4]
    assert [e.id for e in store.events()[1:]] == [e.id for e in events]
    assert store.verify() == ()
    writer.close()


def test_what_is_appended_on_hearing_of_a_failure_starts_anew(store):
    writer = Writer(store)
    event, again = large(), []
    with store._lock:
        full(store, True)
        failing = writer.append([event])
        later = writer.append([decide(1)])

        def retry(_):
            full(store, False)
            again.append(writer.append([event]))
            heard.set()

        heard = threading.Event()
        failing.add_done_callback(retry)
    assert heard.wait(10)
    assert again[0].result(timeout=10)[0].number == 1
    assert later.exception(timeout=10).code == "REV-016"
    assert [e.id for e in store.events()] == [event.id]
    writer.close()


def test_nobody_appends_between_a_failure_and_its_report(store):
    writer = Writer(store)
    known = []

    def append():
        writer.append([decide(2)])
        known.append(failing.done())

    def report(error):
        other.start()
        other.join(0.1)  # it must not get in before the report
        tell(error)

    other = threading.Thread(target=append)
    with store._lock:
        full(store, True)
        failing = writer.append([large()])
        tell, failing.set_exception = failing.set_exception, report
    assert failing.exception(timeout=10).code == "REV-009"
    other.join(10)
    assert known == [True]
    writer.close()


def test_an_event_that_cannot_be_stored_fails_alone_when_nothing_waits(store):
    writer = Writer(store)
    wrong = decide(details={"seconds": float("inf")})
    assert writer.append([wrong]).exception(timeout=10).code == "REV-010"
    assert writer.append([decide()]).result(timeout=10)[0].number == 1
    writer.close()


def test_what_was_handed_over_is_stored_when_the_program_just_ends(store):
    store.close()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(CHILD), "leave", str(store.path), "40"]
    subprocess.run(command, env=environment, check=True, timeout=60)
    with Store.open(store.path) as again:
        assert [e.details["n"] for e in again.events()] == list(range(40))
