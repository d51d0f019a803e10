"""The program around the commands: options before the command, configuration, environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_normative import __version__
from napari_normative.cli import configuration
from napari_normative.cli.common import NOTICE, explain
from napari_normative.errors import NormativeError
from napari_normative.offline import VARIABLE as OFFLINE_VARIABLE
from napari_normative.offline import offline as working_offline

WRONG_USAGE = 2


class Program(TyperGroup):
    """The whole program; gives every option its environment variable, and help that fits."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for option in configuration.options_of(self):
            if option.param.envvar is None:
                option.param.envvar = option.variable
                option.param.show_envvar = False  # one rule, said once, instead of 100 lines
        _fit_help(self)


def _fit_help(command: Any) -> None:
    """Let paragraphs flow, and leave the column of values empty for flags."""
    if command.help:
        paragraphs = command.help.split("\n\n")
        command.help = "\n\n".join(" ".join(text.split()) for text in paragraphs)
    for param in command.params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    for child in getattr(command, "commands", {}).values():
        _fit_help(child)


def program() -> typer.Typer:
    """Return the application without its commands."""
    app = typer.Typer(
        cls=Program,
        help=f"Normative models of healthy anatomy: train, detect, sample. {NOTICE}",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-normative {__version__}. {NOTICE}")
        raise typer.Exit


def _options(
    context: typer.Context,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="NAPARI_NORMATIVE_DEBUG",
            show_envvar=False,
            help="Print tracebacks.",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="NAPARI_NORMATIVE_CONFIG",
            show_envvar=False,
            help=f"Defaults of options; else {configuration.NAME} here, then the user's.",
            metavar="FILE",
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline/--online",
            envvar=OFFLINE_VARIABLE,
            show_envvar=False,
            help="Refuse or allow connections beyond this machine.",
        ),
    ] = True,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Do what all commands need before they begin."""
    context.obj = {"debug": debug, "config": None}
    context.with_resource(working_offline(offline))
    try:
        file = configuration.find(config)
        if file is not None:
            context.default_map = configuration.load(file, context)
            context.obj["config"] = file
    except NormativeError as error:
        typer.echo(explain(error, context), err=True)
        raise typer.Exit(WRONG_USAGE) from error
