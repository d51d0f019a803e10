"""The command line: parse, call the engine, print.

Exit status: 0 done; 1 something failed (each failure is one line on stderr, the rest was
done); 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_normative.cli_common import (
    NOTICE,
    DeviceOption,
    JsonOption,
    ModelOption,
    QuietOption,
    SeedOption,
    SizeOption,
    TrustOption,
    app,
    explain,
    guarded,
)
from napari_normative.cli_evaluate import evaluate
from napari_normative.cli_review import app as review
from napari_normative.display import has_display, require_qt, virtual_display
from napari_normative.errors import NormativeError
from napari_normative.terminal import (
    Bar,
    describe_detection,
    describe_facts,
    detection_facts,
    volume_facts,
)


def main() -> None:
    """Run the command line (the entry point ``napari-normative``)."""
    app(prog_name="napari-normative")


@app.command()
@guarded
def detect(
    context: typer.Context,
    scans: Annotated[
        list[Path], typer.Argument(help="Volume files, or folders of them.", metavar="SCAN...")
    ],
    out: Annotated[Path, typer.Option(help="Folder; each scan gets a folder in it.")],
    model: ModelOption = "brain-t1",
    mask: Annotated[
        Path | None, typer.Option(help="Foreground of the scan (one scan only).", metavar="FILE")
    ] = None,
    volume: Annotated[
        int | None, typer.Option(min=0, help="Which volume of a 4D scan; 0 is the first.")
    ] = None,
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
    from napari_normative.io.folders import expand_scans, name_folders
    from napari_normative.io.names import stem

    jobs = name_folders(expand_scans(scans, leave_out=out))
    for scan, name in jobs:
        if name != stem(scan):
            typer.echo(f"{scan.name}: another scan has this name; results go to {name}", err=True)
    if mask is not None and len(jobs) != 1:
        raise typer.BadParameter(f"--mask belongs to one scan, and {len(jobs)} were given")
    from napari_normative.engine.batch import detect_scans
    from napari_normative.engine.model import load_model

    normative = load_model(model)
    failed = 0
    with Bar(quiet, total=len(jobs)) as bar:
        outcomes = detect_scans(
            normative,
            jobs,
            out,
            volume=volume,
            trust=trust,
            any_size=any_size,
            report=report,
            begin=lambda scan: bar.begin(scan.name),
            mask=mask,
            device=device,
            samples=samples,
            seed=seed,
            force=force,
            local_volume=local_volume,
            progress=bar.step,
        )
        for made in outcomes:
            bar.end()
            if made.detection is None:
                failed += 1
                assert made.error is not None
                line = explain(made.error, context, made.scan.name)
                bar.echo(line, err=True)
                if as_json:
                    bar.echo(json.dumps({"scan": made.scan.name, "error": line}))
            elif as_json:
                facts = detection_facts(made.scan, out / made.name, made.detection)
                bar.echo(json.dumps(facts))
            elif not quiet:
                bar.echo(describe_detection(made.scan, out / made.name, made.detection))
    if not (quiet or as_json):
        done = len(jobs) - failed
        typer.echo(f"{done} of {len(jobs)} done with {normative.card.one_line()}. {NOTICE}")
    if failed:
        raise typer.Exit(1)


@app.command()
@functools.partial(
    guarded, kept="Add --resume to go on; only work since the last checkpoint is lost."
)
def train(
    context: typer.Context,
    cohort: Annotated[
        str,
        typer.Argument(
            help="Folder, quoted pattern, or table (.tsv: path, subject, site, age, sex, split).",
            metavar="COHORT",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The model file to write (.safetensors).")],
    preset: Annotated[str, typer.Option(help="Size of network and spacing.")] = "brain-2mm",
    balance: Annotated[
        str | None,
        typer.Option(
            help="Columns of the table, e.g. site,age: rare groups are drawn more often.",
            metavar="COLUMNS",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a value of the preset, e.g. objective.beta=0.3; may be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop training after this time; then calibrate.")
    ] = None,
    seed: SeedOption = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest valid checkpoint.")
    ] = False,
    device: DeviceOption = "auto",
    template: Annotated[
        Path | None, typer.Option(help="Volume to align to, instead of the preset's.")
    ] = None,
    workdir: Annotated[
        Path | None, typer.Option(help="Aligned scans and checkpoints; OUT.work unless given.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="One line for the model's card.")] = None,
    licence: Annotated[
        str, typer.Option("--license", help="Of the weights, for the card.")
    ] = "not stated",
    credit: Annotated[str, typer.Option(help="Whose scans, for the card.")] = "not stated",
    forget_people: Annotated[
        bool,
        typer.Option("--forget-people", help="Leave the people's latents out of the model file."),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Train a normative model on healthy scans, calibrate it and write one file."""
    from napari_normative.engine.presets import settings_from
    from napari_normative.engine.train import fit

    changes = settings_from(settings or [], balance)
    with Bar(quiet) as bar:
        made = fit(
            cohort,
            out,
            preset=preset,
            changes=changes,
            max_minutes=max_minutes,
            seed=seed,
            resume=resume,
            device=device,
            template=template,
            workdir=workdir,
            title=title,
            license_text=licence,
            credit=credit,
            forget_people=forget_people,
            progress=bar.train,
        )
    if not quiet:
        typer.echo(f"{out}: {made.card.one_line()}\n{made.card.calibration.latents_line()}")
        typer.echo(f"{made.card.verdict()}\nsha256 {made.digest}\n{NOTICE}")


app.command()(guarded(evaluate))
app.add_typer(review, name="review")


@app.command()
@guarded
def sample(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the samples.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many.")] = 4,
    model: ModelOption = "brain-t1",
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Spread of the draws; 1 as learnt, 0 the mean.")
    ] = 1.0,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Draw synthetic healthy volumes of a model."""
    from napari_normative.engine.draws import prior_draws
    from napari_normative.engine.model import load_model

    normative = load_model(model)
    prior_draws(normative, count, seed=seed, temperature=temperature, device=device).save(out)
    if not quiet:
        typer.echo(f"{count} synthetic volumes of {normative.card.one_line()} -> {out}")


@app.command()
@guarded
def inspect(
    context: typer.Context,
    items: Annotated[
        list[str],
        typer.Argument(help="Volume files, model files, or names of models.", metavar="ITEM..."),
    ],
    trust: TrustOption = None,
    any_size: SizeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the geometry of a scan, or the card of a model."""
    from napari_normative.engine.model import available_models, load_model
    from napari_normative.io.nifti import read_series

    names = {entry.name for entry in available_models()}
    failed = 0
    for item in items:
        facts: dict[str, object]
        try:
            if item in names or item.endswith(".safetensors"):
                model = load_model(item)
                facts = {"model": model.card.one_line(), "verdict": model.card.verdict()}
                facts["sha256"] = model.digest
                facts |= model.card.model_dump(mode="json")
                if not as_json:
                    rows = model.card.comparison
                    facts["comparison"] = [f"{r.against}: {r.describe()}" for r in rows]
            else:
                data, first = read_series(item, trust=trust, any_size=any_size)
                facts = volume_facts(first, data.shape[3])
        except NormativeError as error:
            typer.echo(explain(error, context), err=True)
            failed += 1
            continue
        name = Path(item).name
        typer.echo(json.dumps({"name": name, **facts}) if as_json else describe_facts(name, facts))
    if failed:
        raise typer.Exit(1)


@app.command()
@guarded
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for screenshots and results.")] = Path(
        "demo-output"
    ),
    key: Annotated[str, typer.Option("--sample", help="Which sample scan.")] = "brain-with-lesion",
    model: ModelOption = "brain-t1",
    seed: SeedOption = 0,
    screenshots: Annotated[
        bool, typer.Option("--screenshots", help="Do not open a window; save what it would show.")
    ] = False,
) -> None:
    """Show a sample scan in napari with what the model makes of it.

    With a display a window opens. Without one, or with --screenshots, the same happens on a
    virtual display; screenshots and the NIfTI results go to OUT.
    """
    require_qt()
    program = [sys.executable, "-m", "napari_normative.plugin.demo"]
    program += ["--sample", key, "--model", model, "--seed", str(seed)]
    if has_display() and not screenshots:
        done = subprocess.run(program, check=False)
    else:
        with virtual_display() as environment:
            done = subprocess.run([*program, "--out", str(out)], env=environment, check=False)
    if done.returncode:
        raise typer.Exit(1)
