"""Tables of a review for statistics, and masks for training and evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from napari_normative.io.atomic import replace_files
from napari_normative.io.tables import json_bytes, tsv_bytes
from napari_normative.io.writing import write_volume
from napari_normative.review.book import Book
from napari_normative.review.material import located
from napari_normative.review.records import Event
from napari_normative.review.results import Result, ReviewedCase

READS = {
    "candidate": "Id of the candidate; unique in the project.",
    "case": "Code of the scan.",
    "reader": "Code of the reader; no name.",
    "role": "reader, or adjudicator, or readers: all readers decided alike.",
    "value": "Value of the candidate's voxels in label volumes.",
    "origin": "model: found by the model; added or split: made by a reader.",
    "decision": "accept: a finding; reject: none; uncertain: cannot be told; n/a: none made.",
    "label": "Word of the project's label set.",
    "flagged": "Marked by the reader to be looked at again.",
    "edited": "The reader changed the mask.",
    "seconds": "Time spent on the candidate; pauses above five minutes are cut.",
    "model_peak_z": "Strongest z of the candidate as the model made it.",
    "model_volume_ml": "Volume of the candidate as the model made it.",
    "model_p": "Conformal p of the candidate among healthy scans.",
    "comment": "What the reader wrote; only if asked for.",
}
"""Columns of ``reads.tsv``."""

EVENTS = {
    "number": "Place in the log, from 1, without gaps.",
    "at": "When; UTC, ISO 8601.",
    "reader": "Code of the reader; no name.",
    "action": "What was done.",
    "assignment": "Number of the pass through a scan; 0 for the whole review.",
    "case": "Code of the scan.",
    "candidate": "Id of the candidate; n/a for the whole scan.",
    "details": "JSON: digests of masks, seconds, label. Comments only if asked for.",
    "id": "Id of the event.",
    "reverts": "Id of the event that an undo takes back, or of the undo that a redo takes back.",
    "digest": "SHA-256 of the event and the digest before it.",
}
"""Columns of ``events.tsv``."""


def write_tables(
    book: Book, found: Mapping[str, tuple[Result, ...]], folder: Path, *, comments: bool
) -> None:
    """Write ``reads.tsv`` and ``events.tsv``, each with a JSON that explains its columns."""
    reads = reads_table(book, found)
    events = events_table(book, comments=comments)
    described = dict(READS)
    if not comments:
        reads = reads.drop(columns="comment")
        del described["comment"]
    replace_files(
        {
            folder / "reads.tsv": tsv_bytes(reads),
            folder / "reads.json": _dictionary(described),
            folder / "events.tsv": tsv_bytes(events),
            folder / "events.json": _dictionary(EVENTS),
        }
    )


def reads_table(book: Book, found: Mapping[str, tuple[Result, ...]]) -> pd.DataFrame:
    """Return a row for each candidate and reader; columns as in :data:`READS`."""
    code = book.project.reader_code
    rows: list[tuple[object, ...]] = []
    for results in found.values():
        for result in results:
            made = book.candidate(result.candidate)
            rows.append(
                (
                    result.candidate, result.image,
                    "all" if result.by == "readers" else code, result.by, result.value,
                    result.origin, result.decision, result.label, result.flagged, result.edited,
                    round(result.seconds, 2),
                    None if made is None else made.peak_z,
                    None if made is None else made.volume_ml,
                    None if made is None else made.p,
                    result.comment,
                )
            )  # fmt: skip
    for read in book.project.reads:
        made = book.candidate(read.candidate)
        if made is not None:
            rows.append(
                (
                    read.candidate, made.image, read.reader, "reader", made.value, "model",
                    read.decision, read.label, None, None, None, made.peak_z, made.volume_ml,
                    made.p, read.comment,
                )
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(READS))


def events_table(book: Book, *, comments: bool) -> pd.DataFrame:
    """Return the log; columns as in :data:`EVENTS`."""
    images = {a.number: a.image for a in book.project.assignments}
    rows = [
        (
            event.number, event.at, event.reader, event.action, event.assignment,
            images.get(event.assignment, ""), event.candidate, _details(event, comments),
            event.id, event.reverts, event.digest,
        )
        for event in book.store.events()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(EVENTS))


def write_mask(path: Path, case: ReviewedCase) -> Path:
    """Write the union of a scan's findings as 0 and 1 on its grid."""
    mask = np.asarray(case.labels.data > 0, dtype=np.float32)
    return write_volume(path, case.labels.with_data(mask, is_label=True), like=case.scan)


def write_cases(book: Book, cases: Iterable[ReviewedCase], folder: Path, target: Path) -> None:
    """Write the table of cases that ``evaluate`` reads, with a mask of the truth for each.

    Parameters
    ----------
    book : Book
    cases : iterable of ReviewedCase
    folder : Path
        Where to write.
    target : Path
        Where the folder will lie: paths in the table are seen from there.
    """
    rows = []
    for case in cases:
        write_mask(folder / f"{case.image.id}_truth.nii.gz", case)
        scan = located(case.image.path, book.root.resolve())
        labels = sorted({segment.label for segment in case.segments if segment.label})
        rows.append(
            (
                Path(os.path.relpath(scan, target.resolve())).as_posix(),
                f"{case.image.id}_truth.nii.gz",
                case.image.id,
                labels[0] if len(labels) == 1 else "finding",
            )
        )
    table = pd.DataFrame(rows, columns=["path", "truth", "subject", "kind"])
    replace_files({folder / "cases.tsv": tsv_bytes(table)})


def _details(event: Event, comments: bool) -> str:
    told = dict(event.details)
    if not comments and "comment" in told:
        told["comment"] = "left out"
    return json.dumps(told, sort_keys=True)


def _dictionary(columns: Mapping[str, str]) -> bytes:
    return json_bytes({name: {"Description": words} for name, words in columns.items()})
