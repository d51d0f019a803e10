"""The command ``inpaint``: missing parts of a scan, filled by a model."""

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
def inpaint(
    context: typer.Context,
    scan: Annotated[Path, typer.Argument(help="The volume file.", metavar="SCAN")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    missing: Annotated[
        Path | None,
        typer.Option(
            help="Mask on the scan's grid; anything but 0 is missing or damaged.", metavar="FILE"
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            help="Slices that are missing or damaged, such as k:40-44: axis i, j or k as stored, "
            "counted from 0. May be given again.",
            metavar="AXIS:FIRST-LAST",
        ),
    ] = None,
    model: ModelOption = "brain-t1",
    known: GivenOption = None,
    volume: VolumeOption = None,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fill missing or damaged parts of a scan with what a model holds most probable.

    OUT gets filled, made (1 where a voxel was made) and interpolation, the same without a model
    (.nii.gz, on the scan's own grid), and inpaint.json. Voxels that were there stay bit for bit;
    what is made is synthetic and may hide disease. Without --missing and --slices, voxels that
    are no numbers and slices without signal between others are found and filled.
    """
    from napari_normative.engine.inpaint import inpaint as fill
    from napari_normative.io.nifti import read_volume, read_with_gaps

    normative = told_model(model, known)
    given, gaps = read_with_gaps(scan, volume=volume, trust=trust, any_size=any_size)
    mask = None if missing is None else read_volume(missing)
    with Bar(quiet) as bar:
        bar.begin(scan.name)
        made = fill(
            normative, given, gaps=gaps, mask=mask, slices=slices or (), device=device,
            progress=bar.step,
        )  # fmt: skip
        files = made.save(out)
    facts: dict[str, Any] = {"scan": scan.name, "out": str(out)}
    facts |= {"files": [str(file) for file in files], **made.record}
    Printer(context, quiet=quiet, as_json=as_json).result(
        facts,
        f"{scan.name}: {made.record['made_ml']:g} ml made "
        f"({'; '.join(made.record['missing'])}) -> {out}. Made voxels are synthetic. {NOTICE}",
    )
