"""The command ``reconstruct``: pseudo-healthy reconstructions of scans of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_normative.cli.common import (
    NOTICE,
    DeviceOption,
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
from napari_normative.errors import CancelledError


@guarded
def reconstruct(
    context: typer.Context,
    scans: ScansArgument,
    out: Annotated[Path, typer.Option(help="Folder; each scan gets a folder in it.")],
    null: NullOption = False,
    model: ModelOption = "brain-t1",
    known: GivenOption = None,
    volume: VolumeOption = None,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    device: DeviceOption = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Also scans of another contrast than the model's.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the pseudo-healthy reconstruction and the residual of scans of any size.

    Scans are read from disk and results written piece by piece, so that with a model in the patch
    form memory does not grow with the scan. Each scan gets a folder OUT/NAME/ with
    reconstruction.nii, residual.nii (uncompressed, on the scan's own grid, in its units) and
    reconstruction.json. There is no z map and no candidate: those are what detect makes, in
    memory.
    """
    given = scans_of(scans, out=out, null=null)
    from napari_normative.engine.batch import named

    normative = told_model(model, known)
    done = 0
    with Bar(quiet, total=len(given) if isinstance(given, list) else None) as bar:
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)
        for scan, name in named(given):
            bar.begin(scan.name)
            try:
                made = normative.reconstruct_to(
                    scan,
                    out / name,
                    volume=volume,
                    trust=trust,
                    any_size=any_size,
                    device=device,
                    force=force,
                    progress=bar.step,
                )
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - one bad scan must not stop the others
                bar.end()
                printer.failure(error, scan.name, scan=scan.name)
                continue
            bar.end()
            done += 1
            took = sum(made.record["seconds"].values())
            size = " × ".join(map(str, made.residual.shape))
            lines = [f"{scan.name} -> {out / name}", f"  {size} voxels in {took:.0f} s"]
            lines += [f"  warning: {warning}" for warning in made.warnings]
            facts = {"scan": scan.name, "folder": str(out / name), "warnings": list(made.warnings)}
            printer.result({**facts, "record": made.record}, "\n".join(lines))
    printer.note(
        f"{done} of {done + printer.failed} done with {normative.card.one_line()}. {NOTICE}"
    )
    printer.end()
