"""The review file: what goes in comes back, is only added to, and says when it was changed."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import sqlite3
import threading
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_normative.errors import ReviewError
from napari_normative.review.lease import Lease
from napari_normative.review.records import ACTIONS, NewEvent, Project, link, project_digest
from napari_normative.review.schema import APPLICATION_ID, VERSION
from napari_normative.review.store import Store
from stored import attack, blob, decide, edited, project

V1 = Path(__file__).parent / "data" / "v1.sql"
V1_DIGEST = "6d387c476ceb224e78752031c1e3e72a604af85e602708dd45dcbb1f58f21ef2"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Bytes of a review with ten decisions and an edit."""
    path = tmp_path_factory.mktemp("written") / "a.review"
    with Store.create(path, *project()) as store:
        for n in range(10):
            store.append([decide(n, details={"seconds": n / 10})])
        event, masks = edited(7)
        store.append([event], masks)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path, written):
    """A review with ten decisions and an edit."""
    path = tmp_path / "a.review"
    path.write_bytes(written)
    return path


@pytest.fixture
def v1(tmp_path):
    """A file as version 1 made it."""
    path = tmp_path / "old.review"
    with sqlite3.connect(path) as connection:
        connection.executescript(V1.read_text(encoding="utf-8"))
    connection.close()
    return path


# What goes in comes back


def test_facts_come_back_exactly(tmp_path):
    made, masks = project()
    with Store.create(tmp_path / "new" / "a.review", made, masks) as store:
        assert store.project == made
        assert not store.read_only
        assert (store.holder, store.notes, store.events()) == ("", (), ())
    with Store.open(tmp_path / "new" / "a.review") as store:
        assert store.project == made
        assert store.project.images[0].affine[2][3] == 5e-324
        assert isinstance(store.project.assignments[0].repeat, bool)
        assert {digest: store.mask(digest) for digest in masks} == masks
        assert store.verify() == ()


def test_events_come_back_in_order_and_follow_each_other(path):
    with Store.open(path) as store:
        events = store.events()
        assert [e.number for e in events] == list(range(1, 12))
        assert events[0].previous == project_digest(store.project)
        assert all(b.previous == a.digest for a, b in itertools.pairwise(events))
        assert {e.reader for e in events} == {store.project.reader_code}
        assert events[3].details == {"seconds": 0.3}
        assert store.mask(events[-1].details["mask"]) == blob(7)[1]


def test_the_chain_can_be_followed_without_this_program(path):
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        previous = connection.execute("SELECT digest FROM meta").fetchone()["digest"]
        for row in connection.execute("SELECT * FROM event ORDER BY number"):
            facts = dict(row)
            digest = facts.pop("digest")
            facts["details"] = json.loads(facts["details"])
            assert facts["previous"] == previous
            text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
            assert hashlib.sha256(text.encode()).hexdigest() == digest
            previous = digest
    connection.close()


def test_the_digest_of_the_facts_can_be_made_without_this_program(path):
    lists = {"labels", "shape", "affine", "centroid_mm", "candidates"}
    flags = {"blind", "repeat"}
    defaults = {
        "image": {"folder": ""} | dict.fromkeys(("volume", "score", "score_p", "foreground_ml")),
        "read": {"label": "", "comment": "", "mask": ""},
    }  # fmt: skip

    def whole(value):
        if isinstance(value, list):
            return [whole(item) for item in value]
        return int(value) if isinstance(value, float) and value == int(value) else value

    def rows(table):
        for row in connection.execute(f"SELECT * FROM {table}"):
            facts = {k: row[k] for k in row.keys() if k != "place"}  # noqa: SIM118
            facts = {k: v for k, v in facts.items() if defaults.get(table, {}).get(k, ...) != v}
            for name in lists & facts.keys():
                facts[name] = json.loads(facts[name])
            yield {k: bool(v) if k in flags else whole(v) for k, v in facts.items()}

    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    facts = next(rows("meta")) | next(rows("reader"))
    digest = facts.pop("digest")
    for table in ("image", "run", "candidate", "assignment", "read"):
        facts[f"{table}s"] = list(rows(table))
    connection.close()
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_people_with_sqlite_find_columns(path):
    with sqlite3.connect(path) as connection:
        query = "SELECT c.peak_z FROM candidate c JOIN image i ON i.id = c.image WHERE i.volume = 2"
        assert [z for (z,) in connection.execute(query)] == [3.1, 6.2, 3.1 * 3]
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        query = "SELECT count(*) FROM event WHERE action = 'accept' AND candidate = 'case-001/1'"
        assert connection.execute(query).fetchone() == (2,)
    connection.close()


def test_every_commit_reaches_the_disk_before_append_returns(path):
    with Store.open(path) as store:
        settings = ("synchronous", "foreign_keys", "trusted_schema", "cell_size_check")
        values = [store._connection.execute(f"PRAGMA {s}").fetchone()[0] for s in settings]
        assert values == [3, 1, 0, 1]  # 3: EXTRA
        store.append([decide()])
        assert not path.with_name("a.review-journal").exists()


words = st.text(max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(words.filter(lambda key: key not in {"mask", "masks"}), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
new_events = st.builds(
    NewEvent,
    action=st.sampled_from(ACTIONS),
    assignment=st.integers(0, 2**63 - 1),
    candidate=words,
    details=st.dictionaries(
        st.text(max_size=8).filter(lambda key: key not in {"mask", "masks"}), plain, max_size=3
    ),
    reverts=words,
)


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory):
    with Store.create(tmp_path_factory.mktemp("any") / "a.review", *project()) as store:
        yield store


@given(st.lists(new_events, max_size=4))
def test_any_event_comes_back_equal(long_lived, events):
    before = len(long_lived.events())
    stored = long_lived.append(events)
    back = long_lived.events()[before:]
    assert back == stored
    fields = [f.name for f in dataclasses.fields(NewEvent)]
    for event, new in zip(back, events, strict=True):
        assert [getattr(event, f) for f in fields] == [getattr(new, f) for f in fields]
    assert long_lived.verify() == ()


def test_equal_projects_have_equal_digests():
    made, _ = project()
    whole = dataclasses.replace(made.images[0], foreground_ml=2, affine=((1.0, -0.0),))
    other = dataclasses.replace(whole, foreground_ml=2.0, affine=((1, 0),))
    assert whole == other
    first = dataclasses.replace(made, images=(whole,))
    assert project_digest(first) == project_digest(dataclasses.replace(made, images=(other,)))
    for field in dataclasses.fields(Project):
        if field.name != "reads":
            changed = dataclasses.replace(made, **{field.name: "other"})
            assert project_digest(changed) != project_digest(made)
    assert project_digest(dataclasses.replace(made, reads=())) != project_digest(made)


# What is refused


def refused(code):
    return pytest.raises(ReviewError, match=rf"\[{code}\]")


def test_nothing_takes_the_place_of_a_file(path):
    before = path.read_bytes()
    with refused("REV-014"):
        Store.create(path, *project())
    assert path.read_bytes() == before


def test_a_new_file_needs_all_masks_and_true_ones(tmp_path):
    made, masks = project()
    first, second, *_ = masks
    for wrong, code in (
        ({k: v for k, v in masks.items() if k != first}, "REV-011"),
        (masks | {first: masks[second]}, "REV-004"),
        (masks | {first: b"NNM1"}, "REV-004"),
    ):
        with refused(code):
            Store.create(tmp_path / "a.review", made, wrong)
    assert not list(tmp_path.glob("*.review"))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2**63},
        {"title": "\ud800"},
        {"labels": ["a", "list"]},
        {"seed": "7"},
        {"role": "spectator"},
        {"candidates": lambda p: (*p.candidates, p.candidates[0])},
        {"candidates": lambda p: (dataclasses.replace(p.candidates[0], image="case-009"),)},
        {"candidates": lambda p: (dataclasses.replace(p.candidates[0], peak_z=float("nan")),)},
    ],
    ids=["large", "surrogate", "list", "text", "role", "twice", "no image", "nan"],
)
def test_facts_that_would_not_come_back_make_no_file(tmp_path, changes):
    made, masks = project()
    changes = {k: v(made) if callable(v) else v for k, v in changes.items()}
    with refused("REV-010"):
        Store.create(tmp_path / "a.review", dataclasses.replace(made, **changes), masks)
    assert [p.name for p in tmp_path.iterdir()] == [".a.review.lock"]


@pytest.mark.parametrize(
    "event",
    [
        decide(details={"seconds": float("nan")}),
        decide(details={"when": object()}),
        decide(details={1: "a", "b": 2}),
        decide(details={"on": MappingProxyType({})}),
        dataclasses.replace(decide(), assignment=True),
        dataclasses.replace(decide(), assignment=1.0),
        dataclasses.replace(decide(), assignment=2**63),
        dataclasses.replace(decide(), candidate=5),
        dataclasses.replace(decide(), candidate="\udcff"),
        dataclasses.replace(decide(), id=None),
    ],
    ids=["nan", "object", "keys", "proxy", "bool", "float", "large", "number", "surrogate", "none"],
)
def test_events_that_would_not_come_back_are_refused_and_the_store_goes_on(path, event):
    with Store.open(path) as store:
        before = store.events()
        with refused("REV-010"):
            store.append([decide(), event])
        assert store.events() == before
        assert [e.number for e in store.append([decide()])] == [12]
        assert store.verify() == ()


def test_an_event_is_stored_once(path):
    event = decide()
    with Store.open(path) as store:
        store.append([event])
        with refused("REV-010"):
            store.append([event])
        with refused("REV-010"):
            store.append([store.events()[0]])


@pytest.mark.parametrize(
    "details",
    [
        {"mask": "ab" * 32},
        {"parts": [{"id": "x", "mask": "ab" * 32}]},
        {"masks": {"case-001/1": "ab" * 32}},
    ],
    ids=["mask", "parts", "masks"],
)
def test_an_event_whose_mask_is_missing_is_refused(path, details):
    with Store.open(path) as store:
        with refused("REV-011"):
            store.append([decide(0, "edit_mask", details=details)])
        assert len(store.events()) == 11
        store.append([decide(0, "edit_mask", details={"mask": "", "masks": {}})])


def test_a_mask_is_kept_once_and_only_a_true_one(path):
    digest, data = blob(40)
    details = {"parts": [{"mask": digest}], "masks": {"a": digest}}
    with Store.open(path) as store:
        with refused("REV-004"):
            store.append([decide()], {digest: blob(41)[1]})
        with refused("REV-011"):
            store.mask(digest)
        store.append([decide(details=details)], {digest: data})
        store.append([decide(details=details)], {digest: data})
        store.append([decide(details=details)])
        assert store.mask(digest) == data
        assert store.verify() == ()


def test_a_closed_store_says_so(path):
    store = Store.open(path)
    store.close()
    store.close()
    for use in (lambda: store.append([decide()]), store.events, store.verify):
        with refused("REV-015"):
            use()


def test_threads_may_share_a_store(path):
    with Store.open(path) as store:
        threads = [
            threading.Thread(target=lambda: [store.append([decide(n)]) for n in range(20)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [e.number for e in store.events()] == list(range(1, 92))
        assert store.verify() == ()


def test_a_store_may_be_closed_in_another_thread_than_it_was_opened_in(path):
    stores = []
    thread = threading.Thread(target=lambda: stores.append(Store.open(path)))
    thread.start()
    thread.join()
    stores[0].append([decide()])
    stores[0].close()
    with Store.open(path) as again:
        assert not again.read_only


# What is no review


def test_a_missing_file_a_folder_and_other_files_are_named(tmp_path, path):
    with refused("REV-001"):
        Store.open(tmp_path / "none.review")
    with refused("REV-001"):
        Store.open(tmp_path)
    for name, content in (("empty", b""), ("text", b"accept everything\n" * 100)):
        (tmp_path / name).write_bytes(content)
        with refused("REV-002"):
            Store.open(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE event (number INTEGER)")
    connection.close()
    with refused("REV-002"):
        Store.open(tmp_path / "other.sqlite")


def test_a_file_of_a_later_version_is_left_alone(path):
    attack(path, "PRAGMA user_version = 3")
    before = path.read_bytes()
    with refused("REV-003"):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_file_without_a_version_or_a_table_is_damaged(path):
    attack(path, "PRAGMA user_version = 0")
    with refused("REV-005"):
        Store.open(path)
    attack(path, f"PRAGMA user_version = {VERSION}", "DROP TABLE read", guards=False)
    with refused("REV-005"):
        Store.open(path)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER quiet AFTER INSERT ON event BEGIN DELETE FROM sqlite_sequence; END",
        "CREATE VIEW later AS SELECT * FROM event",
        "CREATE TABLE notes (text)",
        "CREATE INDEX fast ON event (candidate)",
        "ALTER TABLE event ADD COLUMN who TEXT",
        "CREATE TRIGGER event_delete BEFORE DELETE ON event BEGIN SELECT 1; END",
    ],
    ids=["trigger", "view", "table", "index", "column", "guard"],
)
def test_what_no_review_holds_is_refused_and_not_run(path, statement):
    attack(path, statement, guards=False)
    with refused("REV-006"):
        Store.open(path)
    with refused("REV-006"):
        Store.open(path, read_only=True)


def test_errors_name_the_file_and_no_folder_and_no_person(path):
    with Store.open(path) as store:
        errors = []
        for wrong in (
            lambda: store.append([dataclasses.replace(decide(), id=None)]),
            lambda: store.mask("ab"),
            lambda: Store.create(path, *project()),
            lambda: Store.open(path.parent / "none.review"),
            lambda: Store.open(path).append([decide()]),
        ):
            with pytest.raises(ReviewError) as caught:
                wrong()
            errors.append(str(caught.value))
        assert all(".review: " in text for text in errors)
        hidden = (str(path.parent), path.parent.name, store.project.reader, "O'Brien")
        beside = [p.read_text() for p in path.parent.iterdir() if p != path]
        assert not [word for word in hidden for text in errors + beside if word in text]


# Who may write


def test_a_second_opener_reads_what_the_first_writes(path):
    with Store.open(path) as first:
        with Store.open(path) as second:
            assert second.read_only
            assert second.holder.startswith("pid ")
            assert first.holder == ""
            first.append([decide()])
            assert second.events() == first.events()
            with refused("REV-021") as caught:
                second.append([decide()])
            assert second.holder in str(caught.value)
            with pytest.raises(sqlite3.OperationalError):
                second._connection.execute("DELETE FROM event")
        assert Store.open(path).read_only  # closing a reader frees nothing
    with Store.open(path) as third:
        assert not third.read_only
        third.append([decide()])
        assert third.verify() == ()


def test_reading_on_purpose_leaves_the_right_to_write_to_others(path):
    with Store.open(path, read_only=True) as reader:
        assert reader.read_only
        assert (reader.holder, reader.notes) == ("", ())
        with refused("REV-021"):
            reader.append([decide()])
        with Store.open(path) as writer:
            writer.append([decide()])
        assert len(reader.events()) == 12


def test_another_name_of_the_file_is_the_same_file(path):
    link = path.parent / "link.review"
    link.symlink_to(path)
    with Store.open(path), Store.open(link) as second:
        assert second.read_only


def test_what_a_stranger_wrote_beside_the_file_is_not_shown(path):
    with Store.open(path), path.with_name(".a.review.holder").open("w") as told:
        told.write("pid 1 since <b>O'Brien</b>")
        told.flush()
        with Store.open(path) as second:
            assert second.holder == "another program"
            assert second.read_only


def test_a_holder_of_whom_nothing_is_told_is_another_program(path):
    with Store.open(path):
        path.with_name(".a.review.holder").unlink()
        with Store.open(path) as second:
            assert second.holder == "another program"


def test_a_file_that_is_being_made_is_not_made_twice(tmp_path):
    lease = Lease(tmp_path / "a.review")
    with refused("REV-008"):
        Store.create(tmp_path / "a.review", *project())
    lease.release()
    Store.create(tmp_path / "a.review", *project()).close()


def test_a_file_that_was_moved_away_takes_no_more_events(path):
    with Store.open(path) as store:
        path.rename(path.with_name("b.review"))
        with refused("REV-009"):
            store.append([decide()])
    with Store.open(path.with_name("b.review")) as store:
        assert len(store.events()) == 11


def test_a_program_that_locks_the_file_is_waited_for_and_then_named(path, monkeypatch):
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **k | {"timeout": 0.01}))
    event = decide()
    with Store.open(path) as store:
        other = real(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with refused("REV-009"):
            store.append([event])
        other.execute("ROLLBACK")
        assert store.append([event])[0].number == 12
        other.execute("BEGIN EXCLUSIVE")
        with refused("REV-012"):
            Store.open(path)
        other.close()


def test_a_write_ahead_log_is_undone(path):
    attack(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    with pytest.MonkeyPatch.context() as patch:
        real = sqlite3.connect
        patch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **k | {"timeout": 0.01}))
        connection.execute("SELECT * FROM event").fetchone()
        with refused("REV-012"):
            Store.open(path)
    connection.close()
    with Store.open(path) as store:
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert store.verify() == ()


# What was changed afterwards


def test_the_file_itself_refuses_changes(path):
    connection = sqlite3.connect(path, isolation_level=None)
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not name.startswith("sqlite_")
    ]
    assert sorted(tables) == [
        "assignment", "blob", "candidate", "event", "image", "meta", "read", "reader", "run",
    ]  # fmt: skip
    for table in tables:
        column = connection.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
        copied = f"SELECT * FROM {table} LIMIT 1"
        for statement in (
            f'UPDATE {table} SET "{column}" = "{column}"',
            f"DELETE FROM {table}",
            f"INSERT INTO {table} {copied}",
            f"INSERT OR REPLACE INTO {table} {copied}",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                connection.execute(statement)
    replaced = (
        "INSERT OR REPLACE INTO event SELECT 12, id, at, reader, action, assignment, candidate,"
        " details, reverts, previous, digest FROM event WHERE number = 3"
    )
    with pytest.raises(sqlite3.IntegrityError, match="only added to"):
        connection.execute(replaced)
    connection.close()


def rehashed(path, number):
    """Return an update that changes an event and makes its digest fit."""
    with Store.open(path, read_only=True) as store:
        event = store.events()[number - 1]
        fresh = link(
            dataclasses.replace(event, action="reject"), number, event.reader, event.previous
        )
    return f"UPDATE event SET action = 'reject', digest = '{fresh.digest}' WHERE number = {number}"


SWAP = (
    "UPDATE event SET number = 99 WHERE number = 4",
    "UPDATE event SET number = 4 WHERE number = 5",
    "UPDATE event SET number = 5 WHERE number = 99",
    "UPDATE sqlite_sequence SET seq = 11",
)
FACTS = "The scans, candidates or other facts of the review were changed after it began."


@pytest.mark.parametrize("guards", [True, False], ids=["guards back", "guards gone"])
@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["UPDATE event SET action = 'reject' WHERE number = 3"], "Event 3 was changed."),
        (["UPDATE event SET at = '2020' WHERE number = 11"], "Event 11 was changed."),
        (["UPDATE event SET reader = 'reader-0' WHERE number = 2"], "Event 2 was changed."),
        (["UPDATE event SET details = '{}' WHERE number = 5"], "Event 5 was changed."),
        (["UPDATE event SET digest = previous WHERE number = 6"], "Event 6 was changed."),
        (["DELETE FROM event WHERE number = 6"], "Event 6 is missing."),
        (["DELETE FROM event WHERE number IN (1, 2)"], "Events 1 to 2 are missing."),
        (["DELETE FROM event WHERE number > 8"], "Events 9 to 11 are missing."),
        (["DELETE FROM event"], "Events 1 to 11 are missing."),
        (
            ["UPDATE sqlite_sequence SET seq = 4"],
            "The counter of events stands at 4, the last event is 11.",
        ),
        (SWAP, "Event 4 was changed."),
        (SWAP, "Event 5 was changed."),
        (
            lambda path: [rehashed(path, 6)],
            "Event 7 does not follow event 6: one of them was changed.",
        ),
        (
            ["UPDATE meta SET digest = 'ab'"],
            "Event 1 does not follow the facts of the review: one of them was changed.",
        ),
        (["UPDATE candidate SET peak_z = 9 WHERE place = 2"], FACTS),
        (["DELETE FROM candidate WHERE place = 6"], FACTS),
        (["UPDATE image SET affine = replace(affine, '-90.0', '90.0')"], FACTS),
        (["UPDATE image SET digest = 'ab' WHERE place = 1"], FACTS),
        (["UPDATE meta SET blind = 0"], FACTS),
        (["UPDATE reader SET role = 'adjudicator'"], FACTS),
        (["DELETE FROM read"], FACTS),
    ],
)  # fmt: skip
def test_a_change_by_another_program_is_named_and_nothing_follows_it(
    path, statements, said, guards
):
    attack(path, *(statements(path) if callable(statements) else statements), guards=guards)
    with Store.open(path) as store:
        assert said in store.verify()
        assert store.read_only
        assert any("restore" in note for note in store.notes)
        with refused("REV-021") as caught:
            store.append([decide()])
        assert "backup" in str(caught.value)
        with Store.open(path) as other:  # it holds no lease
            assert other.holder == ""
        first = next(note for note in store.notes if "guards" not in note)
        assert first.startswith(store.verify()[0] if guards else tuple(store.verify()))


def test_removed_guards_are_named(path):
    attack(path, guards=False)
    with Store.open(path) as store:
        assert store.read_only
        assert "event_delete" in store.notes[0]
        assert "lacks 27 tables or triggers that every review has" in store.verify()[0]


def test_a_foreign_trigger_that_comes_while_a_file_is_open_is_named(path):
    with Store.open(path) as store:
        attack(path, "CREATE TABLE extra (x)")
        assert store.verify() == ("The file holds extra, which no review has in this form.",)


def test_changed_and_missing_masks_are_named(path):
    with Store.open(path) as store:
        candidate = store.project.candidates[0].mask
        other = store.project.candidates[1].mask
        edit = store.events()[-1].details["mask"]
    attack(
        path,
        f"UPDATE blob SET data = (SELECT data FROM blob WHERE digest = '{other}')"
        f" WHERE digest = '{candidate}'",
        f"DELETE FROM blob WHERE digest IN ('{other}', '{edit}')",
    )
    with Store.open(path) as store:
        found = store.verify()
        changed = f"Mask {candidate} cannot be used: a mask in the review file is damaged: "
        assert f"{changed}its content was changed." in found
        assert f"Mask {other} of a candidate is missing." in found
        assert f"Mask {edit} of event 11 is missing." in found
        with refused("REV-004"):
            store.mask(candidate)
        with refused("REV-011"):
            store.mask(edit)


def test_an_event_that_makes_no_sense_is_named(path):
    attack(path, "UPDATE event SET details = '{' WHERE number = 4")
    with refused("REV-005") as caught:
        Store.open(path)
    assert "event 4" in str(caught.value)


def test_verifying_goes_on_after_the_first_thing_that_cannot_be_read(path):
    with Store.open(path) as store:
        attack(
            path,
            "UPDATE event SET details = '[[1]]' WHERE number = 4",
            "UPDATE blob SET data = x'00' WHERE rowid = 1",
            "CREATE TABLE extra (x)",
        )
        found = store.verify()
        assert any("event 4 makes no sense" in sentence for sentence in found)
        assert any("cut short" in sentence for sentence in found)
        assert any("extra" in sentence for sentence in found)
        with refused("REV-005"):
            store.events()


# Earlier versions


def test_a_file_of_version_1_is_brought_to_this_one_and_kept(v1):
    before = sqlite3.connect(v1).execute("SELECT * FROM event").fetchall()
    with Store.open(v1) as store:
        assert store.notes == (
            "It was brought from version 1 to 2; the old file is old.review.v1.bak.",
        )
        assert not store.read_only
        assert store.project.images[0].volume is None
        assert store.project.reads == ()
        assert project_digest(store.project) == V1_DIGEST == store.events()[0].previous
        assert store.verify() == ()
        store.append([decide()])
    with Store.open(v1) as store:
        assert store.notes == ()
        assert [e.number for e in store.events()] == [1, 2, 3, 4, 5]
        assert store.events()[2].details == {"comment": "größer als links\n"}
    kept = sqlite3.connect(v1.with_name("old.review.v1.bak"))
    assert kept.execute("PRAGMA user_version").fetchone() == (1,)
    assert kept.execute("SELECT * FROM event").fetchall() == before
    kept.close()


def test_a_second_copy_does_not_take_the_place_of_the_first(v1):
    content = v1.read_bytes()
    Store.open(v1).close()
    first = v1.with_name("old.review.v1.bak").read_bytes()
    v1.write_bytes(content)
    with Store.open(v1) as store:
        assert "old.review.v1-2.bak" in store.notes[0]
    assert v1.with_name("old.review.v1.bak").read_bytes() == first


def test_the_copy_is_a_file_that_can_be_opened(v1):
    Store.open(v1).close()
    kept = v1.with_name("old.review.v1.bak")
    with Store.open(kept, read_only=True) as store:
        assert len(store.events()) == 4


def test_a_file_of_version_1_is_read_without_changing_it(v1):
    before = v1.read_bytes()
    with Store.open(v1, read_only=True) as store:
        assert store.notes == ("It is of version 1, and shown without changing it.",)
        assert len(store.events()) == 4
        assert store.verify() == ()
    assert v1.read_bytes() == before


def test_a_file_of_version_1_that_was_changed_is_not_brought_on(v1):
    attack(v1, guards=False)
    before = v1.read_bytes()
    with Store.open(v1) as store:
        assert store.read_only
        assert "guards" in store.notes[0]
    assert v1.read_bytes() == before


def test_a_file_of_version_1_with_more_in_it_is_refused(v1):
    attack(v1, "CREATE TRIGGER quiet AFTER INSERT ON event BEGIN SELECT 1; END")
    with refused("REV-006"):
        Store.open(v1)
    assert not v1.with_name("old.review.v1.bak").exists()
