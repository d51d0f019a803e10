"""Tutorial pages: their blocks in order, and two ways to run them.

The convention is in CONTRIBUTING.md: ```sh and ```python blocks are run, a ```text block behind
one is what it prints, and a comment before a block says what is special about it.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

DOCS = Path(__file__).parents[1] / "docs"
SIGNS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
INSTALLS = re.compile(r"(pip3? install|python3? -m venv|source |git clone|make )")
_FENCE = re.compile(r"^```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S)
_PART = re.compile(
    r"^<!-- (?P<word>test|step): (?P<note>[^>]*?) -->$|" + _FENCE.pattern, re.M | re.S
)


@dataclass
class Block:
    """A block of a page.

    Attributes
    ----------
    kind : {"sh", "python", "step"}
    text : str
        What is run; of a step its name.
    line : int
        Of the page.
    note : str
        ``fails``, ``slow`` or ``skip``, and why.
    expected : str or None
        What it prints; None where the page shows nothing.
    """

    kind: str
    text: str
    line: int
    note: str = ""
    expected: str | None = None

    @property
    def installs(self) -> bool:
        """Whether every line installs something, which a test does not."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        return self.kind == "sh" and all(INSTALLS.match(line) for line in lines)


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a tutorial in their order."""
    source = (DOCS / "tutorials" / f"{page}.md").read_text(encoding="utf-8")
    found: list[Block] = []
    note, end = "", 0
    for part in _PART.finditer(source):
        line = source.count("\n", 0, part.start()) + 1
        if part["word"] == "step":
            found.append(Block("step", part["note"], line))
        elif part["word"] == "test":
            note = part["note"]
            continue
        elif part["kind"] in {"sh", "python"}:
            found.append(Block(part["kind"], part["text"], line, note))
        elif part["kind"] == "text" and found and not source[end : part.start()].strip():
            found[-1].expected = part["text"]
        note, end = "", part.end()
    return found


class Runner(Protocol):
    """Runs blocks one after another and returns what each printed, and whether it succeeded."""

    def python(self, block: Block) -> tuple[str, bool]:
        """Run lines of Python in the page's one interpreter."""

    def shell(self, block: Block) -> tuple[str, bool]:
        """Run lines of a shell."""


@dataclass
class InProcess:
    """Everything in this process, where torch is loaded once for all pages.

    Commands of ours are called, others run in a shell.
    """

    page: str
    names: dict[str, object] = field(default_factory=lambda: {"__name__": "__main__"})

    def python(self, block: Block) -> tuple[str, bool]:
        """Run lines of Python."""
        out = io.StringIO()
        # The line numbers in a traceback are those of the page.
        code = compile("\n" * block.line + block.text, f"{self.page}.md", "exec")
        with contextlib.redirect_stdout(out):
            exec(code, self.names)
        return out.getvalue(), True

    def shell(self, block: Block) -> tuple[str, bool]:
        """Run lines of a shell."""
        from typer.testing import CliRunner

        from napari_normative.cli import app

        out, good = "", True
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["napari-normative"]:
                done = CliRunner().invoke(app, words[1:], prog_name="napari-normative")
                # Progress goes to stderr, and so does what failed.
                said = done.stdout if done.exit_code == 0 else done.output
                out, good = out + said, good and done.exit_code == 0
            elif words:
                ran = subprocess.run(["bash", "-euc", line], stdout=subprocess.PIPE, text=True)
                out, good = out + ran.stdout, good and ran.returncode == 0
        return out, good


@dataclass
class AsUser:
    """A shell and a Python of their own, as a person has them."""

    page: str
    environment: dict[str, str]
    _python: subprocess.Popen[str] | None = None

    def python(self, block: Block) -> tuple[str, bool]:
        """Run lines of Python."""
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-u", "-c", _INTERPRETER], env=self.environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        self._python.stdin.write(json.dumps(block.text) + "\n")
        self._python.stdin.flush()
        answer = self._python.stdout.readline()
        assert answer, "the interpreter ended"
        out, error = json.loads(answer)
        assert not error, error
        return out, True

    def shell(self, block: Block) -> tuple[str, bool]:
        """Run lines of a shell."""
        done = subprocess.run(
            ["bash", "-c", block.text], env=self.environment, capture_output=True, text=True
        )
        good = done.returncode == 0
        return done.stdout if good else done.stdout + done.stderr, good

    def close(self) -> None:
        """End the interpreter."""
        if self._python is not None:
            assert self._python.stdin is not None
            self._python.stdin.close()
            self._python.wait(timeout=60)


_INTERPRETER = """
import contextlib, io, json, sys, traceback
answers, names = sys.stdout, {"__name__": "__main__"}
for line in sys.stdin:
    out, error = io.StringIO(), ""
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(json.loads(line), "page", "exec"), names)
        except Exception:
            error = traceback.format_exc()
    print(json.dumps([out.getvalue(), error]), file=answers)
"""


def run_page(
    page: str, runner: Runner, steps: dict[str, Callable[[], None]], *, slow: bool = False
) -> Iterator[str]:
    """Run a page in the present folder; yield a line for each block that was not run, and why.

    Raises
    ------
    AssertionError
        At the first block that fails, or prints something else than the page says.
    """
    for block in blocks_of(page):
        where = f"{page}.md:{block.line}"
        if block.installs:
            yield f"{where}: installs"
            continue
        if block.note.startswith("skip") or (block.note.startswith("slow") and not slow):
            yield f"{where}: {block.note}"
            continue
        if block.kind == "step":
            steps[block.text]()
            continue
        run = runner.python if block.kind == "python" else runner.shell
        out, good = run(block)
        assert good != block.note.startswith("fails"), f"{where}\n{out}"
        if block.expected is not None:
            same = doctest.OutputChecker().check_output(block.expected, out, SIGNS)
            assert same, f"{where} prints\n{out}\nand the page says\n{block.expected}"


def user_environment(home: Path) -> dict[str, str]:
    """Return an environment whose home and caches are in a folder, without a display."""
    made = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    for name, folder in (
        ("HOME", ""), ("XDG_CACHE_HOME", ".cache"), ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"), ("XDG_STATE_HOME", ".local/state"),
    ):  # fmt: skip
        made[name] = str(home / folder)
    made["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{made['PATH']}"
    return made
