"""What came out of a cohort: a table with its data dictionary, and one page for people."""

from __future__ import annotations

import datetime
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.card import RESEARCH_USE
from napari_normative.engine.cohort_page import cohort_page
from napari_normative.engine.cohort_scans import CohortScan, CohortScans
from napari_normative.engine.manifest import Manifest
from napari_normative.engine.scan_work import FIGURES, Terms
from napari_normative.io.atomic import replace_files
from napari_normative.io.tables import json_bytes, tsv_bytes

if TYPE_CHECKING:
    import pandas as pd

TABLE, DICTIONARY, REPORT = FILES = ("cohort.tsv", "cohort.json", "cohort.html")

COLUMNS: dict[str, dict[str, Any]] = {
    "name": {"Description": "Of the scan in this cohort; its results bear it."},
    "subject": {"Description": "Person, as in the table or the file's name."},
    "session": {"Description": "Session, where there are any."},
    "site": {"Description": "Site, as in the table; else the folder of the scan."},
    "state": {
        "Description": "What became of the scan.",
        "Levels": {
            "done": "Compared with the model that is named below.",
            "refused": "The file or what it shows does not allow it.",
            "quarantined": "It ended its worker again and again, or took too long.",
            "failed": "Not by its own fault; the next run tries again.",
            "waiting": "Not worked on yet, or not yet with this model, version and options.",
        },
    },
    "scan_score": {"Description": "One number for the scan; larger is less normal."},
    "scan_p": {"Description": "Share of healthy calibration scans that score at least as high."},
    "candidates": {"Description": "Connected places beyond the threshold."},
    "candidates_ml": {"Description": "Their volume together.", "Units": "mL"},
    "strongest_peak_z": {"Description": "Calibrated z of the strongest candidate, signed."},
    "foreground_ml": {"Description": "Volume that was scored.", "Units": "mL"},
    "latent_distance": {"Description": "From the mean of the model's people, in latent SDs."},
    "reconstruction_error": {"Description": "Mean absolute error in the foreground, model units."},
    "warnings": {"Description": "What was repaired, assumed or looks unlike the cohort; ' | '."},
    "reason": {"Description": "The sentence, where there is no result."},
    "seconds": {"Description": "Time of the scan in its worker.", "Units": "s"},
    "host": {"Description": "Code of the machine, its own in every run; no name."},
}  # fmt: skip
"""Columns of the table, in order, described as BIDS describes columns."""


def write_tables(
    folder: Path, cohort: CohortScans, terms: Terms, manifest: Manifest, bids: bool
) -> dict[str, int]:
    """Write table, data dictionary and report of all scans, whichever run or shard did them.

    Returns
    -------
    dict
        Number of scans in each state.
    """
    table = cohort_table(cohort, terms, manifest)
    further = cohort.more.rename(columns={c: f"table_{c}" for c in cohort.more if c in COLUMNS})
    whole = table.join(further)
    made = _made(terms)
    words = dict(COLUMNS)
    words |= {str(c): {"Description": "From the cohort's own table."} for c in further}
    links = [_link(folder, scan, bids, terms.report) for scan in cohort.scans]
    page = cohort_page(table, links, manifest.runs, made)
    replace_files(
        {
            folder / TABLE: tsv_bytes(whole),
            folder / DICTIONARY: json_bytes({**words, "GeneratedBy": made}),
            folder / REPORT: page.encode(),
        }
    )
    return dict(Counter(table["state"]))


def cohort_table(cohort: CohortScans, terms: Terms, manifest: Manifest) -> pd.DataFrame:
    """Return a row for each scan, in the cohort's order; columns are :data:`COLUMNS`.

    Results of another model, version or other options than ``terms`` are not in it.
    """
    import pandas as pd  # late: it takes a third of a second

    rows = (_row(scan, terms, manifest) for scan in cohort.scans)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(scan: CohortScan, terms: Terms, manifest: Manifest) -> tuple[Any, ...]:
    event: dict[str, Any] = {}
    if manifest.entry(scan.name).terms == terms.told(scan.known).digest:
        event = manifest.figures(scan.name)
    figures = event.get("figures", {})
    return (
        scan.name, scan.subject, scan.session, scan.site, event.get("event", "waiting"),
        *(figures.get(name) for name in FIGURES), " | ".join(figures.get("warnings", ())),
        event.get("reason", ""), figures.get("seconds"), event.get("host", ""),
    )  # fmt: skip


def _link(folder: Path, scan: CohortScan, bids: bool, report: bool) -> str:
    """Return where a scan's results lie, from the output folder."""
    place = scan.place(folder, bids=bids)
    inside = place.folder.relative_to(folder).as_posix()
    if not report:
        return inside + "/"
    name = f"{scan.entities}_desc-anomaly_report.html" if bids else "report.html"
    return f"{inside}/{name}"


def _made(terms: Terms) -> dict[str, Any]:
    return {
        "software": f"napari-normative {terms.software}",
        "notice": RESEARCH_USE,
        "model_sha256": terms.model_digest,
        "options": terms.options,
        "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
