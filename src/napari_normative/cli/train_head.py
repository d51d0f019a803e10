"""The command ``review train-head``: readers' decisions as a head for ``segment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_normative.cli.common import (
    NOTICE,
    DeviceOption,
    JsonOption,
    ModelOption,
    Printer,
    QuietOption,
    ReviewsArgument,
    SeedOption,
    guarded,
)
from napari_normative.cli.terminal import Bar


@guarded(kept="Nothing was written.")
def train_head(
    context: typer.Context,
    reviews: ReviewsArgument,
    out: Annotated[Path, typer.Option(help="The head's file (.safetensors).")],
    model: ModelOption = "brain-t1",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a head on what readers accepted and rejected, for `segment --head`.

    A logistic regression on features of the model's encoder, which stays as it is, judged on people
    that it did not learn from. Scans count once all their candidates are decided.
    """
    from napari_normative.engine.head_fit import fit_head
    from napari_normative.review.reviewed import reviewed_scans

    with Bar(quiet) as bar:
        bar.begin("head")
        made = fit_head(
            reviewed_scans(reviews), out, model=model, seed=seed, device=device, progress=bar.step
        )
    printer = Printer(context, quiet=quiet, as_json=as_json)
    for line in made.card.refused:
        printer.failure(line)
    printer.result(
        {"out": str(out), "head_sha256": made.digest, **made.card.model_dump(mode="json")},
        f"{made.card.line()} -> {out}. {NOTICE}",
    )
    printer.end()
