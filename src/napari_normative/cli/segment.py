"""The command ``segment``: candidates grown to their edges, with their chance of being false."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_normative.cli.common import (
    NOTICE,
    DeviceOption,
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
)
from napari_normative.cli.terminal import Bar


@guarded
def segment(
    context: typer.Context,
    scans: ScansArgument,
    out: Annotated[Path, typer.Option(help="Folder; each scan gets a folder in it.")],
    null: NullOption = False,
    model: ModelOption = "brain-t1",
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Keep candidates so strong that healthy scans have at most this many on average.",
            metavar="NUMBER",
        ),
    ] = None,
    fdr: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Keep candidates with a false discovery rate q up to this."
        ),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(
            help="Head that learnt from reviews (review train-head): leaves out what it holds "
            "for likelier rejected.",
            metavar="FILE",
        ),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Foreground of the scan (one scan only).", metavar="FILE")
    ] = None,
    volume: VolumeOption = None,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    device: DeviceOption = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Segment scans of another contrast too.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment what departs from a normative model, each candidate with its chance of being false.

    Each scan gets a folder OUT/NAME/ with segmentation.nii.gz (labels on the scan's own grid),
    segmentation.tsv (a row a candidate, those left out too: p, false ones to be expected, q) and
    segmentation.json. A random walker grows candidates to their edges in z map and residual.
    Without --rate and --fdr all candidates of the model are kept.
    """
    given = scans_of(scans, out=out, null=null)
    if mask is not None:
        given = list(given)
        if len(given) != 1:
            raise typer.BadParameter(f"--mask belongs to one scan, and {len(given)} were given")
    from napari_normative.engine.batch import named
    from napari_normative.engine.head import load_head
    from napari_normative.engine.model import load_model
    from napari_normative.engine.segmentation import require_rule
    from napari_normative.io.nifti import read_volume

    normative = load_model(model)
    require_rule(normative.calibration, rate, fdr)
    learnt = None if head is None else load_head(head)
    if learnt is not None:
        learnt.require_model(normative)
    with Bar(quiet, total=len(given) if isinstance(given, list) else None) as bar:
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)
        for path, name in named(given):
            bar.begin(path.name)
            try:
                scan = read_volume(path, volume=volume, trust=trust, any_size=any_size)
                made = normative.segment(
                    scan, rate=rate, fdr=fdr, head=learnt, mask=mask, device=device, force=force,
                    progress=bar.step,
                )  # fmt: skip
                made.save(out / name)
            except Exception as error:  # noqa: BLE001 - one bad scan must not stop the others
                printer.failure(error, path.name, scan=path.name)
            else:
                facts = {**made.record, **made.summary(), "scan": path.name}
                facts |= {"out": str(out / name), "table": made.table().to_dict("records")}
                lines = [
                    f"{path.name}: {len(made.kept)} of {len(made.candidates)} candidates kept, "
                    f"{made.volume_ml:.2f} ml -> {out / name}",
                    *(f"  {each.line()}" for each in made.kept),
                    *(f"  {warning}" for warning in made.warnings),
                ]
                printer.result(facts, "\n".join(lines))
            bar.end()
    printer.note(NOTICE)
    printer.end()
