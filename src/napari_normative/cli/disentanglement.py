"""The command ``disentanglement``: do single latents stand for single things?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_normative.cli.common import (
    NOTICE,
    JsonOption,
    Printer,
    QuietOption,
    SeedOption,
    guarded,
)


@guarded(kept="Nothing was written.")
def disentanglement(
    context: typer.Context,
    latents: Annotated[Path, typer.Argument(help="Table that encode wrote.", metavar="LATENTS")],
    cohort: Annotated[
        Path,
        typer.Argument(
            help="Table (.tsv, .csv) of the same scans: path, columns.", metavar="TABLE"
        ),
    ],
    columns: Annotated[
        str,
        typer.Option(
            help="What is known of people, numbers or categories, e.g. age,sex.",
            metavar="COLUMNS",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Table (.tsv) to write the figures to.")] = None,
    permutations: Annotated[
        int, typer.Option(min=0, help="Permutations that say what chance gives.")
    ] = 200,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure whether single latents stand for single things that are known of people.

    Mutual information gap, separated attribute predictability, modularity, total correlation and
    mean correlation of the latents, each with what chance gives. Scans are matched by the names
    of their files; of each person the first counts.
    """
    from napari_normative.engine.disentanglement import disentanglement as measure
    from napari_normative.io.atomic import replace_files
    from napari_normative.io.tables import tsv_bytes

    names = [name.strip() for name in columns.split(",") if name.strip()]
    table = measure(latents, cohort, names, permutations=permutations, seed=seed)
    if out is not None:
        replace_files({out: tsv_bytes(table)})
    printer = Printer(context, quiet=quiet, as_json=as_json)
    for line in table.to_dict("records"):
        row = {str(name): value for name, value in line.items()}
        of = f" of {row['covariate']}" if row["covariate"] else ""
        printer.result(
            row,
            f"{row['measure']}{of}: {row['value']:.3f} (by chance {row['chance']:.3f}, "
            f"p {row['p']:.3g}, {row['people']} people)",
        )
    printer.note(NOTICE)
