"""What Tab offers, asked as the shells ask it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_normative.cli import app, complete
from napari_normative.engine.presets import PRESETS
from napari_normative.engine.variants import VARIANTS
from napari_normative.io.samples import SAMPLES

COMPLETE = "_NAPARI_NORMATIVE_COMPLETE"


def offered(words: str) -> list[str]:
    """Return what bash gets for the last of some words."""
    env = {COMPLETE: "complete_bash", "COMP_WORDS": f"napari-normative {words}"}
    env["COMP_CWORD"] = str(len(words.split(" ")))
    result = CliRunner().invoke(app, [], env=env, prog_name="napari-normative")
    assert result.exit_code == 0, result.output
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("de", ["detect", "denoise", "demo"]),
        ("review ex", ["export"]),
        ("detect --lo", ["--local-volume"]),
        ("detect --model ", ["brain-t1", "mine.safetensors", "sub/other.safetensors"]),
        ("detect --model sub/", ["sub/other.safetensors"]),
        ("evaluate x.tsv --model m", ["mine.safetensors"]),
        ("detect --device c", ["cpu"]),
        ("train --preset brain-2", ["brain-2mm", "brain-2mm-hierarchical"]),
        ("train --variant beta", ["beta-vae", "beta-tc"]),
        ("demo --sample whole", ["whole-head", "whole-head-with-lesion"]),
        ("review export x --format d", ["dicom"]),
        ("detect scans", []),  # the shell offers files then
    ],
)
def test_tab_in_bash(
    words: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("mine.safetensors", "sub/other.safetensors", "sub/note.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "glob", without_gpus(Path.glob))
    assert offered(words) == expected


def without_gpus(glob):  # type: ignore[no-untyped-def]
    return lambda self, pattern: [] if self == Path("/dev") else glob(self, pattern)


def test_the_names_are_those_of_the_program() -> None:
    assert tuple(PRESETS) == complete.PRESETS
    assert tuple(VARIANTS) == complete.VARIANTS
    assert tuple(SAMPLES) == complete.SAMPLES


@pytest.mark.parametrize(
    ("shell", "env"),
    [
        ("zsh", {}),
        ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
        ("powershell", {"_TYPER_COMPLETE_WORD_TO_COMPLETE": ""}),
    ],
)
def test_the_other_shells_and_their_scripts(shell: str, env: dict[str, str]) -> None:
    env |= {
        COMPLETE: f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "napari-normative train --preset ",
    }
    result = CliRunner().invoke(app, [], env=env, prog_name="napari-normative")
    assert "brain-4mm" in result.stdout
    script = CliRunner().invoke(
        app, [], env={COMPLETE: f"source_{shell}"}, prog_name="napari-normative"
    )
    assert COMPLETE in script.stdout


def test_help_and_tab_load_nothing_heavy() -> None:
    heavy = {"torch", "pandas", "napari", "SimpleITK", "scipy", "nibabel", "numpy"}
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr))\n"
        "from napari_normative.cli import main\n"
        "main()"
    )
    words = "napari-normative detect --device "
    tab = {COMPLETE: "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "3"}
    for more, arguments in ((tab, []), ({}, ["detect", "--help"])):
        shown = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, **more},
            capture_output=True,
            text=True,
        )
        assert "cpu" in shown.stdout
        assert shown.stderr.strip() == "[]"
