"""The command ``import-monai``: a network from elsewhere as a normative model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_normative.cli.common import (
    NOTICE,
    DeviceOption,
    JsonOption,
    Printer,
    QuietOption,
    SeedOption,
    guarded,
)
from napari_normative.cli.terminal import Bar


@guarded
def import_monai(
    context: typer.Context,
    weights: Annotated[
        Path, typer.Argument(help="State dict of the network, .safetensors.", metavar="WEIGHTS")
    ],
    config: Annotated[Path, typer.Option(help="MONAI's configuration of it (JSON).")],
    cohort: Annotated[
        str, typer.Option(help="Healthy scans, as for train: they calibrate, nothing is trained.")
    ],
    out: Annotated[Path, typer.Option(help="The model file to write (.safetensors).")],
    preset: Annotated[str, typer.Option(help="Grid, alignment and score.")] = "crop-1mm",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a value of the preset, e.g. preprocess.shape=48,64,48; may be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    scale: Annotated[
        float,
        typer.Option(help="What the 90 % quantile of the foreground is for the network."),
    ] = 1.0,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    template: Annotated[
        Path | None, typer.Option(help="Volume to align to, instead of the preset's.")
    ] = None,
    workdir: Annotated[
        Path | None, typer.Option(help="Aligned scans and baselines; OUT.work unless given.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="One line for the model's card.")] = None,
    licence: Annotated[
        str, typer.Option("--license", help="Of the weights, for the card.")
    ] = "not stated",
    credit: Annotated[str, typer.Option(help="Whose scans, for the card.")] = "not stated",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a normative model of MONAI AutoencoderKL weights, calibrated on healthy scans."""
    from napari_normative.engine.monai_import import import_autoencoder
    from napari_normative.engine.presets import settings_from

    with Bar(quiet, as_json=as_json) as bar:
        made = import_autoencoder(
            weights,
            config,
            cohort,
            out,
            preset=preset,
            changes=settings_from(settings or [], None),
            scale=scale,
            seed=seed,
            device=device,
            template=template,
            workdir=workdir,
            title=title,
            license_text=licence,
            credit=credit,
            progress=bar.train,
        )
    card = made.card
    lines = [f"{out}: {card.one_line()}", card.verdict()]
    for site in card.held_out:
        lines.append(
            f"{site.site}: mean absolute error {site.mae:.3f}, of the mean image "
            f"{site.mae_mean_image:.3f}"
        )
    if all(site.mae > site.mae_mean_image for site in card.held_out):
        lines.append(
            "It reconstructs healthy people worse than the mean image does: --scale, spacing or "
            "orientation may not be those it was trained with."
        )
    facts = {"model": str(out), "card": card.one_line(), "sha256": made.digest}
    Printer(context, quiet=quiet, as_json=as_json).result(
        {**facts, "verdict": card.verdict()},
        "\n".join([*lines, f"sha256 {made.digest}", NOTICE]),
    )
