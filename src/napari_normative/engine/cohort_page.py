"""The report of a cohort as one page that needs no network."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.engine.pictures import UNIT, Axis, Line, legend, line_plot
from napari_normative.io.page import escape, page, pairs, table

if TYPE_CHECKING:
    import pandas as pd

MOST_SCANS = 500
"""Scans in the page's list; all are in the table."""

MOST_SITES = 6
MOST_NAMES = 20

_CODE = re.compile(r"\[([A-Z]{3}-\d{3})\]")
_ALL = "all"


def cohort_page(
    rows: pd.DataFrame,
    links: Sequence[str],
    runs: Sequence[Mapping[str, Any]],
    made: Mapping[str, Any],
) -> str:
    """Return the page.

    Parameters
    ----------
    rows : DataFrame
        As :func:`~napari_normative.engine.cohort_report.cohort_table` gives it.
    links : sequence of str
        Where the results of each row lie, from the page.
    runs : sequence of mapping
        Events ``run`` and ``end`` of the manifest.
    made : mapping
        What made it.
    """
    done = rows[rows["state"] == "done"]
    return page(
        "Cohort",
        [
            f'<p class="notice">{escape(made["notice"])}</p>',
            f"<h1>{len(done):,} of {len(rows):,} scans compared with a normative model</h1>",
            f'<p class="sub">{escape(made["software"])} · {escape(made["created_utc"])}</p>',
            _states(rows),
            _distributions(done),
            _scans(done, links),
            _failures(rows),
            _throughput(done, runs),
            "<h2>What made it</h2>",
            pairs([[escape(key), escape(value)] for key, value in made.items()]),
        ],
    )


def _states(rows: pd.DataFrame) -> str:
    counts = rows["state"].value_counts()
    lines = [[escape(state), f"{count:,}"] for state, count in counts.items()]
    warned = int((rows["warnings"] != "").sum())
    return pairs([*lines, ["with a warning", f"{warned:,}"]])


def _distributions(done: pd.DataFrame) -> str:
    if done.empty:
        return ""
    sites = [str(s) for s in done["site"].value_counts().index if s][:MOST_SITES]
    names = [_ALL, *sites] if len(sites) > 1 else [_ALL]
    parts = {name: done if name == _ALL else done[done["site"] == name] for name in names}
    scores = done["scan_score"].to_numpy(np.float64)
    low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
    high = high if high > low else low + 1
    ticks = tuple(float(f"{v:.3g}") for v in np.linspace(low, high, 4))
    shares = Axis("share of scans", 0, 1, UNIT)
    diagonal = Line("healthy people", np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0)
    plots = [
        line_plot(
            "Scan score, up to", _curves(parts, "scan_score"),
            Axis("scan score", low, high, ticks), shares, width=400, height=300,
        ),
        line_plot(
            "p of the score, up to", _curves(parts, "scan_p"), Axis("p", 0, 1, UNIT), shares,
            reference=diagonal, width=400, height=300,
        ),
    ]  # fmt: skip
    lines = [
        [
            escape(name), f"{len(part):,}",
            *(f"{part['scan_score'].quantile(q):.3g}" for q in (0.25, 0.5, 0.75)),
            f"{(part['scan_p'] <= 0.05).mean():.1%}", f"{part['candidates'].mean():.2f}",
        ]
        for name, part in parts.items()
    ]  # fmt: skip
    heads = ["site", "scans", "score: lower quartile", "median", "upper quartile"]
    return (
        "<h2>Scores and p</h2>"
        + (legend(names) if len(names) > 1 else "")
        + f'<div class="plots">{"".join(plots)}</div>'
        + table([*heads, "p at most 0.05", "candidates a scan"], lines)
        + "<p><small>Grey: where p of people like the model's healthy ones lie. A site that lies "
        "above it from the start is unlike them: disease, or only another scanner.</small></p>"
    )


def _curves(parts: Mapping[str, pd.DataFrame], column: str) -> list[Line]:
    lines = []
    for style, (name, part) in enumerate(parts.items()):
        values = np.sort(part[column].dropna().to_numpy(np.float64))
        keep = np.unique(np.linspace(0, len(values) - 1, min(400, len(values))).astype(int))
        lines.append(Line(name, values[keep], (keep + 1) / len(values), style, steps=True))
    return lines


def _scans(done: pd.DataFrame, links: Sequence[str]) -> str:
    if done.empty:
        return ""
    order = done.sort_values(["scan_score", "name"], ascending=[False, True]).head(MOST_SCANS)
    lines = []
    for index, row in order.iterrows():
        target = urllib.parse.quote(links[int(str(index))])
        peak = row["strongest_peak_z"]
        lines.append(
            [
                f'<a href="{escape(target)}">{escape(row["name"])}</a>',
                escape(row["site"]),
                f"{row['scan_score']:.2f}",
                f"{row['scan_p']:.3g}",
                f"{row['candidates']:.0f}",
                f"{row['candidates_ml']:.2f}",
                "" if peak is None or peak != peak else f"{peak:+.1f}",
                f"{len(row['warnings'].split(' | '))}" if row["warnings"] else "",
            ]
        )
    heads = ["scan", "site", "score", "p", "candidates", "ml", "strongest z", "warnings"]
    left = len(done) - len(lines)
    more = f"<p><small>{left:,} more are in cohort.tsv.</small></p>" if left else ""
    return "<h2>Scans, the least normal first</h2>" + table(heads, lines, text=2) + more


def _failures(rows: pd.DataFrame) -> str:
    bad = rows[rows["state"].isin(("refused", "quarantined", "failed"))]
    if bad.empty:
        return ""
    codes = [m[1] if (m := _CODE.search(text)) else "other" for text in bad["reason"]]
    lines = []
    for (state, _), part in bad.groupby([bad["state"], codes], sort=True):
        names = [escape(name) for name in part["name"].head(MOST_NAMES)]
        if len(part) > MOST_NAMES:
            names.append(f"and {len(part) - MOST_NAMES:,} more")
        example = escape(part["reason"].iloc[0])
        lines.append([escape(state), f"{len(part):,}", example, ", ".join(names)])
    heads = ["state", "scans", "the first one's sentence", "which"]
    return f'<h2>Scans without results</h2><div class="pairs">{table(heads, lines, text=4)}</div>'


def _throughput(done: pd.DataFrame, runs: Sequence[Mapping[str, Any]]) -> str:
    seconds = done["seconds"].dropna()
    if seconds.empty:
        return ""
    ends = [run for run in runs if run["event"] == "end" and run.get("computed")]
    wall = sum(float(run["seconds"]) for run in ends)
    computed = sum(int(run["computed"]) for run in ends)
    lines = [
        ["seconds a scan, median", f"{seconds.median():.2f}"],
        ["slowest", f"{seconds.max():.2f} s"],
        ["machines", f"{done['host'].nunique():,}"],
    ]
    if wall:
        lines.append(["scans an hour, over runs that ended", f"{3600 * computed / wall:,.0f}"])
        lines.append(["attempts lost with their worker", f"{sum(int(r['lost']) for r in ends):,}"])
    return "<h2>Throughput</h2>" + pairs(lines)
