"""The command ``evaluate``: does a model earn its place on the user's own cases?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_normative.cli import complete
from napari_normative.cli.common import (
    NOTICE,
    DeviceOption,
    JsonOption,
    Printer,
    QuietOption,
    guarded,
)
from napari_normative.cli.terminal import Bar


@guarded
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
        typer.Option(
            help="Packaged model or model file; the first is compared with the others.",
            metavar="MODEL",
            autocompletion=complete.models,
        ),
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
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)

        def said(error: BaseException, name: str) -> str:
            return printer.failure(error, name, case=name)

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
    report = f"{out / 'evaluation.html'}: the report. {NOTICE}"
    printer.result({"out": str(out), **headline(made)}, "\n".join([*lines(made), report]))
    printer.end()
