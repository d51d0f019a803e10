"""The command ``neighbours``: who lies nearest to a scan among a model's latents."""

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


@guarded(kept="Scans that were encoded are remembered for the next run.")
def neighbours(
    context: typer.Context,
    scan: Annotated[Path, typer.Argument(help="The scan.", metavar="SCAN")],
    among: Annotated[
        list[Path] | None,
        typer.Option(
            help="Volume files, folders, quoted patterns to search among; the model's own people "
            "unless given.",
            metavar="SCAN",
        ),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many.")] = 8,
    model: ModelOption = "brain-t1",
    known: GivenOption = None,
    volume: VolumeOption = None,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Name the scans whose latents lie nearest to those of a scan.

    By Mahalanobis distance in the model's latents. The person's own scans are marked and come
    on top of the number asked for. The model's people have no names.
    """
    from napari_normative.engine.encode import encode_scans
    from napari_normative.engine.neighbours import neighbours_among, neighbours_in_model
    from napari_normative.io.folders import expand_scans

    normative = told_model(model, known)
    others = expand_scans(among, leave_out=scan / "none") if among else []
    reading: dict[str, Any] = {"volume": volume, "trust": trust, "any_size": any_size}
    with Bar(quiet, total=1 + len(others)) as bar:
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)

        def encoded(paths: list[Path], **how: Any) -> list[Any]:
            rows = []
            for row in encode_scans(
                normative, paths, device=device, begin=lambda path: bar.begin(path.name), **how
            ):
                bar.end()
                if row.error is not None:
                    printer.failure(row.error, row.path.name, scan=row.path.name)
                rows.append(row)
            return rows

        (own,) = encoded([scan], **reading)
        if own.place is None:
            printer.end()
        rows = encoded(others)
    latent = own.place.latent
    if among:
        found = neighbours_among(normative, latent, rows, count, digest=own.digest)
    else:
        found = neighbours_in_model(normative, latent, count)
    for near in found:
        itself = " (the same person)" if near.itself else ""
        printer.result(near.facts(), f"{near.distance:.3f}  {near.name}{itself}")
    printer.note(NOTICE)
    printer.end()
