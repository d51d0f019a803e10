"""Defaults for the command line from a file: which file, what may stand in it, what is in force.

One TOML file: a table for each command, a key for each option, named as on the command line
without the dashes in front. Values pass the same checks as those that are typed.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from napari_normative.errors import ConfigError

NAME = "napari-normative.toml"
PREFIX = "NAPARI_NORMATIVE"


@dataclass(frozen=True)
class Option:
    """An option of a command, and its names outside of the command line.

    Attributes
    ----------
    path : tuple of str
        The command, such as ``("review", "create")``.
    key : str
        In the file: the long name without dashes in front.
    param
        What typer made of it.
    """

    path: tuple[str, ...]
    key: str
    param: Any

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return "_".join((PREFIX, *self.path, self.key)).upper().replace("-", "_")

    @property
    def default(self) -> Any:
        """The built-in default; None where there is none."""
        default = self.param.default
        if isinstance(default, Path):
            return str(default)
        return default if isinstance(default, bool | int | float | str | list | tuple) else None


@dataclass(frozen=True)
class Setting:
    """The value of an option when it is not typed, and where it comes from."""

    option: Option
    value: Any
    origin: str


def options_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[Option]:
    """Yield the options of all commands below a command, in the order of the help."""
    for name, child in getattr(command, "commands", {}).items():
        if name == "config" and not path:
            continue  # it shows the settings and has none
        for param in child.params:
            if param.param_type_name == "option":
                key = max(param.opts, key=len).lstrip("-")
                yield Option((*path, name), key, param)
        yield from options_of(child, (*path, name))


def find(given: Path | None) -> Path | None:
    """Return the file to use: the one given, else of this folder, else of the user."""
    if given is not None:
        return given
    return next((path for path in places() if path.is_file()), None)


def places() -> tuple[Path, Path]:
    """Return where a file is looked for: the current folder, the user's own configuration."""
    from platformdirs import user_config_path

    return Path(NAME), user_config_path("napari-normative", appauthor=False) / NAME


def load(path: Path, context: typer.Context) -> dict[str, Any]:
    """Read and check a file; return what the command line takes as defaults.

    Parameters
    ----------
    path : Path
    context : typer.Context
        Of the whole program.

    Raises
    ------
    ConfigError
        ``CFG-001`` unreadable, ``CFG-002`` no TOML, ``CFG-003`` an unknown table, ``CFG-004`` an
        unknown key, ``CFG-005`` a value that the option does not take.
    """
    try:
        tables = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        what = f"it cannot be read ({error.strerror or error})"
        raise ConfigError("CFG-001", what, "Check the path.", subject=path.name) from error
    except ValueError as error:  # UnicodeDecodeError and TOMLDecodeError
        what = f"it is no TOML ({error})"
        raise ConfigError("CFG-002", what, "Mend that line.", subject=path.name) from error
    known: dict[tuple[str, ...], dict[str, Option]] = {}
    for option in options_of(context.command):
        known.setdefault(option.path, {})[option.key] = option
    return _read_table(tables, (), known, path, context)


def in_force(context: Any) -> list[Setting]:
    """Return the value of every option that is not typed, and where it comes from.

    Parameters
    ----------
    context
        Of the whole program, with what :func:`load` returned as ``default_map``.
    """
    file = context.obj["config"]
    found = []
    for option in options_of(context.command):
        table: Any = context.default_map or {}
        for name in option.path:
            table = table.get(name, {})
        if text := os.environ.get(option.variable):
            found.append(Setting(option, text, option.variable))
        elif option.param.name in table:
            found.append(Setting(option, table[option.param.name], str(file)))
        else:
            found.append(Setting(option, option.default, "default"))
    return found


def template(command: Any) -> str:
    """Return a file that names every option with its default, all lines commented out."""
    lines = [
        f"# {NAME}: defaults of the options of napari-normative.",
        "# Take the # in front of a line away to change it. What is typed, and an environment",
        "# variable, go before. `napari-normative config` shows what is in force.",
    ]
    path: tuple[str, ...] = ()
    for option in options_of(command):
        if option.path != path:
            path = option.path
            lines += ["", f"[{'.'.join(path)}]"]
        default = "..." if option.default is None else to_toml(option.default)
        lines += [f"# {option.param.help}", f"# {option.key} = {default}"]
    return "\n".join(lines) + "\n"


def write_template(path: Path, command: Any) -> None:
    """Write :func:`template` to a file that must not exist yet.

    Raises
    ------
    ConfigError
        ``CFG-006`` if there is a file, ``CFG-007`` if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(template(command))
    except FileExistsError as error:
        remedy = "Edit it, or move it away first."
        raise ConfigError("CFG-006", "it exists already", remedy, subject=path.name) from error
    except OSError as error:
        what = f"it cannot be written ({error.strerror or error})"
        remedy = "Check free space and permissions, or choose another place."
        raise ConfigError("CFG-007", what, remedy, subject=path.name) from error


def to_toml(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(to_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)  # booleans, numbers and texts are alike in both


def _read_table(
    table: Mapping[str, Any],
    command: tuple[str, ...],
    known: Mapping[tuple[str, ...], Mapping[str, Option]],
    file: Path,
    context: typer.Context,
) -> dict[str, Any]:
    options = known.get(command, {})
    below = {path[len(command)] for path in known if path[: len(command)] == command != path}
    read: dict[str, Any] = {}
    for key, value in table.items():
        where = ".".join((*command, key))
        if key in below and isinstance(value, dict):
            read[key] = _read_table(value, (*command, key), known, file, context)
        elif key in options and key not in below:
            read[options[key].param.name] = _checked(options[key], value, where, file, context)
        elif isinstance(value, dict):
            what, remedy = f"there is no command {where}", _nearest(key, below)
            raise ConfigError("CFG-003", what, remedy, subject=file.name)
        else:
            owner = f"{' '.join(command)} has" if command else "outside of a table there is"
            what, remedy = f"{owner} no option {key}", _nearest(key, [*options, *below])
            raise ConfigError("CFG-004", what, remedy, subject=file.name)
    return read


def _checked(option: Option, value: Any, where: str, file: Path, context: typer.Context) -> Any:
    """Return a value that the option takes, as it stands in the file."""
    wrong = _why_not(option.param, value, context)
    if wrong:
        raise ConfigError(
            "CFG-005",
            f"{where} {wrong}",
            f"See: napari-normative {' '.join(option.path)} --help",
            subject=file.name,
        )
    return value


def _why_not(param: Any, value: Any, context: typer.Context) -> str:
    """Return why an option does not take a value, or nothing."""
    if param.multiple != isinstance(value, list):
        return "takes a list in brackets" if param.multiple else "takes one value, not a list"
    try:
        taken = param.process_value(context, value)
    except typer.BadParameter as error:
        return f"does not take it: {error.message.rstrip('.')}"
    for one, made in zip(value, taken, strict=True) if param.multiple else [(value, taken)]:
        if not _is_alike(one, made):
            return f"takes {_named(made)}, not {to_toml(one)}"
    return ""


def _is_alike(given: Any, made: Any) -> bool:
    """Whether a value was of the option's own type: ``"3"`` and true are no whole numbers."""
    if isinstance(made, bool) or isinstance(given, bool):
        return isinstance(made, bool) and isinstance(given, bool)
    if isinstance(made, float):
        return isinstance(given, int | float)
    if isinstance(made, int):
        return isinstance(given, int)
    return isinstance(given, str)


def _named(made: Any) -> str:
    if isinstance(made, bool):
        return "true or false"
    if isinstance(made, int):
        return "a whole number"
    return "a number" if isinstance(made, float) else "a text in quotes"


def _nearest(name: str, among: Iterable[str]) -> str:
    names = sorted(among)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names)}."
