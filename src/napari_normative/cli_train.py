"""The command ``train``: a normative model of healthy scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_normative import cli_complete
from napari_normative.cli_common import (
    NOTICE,
    DeviceOption,
    JsonOption,
    Printer,
    QuietOption,
    SeedOption,
    guarded,
)
from napari_normative.terminal import Bar


@guarded(kept="Add --resume to go on; only work since the last checkpoint is lost.")
def train(
    context: typer.Context,
    cohort: Annotated[
        str,
        typer.Argument(
            help="Folder, quoted pattern, or table (.tsv: path, subject, site, age, sex, split).",
            metavar="COHORT",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The model file to write (.safetensors).")],
    preset: Annotated[
        str,
        typer.Option(help="Size of network and spacing.", autocompletion=cli_complete.presets),
    ] = "brain-2mm",
    balance: Annotated[
        str | None,
        typer.Option(
            help="Columns of the table, e.g. site,age: rare groups are drawn more often.",
            metavar="COLUMNS",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a value of the preset, e.g. objective.beta=0.3; may be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop training after this time; then calibrate.")
    ] = None,
    seed: SeedOption = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest valid checkpoint.")
    ] = False,
    device: DeviceOption = "auto",
    template: Annotated[
        Path | None, typer.Option(help="Volume to align to, instead of the preset's.")
    ] = None,
    workdir: Annotated[
        Path | None, typer.Option(help="Aligned scans and checkpoints; OUT.work unless given.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="One line for the model's card.")] = None,
    licence: Annotated[
        str, typer.Option("--license", help="Of the weights, for the card.")
    ] = "not stated",
    credit: Annotated[str, typer.Option(help="Whose scans, for the card.")] = "not stated",
    forget_people: Annotated[
        bool,
        typer.Option("--forget-people", help="Leave the people's latents out of the model file."),
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a normative model on healthy scans, calibrate it and write one file.

    With --json the progress is JSON too, one object a line on stderr.
    """
    from napari_normative.engine.presets import settings_from
    from napari_normative.engine.train import fit

    changes = settings_from(settings or [], balance)
    with Bar(quiet, as_json=as_json) as bar:
        made = fit(
            cohort,
            out,
            preset=preset,
            changes=changes,
            max_minutes=max_minutes,
            seed=seed,
            resume=resume,
            device=device,
            template=template,
            workdir=workdir,
            title=title,
            license_text=licence,
            credit=credit,
            forget_people=forget_people,
            progress=bar.train,
        )
    card = made.card
    facts = {"model": str(out), "card": card.one_line(), "sha256": made.digest}
    facts |= {"verdict": card.verdict(), "latents": card.calibration.latents_line()}
    Printer(context, quiet=quiet, as_json=as_json).result(
        {**facts, "training": card.training.model_dump(mode="json")},
        f"{out}: {card.one_line()}\n{card.calibration.latents_line()}\n"
        f"{card.verdict()}\nsha256 {made.digest}\n{NOTICE}",
    )
