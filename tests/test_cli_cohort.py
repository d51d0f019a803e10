"""The command ``cohort`` from the outside: what is printed where, what is left, which status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from napari_normative.cli import app
from napari_normative.io.nifti import write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["cohort", *(str(a) for a in arguments)])


def complaints(result: Result) -> list[str]:
    """Lines on stderr, but for the progress that a slow machine writes there now and then."""
    return [line for line in result.stderr.splitlines() if " an hour, " not in line]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two people with ages, and a line whose file is cut short."""
    folder = tmp_path_factory.mktemp("in")
    for n in range(2):
        write_volume(folder / f"p{n}.nii.gz", phantom(90 + n, spacing_mm=8.0))
    (folder / "cut.nii.gz").write_bytes((folder / "p0.nii.gz").read_bytes()[:500])
    rows = ["path\tsubject\tage\tsite", "p0.nii.gz\tanna\t31\tnorth", "p1.nii.gz\tbea\t44\tsouth",
            "cut.nii.gz\tcleo\t50\tsouth"]  # fmt: skip
    table = folder / "people.tsv"
    table.write_text("\n".join(rows) + "\n")
    return table


def test_a_cohort_from_table_to_report_and_again(
    tmp_path: Path, tiny_model_path: Path, scans: Path
) -> None:
    out = tmp_path / "results"
    arguments = (scans, "--out", out, "--model", tiny_model_path, "--device", "cpu", "--workers", 1)
    first = run(*arguments)
    assert first.exit_code == 1, "one scan has no result"
    assert first.stdout.splitlines()[0] == "3 scans, 0 done before, 3 to do; 1 process"
    assert "2 done, 1 refused; 2 computed" in first.stdout
    assert "cohort.html: the report. Research use only, not for diagnosis." in first.stdout
    (line,) = complaints(first)
    assert line.startswith("[NIF-0")
    assert "cut.nii.gz" in line

    again = run(*arguments)
    assert again.exit_code == 1
    assert again.stdout.splitlines()[0] == "3 scans, 2 done before, 0 to do; 1 process"
    assert again.stderr.startswith("cut: left out as before: [NIF-0")

    scans.with_name("p1.nii.gz").touch()
    scans.with_name("cut.nii.gz").write_bytes(scans.with_name("p0.nii.gz").read_bytes())
    mended = run(*arguments, "--json")
    assert mended.exit_code == 0, mended.stderr
    touched, cut, summary = (json.loads(line) for line in mended.stdout.splitlines())
    assert (touched["scan"], touched["subject"], touched["computed"]) == ("p1", "bea", False)
    assert (cut["scan"], cut["state"], cut["computed"]) == ("cut", "done", True)
    assert Path(cut["folder"]) == out.absolute() / "scans" / "cut"
    assert summary["summary"] is True
    assert summary["states"] == {"done": 3}
    assert (summary["computed"], summary["lost"]) == (1, 0)

    other = run(*arguments, "--seed", 1)
    assert other.exit_code == 0
    assert other.stdout.count("done anew, other options") == 3
    head, *rows = (out / "cohort.tsv").read_text().splitlines()
    assert head.startswith("name\tsubject\tsession\tsite\tstate\tscan_score\tscan_p")
    assert head.endswith("seconds\thost\tage")
    assert [row.split("\t")[1] for row in rows] == ["anna", "bea", "cleo"]
    assert [row.split("\t")[-1] for row in rows] == ["31", "44", "50"]


@pytest.mark.parametrize(
    "options",
    [
        ("--shard", "0/3"),
        ("--shard", "4/3"),
        ("--shard", "half"),
        ("--workers", "0"),
        ("--retries", "-1"),
        ("--scheduler", "tcp://127.0.0.1:1", "--workers", "2"),
        (),
    ],
)
def test_wrong_usage_is_status_2_and_leaves_nothing(
    tmp_path: Path, scans: Path, options: tuple[str, ...]
) -> None:
    where = ("--out", tmp_path / "o") if options else ()
    result = run(scans, *where, *options)
    assert result.exit_code == 2
    assert "Usage" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_cohort_is_one_line(tmp_path: Path, tiny_model_path: Path) -> None:
    result = run(tmp_path, "--out", tmp_path / "o", "--model", tiny_model_path)
    assert result.exit_code == 1
    (line,) = complaints(result)
    assert line.startswith("[COH-001]")
    assert "Nothing was started." in line


@pytest.mark.skipif(os.name == "nt", reason="sends signals")
@pytest.mark.parametrize(
    ("workers", "end"),
    [
        (1, signal.SIGTERM),
        pytest.param(2, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(2, signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_keeps_what_is_done_and_goes_on(
    tmp_path: Path, tiny_model_path: Path, scans: Path, workers: int, end: signal.Signals
) -> None:
    source, out = tmp_path / "in", tmp_path / "o"
    source.mkdir()
    for n in range(12):
        (source / f"s{n:02d}.nii.gz").write_bytes(scans.with_name("p0.nii.gz").read_bytes())
    arguments = [str(source), "--out", str(out), "--model", str(tiny_model_path)]
    arguments += ["--device", "cpu", "--workers", str(workers), "--json"]
    program = [sys.executable, "-c", "from napari_normative.cli import main; main()", "cohort"]
    process = subprocess.Popen(
        [*program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    os.killpg(process.pid, end)  # as a terminal and a job scheduler do: to workers, too
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    said = stderr.splitlines()
    assert said[-1] == "Interrupted. What is done is kept; the same command goes on."
    assert "Traceback" not in stderr
    done = {p.name for p in (out / "scans").iterdir()}
    assert first["scan"] in done
    assert len(done) < 12
    assert all((out / "scans" / name / "detection.json").exists() for name in done)
    rest = CliRunner().invoke(app, ["cohort", *arguments])
    assert rest.exit_code == 0, rest.stderr
    lines = [json.loads(line) for line in rest.stdout.splitlines()]
    computed = {line["scan"] for line in lines[:-1] if line["computed"]}
    assert computed.isdisjoint(done)
    assert lines[-1]["states"] == {"done": 12}
    written = (out / "manifest" / "all.jsonl").read_text().splitlines()
    assert not [e for e in map(json.loads, written) if e["event"] == "lost"]
