"""The command ``detect``: scans against a normative model."""

from __future__ import annotations

from collections.abc import Iterator
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
    SeedOption,
    SizeOption,
    TrustOption,
    VolumeOption,
    guarded,
    scans_of,
    told_model,
)
from napari_normative.cli.terminal import Bar, describe_detection, detection_facts


@guarded
def detect(
    context: typer.Context,
    scans: ScansArgument,
    out: Annotated[Path, typer.Option(help="Folder; each scan gets a folder in it.")],
    null: NullOption = False,
    model: ModelOption = "brain-t1",
    known: GivenOption = None,
    given_from: Annotated[
        Path | None,
        typer.Option(
            "--given-from",
            help="Table with the column path: what is known of each scan's person.",
            metavar="TABLE",
        ),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Foreground of the scan (one scan only).", metavar="FILE")
    ] = None,
    volume: VolumeOption = None,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    device: DeviceOption = "auto",
    samples: Annotated[
        int, typer.Option(min=0, help="Synthetic samples to draw on each scan's grid.")
    ] = 0,
    seed: SeedOption = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Score scans of another contrast than the model's too.")
    ] = False,
    local_volume: Annotated[
        bool,
        typer.Option("--local-volume", help="Map where there is more or less room than expected."),
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html too: candidates with key images.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare scans with a normative model; write maps and candidates.

    Each scan gets a folder OUT/NAME/ with reconstruction, residual, anomaly_z and candidates
    (.nii.gz, on the scan's own grid), candidates.tsv and detection.json; with --report also
    report.html. Earlier results of the same scan are replaced as a whole.
    """
    from napari_normative.io.names import stem

    given = scans_of(scans, out=out, null=null)
    if mask is not None:
        given = list(given)
        if len(given) != 1:
            raise typer.BadParameter(f"--mask belongs to one scan, and {len(given)} were given")
    from napari_normative.engine.batch import detect_scans, named
    from napari_normative.engine.conditions import known_from

    normative = told_model(model, known)
    told = None if given_from is None else known_from(given_from, normative.covariates)
    done = 0
    with Bar(quiet, total=len(given) if isinstance(given, list) else None) as bar:
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)

        def jobs() -> Iterator[tuple[Path, str]]:
            for scan, name in named(given):
                if name != stem(scan):
                    bar.echo(
                        f"{scan.name}: another scan has this name; results go to {name}", err=True
                    )
                yield scan, name

        for made in detect_scans(
            normative,
            jobs(),
            out,
            volume=volume,
            trust=trust,
            any_size=any_size,
            report=report,
            known=told,
            begin=lambda scan: bar.begin(scan.name),
            mask=mask,
            device=device,
            samples=samples,
            seed=seed,
            force=force,
            local_volume=local_volume,
            progress=bar.step,
        ):
            bar.end()
            if made.detection is None:
                assert made.error is not None
                printer.failure(made.error, made.scan.name, scan=made.scan.name)
            else:
                done += 1
                printer.result(
                    detection_facts(made.scan, out / made.name, made.detection),
                    describe_detection(made.scan, out / made.name, made.detection),
                )
    printer.note(
        f"{done} of {done + printer.failed} done with {normative.card.one_line()}. {NOTICE}"
    )
    printer.end()
