"""The command ``augment``: a dataset of synthetic volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_normative.cli.common import (
    NOTICE,
    DeviceOption,
    GivenOption,
    JsonOption,
    ModelOption,
    Printer,
    QuietOption,
    SeedOption,
    guarded,
    told_model,
)
from napari_normative.cli.terminal import Bar


@guarded(kept="Volumes that were finished are kept; the same command goes on.")
def augment(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the dataset.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many volumes.")] = 10,
    model: ModelOption = "brain-t1",
    known: GivenOption = None,
    around: Annotated[
        Path | None,
        typer.Option(help="Draw what the model holds possible for SCAN.", metavar="SCAN"),
    ] = None,
    between: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Go from one scan to the other.", metavar="SCAN SCAN"),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="Draw like a group of the people in --cohort, such as sex=F.",
            metavar="COLUMN=VALUE",
        ),
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(help="Table with the scans and the column of --like.", metavar="TABLE"),
    ] = None,
    seed: SeedOption = 0,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Spread of the draws; 1 as learnt, 0 the mean.")
    ] = 1.0,
    compare_with: Annotated[
        Path | None,
        typer.Option(
            help="Folder or table of real scans: write a report of quality and privacy.",
            metavar="SCANS",
        ),
    ] = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a dataset of synthetic healthy volumes of a model.

    OUT becomes a BIDS derivatives dataset: a volume and a sidecar that says what made it for each
    sub-synthNNNN. Drawn as the model's people are spread, or around a scan, between two scans, or
    like a group of people. The same command goes on where it stopped, a larger -n adds to the set,
    and the same seed gives the same files. With --compare-with also quality.html, .tsv and .json.
    """
    from napari_normative.engine.synthetic_page import conclusions

    normative = told_model(model, known)
    with Bar(quiet) as bar:
        bar.begin("synthetic")
        made = normative.augment(
            count, out, around=around, between=between, like=like, cohort=cohort, seed=seed,
            temperature=temperature, compare_with=compare_with, device=device, progress=bar.step,
        )  # fmt: skip
    printer = Printer(context, quiet=quiet, as_json=as_json)
    facts: dict[str, Any] = {
        "out": str(out),
        "files": [str(file) for file in made.files],
        "made": made.made,
        "found": made.found,
        **made.record,
    }
    there = f", {made.found} of them there before" if made.found else ""
    lines = [f"{count} synthetic volumes of {normative.card.one_line()}{there} -> {out}. {NOTICE}"]
    if made.quality is not None:
        lines += conclusions(made.quality)
        facts["quality"] = {k: v for k, v in made.quality.items() if k != "samples"}
    printer.result(facts, "\n".join(lines))
