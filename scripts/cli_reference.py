"""Write docs/reference/cli.md: every command with its arguments and options, from the program."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import typer

from napari_normative.cli import app
from napari_normative.cli.configuration import Option, options_of

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"

HEAD = """# Commands and options

Written by `scripts/cli_reference.py` from the program itself; `make docs` renews it. What the
commands do, step by step: [The command line](../how-to/command-line.md). Research use only, not
for diagnosis.

An option's name without the dashes in front is its key in the [configuration
file](../how-to/command-line.md#configuration), and with `NAPARI_NORMATIVE_`, the command and `_`
before it, in capitals, its environment variable: `--any-size` of `detect` is `any-size` in the
table `[detect]`, and `NAPARI_NORMATIVE_DETECT_ANY_SIZE`. `-h` or `--help` after a command shows
its options. `--install-completion` and `--show-completion` before it are about [the
shell](../how-to/command-line.md#completion).
"""
KINDS = {bool: "", int: "whole number", float: "number", str: "text", Path: "path"}


def page() -> str:
    """Return the whole page."""
    root = typer.main.get_command(app)
    parts = [HEAD, "## Before the command\n", *_table(root)]
    for path, command in commands(root):
        parts.append(f"\n## {' '.join(path)}\n\n{command.help}\n")
        names = [_argument_name(p) for p in command.params if p.param_type_name == "argument"]
        parts.append(f"    napari-normative {' '.join([*path, *names])} [OPTIONS]\n")
        parts += _table(command)
    return "\n".join(parts)


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that does something, in the order of the help."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from commands(child, (*path, name))
        else:
            yield (*path, name), child


def _table(command: Any) -> list[str]:
    rows = ["| | value | default | |", "|---|---|---|---|"]
    hints = typing.get_type_hints(inspect.unwrap(command.callback), include_extras=True)
    for param in command.params:
        if param.name in {"install_completion", "show_completion"}:
            continue  # typer's own, worded differently in each version
        hint = hints.get(param.name, bool)
        info = next((m for m in getattr(hint, "__metadata__", ()) if hasattr(m, "help")), None)
        is_argument = param.param_type_name == "argument"
        names = [_argument_name(param)] if is_argument else [*param.opts, *param.secondary_opts]
        shown = ", ".join(f"`{name}`" for name in sorted(names, key=len, reverse=True))
        default = "required" if param.required else _default(param)
        cells = (shown, _value(param, hint, info), default, param.help or "")
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return rows


def _argument_name(param: Any) -> str:
    name = param.metavar or param.name.upper()
    return name if param.required else f"[{name}]"


def _default(param: Any) -> str:
    value = Option((), "", param).default
    if value is None or value == "" or (isinstance(value, bool) and not param.secondary_opts):
        return ""
    if isinstance(value, bool):
        return f"`{(param.opts if value else param.secondary_opts)[0]}`"
    return f"`{value}`"


def _value(param: Any, hint: Any, info: Any) -> str:
    """Return what kind of value an option takes, with its bounds."""
    kind = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    kinds = [k for k in typing.get_args(kind) if k is not type(None)]
    if type(None) in typing.get_args(kind):
        kind = kinds[0]
    several = typing.get_origin(kind) is list
    if several:
        (kind,) = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        text = ", ".join(f"`{word}`" for word in typing.get_args(kind))
    elif param.metavar and param.param_type_name == "option":
        text = param.metavar
    else:
        text = KINDS[kind]
    low, high = getattr(info, "min", None), getattr(info, "max", None)
    if low is not None:
        text += f", {low:g} to {high:g}" if high is not None else f", {low:g} or more"
    return f"{text}; may be repeated" if several and param.param_type_name == "option" else text


def undocumented() -> list[str]:
    """Return options and arguments without a help text, and commands without one."""
    root = typer.main.get_command(app)
    missing = [" ".join(path) for path, command in commands(root) if not command.help]
    for path, command in [((), root), *commands(root)]:
        missing += [f"{' '.join(path)} {p.name}" for p in command.params if not p.help]
    assert sum(1 for _ in options_of(root)) > 50, "the options were not found"
    return missing


if __name__ == "__main__":
    if missing := undocumented():
        sys.exit(f"without a help text: {', '.join(missing)}")
    PAGE.write_text(page(), encoding="utf-8")
