"""The command ``config``: which defaults are in force, and where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_normative.cli import configuration
from napari_normative.cli.common import JsonOption, Printer, QuietOption, guarded


@guarded
def config(
    context: typer.Context,
    init: Annotated[
        bool,
        typer.Option("--init", help="Write a commented file with all defaults; never overwrites."),
    ] = False,
    out: Annotated[Path, typer.Option(help="The file that --init writes.", metavar="FILE")] = Path(
        configuration.NAME
    ),
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show which options have other values than the built-in defaults, and from where.

    What is typed goes before an environment variable (NAPARI_NORMATIVE_DETECT_DEVICE), that
    before the configuration file, and that before the default. The file is the one of --config,
    else napari-normative.toml in the current folder, else the user's.
    """
    printer = Printer(context, quiet=quiet, as_json=as_json)
    root = context.find_root()
    if init:
        configuration.write_template(out, root.command)
        printer.result({"written": str(out)}, f"{out}: every option with its default.")
        return
    settings = configuration.in_force(root)
    changed = [s for s in settings if s.origin != "default"]
    file = root.obj["config"]
    places = [str(path) for path in configuration.places()]
    facts = {
        "file": str(file) if file else None,
        "looked_for": places,
        "settings": [
            {
                "command": " ".join(s.option.path),
                "option": s.option.key,
                "value": s.value,
                "default": s.option.default,
                "from": s.origin,
                "variable": s.option.variable,
            }
            for s in settings
        ],
    }
    lines = [f"file: {file}" if file else f"file: none (looked for {' and '.join(places)})"]
    for s in changed:
        where = ".".join(s.option.path)
        lines.append(f"{where}.{s.option.key} = {configuration.to_toml(s.value)}  ({s.origin})")
    lines.append(f"{len(settings) - len(changed)} options have their defaults.")
    printer.result(facts, "\n".join(lines))
