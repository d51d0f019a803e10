"""The commands ``export`` and ``prepare``: a model for other programs, and scans for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_normative.cli.common import (
    NOTICE,
    GivenOption,
    JsonOption,
    ModelOption,
    NullOption,
    Printer,
    QuietOption,
    ScansArgument,
    SizeOption,
    TrustOption,
    VolumeOption,
    guarded,
    scans_of,
    told_model,
)
from napari_normative.cli.terminal import Bar
from napari_normative.errors import NormativeError


@guarded
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
    known: GivenOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model's network for another program, compared with the model there.

    OUT gets the network, a volume to try it on, and export.json: grid, intensities, licence,
    digest, and the largest difference that was found. What another program takes is a scan that
    prepare has brought to the model's grid.
    """
    from napari_normative.engine.export import export as write

    with Bar(quiet) as bar:
        record = write(told_model(model, known), out, format, progress=bar.step)
    lines = []
    for name, function in record["functions"].items():
        worst = max(function["largest_difference"].values())
        lines.append(f"{function['file']}: {name}, differs from the model by {worst:.2g} at most")
    lines.append(f"{out}: {record['model']['title']}, licence {record['license']}. {NOTICE}")
    Printer(context, quiet=quiet, as_json=as_json).result(record, "\n".join(lines))


@guarded
def prepare(
    context: typer.Context,
    scans: ScansArgument,
    out: Annotated[Path, typer.Option(help="Folder for the prepared volumes.")],
    model: ModelOption = "brain-t1",
    volume: VolumeOption = None,
    null: NullOption = False,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring scans to a model's grid and intensities, as an exported network takes them.

    OUT gets NAME.nii.gz, and NAME.json with what leads back to the scan.
    """
    from napari_normative.engine.batch import named
    from napari_normative.engine.export import save_prepared
    from napari_normative.engine.model import load_model
    from napari_normative.io.nifti import read_volume

    normative = load_model(model)
    given = scans_of(scans, out=out, null=null)
    with Bar(quiet, total=len(given) if isinstance(given, list) else None) as bar:
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)
        for scan, name in named(given):
            bar.begin(scan.name)
            try:
                read = read_volume(scan, volume=volume, trust=trust, any_size=any_size)
                path, record = save_prepared(normative, read, out, name)
            except NormativeError as error:
                printer.failure(error, scan.name, scan=scan.name)
            else:
                facts = {"scan": scan.name, "prepared": path.name, **record}
                printer.result(facts, f"{scan.name} -> {path}")
            bar.end()
    printer.end()
