"""The HTML report of a probe: one file that needs no network, without names of people."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from napari_normative.core.probe_figures import FIGURES, positive_class, reliability
from napari_normative.core.volume_features import NAMES
from napari_normative.engine.pictures import UNIT, Axis, Line, Span, forest_plot, line_plot
from napari_normative.engine.probe_result import (
    GUESS,
    LATENTS,
    SITE,
    VOLUME,
    VOXELS,
    ProbeResult,
    with_interval,
)
from napari_normative.io.page import escape, page, pairs, sentences, table

LABELS = {
    "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "ap": "AP",
    "brier": "Brier",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "correlation": "corre- lation",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}


def probe_report(made: ProbeResult) -> str:
    """Return the report as one HTML page."""
    record = made.record
    name = escape(made.column)
    return page(
        f"Probe of {made.column}",
        [
            f'<p class="notice">{escape(record["notice"])}</p>',
            f"<h1>Do the latents tell {name}?</h1>",
            f'<p class="sub">{record["people"]} people, {record["scans"]["used"]} scans · '
            f"{name} read as {escape(_kind(made))} · {escape(record['model']['title'])} · "
            f"{escape(record['software'])} · {escape(record['created_utc'])}</p>",
            "<h2>In short</h2>",
            sentences([*made.verdict(), *record["warnings"]]),
            _figures(made),
            _differences(made),
            _calibration(made),
            _refused(record),
            _reading(made),
            _provenance(made),
        ],
    )


def _kind(made: ProbeResult) -> str:
    if made.target.kind == "number":
        values = made.target.values
        return f"a number, {values.min():.4g} to {values.max():.4g}"
    counts = made.record["classes"].items()
    return "a category: " + ", ".join(f"{name} ({n} people)" for name, n in counts)


def _figures(made: ProbeResult) -> str:
    names = FIGURES[made.target.kind]
    rows = []
    for features in made.made:
        cells = []
        for figure in names:
            text = with_interval(made.figure(features, figure), 3)
            value, _, bracket = text.partition(" ")
            cells.append(value + (f"<br><small>{bracket}</small>" if bracket else ""))
        p = made.p.get(features, math.nan)
        cells.append(f"{p:.3g}" if math.isfinite(p) else "–")
        rows.append([escape(features), *cells])
    main = LABELS[made.main]
    heads = ["features", *(LABELS[name] for name in names), f"permutation p of {main}"]
    return (
        "<h2>Figures, of people out of fold</h2>"
        + table(heads, rows)
        + "<p><small>Brackets: 95 % bootstrap interval over people.</small></p>"
    )


def _differences(made: ProbeResult) -> str:
    spans = []
    for name in made.made:
        if name == LATENTS:
            continue
        d = made.figure(LATENTS, made.main, name)
        note = with_interval(d, sign="+")
        spans.append(Span(f"less {name}", d.value, d.low, d.high, note, sure=True))
    title = f"{LABELS[made.main]} of the latents, less that of other features"
    return (
        "<h2>Compared with simpler features</h2>"
        + forest_plot(title, spans, "right of 0: the latents are better")
        + "<p><small>Differences within the same people, with 95 % bootstrap intervals. An "
        "interval that holds 0 shows no difference.</small></p>"
    )


def _calibration(made: ProbeResult) -> str:
    curves = reliability(made.target, made.made[LATENTS])
    plots, rows = [], []
    for n, curve in enumerate(curves):
        if made.target.kind == "number":
            values = np.concatenate([made.target.values, curve.predicted])
            low, high = float(values.min()), float(values.max())
            ticks = tuple(float(f"{v:.3g}") for v in np.linspace(low, high, 5))
            axes = Axis("predicted", low, high, ticks), Axis("true", low, high, ticks)
        else:
            low, high = 0.0, 1.0
            axes = Axis("predicted probability", 0, 1, UNIT), Axis("share found", 0, 1, UNIT)
        ends = np.array([low, high])
        title = curve.name or made.column
        line = Line("latents", curve.predicted, curve.found, n)
        plots.append(line_plot(title, [line], *axes, reference=Line("right", ends, ends, 0)))
        values_of = zip(curve.predicted, curve.found, curve.scans, strict=True)
        rows += [[escape(title), f"{p:.3g}", f"{f:.3g}", str(int(s))] for p, f, s in values_of]
    return (
        "<h2>Calibration of the latents</h2>"
        + f'<div class="plots">{"".join(plots)}</div>'
        + table(["", "predicted, mean", "found, mean", "scans"], rows)
    )


def _refused(record: dict[str, Any]) -> str:
    rows = [
        [str(r["row"]), escape(r["code"]), escape(r["what"])] for r in record["scans"]["refused"]
    ]
    if not rows:
        return ""
    return "<h2>Scans that were not used</h2>" + table(["row", "code", "why"], rows, text=3)


def _reading(made: ProbeResult) -> str:
    record = made.record
    texts = [
        "Scans are numbered by their row in the table; names of files and people are not kept.",
        f"{LATENTS}: the {record['latents']} latent means. {VOXELS}: as many principal components "
        "of the prepared voxels inside the mask (fewer where there are fewer scans), learnt in "
        f"each fold from its training people, in their own scale. "
        f"{VOLUME}: {', '.join(NAMES)}. {GUESS}: the "
        "frequencies or the mean of all.",
        f"{record['parameters']['folds']} folds of whole people. The penalty of each fold is "
        "chosen in an inner loop of three folds of its training people. All features have the "
        "same folds, rules and penalties.",
        f"Permutation p: all of it was done again {record['parameters']['permutations']} times "
        "with the values exchanged among people.",
        "A figure below that of the guess is no finding: of few people those who are left out are "
        "what the others lack, so that where nothing is to be told it comes out low. Intervals "
        "are of these predictions; how much another fit would differ is not in them.",
    ]
    if SITE in made.made:
        texts.append(
            f"{SITE}: the site's name and nothing of the scan. Where it does as well as the "
            "latents, they may tell the scanner and nothing else."
        )
    if made.target.kind == "category":
        texts.append(
            "Classes have equal weight in the fit. Accuracies are those of the most probable "
            "class, all taken as equally frequent; probabilities, AUROC, AP and Brier are at the "
            "frequencies of the training scans. "
            + (
                f"AP is that of {made.target.classes[positive_class(made.target)]}; without "
                "skill it equals the share of its scans."
                if len(made.target.classes) == 2
                else "AUROC and AP are means over the classes, each against the others."
            )
        )
    else:
        texts.append(
            "R² is negative where the mean of all predicts better. The calibration slope is that "
            "of the truth on the prediction: below 1 predictions are spread too widely."
        )
    return "<h2>How to read the figures</h2>" + sentences(texts)


def _provenance(made: ProbeResult) -> str:
    record = made.record

    def listed(facts: dict[str, Any]) -> str:
        return escape(", ".join(f"{key} {value}" for key, value in facts.items()))

    rows = [
        ["model", f"{escape(record['model']['name'])} <code>{record['model']['sha256']}</code>"],
        ["probe", f"<code>{made.probe.digest}</code>"],
        ["penalty of the probe", f"{made.probe.card.penalty:g}"],
        ["parameters", listed(record["parameters"])],
        ["seed", str(record["seed"])],
        ["device", escape(record["device"])],
        ["versions", listed(record["versions"])],
    ]
    return "<h2>What made this report</h2>" + pairs(rows)
