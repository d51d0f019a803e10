"""The command ``demo``: a sample scan in napari."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_normative.cli import complete
from napari_normative.cli.common import (
    JsonOption,
    ModelOption,
    Printer,
    QuietOption,
    SeedOption,
    guarded,
)
from napari_normative.cli.terminal import say
from napari_normative.display import has_display, require_qt, virtual_display


@guarded
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for screenshots and results.")] = Path(
        "demo-output"
    ),
    key: Annotated[
        str,
        typer.Option("--sample", help="Which sample scan.", autocompletion=complete.samples),
    ] = "brain-with-lesion",
    model: ModelOption = "brain-t1",
    seed: SeedOption = 0,
    screenshots: Annotated[
        bool, typer.Option("--screenshots", help="Do not open a window; save what it would show.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a sample scan in napari with what the model makes of it.

    With a display a window opens. Without one, or with --screenshots, the same happens on a
    virtual display; screenshots and the NIfTI results go to OUT.
    """
    require_qt()
    program = [sys.executable, "-m", "napari_normative.plugin.demo"]
    program += ["--sample", key, "--model", model, "--seed", str(seed)]
    window = has_display() and not screenshots
    with contextlib.nullcontext(None) if window else virtual_display() as environment:
        if not window:
            program += ["--out", str(out)]
        with subprocess.Popen(
            program,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as child:
            try:
                failure = _repeat(child, quiet or as_json)
            finally:
                child.terminate()
    printer = Printer(context, quiet=quiet, as_json=as_json)
    if child.returncode:
        printer.failure(failure or f"The window ended with status {child.returncode}.")
        printer.end()
    files = [] if window else sorted(str(p) for p in out.rglob("*") if p.is_file())
    shown = "\n".join(files)
    printer.result({"sample": key, "out": None if window else str(out), "files": files}, shown)


def _repeat(child: subprocess.Popen[str], quiet: bool) -> str:
    """Pass on what the window says; return its failure, which begins with a code."""
    failure, kept = "", []
    assert child.stderr is not None
    for line in map(str.rstrip, child.stderr):
        if line.startswith("["):
            failure = line
        elif quiet:
            kept.append(line)
        else:
            say(line, err=True)
    child.wait()
    return failure or "\n".join(kept)
