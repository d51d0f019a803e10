"""What a reader's events add up to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_normative.errors import ReviewError
from napari_normative.review.reading import Place, Reading
from napari_normative.review.records import (
    Assignment,
    Image,
    NewEvent,
    Project,
    ReviewCandidate,
)


def project(scans: int = 3, each: int = 3) -> Project:
    """Return a project of some scans; the last one has no candidate, the first is repeated."""
    eye = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
    names = [f"case-{n}" for n in range(1, scans + 1)]
    candidates = tuple(
        ReviewCandidate(
            f"{name}-c{n}", name, n, 1, 9.0 - n, 5.0, 1.0, (0, 0, 0), 0.1, f"m{name}{n}"
        )
        for name in names[:-1]
        for n in range(1, each + 1)
    )
    ids = {name: tuple(c.id for c in candidates if c.image == name) for name in names}
    passes = [*((name, False) for name in names), (names[0], True)]
    return Project(
        "p", "t", "anna", "reader", "evidence", 0, True, ("tumour", "other"), "2026",
        tuple(Image(name, f"{name}.nii", "d", (2, 2, 2), eye) for name in names), (), candidates,
        tuple(Assignment(n, name, again, ids[name]) for n, (name, again) in enumerate(passes, 1)),
    )  # fmt: skip


def did(action, candidate="", assignment=1, **details):
    return NewEvent(action, assignment, candidate, details)


def test_a_decision_is_the_last_one_made():
    reading = Reading(project(), [did("reject", "case-1-c1", seconds=2.5)])
    reading.apply(did("accept", "case-1-c1", seconds=1.5))
    read = reading.passes[1].read("case-1-c1")
    assert (read.decision, read.seconds) == ("accept", 4.0)
    assert reading.progress().decided == 1
    assert reading.progress().candidates == 9


def test_a_second_look_begins_without_the_first():
    reading = Reading(project(), [did("reject", "case-1-c1")])
    assert reading.passes[4].repeat
    assert reading.passes[4].read("case-1-c1").decision == ""
    reading.apply(did("accept", "case-1-c1", 4))
    ((first, second),) = reading.repeats()
    assert first.read("case-1-c1").decision == "reject"
    assert second.read("case-1-c1").decision == "accept"
    assert reading.first_passes()["case-1"].number == 1


def test_undo_and_redo_are_events_and_go_back_and_forth():
    reading = Reading(project())
    first, second = did("accept", "case-1-c1"), did("reject", "case-1-c1")
    reading.apply(first)
    reading.apply(second)
    undo = NewEvent("undo", reverts=second.id)
    reading.apply(undo)
    assert reading.passes[1].read("case-1-c1").decision == "accept"
    assert reading.place == Place(1, "case-1-c1")
    reading.apply(NewEvent("redo", reverts=undo.id))
    assert reading.passes[1].read("case-1-c1").decision == "reject"
    with pytest.raises(ReviewError, match="REV-020"):
        reading.apply(NewEvent("undo", reverts=first.id))
    reading.apply(NewEvent("undo", reverts=second.id))
    reading.apply(NewEvent("undo", reverts=first.id))
    assert reading.undoable is None
    reading.apply(did("flag", "case-1-c2", on=True))
    assert reading.redoable is None, "something new was done since"


def test_split_merge_add_and_edit_change_candidates_and_an_undo_takes_them_back():
    reading = Reading(project())
    reading.apply(did("split", "case-1-c1", mask="half", parts=[
        {"id": "new", "value": 4, "mask": "other half"}]))  # fmt: skip
    assert [r.candidate[-2:] for r in reading.passes[1].reads] == ["c1", "c2", "c3", "ew"]
    assert reading.passes[1].read("new").origin == "split"
    assert reading.free_value(1) == 5
    merge = did("merge", "case-1-c2", mask="both", **{"with": ["case-1-c3"]})
    reading.apply(merge)
    assert reading.passes[1].read("case-1-c3") is None
    assert reading.passes[1].read("case-1-c2").mask == "both"
    reading.apply(NewEvent("undo", reverts=merge.id))
    assert reading.passes[1].read("case-1-c3").mask == "mcase-13"
    reading.apply(did("edit_mask", "case-1-c2", masks={"case-1-c2": "x", "case-1-c3": "y"}))
    assert [reading.passes[1].read(f"case-1-c{n}").mask for n in (2, 3)] == ["x", "y"]
    assert reading.passes[1].read("case-1-c3").edited
    reading.apply(did("add", "mine", 3, mask="m", value=1))
    added = reading.passes[3].read("mine")
    assert (added.decision, added.origin, added.image) == ("accept", "added", "case-3")
    assert reading.free_value(3) == 2


def test_a_scan_without_candidates_is_done_when_the_reader_says_so():
    reading = Reading(project())
    assert not reading.passes[3].done
    reading.apply(did("submit", assignment=3))
    assert reading.passes[3].done
    assert reading.progress().done == 1


def test_next_leads_through_what_a_filter_lets_through_and_round_again():
    reading = Reading(project())
    assert list(reading.walk())[3:8] == [
        Place(2, "case-2-c1"), Place(2, "case-2-c2"), Place(2, "case-2-c3"), Place(3),
        Place(4, "case-1-c1"),
    ]  # fmt: skip
    assert reading.after(None) == Place(1, "case-1-c1")
    reading.apply(did("accept", "case-1-c1"))
    assert reading.after(None, "open") == Place(1, "case-1-c2")
    assert reading.after(Place(4, "case-1-c3"), "open") == Place(1, "case-1-c2")
    assert reading.after(Place(1, "case-1-c2"), "open", -1) == Place(4, "case-1-c3")
    assert reading.after(Place(2, "case-2-c1"), "accept") == Place(1, "case-1-c1")
    assert reading.after(Place(1, "case-1-c1"), "flagged") is None
    reading.apply(did("skip", "case-2-c1", 2))
    assert reading.after(None, "skipped") == Place(2, "case-2-c1")
    reading.apply(did("reject", "case-2-c1", 2))
    assert reading.after(None, "skipped") is None


def test_what_cannot_be_is_refused_and_changes_nothing():
    reading = Reading(project())
    for wrong in (
        did("accept", "nobody"), did("accept", "case-1-c1", 9), did("accept"),
        did("add", "case-1-c1", mask="m", value=4), NewEvent("undo", reverts="x"),
        did("accept", "case-2-c1", 1), did("diagnose", "case-1-c1"),
    ):  # fmt: skip
        with pytest.raises(ReviewError, match="REV-020"):
            reading.apply(wrong)
    assert reading.progress().decided == 0
    reading.apply(did("submit", assignment=0))
    with pytest.raises(ReviewError, match="final"):
        reading.apply(did("accept", "case-1-c1"))
    reading.apply(did("open", "case-1-c1"))


def test_scans_can_be_flagged_and_commented_as_a_whole():
    reading = Reading(project(), [did("flag", on=True), did("comment", comment="moved")])
    assert (reading.passes[1].flagged, reading.passes[1].comment) == (True, "moved")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["accept", "reject", "uncertain", "skip", "flag", "undo", "redo", "edit"]),
        st.integers(1, 2),
        st.integers(1, 3),
    ),
    max_size=30,
)


@settings(max_examples=50)
@given(STEPS)
def test_events_read_again_give_the_same_state(steps):
    reading, events = Reading(project()), []
    for action, number, at in steps:
        name = f"case-{number}-c{at}"
        if action == "undo":
            known = reading.undoable
            event = NewEvent("undo", reverts=known.id) if known else None
        elif action == "redo":
            known = reading.redoable
            event = NewEvent("redo", reverts=known.id) if known else None
        elif action == "edit":
            event = did("edit_mask", name, number, masks={name: f"mask {len(events)}"})
        else:
            event = did(action, name, number, on=True)
        if event is not None:
            reading.apply(event)
            events.append(event)
    again = Reading(project(), events)
    assert again.passes == reading.passes
    assert again.place == reading.place
    # Undone to the end, nothing is left but what cannot be undone.
    while reading.undoable:
        reading.apply(NewEvent("undo", reverts=reading.undoable.id))
    assert reading.progress().decided == 0
