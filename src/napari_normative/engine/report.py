"""The HTML report of an evaluation: one file that needs no network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from napari_normative.core.counts import VoxelCounts
from napari_normative.core.metrics import froc
from napari_normative.engine.evaluation import Evaluation
from napari_normative.engine.gallery import gallery
from napari_normative.engine.measure import LEVELS
from napari_normative.engine.pictures import (
    UNIT,
    Axis,
    Line,
    Span,
    forest_plot,
    legend,
    line_plot,
)
from napari_normative.engine.summary import (
    ALL,
    ILL,
    LABELS,
    SIZES,
    Stratum,
    froc_people,
    realised_by_site,
)
from napari_normative.engine.verdict import FEW_PEOPLE, figure, kinds_of, verdicts, with_interval
from napari_normative.io.page import escape, page, sentences, table

MOST_FALSE = 10.0
SHORT = {
    "ap": "AP",
    "ap_darker": "AP darker",
    "ap_brighter": "AP brighter",
    "pooled_ap": "pooled AP",
    "best_dice": "best Dice (oracle)",
    "dice": "Dice, own threshold",
    "dice_at_1pct": "Dice, nominal 1 %",
    "sensitivity_at_1pct": "sensi- tivity, 1 % FP",
    "froc_at_1": "found, 1 false",
    "froc_at_4": "found, 4 false",
}
HEALTHY = ("fpr_at_1pct", "candidates", "mae", "psnr", "ssim", "elbo_nats")


def report_html(made: Evaluation) -> str:
    """Return the report as one HTML page."""
    first, record = made.models[0], made.record
    people = made.cases.drop_duplicates(["person", "group"])["group"].value_counts()
    models = [
        [escape(m["name"]), escape(m["card"]), f"<code>{m['sha256'][:12]}</code>"]
        for m in record["models"]
    ]
    return page(
        f"Evaluation of {first}",
        [
            f'<p class="notice">{escape(record["notice"])}</p>',
            f"<h1>Does {escape(first)} earn its place?</h1>",
            f'<p class="sub">{people.get("healthy", 0)} healthy people, {people.get("real", 0)} '
            f"patients, {people.get('simulated', 0)} people with simulated lesions · "
            f"{escape(record['software'])} · {escape(record['created_utc'])}</p>",
            table(["model", "what it is", "SHA-256"], models, text=2),
            "<h2>In short</h2>",
            sentences(verdicts(made)),
            _differences(made),
            *(_lesions(made, group) for group in ILL),
            _sizes(made),
            _healthy(made),
            _auroc(made),
            _samples(made),
            gallery(made),
            _refused(made),
            _reading(made),
            _provenance(made),
        ],
    )


def _differences(made: Evaluation) -> str:
    """Draw the first model's AP less each other's."""
    first, *others = made.models
    parts = []
    for other in others:
        spans = []
        for group in ILL:
            for kind in kinds_of(made, group):
                row = figure(made, "ap", group, first, kind=kind, against=other)
                if row is not None:
                    name = f"{group} {kind} (n={row['people']})"
                    value, low, high = row["value"], row["low"], row["high"]
                    enough = row["people"] >= FEW_PEOPLE
                    note = with_interval(row, sign="+")
                    spans.append(Span(name, value, low, high, note, sure=enough))
        if spans:
            title = f"{first} less {other}: voxel AP, |z|"
            parts.append(forest_plot(title, spans, f"right of 0: {first} is better"))
    if not parts:
        return ""
    return (
        "<h2>Compared with the other models</h2>" + "".join(parts) + "<p><small>Mean of the "
        "differences within people, with the 95 % bootstrap interval over people. An interval "
        "that holds 0 shows no difference; fewer than "
        f"{FEW_PEOPLE} people show none either, and stay grey.</small></p>"
    )


def _lesions(made: Evaluation, group: str) -> str:
    kinds = kinds_of(made, group)
    if not kinds:
        return ""
    sites = _sites(made, group)
    strata = [(ALL, ALL)] if len(kinds) > 1 else []
    strata += [(kind, ALL) for kind in kinds]
    strata += [(ALL, site) for site in sites] if len(sites) > 1 else []
    rows, marks = [], []
    for kind, site in strata:
        for n, model in enumerate(made.models):
            prevalence = figure(made, "prevalence", group, model, kind=kind, site=site)
            if prevalence is None:
                continue
            name = (kind if kind != ALL else "all kinds") + (f", {site}" if site != ALL else "")
            cells = [_cell(figure(made, c, group, model, kind=kind, site=site)) for c in SHORT]
            count = f"{prevalence['people']} / {prevalence['scans']}"
            without_skill = f"{prevalence['value']:.4f}"
            rows.append([escape(name) if n == 0 else "", escape(model), count, without_skill])
            rows[-1] += cells
            marks.append(n == 0)
    heads = ["lesions", "model", "people / scans", "preva- lence", *SHORT.values()]
    if group == "real":
        title, note = "Real lesions", "Truth as given with the scans."
    else:
        title = "Simulated lesions"
        note = (
            "Made by this program in the scans of the healthy people below: easier than real "
            "ones in ways their maker did not choose."
        )
    return (
        f"<h2>{title}</h2><p>{note}</p>"
        + table(heads, rows, text=2, marks=marks)
        + legend(made.models)
        + "<h3>Precision over recall, all voxels pooled</h3>"
        + f'<div class="plots">{"".join(_precision_plot(made, group, k) for k in kinds)}</div>'
        + "<h3>Lesions found over false candidates per scan (FROC)</h3>"
        + f'<div class="plots">{"".join(_froc_plot(made, group, k) for k in kinds)}</div>'
    )


def _sites(made: Evaluation, group: str) -> list[str]:
    return sorted(made.cases.loc[made.cases["group"] == group, "site"].unique().tolist())


def _rows_of(made: Evaluation, group: str, kind: str, model: str) -> pd.DataFrame:
    rows = Stratum(group, kind).of(made.cases)
    return rows[rows["model"] == model]


def _precision_plot(made: Evaluation, group: str, kind: str) -> str:
    lines = []
    for n, model in enumerate(made.models):
        rows = _rows_of(made, group, kind, model)
        counts = VoxelCounts.total(made.measured[i].counts for i in rows.index)
        recall, precision = counts.curve()
        # The first few voxels make precision jump: it is drawn from a thousandth on.
        drawn = recall >= 0.001
        name = f"{model}: pooled AP {counts.average_precision():.3f}"
        lines.append(Line(name, recall[drawn], precision[drawn], n))
    return line_plot(kind, lines, Axis("recall", 0, 1, UNIT), Axis("precision", 0, 1, UNIT))


def _froc_plot(made: Evaluation, group: str, kind: str) -> str:
    lines, lesions = [], 0
    for n, model in enumerate(made.models):
        found = froc(froc_people(_rows_of(made, group, kind, model), made.measured))
        # From the strictest threshold down; the most that is found up to a rate counts.
        false = np.maximum.accumulate(found.false_per_scan[::-1])
        best = np.maximum.accumulate(found.sensitivity[::-1])
        shown = false <= MOST_FALSE
        x = np.concatenate([[0.0], false[shown], [MOST_FALSE]])
        y = np.concatenate([[0.0], best[shown], best[shown][-1:] if shown.any() else [0.0]])
        lines.append(Line(model, x, y, n, steps=True))
        lesions = max(lesions, found.lesions)
    return line_plot(
        f"{kind}, {lesions} lesions",
        lines,
        Axis("false candidates per scan", 0, MOST_FALSE, (0, 1, 2, 4, 6, 8, 10)),
        Axis("lesions found", 0, 1, UNIT),
    )


def _sizes(made: Evaluation) -> str:
    rows = []
    for group in ILL:
        kinds = kinds_of(made, group)
        for kind in [*([ALL] if len(kinds) > 1 else []), *kinds]:
            for model in made.models:
                cells = [
                    _cell(figure(made, name, group, model, kind=kind, size=size))
                    for name in ("ap", "froc_at_1")
                    for size, _, _ in SIZES
                ]
                name = f"{group} {'all kinds' if kind == ALL else kind}"
                rows.append([escape(name), escape(model), *cells])
    if not rows:
        return ""
    heads = ["lesions", "model", *(f"AP, {size}" for size, _, _ in SIZES)]
    heads += [f"found at 1 false, {size}" for size, _, _ in SIZES]
    return "<h2>By lesion volume in the scan</h2>" + table(heads, rows, text=2)


def _healthy(made: Evaluation) -> str:
    sites = _sites(made, "healthy")
    if not sites:
        return ""
    rows = []
    for site in [*sites, *([ALL] if len(sites) > 1 else [])]:
        for model in made.models:
            cells = [figure(made, name, "healthy", model, site=site) for name in HEALTHY]
            people = str(cells[0]["people"]) if cells[0] else "–"
            name = "all sites" if site == ALL else site
            rows.append([escape(name), escape(model), people, *map(_cell, cells)])
    nominal = np.array(LEVELS)
    curves = {m: realised_by_site(made.cases, made.measured, m) for m in made.models}
    ticks = (0.01, 0.1, 1.0, 10.0)
    axes = (
        Axis("nominal rate, %", 0.01, 50, ticks, logarithmic=True),
        Axis("realised rate, %", 0.001, 50, (0.001, *ticks), logarithmic=True),
    )
    straight = Line("as promised", np.array([0.01, 50.0]), np.array([0.01, 50.0]), 0)
    plots = [
        line_plot(
            site,
            [
                Line(model, 100 * nominal, np.maximum(100 * curves[model][site], 0.001), n)
                for n, model in enumerate(made.models)
            ],
            *axes,
            reference=straight,
        )
        for site in sites
    ]
    heads = ["site", "model", "people", *(LABELS[name] for name in HEALTHY)]
    return (
        "<h2>Healthy people</h2><p>What the models say of people in whom there is nothing to "
        "find, and how well they reconstruct them. Errors and ELBO are in each model's own "
        "space: models of other spacing cannot be compared by them.</p>"
        + table(heads, rows, text=2)
        + legend(made.models)
        + "<h3>Healthy voxels beyond a level, against what the model promises</h3>"
        + f'<div class="plots">{"".join(plots)}</div>'
    )


def _auroc(made: Evaluation) -> str:
    found = made.summary[made.summary["figure"] == "auroc"]
    if not len(found):
        return ""
    rows = []
    strata = found[["group", "kind", "site", "people"]].drop_duplicates()
    for group, kind, site, people in strata.itertuples(index=False):
        cells = [_cell(figure(made, "auroc", group, m, kind=kind, site=site)) for m in made.models]
        name = f"{group} {'all kinds' if kind == ALL else kind}"
        rows.append([escape(name), escape(site), str(people), *cells])
    heads = ["lesions", "site", "people with lesions", *made.models]
    return (
        "<h2>Telling people apart by the scan score</h2><p>AUROC of people with lesions against "
        "healthy people of the same site, two or more of each: between sites it would mostly "
        "tell scanners apart.</p>" + table(heads, rows, text=2)
    )


def _samples(made: Evaluation) -> str:
    rows = []
    for model in made.record["models"]:
        found = model["samples"]
        if found.get("mmd2") is not None:
            names = ("mmd2", "mmd2_real", "diversity", "diversity_real")
            cells = [f"{found[name]:.4f}" for name in names]
            rows.append([escape(model["name"]), str(found["people"]), *cells])
    if not rows:
        return ""
    heads = ["model", "people", "MMD² of samples and people", "MMD² of halves of the people"]
    heads += ["MS-SSIM of pairs of samples", "MS-SSIM of pairs of people"]
    return (
        "<h2>Samples</h2><p>As many draws from the cohort's latents as there are healthy people, "
        "in fixed features that nothing has learnt. Good samples have an MMD² near that of two "
        "halves of the people, and are no more alike than people are.</p>" + table(heads, rows)
    )


def _refused(made: Evaluation) -> str:
    refused = made.record["cases"]["refused"]
    rows = [[escape(r[name]) for name in ("case", "code", "what")] for r in refused]
    if not rows:
        return ""
    return "<h2>Cases that were not used</h2>" + table(["case", "code", "why"], rows, text=3)


def _reading(made: Evaluation) -> str:
    facts = [
        f"{m['name']}: {m['active_latents']} active latents, total KL {m['total_kl_nats']:.0f} nats"
        for m in made.record["models"]
    ]
    return "<h2>How to read the figures</h2>" + sentences(
        [
            "Cases are numbered by their row in the table; names of files and people are not kept.",
            "Brackets: 95 % bootstrap interval over people; several scans of a person are "
            "averaged first. No bracket: one person. With few people intervals are too narrow.",
            "AP is the average precision of voxels by |z|, or by z of one sign. Without skill it "
            "equals the prevalence. It is taken on the scan's own grid over its whole foreground; "
            "lesion voxels that the model does not score count as missed.",
            "Best Dice is an oracle: its threshold is chosen for each scan with the truth in "
            "hand. Dice at the model's own threshold is what a detection gives; at nominal 1 % the "
            "threshold is the |z| that one in a hundred healthy calibration voxels exceeds.",
            "A lesion is found when candidates cover a tenth of it; a candidate is false when "
            "less than a tenth of it lies in the truth or its one-voxel rim. False candidates are "
            "counted in the scans with lesions, where the truth may be incomplete.",
            "A figure that was looked at while choosing a model is optimistic for that model.",
            f"From the cards: {'; '.join(facts)}.",
        ]
    )


def _provenance(made: Evaluation) -> str:
    record = made.record

    def pairs(facts: dict[str, Any]) -> str:
        return escape(", ".join(f"{key} {value}" for key, value in facts.items()))

    rows = [
        ["parameters", pairs(record["parameters"])],
        ["device", escape(record["device"])],
        ["seconds", f"{record['seconds']:.0f}"],
        ["versions", pairs(record["versions"])],
        *([escape(m["name"]), f"<code>{escape(m['sha256'])}</code>"] for m in record["models"]),
    ]
    return "<h2>What made this report</h2>" + table(["", ""], rows, text=2)


def _cell(row: dict[str, Any] | None) -> str:
    """Return a figure with its interval below it."""
    if row is None or not math.isfinite(row["value"]):
        return "–"
    digits = {"candidates": 2, "psnr": 2, "mae": 4, "fpr_at_1pct": 2, "elbo_nats": 0}
    scale = 100 if row["figure"] == "fpr_at_1pct" else 1
    unit = " %" if row["figure"] == "fpr_at_1pct" else ""
    text = with_interval(row, digits.get(row["figure"], 3), scale)
    value, _, bracket = text.partition(" ")
    return f"{value}{unit}" + (f"<br><small>{bracket}</small>" if bracket else "")
