"""What programs rely on: JSON alone on stdout, silence, statuses, pipes that end early."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from napari_normative.cli import app
from napari_normative.io.nifti import write_volume
from phantoms import phantom

pytestmark = pytest.mark.timeout(600)  # the first of these trains the tiny model
PROGRAM = [sys.executable, "-m", "napari_normative"]


def run(*arguments: object, code: int = 0, stdin: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    return write_volume(folder / "patient.nii.gz", phantom(7, lesion_ml=20.0))


def test_detect_takes_a_list_from_standard_input(
    tmp_path: Path, scan: Path, tiny_model_path: Path
) -> None:
    words = ("detect", "-", "--out", tmp_path / "o", "--model", tiny_model_path)
    result = run(*words, stdin=f"# one\r\n{scan}\r\n\r\n{scan}\r\n")
    assert "1 of 1 done" in result.stdout
    assert (tmp_path / "o" / "patient" / "detection.json").exists()
    result = run(*words, "-0", "--json", stdin=f"{scan}\0{scan.parent}/gone.nii\0", code=1)
    good, bad = map(json.loads, result.stdout.splitlines())
    assert good["scan"] == "patient.nii.gz"
    assert (bad["scan"], bad["code"]) == ("gone.nii", "NIF-001")
    assert result.stderr.startswith("[NIF-001] gone.nii")


def test_an_empty_list_is_a_failure_and_two_lists_are_wrong_usage(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    words = ("--out", tmp_path / "o", "--model", tiny_model_path)
    assert "[NIF-041]" in run("detect", "-", *words, stdin="\n", code=1).stderr
    assert "read once" in run("detect", "-", "-", *words, stdin="", code=2).stderr
    assert "--null" in run("detect", "a.nii", "-0", *words, code=2).stderr
    assert "--mask" in run("detect", "-", "--mask", "m", *words, stdin="a\nb\n", code=2).stderr


def test_inspect_reads_a_list_too(scan: Path) -> None:
    first, second = map(
        json.loads, run("inspect", "-", "brain-t1", "--json", stdin=f"{scan}\n").stdout.splitlines()
    )
    assert first["shape"] == [42, 50, 42]
    assert second["title"] == "Adult brain"


def test_sample_says_its_files_as_json_or_nothing(tmp_path: Path, tiny_model_path: Path) -> None:
    words = ("sample", "-n", 1, "--model", tiny_model_path, "--device", "cpu", "--out")
    facts = json.loads(run(*words, tmp_path / "a", "--json").stdout)
    assert [Path(f).name for f in facts["files"]] == ["sample_01.nii.gz", "samples.json"]
    assert all(Path(f).exists() for f in facts["files"])
    assert facts["synthetic"] is True
    quiet = run(*words, tmp_path / "b", "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_a_failure_of_the_whole_command_is_an_object_too(tmp_path: Path) -> None:
    for command in (("sample",), ("detect", tmp_path / "a.nii"), ("train", tmp_path)):
        words = (*command, "--out", tmp_path / "o.safetensors", "--json")
        if command[0] != "train":
            words += ("--model", "nothing")
        result = run(*words, code=1)
        facts = json.loads(result.stdout)
        assert result.stderr.splitlines()[-1] == facts["error"]
        assert facts["code"] == facts["error"][1:8]
    assert json.loads(run("inspect", "gone.nii", "--json", code=1).stdout)["code"] == "NIF-001"


def test_quiet_leaves_failures(scan: Path) -> None:
    result = run("inspect", scan, "gone.nii", "--quiet", code=1)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


def test_demo_without_its_sample_is_one_failure(tmp_path: Path) -> None:
    pytest.importorskip("nilearn", reason="the sample scans need the extra demo")
    words = ("demo", "--screenshots", "--sample", "no-such", "--out", tmp_path / "o")
    result = run(*words, "--json", code=1)
    assert json.loads(result.stdout)["code"] == "SMP-001"
    assert result.stderr.startswith("[SMP-001]")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
def test_a_reader_that_stops_ends_the_command_without_a_word(scan: Path) -> None:
    listed = f"{scan}\n" * 2000  # more than a pipe holds
    child = subprocess.Popen(
        [*PROGRAM, "inspect", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    child.stdin.write(listed[:1000])
    child.stdin.flush()
    assert child.stdout.readline() == "patient.nii.gz\n"
    child.stdout.close()
    try:
        child.stdin.write(listed)
        child.stdin.close()
    except BrokenPipeError:
        pass
    assert child.wait(timeout=60) == 1
    assert child.stderr.read() == ""
    child.stderr.close()
