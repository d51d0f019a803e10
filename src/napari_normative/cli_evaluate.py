"""The command ``evaluate``: does a model earn its place on the user's own cases?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from napari_normative.cli_common import NOTICE, DeviceOption, JsonOption, QuietOption, explain
from napari_normative.terminal import Bar


def evaluate(
    context: typer.Context,
    cases: Annotated[
        Path,
        typer.Argument(
            help="Table (.tsv: path, truth, subject, site, kind, mask).", metavar="CASES"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables and the report.")],
    model: Annotated[
        list[str],
        typer.Option(help="Packaged model or model file; the first is compared with the others."),
    ],
    shapes: Annotated[
        Path | None,
        typer.Option(help="Real lesion masks in the template's world, for simulation."),
    ] = None,
    simulate: Annotated[
        bool, typer.Option(help="Put simulated lesions into the healthy people's scans.")
    ] = True,
    seeds: Annotated[
        int, typer.Option(min=1, help="Simulated lesions of each kind for each healthy person.")
    ] = 3,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge a model on healthy people and patients, beside other models.

    A row of the table without truth is a healthy person. OUT gets evaluation.html (the
    report), summary.tsv (every figure by site, kind and size, with its interval over people),
    cases.tsv (a row a scan and model) and evaluation.json.
    """
    from napari_normative.engine.evaluate import evaluate as run
    from napari_normative.engine.verdict import headline, lines

    with Bar(quiet) as bar:

        def said(error: BaseException, name: str) -> str:
            line = explain(error, context, name)
            bar.echo(line, err=True)
            return line

        made = run(
            cases,
            model,
            out,
            shapes=shapes,
            simulate=simulate,
            seeds=seeds,
            device=device,
            progress=bar.step,
            explain=said,
        )
    if as_json:
        typer.echo(json.dumps({"out": str(out), **headline(made)}))
    elif not quiet:
        typer.echo("\n".join(lines(made)))
        typer.echo(f"{out / 'evaluation.html'}: the report. {NOTICE}")
    if made.refused:
        raise typer.Exit(1)
