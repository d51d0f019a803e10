"""The command ``denoise``: a scan with less noise."""

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
    SizeOption,
    TrustOption,
    VolumeOption,
    guarded,
    told_model,
)
from napari_normative.cli.terminal import Bar


@guarded
def denoise(
    context: typer.Context,
    scan: Annotated[Path, typer.Argument(help="The volume file.", metavar="SCAN")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    noise: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Standard deviation of the noise in the scan's units; measured unless given.",
        ),
    ] = None,
    model: ModelOption = "brain-t1",
    known: GivenOption = None,
    volume: VolumeOption = None,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    device: DeviceOption = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Also a scan of another contrast than the model's.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take noise out of a scan: simple filters, mixed with a model's reconstruction.

    OUT gets denoised, removed (what was taken out) and without_model, the same made of the scan
    alone (.nii.gz, on the scan's own grid), and denoise.json. How much of the model is used is
    decided by the scan. Look at removed: anatomy in it was lost.
    """
    from napari_normative.io.nifti import read_volume

    normative = told_model(model, known)
    given = read_volume(scan, volume=volume, trust=trust, any_size=any_size)
    with Bar(quiet) as bar:
        bar.begin(scan.name)
        made = normative.denoise(given, noise=noise, device=device, force=force, progress=bar.step)
        files = made.save(out)
    facts: dict[str, Any] = {"scan": scan.name, "out": str(out)}
    facts |= {"files": [str(file) for file in files], **made.record}
    expected = made.record["expected_rmse"]
    Printer(context, quiet=quiet, as_json=as_json).result(
        facts,
        f"{scan.name}: noise of {made.record['noise_sd']:g}, expected error left "
        f"{expected['with_model']:g} ({expected['without_model']:g} without the model) -> {out}. "
        f"{NOTICE}",
    )
