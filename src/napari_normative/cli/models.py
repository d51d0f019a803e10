"""The commands ``sample``, ``inspect`` and ``encode``: what a model draws, is, and sees."""

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
    NullOption,
    Printer,
    QuietOption,
    ScansArgument,
    SeedOption,
    SizeOption,
    TrustOption,
    VolumeOption,
    guarded,
    require_one_list,
    scans_of,
    told_model,
    with_listed,
)
from napari_normative.cli.terminal import Bar, describe_facts, volume_facts
from napari_normative.errors import NormativeError


@guarded
def sample(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the samples.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many.")] = 4,
    model: ModelOption = "brain-t1",
    known: GivenOption = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Spread of the draws; 1 as learnt, 0 the mean.")
    ] = 1.0,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw synthetic healthy volumes of a model."""
    from napari_normative.engine.draws import prior_draws

    normative = told_model(model, known)
    with Bar(quiet) as bar:
        bar.begin("samples")
        drawn = prior_draws(
            normative,
            count,
            seed=seed,
            temperature=temperature,
            device=device,
            progress=bar.step,
        )
        files = drawn.save(out)
    Printer(context, quiet=quiet, as_json=as_json).result(
        {"out": str(out), "files": [str(file) for file in files], **drawn.record},
        f"{count} synthetic volumes of {normative.card.one_line()} -> {out}",
    )


@guarded
def inspect(
    context: typer.Context,
    items: Annotated[
        list[str],
        typer.Argument(
            help="Volume files, model files, names of models, or - for a list on standard input.",
            metavar="ITEM...",
        ),
    ],
    null: NullOption = False,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the geometry of a scan, or the card of a model."""
    require_one_list(items, null)
    printer = Printer(context, quiet=quiet, as_json=as_json)
    for item in with_listed(items, null):
        name = Path(item).name
        try:
            facts = _facts_of(item, trust, any_size, as_json)
        except NormativeError as error:
            printer.failure(error, name, name=name)
        else:
            printer.result({"name": name, **facts}, describe_facts(name, facts))
    printer.end()


def _facts_of(item: str, trust: Any, any_size: bool, as_json: bool) -> dict[str, Any]:
    """Return what there is to say about a scan or a model."""
    from napari_normative.engine.model import available_models, load_model
    from napari_normative.io.nifti import read_series

    if item not in {m.name for m in available_models()} and not item.endswith(".safetensors"):
        data, first = read_series(item, trust=trust, any_size=any_size)
        return volume_facts(first, data.shape[3])
    model = load_model(item)
    facts: dict[str, Any] = {"model": model.card.one_line(), "verdict": model.card.verdict()}
    if model.covariates.each:
        facts["can_be_given"] = ", ".join(one.describe() for one in model.covariates.each)
    facts["sha256"] = model.digest
    facts |= model.card.model_dump(mode="json")
    if not as_json:
        facts["comparison"] = [f"{r.against}: {r.describe()}" for r in model.card.comparison]
    return facts


@guarded(kept="No table was written; scans that were encoded are remembered for the next run.")
def encode(
    context: typer.Context,
    scans: ScansArgument,
    out: Annotated[
        Path, typer.Option(help="The table to write (.tsv); a .json beside it says what made it.")
    ],
    null: NullOption = False,
    model: ModelOption = "brain-t1",
    known: GivenOption = None,
    volume: VolumeOption = None,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    principal: Annotated[
        bool, typer.Option("--principal", help="Add the first two axes of the latent map.")
    ] = False,
    umap: Annotated[
        bool, typer.Option("--umap", help="Add two coordinates by UMAP of these scans.")
    ] = False,
    preservation: Annotated[
        bool,
        typer.Option(
            "--preservation",
            help="Compare neighbourhoods in latents and voxels; reads the scans again.",
        ),
    ] = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the latents of scans as a table: a row a scan, mean and variance of each latent.

    A scan that cannot be encoded is a row without figures that says why. Models with spatial
    latents are refused (MOD-007): they have no one vector for a scan.
    """
    from napari_normative.engine.encode import encode_scans, save_latents

    if out.suffix.lower() != ".tsv":
        raise typer.BadParameter(
            "the table is tab-separated text: name it .tsv", param_hint="--out"
        )
    given = scans_of(scans, out=out, null=null)
    normative = told_model(model, known)
    rows = []
    with Bar(quiet, total=len(given) if isinstance(given, list) else None) as bar:
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)
        reading: dict[str, Any] = {"volume": volume, "trust": trust, "any_size": any_size}
        for row in encode_scans(
            normative, given, device=device, begin=lambda scan: bar.begin(scan.name), **reading
        ):
            bar.end()
            rows.append(row)
            if row.error is not None:
                printer.failure(row.error, row.path.name, scan=row.path.name)
            else:
                printer.result(row.facts(), row.describe())
    kept = None
    if preservation:
        from napari_normative.engine.preservation import preservation_of

        placed = [row.path for row in rows if row.place is not None]
        with Bar(quiet) as bar:
            bar.begin("neighbourhoods")
            kept = preservation_of(normative, placed, device=device, progress=bar.step, **reading)
        for near in kept.to_dict("records"):
            printer.note(
                f"{near['space']} ({near['numbers']}), {near['neighbours']} neighbours: "
                f"trustworthiness {near['trustworthiness']:.3f}, "
                f"continuity {near['continuity']:.3f}"
            )
    layouts = [name for name, asked in (("principal", principal), ("umap", umap)) if asked]
    more: dict[str, Any] = {"layouts": layouts, "seed": seed, "preservation": kept}
    save_latents(out, normative, rows, device=device, **more, **reading)
    done = len(rows) - printer.failed
    printer.note(f"{done} of {len(rows)} encoded by {normative.card.one_line()} -> {out}. {NOTICE}")
    printer.end()
