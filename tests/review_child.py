"""A program of its own that writes a review, for tests that kill it or fill its disk.

python review_child.py decide FILE [masks]   appends, printing what append returned
python review_child.py hold FILE             opens, says so, waits
python review_child.py leave FILE COUNT      appends through a writer and just ends
python review_child.py limit FILE            appends under every limit of a file's size
python review_child.py stop FILE             kills itself within a transaction
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sys
from pathlib import Path

from napari_normative.errors import ReviewError
from napari_normative.review.records import NewEvent
from napari_normative.review.store import Store
from napari_normative.review.writer import Writer


def say(*words: object) -> None:
    # One call of the system for a line: it is in the pipe whole, or not at all.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def decide(path: str, masks: str = "") -> None:
    store = Store.open(path)
    start = len(store.events())
    for n in itertools.count(start):
        size = n % 3 + 1
        details: dict[str, object] = {"batch": n, "size": size, "comment": "ä" * (n % 700)}
        given = {}
        if masks and n % 2:
            import stored

            digest, data = stored.blob(n % 50)
            details["mask"], given = digest, {digest: data}
        events = [NewEvent("comment", 1, "case-001/1", details) for _ in range(size)]
        say(*(f"{e.id}:{e.digest}" for e in store.append(events, given)))


def hold(path: str) -> None:
    store = Store.open(path)
    say("read-only" if store.read_only else "writing")
    sys.stdin.read()


def leave(path: str, count: str) -> None:
    writer = Writer(Store.open(path))
    for n in range(int(count)):
        writer.append([NewEvent("accept", 1, "case-001/1", {"n": n})])


def limit(path: str) -> None:
    import resource

    import stored

    file, content = Path(path), Path(path).read_bytes()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    event, masks = stored.edited(77)
    outcomes = {}
    for most in range(0, len(content) + 20_000, 1024):
        file.write_bytes(content)
        store = Store.open(path)
        before = store.events()
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        try:
            stored_events = store.append([event], masks)
            outcomes[most] = "stored"
        except ReviewError as error:
            outcomes[most] = error.code
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            assert store.events() == before
            stored_events = store.append([event], masks)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert store.events() == (*before, *stored_events)
        assert store.verify() == ()
        store.close()
    say(json.dumps(outcomes))


def stop(path: str) -> None:
    import stored

    store = Store.open(path)
    connection = store._connection
    connection.execute("PRAGMA cache_size = 1")  # pages reach the file before the commit
    connection.execute("BEGIN IMMEDIATE")
    for n in range(30):
        connection.execute("INSERT INTO blob VALUES (?, ?)", stored.blob(1000 + n))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        {f.__name__: f for f in (decide, hold, leave, limit, stop)}[sys.argv[1]](*sys.argv[2:])
