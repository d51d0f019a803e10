"""The review file under kill -9, full and read-only disks, and flipped bits: nothing
acknowledged is lost, and nothing is wrong in silence."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_normative.errors import ReviewError
from napari_normative.review import files
from napari_normative.review.rows import masks_of_details
from napari_normative.review.store import Store
from stored import attack, decide, edited, project

CHILD = Path(__file__).parents[1] / "review_child.py"
V1 = Path(__file__).parent / "data" / "v1.sql"
needs_kill = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")


@pytest.fixture(scope="module")
def made():
    return project()


@pytest.fixture(scope="module")
def content(made, tmp_path_factory):
    """Bytes of a review with some decisions."""
    path = tmp_path_factory.mktemp("made") / "a.review"
    with Store.create(path, *made) as store:
        for n in range(12):
            store.append([same(decide(n), n)])
        event, masks = edited(7)
        store.append([same(event, 12)], masks)
    return path.read_bytes()


def same(event, n):
    """Return an event that is the same in every run, so that a seed tells the whole story."""
    return dataclasses.replace(event, id=f"{n:032x}", at=f"2026-01-01T00:00:{n:02d}.000+00:00")


@pytest.fixture
def path(tmp_path, content):
    path = tmp_path / "a.review"
    path.write_bytes(content)
    return path


@pytest.fixture
def v1(tmp_path):
    path = tmp_path / "old.review"
    with sqlite3.connect(path) as connection:
        connection.executescript(V1.read_text(encoding="utf-8"))
    connection.close()
    return path


def start(command: str, *arguments: object, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), command, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, **more,
    )  # fmt: skip


def refused(code):
    return pytest.raises(ReviewError, match=rf"\[{code}\]")


# kill -9


def kill_while_deciding(path: Path, rng: random.Random, flavour: str, longest: int) -> int:
    """Kill a program that decides as fast as it can; return how many it was told are stored."""
    child = start("decide", path, *([flavour] if flavour else []))
    told = [child.stdout.readline() for _ in range(rng.randrange(1, longest))]
    time.sleep(rng.random() * 0.004)  # anywhere within an append
    child.kill()
    told += child.stdout.readlines()
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    acknowledged = [word for line in told for word in line.split()]
    with Store.open(path) as store:
        assert not store.read_only, store.notes  # the lease is free again
        events = store.events()
        assert store.verify() == ()
        stored = {f"{e.id}:{e.digest}" for e in events}
        assert set(acknowledged) <= stored
        batches = Counter(e.details["batch"] for e in events)
        sizes = {e.details["batch"]: e.details["size"] for e in events}
        assert batches == sizes  # each append is there whole
    return len(acknowledged)


def kills(folder: Path, made, count: int, longest: int) -> int:
    rng, total = random.Random(count), 0
    for n in range(count):
        if n % 25 == 0:
            path = folder / f"{n}.review"
            Store.create(path, *made).close()
        total += kill_while_deciding(path, rng, "masks" if n % 5 == 4 else "", longest)
    return total


@needs_kill
def test_no_acknowledged_decision_is_lost_when_the_program_is_killed(tmp_path, made):
    assert kills(tmp_path, made, 25, longest=12) > 25


@needs_kill
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_acknowledged_decision_is_lost_in_1000_kills(tmp_path, made):
    total = kills(tmp_path, made, 1000, longest=40)
    print(f"\n1000 kills, {total} acknowledged events, none lost")
    assert total > 10_000


def forked(work: Callable[[], object]) -> int:
    """Let a copy of this process do the work; return its id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            work()
            code = 0
        os._exit(code)
    return pid


def killed_at(statement: int, work: Callable[[], object]) -> bool:
    """Do the work in a process that is killed before the n-th SQL statement; return if it was."""

    def until_then() -> None:
        connect, left = files.connect, [statement]

        def counted(path):
            connection = connect(path)

            def count(_):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            connection.set_trace_callback(count)
            return connection

        files.connect = counted
        work()

    _, status = os.waitpid(forked(until_then), 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def killed_within(seconds: float, work: Callable[[], object]) -> bool:
    """Do the work in a process that is killed after a time; return if it was before its end."""
    pid = forked(work)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def moments(count: int, longest: float) -> Iterator[Callable[[Callable[[], object]], bool]]:
    """Yield SQL statements, then ``count`` moments at random, as a time to be killed.

    Of the statements every third, and every one where there is time.
    """
    statement, alive = 0, False

    def at_statement(work):
        nonlocal alive
        alive = not killed_at(statement, work)
        return not alive

    while not alive:
        yield at_statement
        statement += 1 if count > 100 else 3
    assert statement > 20
    rng = random.Random(3)
    for _ in range(count):
        seconds = rng.random() * longest
        yield lambda work, seconds=seconds: killed_within(seconds, work)


@needs_kill
@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_killed_program_leaves_a_whole_new_file_or_none(tmp_path, made, count):
    path, seen = tmp_path / "a.review", Counter()
    for killed in moments(count, longest=0.03):
        killed(lambda: Store.create(path, *made))
        assert not list(tmp_path.glob("*-journal"))
        seen[path.exists()] += 1
        with Store.open(path) if path.exists() else Store.create(path, *made) as store:
            assert store.project == made[0]
            assert not store.read_only
            assert store.notes == store.verify() == store.events() == ()
        assert sorted(p.name for p in tmp_path.glob("*")) == [".a.review.lock", "a.review"]
        path.unlink()
    assert seen[True] and seen[False]


@needs_kill
@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_killed_program_leaves_the_old_version_or_the_new(v1, count):
    content, seen = v1.read_bytes(), Counter()
    for killed in moments(count, longest=0.04):
        for other in v1.parent.iterdir():
            other.unlink()
        v1.write_bytes(content)
        killed(lambda: Store.open(v1))
        with Store.open(v1) as store:
            assert not store.read_only
            assert len(store.events()) == 4
            assert store.verify() == ()
            seen[bool(store.notes)] += 1
        for kept in v1.parent.glob("*.bak"):
            with Store.open(kept, read_only=True) as store:
                assert len(store.events()) == 4
                assert store.verify() == ()
        assert list(v1.parent.glob("*.bak"))
    assert seen[True] and seen[False]


@needs_kill
def test_a_program_killed_at_any_statement_of_an_append_leaves_all_or_nothing(path, content):
    statement, seen = 0, Counter()
    event, masks = edited(31)
    alive = False
    while not alive:
        path.write_bytes(content)
        alive = not killed_at(statement, lambda: Store.open(path).append([event, decide()], masks))
        with Store.open(path) as store:
            assert store.verify() == ()
            assert len(store.events()) in {13, 15}
            seen[len(store.events())] += 1
        statement += 1
    assert seen[13] > 20
    assert seen[15] >= 1


@needs_kill
def test_the_right_to_write_is_free_after_a_kill(path):
    child = start("hold", path)
    assert child.stdout.readline() == "writing\n"
    with Store.open(path) as second:
        assert second.read_only
        assert second.holder.startswith(f"pid {child.pid} since 20")
        with refused("REV-021"):
            second.append([decide()])
    child.kill()
    child.communicate()
    with Store.open(path) as third:
        assert not third.read_only
        assert third.holder == ""
        third.append([decide()])


@needs_kill
def test_the_right_to_write_is_free_after_the_first_program_ends(path):
    child = start("hold", path)
    assert child.stdout.readline() == "writing\n"
    child.communicate("")
    with Store.open(path) as third:
        assert not third.read_only


@pytest.fixture
def stopped(path):
    """A file with an unfinished write, in its pages and in its journal."""
    before = path.read_bytes()
    start("stop", path).communicate()
    journal = path.with_name("a.review-journal")
    assert journal.stat().st_size > 512
    assert path.read_bytes() != before
    return path


@needs_kill
@pytest.mark.parametrize("read_only", [False, True])
def test_an_unfinished_write_is_taken_back(stopped, content, read_only):
    with Store.open(stopped, read_only=read_only) as store:
        assert store.verify() == ()
        assert len(store.events()) == 13
    assert not stopped.with_name("a.review-journal").exists()
    assert stopped.read_bytes() == content


# Disks that are full or cannot be written


def test_a_file_that_cannot_grow_loses_nothing_and_takes_the_same_events_later(path):
    seen = Counter()
    event, masks = edited(31)
    wide = dataclasses.replace(event, details=event.details | {"comment": "x" * 30_000})
    with Store.open(path, read_only=True) as store:
        before = store.events()
    content = path.read_bytes()
    for more in range(20):
        path.write_bytes(content)
        with Store.open(path) as store:
            limit = store._connection.execute("PRAGMA page_count").fetchone()[0] + more
            store._connection.execute(f"PRAGMA max_page_count = {limit}")
            try:
                store.append([wide, decide()], masks)
            except ReviewError as error:
                assert error.code == "REV-009"
                assert "full" in error.what
                assert "Free space" in error.remedy
                assert store.events() == before
                store._connection.execute("PRAGMA max_page_count = 1000000")
                store.append([wide, decide()], masks)
                seen["refused"] += 1
            assert [e.number for e in store.events()] == list(range(1, 16))
            assert store.verify() == ()
    assert 5 < seen["refused"] < 20


@needs_kill
def test_every_limit_of_a_files_size_is_survived(path):
    child = start("limit", path)
    out, _ = child.communicate(timeout=120)
    assert child.returncode == 0
    outcomes = Counter(json.loads(out).values())
    assert set(outcomes) == {"stored", "REV-009"}
    assert outcomes["REV-009"] > 20  # in the journal, in the file's old pages, in its new ones


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "1m", options: str = "") -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip("mounting a small disk is not possible here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, pages: int) -> Path:
    """Fill a disk up to some pages of 4 KiB; return the file that does it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as handle, contextlib.suppress(OSError):
        while handle.write(bytes(4096)) == 4096:
            pass
    os.truncate(ballast, ballast.stat().st_size // 4096 * 4096 - pages * 4096)
    return ballast


@pytest.mark.parametrize("kind", ["append", "create", "migrate", "open"])
def test_a_disk_that_fills_at_any_page_loses_nothing(tmp_path, made, content, v1, kind):
    event, masks = edited(31)
    seen, in_a_row, pages = Counter(), 0, 0
    old = v1.read_bytes()
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "a.review"
        while in_a_row < 5:  # until there is more than enough
            for other in disk.iterdir():
                other.unlink()
            if kind != "create":
                path.write_bytes(old if kind == "migrate" else content)
            store = Store.open(path) if kind == "append" else None
            ballast = fill(disk, pages)

            def act(store=store):
                if kind == "append":
                    store.append([event], masks)
                elif kind == "create":
                    Store.create(path, *made).close()
                else:
                    Store.open(path).close()

            try:
                act()
                seen["done"] += 1
                in_a_row += 1
            except ReviewError as error:
                seen[error.code] += 1
                in_a_row = 0
                if kind == "create":
                    assert not path.exists()
                ballast.unlink()
                act()
            if store:
                store.close()
            with Store.open(path) as store:
                assert not store.read_only or ballast.exists()
                assert store.verify() == ()
                events = {"append": 14, "create": 0, "migrate": 4, "open": 13}[kind]
                assert len(store.events()) == events
            pages += 1
    code = {"append": "REV-009", "create": "REV-008", "migrate": "REV-007", "open": "none"}[kind]
    assert set(seen) <= {code, "done"}
    assert kind == "open" or seen[code] >= 3


def test_a_disk_that_is_read_only_is_read(tmp_path, content, v1):
    with small_disk(tmp_path / "disk") as disk:
        (disk / "a.review").write_bytes(content)
        (disk / "old.review").write_bytes(v1.read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with Store.open(disk / "a.review") as store:
            assert store.read_only
            assert store.notes == (
                "It can only be read: nothing can be written beside it: Read-only file system.",
            )
            assert len(store.events()) == 13
            assert store.verify() == ()
            with refused("REV-021"):
                store.append([decide()])
        with Store.open(disk / "old.review") as store:
            assert store.read_only
            assert len(store.events()) == 4
        with refused("REV-008"):
            Store.create(disk / "b.review", *project())
        with refused("REV-008"):
            Store.create(disk / "new" / "b.review", *project())


@needs_kill
def test_an_unfinished_write_on_a_read_only_disk_is_explained(tmp_path, stopped):
    with small_disk(tmp_path / "disk") as disk:
        for name in ("a.review", "a.review-journal"):
            (disk / name).write_bytes(stopped.with_name(name).read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with refused("REV-013") as caught:
            Store.open(disk / "a.review")
        assert "a.review-journal" in caught.value.remedy


@pytest.fixture
def foreign_folder() -> Iterator[Path]:
    """A folder in which somebody who is not root may be refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@contextlib.contextmanager
def as_somebody() -> Iterator[None]:
    """Give up root's right to write everywhere."""
    if not hasattr(os, "geteuid"):
        pytest.skip("permissions of this system are others")
    root = os.geteuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


def permissions(path: Path, file: int, folder: int) -> None:
    path.chmod(file)
    for lock in path.parent.glob(".*.lock"):
        lock.chmod(0o666)
    path.parent.chmod(folder)


@pytest.mark.parametrize(
    ("file", "folder", "locked", "said"),
    [
        (0o444, 0o777, False, "it or its folder is write-protected"),
        (0o666, 0o555, True, "it or its folder is write-protected"),
        (0o666, 0o555, False, "nothing can be written beside it: Permission denied"),
    ],
    ids=["file", "folder", "folder without a lock"],
)  # fmt: skip
def test_what_is_write_protected_is_read(foreign_folder, content, file, folder, locked, said):
    path = foreign_folder / "a.review"
    path.write_bytes(content)
    if locked:
        Store.open(path).close()
    permissions(path, file, folder)
    with as_somebody(), Store.open(path) as store:
        assert store.read_only
        assert store.notes == (f"It can only be read: {said}.",)
        assert len(store.events()) == 13
        with refused("REV-021"):
            store.append([decide()])


def test_what_may_not_be_read_says_so(foreign_folder, content):
    path = foreign_folder / "a.review"
    path.write_bytes(content)
    permissions(path, 0o000, 0o777)
    with as_somebody(), refused("REV-005") as caught:
        Store.open(path)
    assert "may read" in caught.value.remedy


def test_no_file_is_made_where_nothing_may_be_written(foreign_folder, made):
    foreign_folder.chmod(0o555)
    with as_somebody(), refused("REV-008"):
        Store.create(foreign_folder / "a.review", *made)
    assert not list(foreign_folder.iterdir())


# Flipped bits


def told_of(path: Path, *, read_only: bool) -> tuple[bool, object]:
    """Return whether something is said about a file, and what it holds."""
    try:
        with Store.open(path, read_only=read_only) as store:
            said = bool(store.notes or store.verify())
            held = store.project, store.events(), {m: store.mask(m) for m in masks_in(store)}
            return said, held
    except ReviewError:
        return True, None


def masks_in(store: Store) -> set[str]:
    named = {m for event in store.events() for m in masks_of_details(event.details)}
    return named | {candidate.mask for candidate in store.project.candidates}


def flip(content: bytes, bits: list[int]) -> bytes:
    damaged = bytearray(content)
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_flipped_bits_are_told_or_change_nothing(path, content, count):
    _, whole = told_of(path, read_only=True)
    rng, told = random.Random(count), 0
    used = [n for n, byte in enumerate(content) if byte]
    for n in range(count):
        places = used if n % 2 else range(len(content))  # SQLite leaves much room
        bits = [rng.choice(places) * 8 + rng.randrange(8) for _ in range(rng.choice((1, 1, 2, 8)))]
        path.write_bytes(flip(content, bits))
        said, held = told_of(path, read_only=n % 3 == 0)
        assert said or held == whole, bits
        told += said
    assert told > count / 3


@pytest.mark.slow
def test_every_bit_of_the_header_may_flip(path, content):
    _, whole = told_of(path, read_only=True)
    for bit in range(800):
        path.write_bytes(flip(content, [bit]))
        said, held = told_of(path, read_only=bool(bit % 2))
        assert said or held == whole, bit


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_file_that_is_cut_short_or_has_a_hole_is_told(path, content, count):
    _, whole = told_of(path, read_only=True)
    rng = random.Random(count)
    for n in range(count):
        at = rng.randrange(len(content))
        size = rng.choice((512, 4096, 8192))
        hole = content[:at] + bytes(size) + content[at + size :]
        path.write_bytes(content[:at] if n % 2 else hole[: len(content)])
        said, held = told_of(path, read_only=False)
        assert said or (held == whole and not n % 2), (at, size)


def test_damage_in_what_opening_does_not_need_is_found_all_the_same(path, content):
    with sqlite3.connect(path) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_image_1'"
        (page,) = connection.execute(query).fetchone()
    connection.close()
    at = (page - 1) * 4096
    path.write_bytes(content[:at] + bytes(4096) + content[at + 4096 :])
    with refused("REV-005"):
        Store.open(path)


def test_a_review_in_which_everything_was_emptied_is_damaged(path):
    attack(path, "DELETE FROM meta", "DELETE FROM reader")
    with refused("REV-005"):
        Store.open(path)
