"""A run over a cohort in this process: what is done, what is kept, what is done anew, and why."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from napari_normative.engine import pools
from napari_normative.engine.cluster import Plan, ScanOutcome, Shard, Summary, run_cohort
from napari_normative.engine.cohort_scans import list_scans
from napari_normative.errors import ClusterError, CohortError
from napari_normative.io.nifti import write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model

DIES = """
import os, signal, sys
from pathlib import Path
from napari_normative.engine.cluster import run_cohort

def hook(event, arguments):  # a file whose reading ends the process, as a bug in a library may
    if event == "open" and str(arguments[0]).endswith("poison.nii.gz"):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
model, source, out = map(Path, sys.argv[1:])
for outcome in run_cohort(model, source, out, workers=1, device="cpu", retries=1):
    print(outcome.scan.name, outcome.state, flush=True)
"""


class Told:
    """A run that ended, with what it told."""

    def __init__(self, model: Path, source: Path, out: Path, **options: Any) -> None:
        self.plan: Plan
        self.summary: Summary
        options = {"workers": 1, "device": "cpu", **options}
        found = run_cohort(
            model, source, out,
            planned=lambda plan: setattr(self, "plan", plan),
            ended=lambda summary: setattr(self, "summary", summary),
            **options,
        )  # fmt: skip
        self.outcomes: dict[str, ScanOutcome] = {o.scan.name: o for o in found}

    @property
    def states(self) -> dict[str, str]:
        return {name: outcome.state for name, outcome in self.outcomes.items()}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three healthy people at two sites, one with a lesion, and a damaged file."""
    folder = tmp_path_factory.mktemp("in")
    for n, site in enumerate(("north", "north", "south")):
        scan = phantom(40 + n, spacing_mm=6.0, lesion_ml=20.0 * (n == 2))
        write_volume(folder / site / f"sub-{n}_T1w.nii.gz", scan)
    block = (folder / "north" / "sub-0_T1w.nii.gz").read_bytes()
    (folder / "south" / "broken.nii.gz").write_bytes(block[: len(block) // 2])
    return folder


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path, scans: Path
) -> tuple[Path, Told]:
    """A run that ended."""
    out = tmp_path_factory.mktemp("out") / "results"
    return out, Told(tiny_model_path, scans, out)


@pytest.fixture
def again(tmp_path: Path, finished: tuple[Path, Told], scans: Path) -> Iterator[tuple[Path, Path]]:
    """Copies of scans and results of a run that ended, to go on with."""
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(scans, source)
    shutil.copytree(finished[0], out)
    yield source, out


def table(out: Path) -> pd.DataFrame:
    found = pd.read_csv(out / "cohort.tsv", sep="\t", keep_default_na=False)
    return found.set_index("name")


def events(out: Path, file: str = "all") -> list[dict[str, Any]]:
    lines = (out / "manifest" / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_scan_has_a_folder_or_a_sentence(finished: tuple[Path, Told]) -> None:
    out, told = finished
    assert told.states == {
        "sub-0_T1w": "done", "sub-1_T1w": "done", "sub-2_T1w": "done", "broken": "refused",
    }  # fmt: skip
    assert sorted(p.name for p in (out / "scans").iterdir()) == [f"sub-{n}_T1w" for n in range(3)]
    assert told.outcomes["broken"].reason.startswith("[NIF-0")
    assert "broken.nii.gz" in told.outcomes["broken"].reason
    assert (told.plan.scans, told.plan.kept, told.plan.to_do) == (4, 0, 4)
    assert told.summary.states == {"done": 3, "refused": 1}
    assert told.summary.computed == 3


def test_the_table_says_what_the_records_say(finished: tuple[Path, Told]) -> None:
    out, _ = finished
    rows = table(out)
    for name in ("sub-0_T1w", "sub-1_T1w", "sub-2_T1w"):
        record = json.loads((out / "scans" / name / "detection.json").read_text())
        row = rows.loc[name]
        assert row["state"] == "done"
        assert float(row["scan_score"]) == pytest.approx(record["scan_score"], rel=1e-5)
        assert int(row["candidates"]) == record["candidates"]
        assert float(row["latent_distance"]) == record["latent_distance"]
    assert float(rows.loc["sub-2_T1w", "strongest_peak_z"]) < -5, "the lesion is darker"
    assert list(rows["site"]) == ["north", "north", "south", "south"]
    assert rows.loc["broken", "scan_score"] == "n/a"
    assert "NIF-0" in rows.loc["broken", "reason"]
    words = json.loads((out / "cohort.json").read_text())
    assert set(words) == {*rows.columns, "name", "GeneratedBy"}
    assert words["candidates_ml"]["Units"] == "mL"
    assert words["GeneratedBy"]["notice"] == "Research use only, not for diagnosis."


def test_the_report_leads_to_the_folders_and_tells_no_path_or_machine(
    finished: tuple[Path, Told], scans: Path
) -> None:
    out, _ = finished
    page = (out / "cohort.html").read_text(encoding="utf-8")
    assert page.index("sub-2_T1w") < page.index("sub-0_T1w"), "the least normal first"
    assert 'href="scans/sub-2_T1w/"' in page
    assert (out / "scans" / "sub-2_T1w").is_dir()
    assert "3 of 4 scans compared" in page
    assert "NIF-0" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    written = [p for p in out.rglob("*") if p.suffix in {".html", ".tsv", ".json", ".jsonl"}]
    assert len(written) > 8
    for path in written:
        text = path.read_text(encoding="utf-8")
        for private in (str(scans.parent), os.uname().nodename, str(Path.home())):
            assert private not in text, path.name


def test_a_second_run_does_nothing_and_names_what_it_leaves_out(
    tiny_model_path: Path, again: tuple[Path, Path]
) -> None:
    source, out = again
    before = len(events(out))
    shutil.copystat(source, out)
    told = Told(tiny_model_path, source, out)
    # the copies have other times: their content is looked at, and found
    assert {n: (o.state, o.computed) for n, o in told.outcomes.items() if o.state == "done"} == {
        f"sub-{n}_T1w": ("done", False) for n in range(3)
    }
    told = Told(tiny_model_path, source, out)
    assert told.outcomes == {}
    assert told.plan.kept == 3
    ((name, sentence),) = told.plan.left_out
    assert name == "broken"
    assert sentence.startswith("[NIF-0")
    assert Counter(e["event"] for e in events(out)[before:])["done"] == 3
    told = Told(tiny_model_path, source, out, retry_failed=True)
    assert told.states == {"broken": "refused"}


def test_only_what_changed_is_done_anew_and_it_is_said(
    tiny_model_path: Path, again: tuple[Path, Path]
) -> None:
    source, out = again
    write_volume(source / "north" / "sub-1_T1w.nii.gz", phantom(77, spacing_mm=6.0))
    shutil.rmtree(out / "scans" / "sub-0_T1w")
    write_volume(source / "south" / "broken.nii.gz", phantom(78, spacing_mm=6.0))
    told = Told(tiny_model_path, source, out)
    computed = {name: o.anew for name, o in told.outcomes.items() if o.computed}
    assert computed == {"sub-0_T1w": "", "sub-1_T1w": "another scan", "broken": ""}
    scans = out / "scans"
    shutil.rmtree(scans / "sub-2_T1w")
    shutil.copytree(scans / "sub-1_T1w", scans / "sub-2_T1w")  # the name alone is no evidence
    told = Told(tiny_model_path, source, out)
    assert {n: (o.computed, o.anew) for n, o in told.outcomes.items()} == {
        "sub-2_T1w": (True, "another scan")
    }
    told = Told(tiny_model_path, source, out, samples=1)
    assert {o.anew for o in told.outcomes.values()} == {"other options"}
    assert len(told.outcomes) == 4
    assert (out / "scans" / "sub-0_T1w" / "sample_01.nii.gz").exists()
    told = Told(tiny_model_path, source, out)  # back again: the samples do not stay
    assert len(told.outcomes) == 4
    assert not (out / "scans" / "sub-0_T1w" / "sample_01.nii.gz").exists()


def test_a_lost_manifest_costs_no_result(tiny_model_path: Path, again: tuple[Path, Path]) -> None:
    source, out = again
    figures = table(out)["scan_score"]
    (out / "manifest" / "all.jsonl").unlink()
    told = Told(tiny_model_path, source, out)
    assert told.summary.computed == 0
    assert told.summary.states == {"done": 3, "refused": 1}
    assert list(table(out)["scan_score"]) == list(figures)


def test_shards_share_the_scans_out_and_the_last_one_s_table_has_all(
    tmp_path: Path, tiny_model_path: Path, scans: Path
) -> None:
    names: list[str] = []
    for number in (1, 2, 3):
        told = Told(tiny_model_path, scans, tmp_path / "o", shard=Shard(number, 3))
        names += told.outcomes
        waiting = told.summary.states.get("waiting", 0)
        assert waiting == 4 - len(names)
    assert sorted(names) == ["broken", "sub-0_T1w", "sub-1_T1w", "sub-2_T1w"]
    assert list(table(tmp_path / "o")["state"]) == ["done", "done", "refused", "done"]
    assert Told(tiny_model_path, scans, tmp_path / "o").plan.kept == 3, "the whole knows of them"


def test_a_scan_that_ends_this_process_is_set_aside_after_two_deaths(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_volume(source / "a.nii.gz", phantom(50, spacing_mm=8.0))
    write_volume(source / "poison.nii.gz", phantom(51, spacing_mm=8.0))
    write_volume(source / "z.nii.gz", phantom(52, spacing_mm=8.0))
    program = [sys.executable, "-c", DIES, str(tiny_model_path), str(source), str(out)]
    said = []
    for _ in range(3):
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        said.append((done.returncode, done.stdout.split("\n")[:-1]))
    dead = -signal.SIGKILL
    assert said[:2] == [(dead, ["a done"]), (dead, [])]
    assert said[2] == (0, ["poison quarantined", "z done"])
    assert list(table(out)["state"]) == ["done", "quarantined", "done"]
    assert "CLU-007" in table(out).loc["poison", "reason"]
    assert not [p for p in (out / "scans").iterdir() if p.name.startswith(".")]


def test_a_full_disk_ends_the_run_and_is_no_scan_s_fault(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for n in range(12):
        write_volume(source / f"s{n:02d}.nii.gz", phantom(60, spacing_mm=8.0))
    (out / "scans").mkdir(parents=True)
    for n in range(12):  # stands in the way of each result
        (out / "scans" / f"s{n:02d}").mkdir()
        (out / "scans" / f"s{n:02d}" / "thesis.txt").write_text("mine")
    with pytest.raises(ClusterError, match="CLU-008"):
        Told(tiny_model_path, source, out)
    assert Counter(e["event"] for e in events(out)) == {"run": 1, "begun": 10, "failed": 10}
    shutil.rmtree(out / "scans")
    assert Counter(Told(tiny_model_path, source, out).states.values()) == {"done": 12}


@pytest.mark.parametrize("name", ["cohort.tsv", "cohort.html"])
def test_a_file_of_the_user_is_never_replaced(
    tmp_path: Path, tiny_model_path: Path, scans: Path, name: str
) -> None:
    (tmp_path / name).write_text("path\nmine.nii.gz\n")
    with pytest.raises(ClusterError, match=rf"CLU-009.*{name}"):
        Told(tiny_model_path, scans, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_cannot_be_run_is_refused_before_any_work(
    tmp_path: Path, tiny_model_path: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CohortError, match=r"COH-001.*Nothing was started"):
        Told(tiny_model_path, tmp_path, tmp_path / "o")
    with pytest.raises(ClusterError, match="CLU-010"):
        Told(tiny_model_path, scans, tmp_path / "o", bids=True)
    assert not (tmp_path / "o").exists()
    monkeypatch.setattr(pools, "_NEEDED", ("a_package_that_nobody_has",))
    with pytest.raises(ClusterError, match=r"CLU-001.*napari-normative\[cluster\]"):
        Told(tiny_model_path, scans, tmp_path / "o", workers=2)
    with pytest.raises(ClusterError, match="CLU-001"):
        Told(tiny_model_path, scans, tmp_path / "o", scheduler="tcp://127.0.0.1:1")
    assert not (tmp_path / "o" / "scans").exists()
    found = Told(tiny_model_path, scans, tmp_path / "o", workers=None)  # goes on in this process
    assert found.plan.workers == 1
    assert found.summary.computed == 3


def test_twenty_thousand_scans_are_shared_out_evenly_and_in_one_way(tmp_path: Path) -> None:
    paths = "\n".join(f"s{n}.nii.gz\tp{n // 2}" for n in range(20_000))
    (tmp_path / "t.tsv").write_text(f"path\tsubject\n{paths}\n")
    found = list_scans(tmp_path / "t.tsv", leave_out=tmp_path / "out").scans
    parts = [[s.name for s in found if s.within(Shard(i, 4))] for i in (1, 2, 3, 4)]
    assert sum(map(len, parts)) == 20_000
    assert len(set().union(*parts)) == 20_000
    assert all(abs(len(part) - 5_000) < 310 for part in parts)  # five standard deviations
    assert "s7" in parts[2]  # for ever: shards that start on other days must agree
