"""The commands ``review …``: make reviews, look at them, combine them, take results out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from napari_normative.cli.common import (
    NOTICE,
    DeviceOption,
    JsonOption,
    ModelOption,
    Printer,
    QuietOption,
    ReviewsArgument,
    SeedOption,
    VolumeOption,
    guarded,
)
from napari_normative.cli.terminal import Bar
from napari_normative.cli.train_head import train_head
from napari_normative.errors import NormativeError

app = typer.Typer(
    help="Review candidates: make reviews, look at them, combine readers, take results out.",
    no_args_is_help=True,
)

app.command(name="train-head")(train_head)

ReviewArgument = Annotated[Path, typer.Argument(help="A review file.", metavar="REVIEW")]


@app.command()
@guarded
def create(
    context: typer.Context,
    source: Annotated[
        Path | None,
        typer.Argument(help="Folder of detections, or of scans, which are compared first."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the project.")] = ...,  # type: ignore[assignment]
    reader: Annotated[
        list[str], typer.Option(help="Who reads; once for each reader. Each gets a file.")
    ] = ...,  # type: ignore[assignment]
    scans: Annotated[
        list[Path] | None, typer.Option(help="Where the scans of the detections lie.")
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Give the project that is in OUT further readers.")
    ] = False,
    order: Annotated[
        Literal["random", "evidence", "list"],
        typer.Option(help="random differs for each reader; list takes the scans of --list."),
    ] = "random",
    listed: Annotated[
        Path | None,
        typer.Option("--list", help="Text file: a scan's file name without .nii.gz a line."),
    ] = None,
    blind: Annotated[
        bool, typer.Option(help="Hide scores and others' reads until a reader submits.")
    ] = True,
    repeats: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the scans that are read twice.")
    ] = 0.1,
    labels: Annotated[
        str, typer.Option(help="Words that a finding may be given, separated by commas.")
    ] = "",
    title: Annotated[str, typer.Option(help="Of the project; the folder's name if empty.")] = "",
    seed: SeedOption = 0,
    model: ModelOption = "brain-t1",
    volume: VolumeOption = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a review project: a file for each reader, with the candidates of all scans.

    SOURCE is the output folder of `detect` (name the folder of the scans with --scans), or a
    folder of scans, which are compared with the model first.
    """
    from napari_normative.review.assign import Plan
    from napari_normative.review.create import add_readers, create_reviews, listed_in, words
    from napari_normative.review.material import RECORD, find_detections, gather

    if add:
        files = add_readers(out, reader)
        _say_made(files, {}, Printer(context, quiet=quiet, as_json=as_json))
        return
    if source is None:
        raise typer.BadParameter("name the folder of detections or scans")
    if (order == "list") != (listed is not None):
        raise typer.BadParameter("--order list and --list belong together")
    plan = Plan(order, seed, blind, repeats, words(labels), title or out.resolve().name)
    names = listed_in(listed) if listed is not None else ()
    refused: list[str] = []
    detections = source
    with Bar(quiet) as bar:
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)
        if not any(source.rglob(RECORD)):
            detections = out / "detections"
            refused = _detect(source, detections, model, device, volume, bar, printer)
        found, alone = find_detections(detections, scans or [source], volume=volume)
        for line in alone:
            printer.failure(line)
        material = gather(found, out, refused=[*refused, *alone], progress=bar.step)
    for line in material.refused[len(refused) + len(alone) :]:
        printer.failure(line)
    files = create_reviews(out, reader, material, plan, listed=names)
    facts = {
        "scans": len(material.images),
        "candidates": len(material.candidates),
        "refused": list(material.refused),
    }
    _say_made(files, facts, printer)
    printer.end()


@app.command()
@guarded
def status(
    context: typer.Context,
    reviews: ReviewsArgument,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say how far each reader is, and whether anything in the file was changed from outside."""
    from napari_normative.review.book import Book
    from napari_normative.review.readers import files_in

    printer = Printer(context, quiet=quiet, as_json=as_json)
    tampered = 0
    for path in files_in(reviews):
        try:
            with Book.open(path, read_only=True) as book:
                told, problems = book.reading.progress(), book.store.verify()
                project, submitted = book.project, book.reading.submitted
        except NormativeError as error:
            printer.failure(error, path.name, file=path.name)
            continue
        tampered += bool(problems)
        facts = {
            "file": path.name,
            "title": project.title,
            "reader": project.reader,
            "code": project.reader_code,
            "role": project.role,
            "decided": told.decided,
            "candidates": told.candidates,
            "scans_done": told.done,
            "scans": told.passes,
            "minutes": round(told.seconds / 60, 1),
            "submitted": submitted,
            "problems": list(problems),
        }
        printer.result(facts, _status_line(facts))
        if problems and quiet and not as_json:
            printer.failure(f"{path.name}: {'; '.join(problems)}")
    printer.end()
    if tampered:
        raise typer.Exit(1)


@app.command()
@guarded
def export(
    context: typer.Context,
    review: ReviewArgument,
    out: Annotated[Path, typer.Option(help="Folder; whole or not at all.")],
    format: Annotated[
        Literal["labels", "bids", "tables", "slicer", "masks", "cases", "dicom"],
        typer.Option(
            help="labels: NIfTI with a lookup table; bids: BIDS derivatives; tables: reads and "
            "event log (TSV); slicer: .seg.nrrd and .mrk.json; masks: 0 and 1, for training; "
            "cases: a table for `evaluate`; dicom: SEG and SR."
        ),
    ] = "labels",
    decision: Annotated[
        list[str] | None,
        typer.Option(help="Export candidates with this decision; may be repeated. accept"),
    ] = None,
    comments: Annotated[
        bool, typer.Option("--comments", help="Write readers' comments too: they may hold names.")
    ] = False,
    dicom: Annotated[
        Path | None,
        typer.Option(help="Source series of a scan; of several, a folder with case-001, ..."),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write what a review came to; no file, folder or reader is named in it."""
    from napari_normative.review.export import export_review

    with Bar(quiet) as bar:
        made = export_review(
            review, out, format, decisions=decision or ("accept",), comments=comments,
            dicom=dicom, progress=bar.step,
        )  # fmt: skip
    printer = Printer(context, quiet=quiet, as_json=as_json)
    for line in made.refused:
        printer.failure(line)
    left = f", {made.unfinished} not done yet are left out" if made.unfinished else ""
    printer.result(
        {"out": str(out), "files": [str(f) for f in made.files], "cases": made.cases,
         "unfinished": made.unfinished, "refused": list(made.refused)},
        f"{made.cases} scans -> {out} ({len(made.files)} files){left}. {NOTICE}",
    )  # fmt: skip
    printer.end()


@app.command(name="import")
@guarded
def import_(
    context: typer.Context,
    review: ReviewArgument,
    case: Annotated[str, typer.Argument(help="Code of the scan, such as case-001.")],
    labels: Annotated[
        Path, typer.Argument(help="NIfTI labels, a .seg.nrrd, or a DICOM SEG (.dcm).")
    ],
    table: Annotated[
        Path | None, typer.Option(help="Lookup table; the .tsv beside the labels unless given.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take masks that were edited elsewhere back into the review, as edits that can be undone."""
    from napari_normative.review.book import Book
    from napari_normative.review.imports import import_labels

    with Book.open(review) as book:
        count = import_labels(book, case, labels, table)
    Printer(context, quiet=quiet, as_json=as_json).result(
        {"review": review.name, "case": case, "masks": count},
        f"{case}: {count} mask{'' if count == 1 else 's'} changed or added.",
    )


@app.command()
@guarded
def merge(
    context: typer.Context,
    reviews: ReviewsArgument,
    out: Annotated[Path, typer.Option(help="The file of the adjudication (.review).")],
    reader: Annotated[str, typer.Option(help="Who adjudicates.")],
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put the reads of one project together; what is disputed becomes a review of its own."""
    from napari_normative.review.readers import adjudicate

    project, compared = adjudicate(reviews, out, reader)
    disputed, count = sum(len(a.candidates) for a in project.assignments), len(project.assignments)
    Printer(context, quiet=quiet, as_json=as_json).result(
        {"out": str(out), "reader": project.reader, "disputed": disputed,
         "candidates": compared, "scans": count},
        f"{out}: {disputed} of {compared} candidates in {count} scans are "
        f"for {project.reader} to decide.",
    )  # fmt: skip


@app.command()
@guarded
def agreement(
    context: typer.Context,
    reviews: ReviewsArgument,
    out: Annotated[Path | None, typer.Option(help="Folder for tables and a report.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say how far readers agree, with intervals over scans, and where they do not.

    One file: the reader's agreement with themself on the scans that were read twice.
    """
    from napari_normative.review.readers import compare

    made = compare(reviews, out)
    said = f"{made.disputed} of {made.candidates} candidates are disputed. {NOTICE}"
    Printer(context, quiet=quiet, as_json=as_json).result(
        {"disputed": made.disputed, "candidates": made.candidates,
         "figures": made.agreement.table().to_dict("records")},
        "\n".join([*made.agreement.lines(), said]),
    )  # fmt: skip


def _detect(
    source: Path, out: Path, model: str, device: str, volume: int | None, bar: Bar,
    printer: Printer,
) -> list[str]:  # fmt: skip
    """Compare the scans of a folder with a model; return a sentence for each that failed."""
    from napari_normative.engine.batch import detect_scans, named
    from napari_normative.engine.model import load_model
    from napari_normative.io.folders import expand_scans

    jobs = list(named(expand_scans([source], leave_out=out.parent)))
    failed = []
    for number, made in enumerate(
        detect_scans(load_model(model), jobs, out, volume=volume, device=device), start=1
    ):
        bar.step(f"compared {made.scan.name}", number / len(jobs))
        if made.error is not None:
            failed.append(printer.failure(made.error, made.scan.name, scan=made.scan.name))
    return failed


def _say_made(files: list[Path], facts: dict[str, Any], printer: Printer) -> None:
    counted = f"{facts['scans']} scans with {facts['candidates']} candidates: " if facts else ""
    printer.result(
        {"files": [str(file) for file in files], **facts},
        counted + ", ".join(str(file) for file in files)
        + f"\nOpen a file in napari: Plugins > Review. {NOTICE}",
    )  # fmt: skip


def _status_line(facts: dict[str, Any]) -> str:
    done = ", submitted" if facts["submitted"] else ""
    lines = [
        f"{facts['file']}: {facts['title']}, {facts['reader']} ({facts['role']}, {facts['code']})",
        f"  {facts['decided']} of {facts['candidates']} candidates decided, {facts['scans_done']} "
        f"of {facts['scans']} scans done, {facts['minutes']} minutes{done}",
    ]
    lines += [f"  PROBLEM: {problem}" for problem in facts["problems"]]
    if not facts["problems"]:
        lines.append("  intact: every event, mask and fact is as it was recorded")
    return "\n".join(lines)
