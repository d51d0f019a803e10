"""The report of an agreement: tables with their data dictionaries, and a page to read.

Readers go by their codes, scans and candidates by their ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_normative.core.card import RESEARCH_USE
from napari_normative.io.atomic import replace_files
from napari_normative.io.page import escape, page, pairs, sentences, table
from napari_normative.io.tables import json_bytes, tsv_bytes
from napari_normative.review.agreement import ALL, Agreement, AgreementRow, Disagreement

MOST_SHOWN = 100
"""Disagreements on the page; all are in the table."""

_DECISIONS = {
    "accept": "the candidate is a finding",
    "reject": "the candidate is none",
    "uncertain": "the reader could not tell",
}
_FIGURES = {
    "observed agreement": "share of pairs of answers that are equal; chance is not considered",
    "Krippendorff's alpha": "agreement beyond chance, three answers, two readers or more",
    "Fleiss' kappa": "agreement beyond chance, three answers, candidates rated by all readers",
    "mean of Cohen's kappas": "over the pairs that have one",
    "Cohen's kappa": "agreement of two readers beyond chance, three answers",
    "kappa, accepted or not": "Cohen's kappa of two sides instead of three answers",
    "PABAK, accepted or not": "twice the observed agreement of two sides, less one",
    "positive agreement": "share of acceptances by either that the other shares",
    "negative agreement": "share of non-acceptances by either that the other shares",
    "Dice of masks": "mean over images in which either reader found something",
    "both found nothing": "share of images in which neither mask has a voxel",
}
AGREEMENT_COLUMNS: dict[str, dict[str, Any]] = {
    "figure": {"Description": "Figure of agreement.", "Levels": _FIGURES},
    "readers": {"Description": f"Codes of two readers, or {ALL}."},
    "value": {"Description": "The figure; 1 is full agreement, 0 of a kappa or alpha is chance."},
    "low": {"Description": "Lower end of the 95 % bootstrap interval over images."},
    "high": {"Description": "Upper end of the 95 % bootstrap interval over images."},
    "units": {"Description": "Candidates that the figure is made of; of masks, images."},
    "images": {"Description": "Images that these lie in."},
    "note": {"Description": "Why there is no figure or interval, or what was left out."},
}
DISAGREEMENT_COLUMNS: dict[str, dict[str, Any]] = {
    "image": {"Description": "Identifier of the scan in the review."},
    "candidate": {"Description": "Identifier of the candidate in the review."},
    "split": {"Description": "Share of the pairs of its answers that differ."},
}


def save_agreement_report(
    folder: str | Path,
    agreement: Agreement,
    disagreements: Sequence[Disagreement],
    facts: Mapping[str, object],
) -> list[Path]:
    """Write ``agreement`` and ``disagreements`` as ``.tsv`` with ``.json``, and a page.

    Parameters
    ----------
    folder : path
        Made when it is missing; files of these names are replaced.
    agreement : Agreement
    disagreements : sequence of Disagreement
    facts : mapping
        What made the report: JSON-ready, without names of people and files.

    Returns
    -------
    list of Path
        The five files.

    Raises
    ------
    OutputError
        ``OUT-002`` if they cannot be written; older ones are as they were.
    """
    import pandas as pd

    made = {**facts, "bootstrap draws": agreement.draws, "seed": agreement.seed}
    made["uncertain counts as"] = agreement.uncertain
    readers = {
        reader: {"Description": "What this reader answered.", "Levels": _DECISIONS}
        for reader in agreement.readers
    }
    columns = {**DISAGREEMENT_COLUMNS, **readers}
    rows = [
        [one.image, one.unit, one.split, *(one.answers[reader] for reader in agreement.readers)]
        for one in disagreements
    ]
    about = {"notice": RESEARCH_USE, "made": made}
    target = Path(folder)
    parts = {
        target / "agreement.tsv": tsv_bytes(agreement.table()),
        target / "agreement.json": json_bytes({**about, "columns": AGREEMENT_COLUMNS}),
        target / "disagreements.tsv": tsv_bytes(pd.DataFrame(rows, columns=list(columns))),
        target / "disagreements.json": json_bytes({**about, "columns": columns}),
        target / "agreement.html": _page(agreement, disagreements, made).encode(),
    }
    replace_files(parts)
    return list(parts)


def _page(
    agreement: Agreement, disagreements: Sequence[Disagreement], made: Mapping[str, object]
) -> str:
    of_all = [row for row in agreement.rows if row.readers == ALL]
    of_pairs = [row for row in agreement.rows if row.readers != ALL]
    return page(
        "Agreement between readers",
        [
            f'<p class="notice">{escape(RESEARCH_USE)}</p>',
            "<h1>Agreement between readers</h1>",
            f'<p class="sub">{escape(", ".join(agreement.readers))}</p>',
            "<h2>All readers</h2>" + _figures(of_all),
            "<h2>Two readers</h2>" + _figures(of_pairs) if of_pairs else "",
            "<h2>Where they disagree</h2>" + _splits(agreement.readers, disagreements),
            "<h2>How to read the figures</h2>" + _reading(agreement),
            "<h2>What made this report</h2>"
            + pairs([[escape(name), escape(value)] for name, value in made.items()]),
        ],
    )


def _figures(rows: Sequence[AgreementRow]) -> str:
    cells = [
        [
            escape(row.readers),
            escape(row.figure),
            escape(row.note),
            row.in_words(),
            str(row.units),
            str(row.images),
        ]
        for row in rows
    ]
    new = [n > 0 and row.readers != rows[n - 1].readers for n, row in enumerate(rows)]
    heads = ["readers", "figure", "note", "value [95 %]", "candidates", "images"]
    return table(heads, cells, text=3, marks=new)


def _splits(readers: Sequence[str], disagreements: Sequence[Disagreement]) -> str:
    if not disagreements:
        return "<p>No candidate was answered differently.</p>"
    rows = [
        [
            escape(one.image),
            escape(one.unit),
            *(escape(one.answers[reader] or "–") for reader in readers),
            f"{one.split:.2f}",
        ]
        for one in disagreements[:MOST_SHOWN]
    ]
    more = len(disagreements) - len(rows)
    note = f"<p>{more} more are in disagreements.tsv.</p>" if more else ""
    heads = ["image", "candidate", *readers, "split"]
    return table(heads, rows, text=2 + len(readers)) + note


def _reading(agreement: Agreement) -> str:
    shown = dict.fromkeys(row.figure for row in agreement.rows)
    return sentences(
        [
            *(f"{figure}: {_FIGURES[figure]}." for figure in shown),
            "Brackets: 95 % interval of the bootstrap, which draws images with all their "
            "candidates, since those of one scan are not independent.",
            "A kappa depends on how often each answer is given: where nearly all candidates are "
            "rejected it can be low although readers seldom differ. Read it beside positive and "
            "negative agreement.",
            f"Where only accepted or not is compared, uncertain counts as: {agreement.uncertain}.",
            "The figures say how far readers agree, not whether they are right.",
        ]
    )
