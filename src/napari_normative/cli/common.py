"""What the commands share: options, how results and failures are said, lists on stdin."""

from __future__ import annotations

import functools
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, cast, overload

import typer

from napari_normative.cli import complete
from napari_normative.cli.terminal import Bar, ReaderGoneError, say
from napari_normative.errors import CancelledError, NormativeError

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel

P = ParamSpec("P")

NOTICE = "Research use only, not for diagnosis."
INTERRUPTED = 130
STDIN = "-"
KEPT = "Results that were finished before are kept."

ScansArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Volume files, folders of them, quoted patterns, or - for a list on standard input.",
        metavar="SCAN...",
    ),
]
ReviewsArgument = Annotated[
    list[Path], typer.Argument(help="Review files, or folders of them.", metavar="REVIEW...")
]
NullOption = Annotated[
    bool,
    typer.Option("--null", "-0", help="Paths on standard input end with NUL (find -print0)."),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda:N or mps.",
        metavar="DEVICE",
        show_default=True,
        autocompletion=complete.devices,
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
ModelOption = Annotated[
    str,
    typer.Option(
        help="Name of a packaged model, or a model file.",
        metavar="MODEL",
        autocompletion=complete.models,
    ),
]
GivenOption = Annotated[
    list[str] | None,
    typer.Option(
        "--given",
        help="What is known of the person, for a model that can be told: age=71, sex=F, ...; may "
        "be repeated.",
        metavar="COLUMN=VALUE",
    ),
]
VolumeOption = Annotated[
    int | None, typer.Option(min=0, help="Which volume of a 4D scan; 0 is the first.")
]
TrustOption = Annotated[
    Literal["sform", "qform"] | None,
    typer.Option(help="Which transform is right where sform and qform disagree."),
]
SizeOption = Annotated[
    bool, typer.Option("--any-size", help="A field of view below 5 or above 2500 mm is right.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


def told_model(model: str, given: Sequence[str] | None) -> NormativeModel:
    """Load a model and tell it what ``--given`` says of the person."""
    from napari_normative.engine.model import load_model

    known: dict[str, object] = {}
    for word in given or ():
        name, equals, value = word.partition("=")
        if not equals or name in known:
            why = "names a column twice" if equals else "is no COLUMN=VALUE"
            raise typer.BadParameter(f"{word!r} {why}, such as age=71", param_hint="--given")
        known[name] = value
    return load_model(model).given(known)


class Printer:
    """What a command says: results on stdout, failures on stderr; for people or for programs.

    Parameters
    ----------
    context : typer.Context
    quiet, as_json : bool
        As the options of these names.
    bar : Bar, optional
        A progress bar that lines must not break.

    Attributes
    ----------
    failed : int
        How many failures were said.
    """

    def __init__(
        self, context: typer.Context, *, quiet: bool, as_json: bool, bar: Bar | None = None
    ) -> None:
        self._context, self._quiet, self._as_json = context, quiet, as_json
        self._say = bar.echo if bar is not None else say
        self.failed = 0

    def result(self, facts: Mapping[str, Any], text: str) -> None:
        """Print ``facts`` as one object with --json; else the text, if any, unless quiet."""
        if self._as_json:
            from napari_normative.io.tables import json_line

            self._say(json_line(facts))
        elif text and not self._quiet:
            self._say(text)

    def note(self, text: str) -> None:
        """Print a line for people, with neither --json nor --quiet."""
        if not (self._quiet or self._as_json):
            self._say(text)

    def failure(self, error: BaseException | str, subject: str = "", **facts: Any) -> str:
        """Print a failure as one line on stderr, with --json as an object too; return the line."""
        line = error if isinstance(error, str) else explain(error, self._context, subject)
        self._say(line, err=True)
        self.failed += 1
        if self._as_json:
            from napari_normative.io.tables import json_line

            code = re.match(r"\[([A-Z]{3}-\d{3})\]", line)
            self._say(json_line({**facts, "error": line, "code": code[1] if code else None}))
        return line

    def end(self) -> None:
        """End with status 1 if anything failed."""
        if self.failed:
            raise typer.Exit(1)


def explain(error: BaseException, context: typer.Context, subject: str = "") -> str:
    """Return the one line a person sees; with --debug the traceback goes to stderr."""
    if context.obj["debug"]:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, NormativeError):
        return str(error)
    where = f"{subject}: " if subject else ""
    what = " ".join(str(error).split())[:300]
    return (
        f"[BUG-000] {where}unexpected {type(error).__name__}: {what}. This is a defect: please "
        "report it with the output of napari-normative --debug ..."
    )


@overload
def guarded(command: Callable[P, None], *, kept: str = ...) -> Callable[P, None]: ...


@overload
def guarded(*, kept: str) -> Callable[[Callable[P, None]], Callable[P, None]]: ...


def guarded(command: Any = None, *, kept: str = KEPT) -> Any:
    """Turn what a command raises into one line on stderr and an exit status.

    Parameters
    ----------
    command : callable
        With the parameter ``context``, and ``as_json`` where it has the option --json.
    kept : str
        What becomes of the work when it is interrupted.
    """
    if command is None:
        return functools.partial(guarded, kept=kept)

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        context = cast("typer.Context", kwargs["context"])
        printer = Printer(context, quiet=False, as_json=kwargs.get("as_json", False))
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.BadParameter):
            raise
        except ReaderGoneError as error:
            raise typer.Exit(1) from error
        except (KeyboardInterrupt, CancelledError, SystemExit) as error:
            # Lightning answers Ctrl-C with sys.exit(1).
            if isinstance(error, SystemExit) and not isinstance(
                error.__context__, KeyboardInterrupt
            ):
                raise
            printer.failure(f"Interrupted. {kept}")
            raise typer.Exit(INTERRUPTED) from error
        except Exception as error:  # the last resort: no traceback for users
            printer.failure(error)
            raise typer.Exit(1) from error

    return run


def with_listed(items: Sequence[str | Path], null: bool) -> Iterator[str]:
    """Yield items; in the place of ``-`` what standard input lists, as it comes in."""
    for item in items:
        if str(item) == STDIN:
            from napari_normative.io.lists import read_list

            if sys.stdin.isatty():
                say("Paths, one a line; Ctrl-D (Windows: Ctrl-Z, Enter) ends the list.", err=True)
            yield from read_list(typer.get_binary_stream("stdin"), null=null)
        else:
            yield str(item)


def require_one_list(items: Sequence[str | Path], null: bool) -> bool:
    """Return whether a list is read from standard input; refuse ``-`` twice, ``-0`` without it."""
    lists = sum(str(item) == STDIN for item in items)
    if lists > 1:
        raise typer.BadParameter("- stands for standard input, which can be read once")
    if null and not lists:
        raise typer.BadParameter("--null belongs to a list on standard input; name it with -")
    return lists == 1


def scans_of(scans: Sequence[Path], *, out: Path, null: bool) -> Iterable[Path]:
    """Return the scans that a command was given; a list, or read as they come with ``-``."""
    if require_one_list(scans, null):
        from napari_normative.io.lists import listed_scans

        return listed_scans(with_listed(scans, null), leave_out=out)
    from napari_normative.io.folders import expand_scans

    return expand_scans(scans, leave_out=out)
