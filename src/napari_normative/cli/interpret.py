"""The commands ``explain`` and ``directions``: why a place is a candidate, what latents mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_normative.cli.common import (
    NOTICE,
    DeviceOption,
    JsonOption,
    ModelOption,
    Printer,
    QuietOption,
    SeedOption,
    SizeOption,
    TrustOption,
    VolumeOption,
    guarded,
)
from napari_normative.cli.terminal import Bar


@guarded(kept="Nothing was written.")
def explain(
    context: typer.Context,
    scan: Annotated[Path, typer.Argument(help="The volume file.", metavar="SCAN")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    candidate: Annotated[int, typer.Option(min=1, help="Its rank; 1 is the strongest.")] = 1,
    directions: Annotated[
        int, typer.Option(min=0, help="Latent directions to name; the largest first.")
    ] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.1, help="Form candidates at this |z|; the model's own unless given."),
    ] = None,
    model: ModelOption = "brain-t1",
    volume: VolumeOption = None,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also a scan of another contrast than the model's.")
    ] = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say why a place of a scan is a candidate, voxel by voxel and by latent direction.

    OUT gets explain.json and explain.png, attribution (integrated gradients of the score, from
    the pseudo-healthy reconstruction to the scan), attribution_through_expectation (the part
    that goes through what the network expects) and effect_latent-NNN of the directions that move
    the expectation most (.nii.gz, on the scan's own grid). The attributions add up to the score:
    explain.json says how nearly, and which part of the score they are of.
    """
    from napari_normative.engine.candidate_report import report_candidate
    from napari_normative.engine.model import load_model
    from napari_normative.io.nifti import read_volume

    normative = load_model(model)
    given = read_volume(scan, volume=volume, trust=trust, any_size=any_size)
    with Bar(quiet) as bar:
        bar.begin(scan.name)
        found = normative.detect(given, device=device, force=force, progress=bar.step)
        bar.step("attributing", 0.9)
        made = report_candidate(
            normative, found, candidate, directions=directions, threshold_z=threshold, device=device
        )
        files = made.save(out)
    lines = [f"{scan.name}, candidate {candidate}: {made.detection.place_of(made.candidate)}"]
    lines += [*made.sentences(), f"{out / 'explain.png'}: the picture.", NOTICE]
    facts: dict[str, Any] = {"scan": scan.name, "out": str(out)}
    facts |= {"files": [str(file) for file in files], **made.record()}
    Printer(context, quiet=quiet, as_json=as_json).result(facts, "\n".join(lines))


@guarded(kept="Nothing was written; scans that were encoded are remembered for the next run.")
def directions(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    count: Annotated[
        int, typer.Option("-n", "--count", min=1, help="Directions of either kind to describe.")
    ] = 10,
    model: ModelOption = "brain-t1",
    table: Annotated[
        Path | None,
        typer.Option(
            help="Table (.tsv, .csv) of people: a column path, and columns to correlate.",
            metavar="FILE",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of the table, with commas between.", metavar="NAME,NAME"),
    ] = None,
    permutations: Annotated[
        int, typer.Option(min=99, help="Permutations of people that p comes from.")
    ] = 2000,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what the latent directions of a model do, and what they go with in people.

    OUT gets directions.html, directions.tsv (size, place, symmetry, zones of each effect),
    effect_KIND-NNN.nii.gz (what changes from -2 to +2 SD, on the model's grid), directions.json,
    and with --table correlations.tsv: every direction with every column, with interval,
    permutation p corrected over all directions, and the same within sites. Only people whom the
    network was not trained on count as evidence; those it was trained on stand beside them.
    """
    from napari_normative.engine.model import load_model
    from napari_normative.engine.traversal import describe_directions

    if (table is None) != (columns is None):
        raise typer.BadParameter("--table and --columns belong together")
    named = [name.strip() for name in (columns or "").split(",") if name.strip()]
    normative = load_model(model)
    with Bar(quiet) as bar:
        bar.begin("directions")
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)
        made = describe_directions(
            normative,
            count,
            table=table,
            columns=named,
            out=out,
            permutations=permutations,
            seed=seed,
            device=device,
            explain=lambda line, name: _refused(printer, line, name),
            progress=bar.step,
        )
    lines = [one.describe() for one in made.described]
    lines += [*made.verdict(), *made.record["warnings"], f"{out / 'directions.html'}: the page."]
    facts: dict[str, Any] = {"out": str(out), **made.record, "verdict": made.verdict()}
    facts["directions"] = made.directions().astype(object).to_dict("records")
    printer.result(facts, "\n".join([*lines, NOTICE]))
    printer.end()


def _refused(printer: Printer, line: str, name: str) -> None:
    printer.failure(line, name, scan=name)
