"""The commands ``export`` and ``prepare``: a model for other programs, and scans for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_normative.cli_common import (
    NOTICE,
    JsonOption,
    ModelOption,
    QuietOption,
    SizeOption,
    TrustOption,
    explain,
)
from napari_normative.errors import NormativeError
from napari_normative.terminal import Bar


def export(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="Name of a packaged model, or a model file.", metavar="MODEL")
    ],
    format: Annotated[
        Literal["onnx", "torch", "monai"],
        typer.Option(help="ONNX, torch.export, or a MONAI bundle."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model's network for another program, compared with the model there.

    OUT gets the network, a volume to try it on, and export.json: grid, intensities, licence,
    digest, and the largest difference that was found. What another program takes is a scan that
    prepare has brought to the model's grid.
    """
    from napari_normative.engine.export import export as write
    from napari_normative.engine.model import load_model

    with Bar(quiet) as bar:
        record = write(load_model(model), out, format, progress=bar.step)
    if as_json:
        typer.echo(json.dumps(record))
        return
    if quiet:
        return
    for name, function in record["functions"].items():
        worst = max(function["largest_difference"].values())
        typer.echo(f"{function['file']}: {name}, differs from the model by {worst:.2g} at most")
    typer.echo(f"{out}: {record['model']['title']}, licence {record['license']}. {NOTICE}")


def prepare(
    context: typer.Context,
    scans: Annotated[
        list[Path], typer.Argument(help="Volume files, or folders of them.", metavar="SCAN...")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the prepared volumes.")],
    model: ModelOption = "brain-t1",
    volume: Annotated[
        int | None, typer.Option(min=0, help="Which volume of a 4D scan; 0 is the first.")
    ] = None,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring scans to a model's grid and intensities, as an exported network takes them.

    OUT gets NAME.nii.gz, and NAME.json with what leads back to the scan.
    """
    from napari_normative.engine.export import save_prepared
    from napari_normative.engine.model import load_model
    from napari_normative.io.folders import expand_scans, name_folders
    from napari_normative.io.nifti import read_volume

    normative = load_model(model)
    jobs = name_folders(expand_scans(scans, leave_out=out))
    failed = 0
    with Bar(quiet, total=len(jobs)) as bar:
        for scan, name in jobs:
            bar.begin(scan.name)
            try:
                read = read_volume(scan, volume=volume, trust=trust, any_size=any_size)
                path, record = save_prepared(normative, read, out, name)
            except NormativeError as error:
                failed += 1
                line = explain(error, context, scan.name)
                bar.echo(line, err=True)
                if as_json:
                    bar.echo(json.dumps({"scan": scan.name, "error": line}))
                continue
            finally:
                bar.end()
            if as_json:
                bar.echo(json.dumps({"scan": scan.name, "prepared": path.name, **record}))
            elif not quiet:
                bar.echo(f"{scan.name} -> {path}")
    if failed:
        raise typer.Exit(1)
