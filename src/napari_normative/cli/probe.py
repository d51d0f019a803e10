"""The commands ``probe`` and ``predict``: a column of a table told from a model's latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from napari_normative.cli import complete
from napari_normative.cli.common import (
    NOTICE,
    DeviceOption,
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
)
from napari_normative.cli.terminal import Bar


@guarded(kept="Nothing was written.")
def probe(
    context: typer.Context,
    table: Annotated[
        Path,
        typer.Argument(
            help="Table (.tsv, .csv) with a column path and the target; a folder for site.",
            metavar="TABLE",
        ),
    ],
    target: Annotated[str, typer.Option(help="The column to tell.", metavar="COLUMN")],
    out: Annotated[Path, typer.Option(help="Folder for the report, its tables and the probe.")],
    model: ModelOption = "brain-t1",
    kind: Annotated[
        Literal["category", "number"] | None,
        typer.Option(help="What the column holds; by its values unless given."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of people.")] = 5,
    permutations: Annotated[
        int, typer.Option(min=0, help="Permutations of the test; 0 for none.")
    ] = 199,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit a linear probe of a column to the latents, and judge it beside simple features.

    OUT gets probe.html (the report), figures.tsv, predictions.tsv (of people out of fold),
    probe.safetensors (for predict) and probe.json. Folds are of whole people. Scans of people
    whom the model was trained on flatter the latents: the report says how many there are.
    """
    from napari_normative.engine.probe import fit_probe

    with Bar(quiet) as bar:
        bar.begin(f"probe of {target}")
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)

        def said(error: BaseException, name: str) -> str:
            return printer.failure(error, name, scan=name)

        made = fit_probe(
            table,
            target,
            out,
            model=model,
            kind=kind,
            folds=folds,
            permutations=permutations,
            seed=seed,
            device=device,
            progress=bar.step,
            explain=said,
        )
    figures = made.table().astype(object).to_dict("records")
    lines = [*made.verdict(), *made.record["warnings"], f"{out / 'probe.html'}: the report."]
    facts: dict[str, Any] = {
        "out": str(out),
        "target": target,
        "kind": made.target.kind,
        "people": made.record["people"],
        "verdict": made.verdict(),
        "warnings": made.record["warnings"],
        "figures": figures,
        "probe_sha256": made.probe.digest,
    }
    printer.result(facts, "\n".join([*lines, NOTICE]))
    printer.end()


@guarded
def predict(
    context: typer.Context,
    scans: ScansArgument,
    probe: Annotated[
        Path,
        typer.Option(help="probe.safetensors, as the command probe writes it.", metavar="FILE"),
    ],
    null: NullOption = False,
    model: Annotated[
        str,
        typer.Option(
            help="The model that the probe was fitted to: packaged, or a file.",
            metavar="MODEL",
            autocompletion=complete.models,
        ),
    ] = "brain-t1",
    force: Annotated[
        bool, typer.Option("--force", help="Predict for another contrast than the model's too.")
    ] = False,
    volume: VolumeOption = None,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tell the target of a probe for scans, with whether the probe applies to them.

    Warned of is what the model's own checks find, and a scan whose latents lie outside those
    that the probe was fitted to. A probe of another model is refused (PRB-004).
    """
    from napari_normative.engine.model import load_model
    from napari_normative.engine.probe_file import load_probe
    from napari_normative.io.nifti import read_volume

    fitted = load_probe(probe)
    normative = load_model(model)
    fitted.require_model(normative)
    given = scans_of(scans, out=probe, null=null)
    with Bar(quiet, total=len(given) if isinstance(given, list) else None) as bar:
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)
        for path in given:
            bar.begin(path.name)
            try:
                scan = read_volume(path, volume=volume, trust=trust, any_size=any_size)
                made = fitted.predict(normative, scan, device=device, force=force)
            except Exception as error:  # noqa: BLE001 - one bad scan must not stop the others
                printer.failure(error, path.name, scan=path.name)
            else:
                lines = [f"{path.name}: {made.describe()}", *(f"  {w}" for w in made.warnings)]
                printer.result({"scan": path.name, **made.facts()}, "\n".join(lines))
            bar.end()
    printer.note(NOTICE)
    printer.end()
