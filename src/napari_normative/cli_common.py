"""What the commands share: the application, its options, and how failures are said."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Literal, ParamSpec, cast

import typer

from napari_normative import __version__
from napari_normative.errors import CancelledError, NormativeError

P = ParamSpec("P")

NOTICE = "Research use only, not for diagnosis."
INTERRUPTED = 130

app = typer.Typer(
    help=f"Normative models of healthy anatomy: train, detect, sample. {NOTICE}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda:N or mps.", metavar="DEVICE", show_default=True)
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
ModelOption = Annotated[str, typer.Option(help="Name of a packaged model, or a model file.")]
TrustOption = Annotated[
    Literal["sform", "qform"] | None,
    typer.Option(help="Which transform is right where sform and qform disagree."),
]
SizeOption = Annotated[
    bool, typer.Option("--any-size", help="A field of view below 5 or above 2500 mm is right.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-normative {__version__}. {NOTICE}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="NAPARI_NORMATIVE_DEBUG",
            help="Print tracebacks. Stands before the command.",
        ),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    context.obj = {"debug": debug}


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


def guarded(
    command: Callable[P, None], kept: str = "Results that were finished before are kept."
) -> Callable[P, None]:
    """Turn what a command raises into one line on stderr and an exit status."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        context = cast("typer.Context", kwargs["context"])
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.BadParameter):
            raise
        except (KeyboardInterrupt, CancelledError, SystemExit) as error:
            # Lightning answers Ctrl-C with sys.exit(1).
            if isinstance(error, SystemExit) and not isinstance(
                error.__context__, KeyboardInterrupt
            ):
                raise
            typer.echo(f"Interrupted. {kept}", err=True)
            raise typer.Exit(INTERRUPTED) from error
        except Exception as error:  # the last resort: no traceback for users
            typer.echo(explain(error, context), err=True)
            raise typer.Exit(1) from error

    return run
