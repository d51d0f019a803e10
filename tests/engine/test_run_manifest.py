"""The manifest: what it says after crashes, and who may write to a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from napari_normative.engine.manifest import Manifest, ManifestWriter, Shard, claimed_shard
from napari_normative.errors import ClusterError

WHOLE = Shard()
HOLD = """
import sys, time
from pathlib import Path
from napari_normative.engine.manifest import Shard, claimed_shard
with claimed_shard(Path(sys.argv[1]), Shard(int(sys.argv[2]), int(sys.argv[3]))):
    print("held", flush=True)
    time.sleep(60)
"""


def write(folder: Path, *events: tuple[str, str], shard: Shard = WHOLE) -> None:
    with ManifestWriter(folder, shard) as writer:
        for kind, scan in events:
            writer.add(kind, scan=scan, terms="t", figures={"of": scan})


def test_the_last_word_counts_and_figures_are_those_of_that_event(tmp_path: Path) -> None:
    write(tmp_path, ("failed", "a"), ("done", "b"), ("done", "a"))
    known = Manifest(tmp_path)
    assert known.entry("a").state == "done"
    assert known.figures("b")["figures"] == {"of": "b"}
    assert known.entry("nobody").state == ""
    assert known.figures("nobody") == {}


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_cut_by_a_crash_costs_that_event_alone(tmp_path: Path, cut: int) -> None:
    write(tmp_path, ("done", "a"), ("done", "b"))
    path = tmp_path / "manifest" / "all.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: max(len(whole) - cut, len(whole) // 2 + 3)])
    assert Manifest(tmp_path).entry("a").state == "done"
    write(tmp_path, ("done", "c"))
    known = Manifest(tmp_path)
    # a line that only lost its end of line is complete
    assert known.entry("b").state == ("done" if cut == 1 else "")
    assert known.figures("c")["scan"] == "c"
    assert known.figures("a")["scan"] == "a"


def test_attempts_that_ended_their_process_are_counted_until_the_scan_is_settled(
    tmp_path: Path,
) -> None:
    write(tmp_path, ("lost", "a"), ("lost", "a"), ("begun", "b"), ("begun", "b"), ("begun", "c"))
    write(tmp_path, ("stopped", "c"))
    known = Manifest(tmp_path)
    assert known.entry("a").lost == 2
    assert (known.entry("b").lost, known.entry("b").open) == (1, True), "begun twice, never ended"
    assert (known.entry("c").lost, known.entry("c").open) == (0, False), "stopped on purpose"
    write(tmp_path, ("quarantined", "a"))
    assert Manifest(tmp_path).entry("a").lost == 0
    with ManifestWriter(tmp_path, Shard()) as writer:
        writer.add("lost", among=["a", "b"])
    assert Manifest(tmp_path).entry("a").lost == 0, "another scan may have been at fault"


def test_shards_write_files_of_their_own_that_are_read_as_one(tmp_path: Path) -> None:
    write(tmp_path, ("done", "a"), shard=Shard(1, 2))
    write(tmp_path, ("refused", "b"), shard=Shard(2, 2))
    names = sorted(p.name for p in (tmp_path / "manifest").glob("*.jsonl"))
    assert names == ["shard-0001-of-0002.jsonl", "shard-0002-of-0002.jsonl"]
    write(tmp_path, ("done", "b"))  # a run of the whole, later, into another file
    known = Manifest(tmp_path)
    assert (known.entry("a").state, known.entry("b").state) == ("done", "done")


def test_every_line_is_one_object_with_a_time(tmp_path: Path) -> None:
    write(tmp_path, ("done", "line\nbreak"), ("done", "ä"))
    lines = (tmp_path / "manifest" / "all.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["scan"] for e in events] == ["line\nbreak", "ä"]
    assert all(e["at"].endswith("+00:00") for e in events)


def test_two_runs_are_kept_apart_and_shards_of_one_count_are_not(tmp_path: Path) -> None:
    program = [sys.executable, "-c", HOLD, str(tmp_path), "1", "3"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for refused in (Shard(), Shard(1, 3), Shard(2, 4)):
            with pytest.raises(ClusterError, match="CLU-004"), claimed_shard(tmp_path, refused):
                pass
        with claimed_shard(tmp_path, Shard(2, 3)):
            pass
        other.kill()
    with (
        claimed_shard(tmp_path, WHOLE),  # the system let go when the process died
        pytest.raises(ClusterError, match="CLU-004"),
        claimed_shard(tmp_path, Shard(2, 3)),
    ):
        pass
