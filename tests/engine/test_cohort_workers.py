"""Worker processes: shared work, death in the middle, a poison scan, a lost scheduler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from napari_normative.engine import pools
from napari_normative.engine.cluster import ScanOutcome, run_cohort
from napari_normative.errors import ClusterError
from napari_normative.io.nifti import read_volume, write_volume
from phantoms import phantom

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(600),  # the first of these trains the tiny model
    pytest.mark.skipif(os.name == "nt", reason="kills with signals"),
]

FAULTS = """
import os, re, signal, sys

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("poison.nii.gz"):
        os.kill(os.getpid(), signal.SIGKILL)
    if event == "open" and str(arguments[0]).endswith("endless.nii.gz"):
        re.match(r"(a+)+$", "a" * 40 + "b")  # compiled code that does not let go

sys.addaudithook(hook)
"""
"""Imported by Python in every worker: files whose reading kills, or takes for ever."""

SCANS = 12

CLUSTER = """
import time
from distributed import LocalCluster

if __name__ == "__main__":
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    print(cluster.scheduler_address, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for n in range(SCANS):
        write_volume(folder / f"s{n}.nii.gz", phantom(80 + n, spacing_mm=8.0))
    return folder


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a dask cluster that somebody else runs, one worker with a nanny, and its address."""
    script = folder / "cluster.py"
    script.write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()  # its worker ends with it
        process.communicate()


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest" / "all.jsonl").read_text().splitlines()]


def states(outcomes: Iterable[ScanOutcome]) -> dict[str, str]:
    return {outcome.scan.name: outcome.state for outcome in outcomes}


def my_workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [c for c in children if "--multiprocessing-fork" in c.cmdline()]


def test_a_worker_that_is_killed_costs_no_scan_and_results_are_those_of_one_process(
    tmp_path: Path, tiny_model_path: Path, source: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = states(run_cohort(tiny_model_path, source, tmp_path / "a", workers=1, device="cpu"))
    running = run_cohort(tiny_model_path, source, tmp_path / "b", workers=2, device="cpu")
    shared = states([next(running)])
    at_work = my_workers()
    assert len(at_work) == 2
    max(at_work, key=lambda p: p.memory_info().rss).kill()  # the one that has loaded its model
    shared |= states(running)
    assert alone == shared == {f"s{n}": "done" for n in range(SCANS)}
    for n in range(SCANS):
        for name in ("anomaly_z", "residual", "candidates"):
            a, b = (read_volume(tmp_path / r / "scans" / f"s{n}" / f"{name}.nii.gz") for r in "ab")
            assert np.allclose(a.data, b.data, atol=1e-3)  # detect itself repeats to about 2e-5
    kinds = Counter(event["event"] for event in events(tmp_path / "b"))
    assert kinds == {"run": 1, "lost": 1, "done": SCANS, "end": 1}
    assert my_workers() == []
    assert capfd.readouterr() == ("", ""), "nobody wants to read what the workers say"
    assert not [p for p in (tmp_path / "b" / "scans").iterdir() if p.name.startswith(".")]


def test_a_running_cluster_does_the_work_and_its_end_keeps_what_is_done(
    tmp_path: Path, tiny_model_path: Path, source: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with cluster(tmp_path) as (process, address):
        running = run_cohort(tiny_model_path, source, tmp_path / "o", scheduler=address)
        first = next(running)
        assert first.state == "done"
        process.kill()
        with pytest.raises(ClusterError, match=r"CLU-003.*what is done stays"):
            list(running)
    assert (first.folder / "detection.json").exists()
    assert capfd.readouterr() == ("", "")
    rest = run_cohort(tiny_model_path, source, tmp_path / "o", workers=1, device="cpu")
    assert first.scan.name not in states(rest)


def test_where_no_scheduler_answers(
    tmp_path: Path, tiny_model_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_CONNECT_S", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(ClusterError, match=f"CLU-002. {address}"):
            list(run_cohort(tiny_model_path, source, tmp_path / "o", scheduler=address))


@pytest.mark.slow
def test_scans_that_kill_or_never_end_are_set_aside_and_the_others_are_done(
    tmp_path: Path, tiny_model_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(tmp_path), before))))
    names = ("poison", "endless")
    for name in names:
        shutil.copy(source / "s0.nii.gz", source / f"{name}.nii.gz")
    options = {"workers": 2, "device": "cpu", "timeout_s": 20.0, "retries": 1}
    found = {o.scan.name: o for o in run_cohort(tiny_model_path, source, tmp_path / "o", **options)}
    for name in names:
        (source / f"{name}.nii.gz").unlink()
    quarantined = {name for name, o in found.items() if o.state == "quarantined"}
    assert quarantined == set(names)
    assert "longer than 20 s" in found["endless"].reason
    assert "its worker died" in found["poison"].reason
    lost = [e for e in events(tmp_path / "o") if e["event"] == "lost"]
    sure = Counter(e["scan"] for e in lost if "scan" in e)
    assert sure == {"poison": 2, "endless": 2}, "nobody else is blamed"
    done = Counter(e["scan"] for e in events(tmp_path / "o") if e["event"] == "done")
    assert done == {f"s{n}": 1 for n in range(SCANS)}


def test_a_worker_that_has_no_process_just_now_is_not_taken_for_this_one() -> None:
    starting = SimpleNamespace(pid=None, auto_restart=True)
    pools._end(SimpleNamespace(workers={0: starting}))  # to psutil, no number is one's own
    assert not starting.auto_restart


def test_the_recipe_for_slurm_asks_for_what_it_says() -> None:
    pytest.importorskip("dask_jobqueue")
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "cohort.md").read_text("utf-8")
    code = guide.split("```python\n")[1].split("    cluster.adapt")[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for wanted in ("--cpus-per-task=4", "--mem=8G", "-t 04:00:00", "--nthreads 4", "--nanny"):
        assert wanted in done.stdout
