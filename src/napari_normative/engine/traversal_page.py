"""The HTML page of a model's directions: one file that needs no network, and names nobody."""

from __future__ import annotations

import math

import numpy as np

from napari_normative.core.effects import CHANGED, DEEP_MM
from napari_normative.core.limits import image_limits, signed_limit
from napari_normative.engine.case_pictures import beside, grey, marked, overlaid
from napari_normative.engine.covariates import TRAINED, UNKNOWN, UNSEEN, Row
from napari_normative.engine.pictures import png_address
from napari_normative.engine.planes import VIEWS, Frame, sample
from napari_normative.engine.traversal import BASES, DescribedDirection, DirectionsReport
from napari_normative.io.page import escape, page, sentences, table
from napari_normative.volume import Volume

TILE_PX = 220
MOST = 20
"""Correlations that the page lists for each column; the table has all."""

COLUMNS = {UNSEEN: "people never seen", TRAINED: "people trained on", UNKNOWN: "people, unknown"}


def directions_page(report: DirectionsReport) -> str:
    """Return the page."""
    model, record = report.model, report.record
    parts = [
        f'<p class="notice">{escape(record["notice"])}</p>',
        f"<h1>Latent directions of {escape(model.card.title)}</h1>",
        f'<p class="sub">{model.posterior.mean.size} latents · '
        f"{escape(model.card.one_line())} · {escape(record['utc'])}</p>",
    ]
    if report.rows:
        parts += [
            "<h2>What they go with</h2>",
            sentences([*report.verdict(), *record["warnings"]]),
            _correlations(report),
            "<p><small>r of two categories is point-biserial, eta is the correlation ratio of "
            "several. Brackets: 95 % bootstrap interval over people. p by permutation of people, "
            "corrected over all directions of both kinds by their maximum; for each column apart. "
            "Only people whom the network never saw are evidence: it fits those it was trained on "
            "by heart. Within sites: means of sites taken out, people exchanged within sites. A "
            "correlation is no cause, and a direction is not the anatomy it goes with.</small></p>",
        ]
    for basis in BASES:
        shown = [one for one in report.described if one.direction.basis == basis]
        if shown:
            parts += [f"<h2>{_TITLES[basis]}</h2>", _gallery(report, shown)]
    parts.append(
        f"<p><small>Red: brighter at +2 SD than at -2 SD, blue: darker; full colour at the number "
        f"given. Changed: by more than {CHANGED:g} of the cohort's median. Deep: {DEEP_MM:g} mm "
        "or more below the surface. Times its due: the share of the squared change over the share "
        "of the volume. Planes pass through the largest change. Synthetic.</small></p>"
    )
    return page("Latent directions", parts)


_TITLES = {
    "latent": "Entries of the latent, by KL",
    "principal": "Principal axes of what the cohort's latents decode to, by variance",
}


def _correlations(report: DirectionsReport) -> str:
    """Return the strongest correlations of each column in unseen people, trained ones beside."""
    by = {(r.basis, r.index, r.covariate, r.group): r for r in report.rows}
    groups = [g for g in COLUMNS if any(r.group == g for r in report.rows)]
    first, *others = groups
    lines, marks = [], []
    for column in dict.fromkeys(r.covariate for r in report.rows):
        own = [r for r in report.rows if r.covariate == column and r.group == first]
        own.sort(key=lambda r: (r.found.p_corrected, -abs(r.found.value)))
        for n, row in enumerate(own[:MOST]):
            beside_it = (by.get((row.basis, row.index, column, group)) for group in others)
            kind = "" if row.basis == "latent" else "principal "
            lines.append(
                [escape(column), f"{kind}direction {row.index + 1}", *_cells(row)]
                + [_interval(other) for other in beside_it]
            )
            marks.append(n == 0)
    heads = [
        "column", "direction", f"{COLUMNS[first]}: measure", "n", "value", "Spearman", "p",
        "corrected p", "within sites", "corrected p", *(COLUMNS[g] for g in others),
    ]  # fmt: skip
    return table(heads, lines, text=2, marks=marks)


def _cells(row: Row) -> list[str]:
    a = row.found
    return [
        row.measure, str(a.n), _interval(row), _number(a.spearman), _p(a.p), _p(a.p_corrected),
        _number(a.partial), _p(a.partial_p_corrected),
    ]  # fmt: skip


def _interval(row: Row | None) -> str:
    if row is None:
        return "–"
    a = row.found
    return f"{a.value:.2f} <small>[{a.low:.2f}, {a.high:.2f}]</small>"


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"


def _p(value: float) -> str:
    return f"{value:.2g}" if math.isfinite(value) else "–"


def _gallery(report: DirectionsReport, shown: list[DescribedDirection]) -> str:
    template = report.model.template
    under = Volume.from_array(template.image, report.model.card.preprocess.grid.affine, "template")
    frame = Frame.around(under, template.mask, TILE_PX).square()
    window = image_limits(template.image)
    figures = []
    for one in shown:
        limit = signed_limit(one.effect.data)
        place = np.array(one.facts.at_mm)
        panels = []
        for view in VIEWS:
            points = frame.plane(view, float(place[view.normal]))
            over = overlaid(grey(sample(under, points), window), sample(one.effect, points), limit)
            panels.append(marked(over, frame, view, place, ticks=True))
        tallest = max(panel.shape[0] for panel in panels)
        panels = [np.pad(p, ((0, tallest - p.shape[0]), (0, 0), (0, 0))) for p in panels]
        name = escape(one.direction.name)
        figures.append(
            f'<figure><img alt="effect of {name}" src="{png_address(beside(panels))}">'
            f"<figcaption>{escape(one.describe())}; full colour at {limit:.2f}.</figcaption>"
            "</figure>"
        )
    return f'<div class="scans">{"".join(figures)}</div>'
