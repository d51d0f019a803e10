"""The report of one detection: one HTML file with key images that needs no network.

It names neither files nor people: a scan goes by the name that the caller gives, or by the
beginning of its digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.card import RESEARCH_USE, ModelCard
from napari_normative.engine.case_pictures import (
    Picture,
    Shown,
    colour_bar,
    key_image,
    overview,
    own_threshold,
)
from napari_normative.engine.pictures import png_address
from napari_normative.errors import OutputError
from napari_normative.io.atomic import replace_files
from napari_normative.io.page import escape, page, pairs, sentences, table

if TYPE_CHECKING:
    from napari_normative.core.candidates import Candidate
    from napari_normative.engine.detection import Detection

MOST_PICTURED = 6
"""Candidates that get key images; all are in the table."""

_LIMITS = {
    "spacing": ("at most", "{:.3g} mm"),
    "field of view": ("at least", "{:.0%}"),
    "alignment": ("at least", "{:.2f}"),
    "contrast": ("at least", "{:.0%}"),
    "latent": ("at most", "{:.3g}"),
    "reconstruction": ("at most", "{:.3g}"),
}
_VERDICTS = {"ok": "fits", "warn": "doubtful", "refuse": "does not fit"}


@dataclass(frozen=True, eq=False)
class Section:
    """A piece of a report.

    Attributes
    ----------
    title : str
    html : str
        Text and tables.
    picture : RGB array or None
        Below the text.
    own_page : bool
        Where there are pages, this begins one.
    folded : bool
        Where things can be folded, this is.
    """

    title: str
    html: str
    picture: Picture | None = None
    own_page: bool = False
    folded: bool = False


def case_report(
    detection: Detection,
    *,
    name: str | None = None,
    card: ModelCard | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return the report of a detection as one HTML page without any outside reference.

    Parameters
    ----------
    detection : Detection
    name : str, optional
        What the scan is called; the beginning of its digest unless given. File names often hold
        what identifies a person.
    card : ModelCard, optional
        Of the model; adds what it is, how it compares with simple baselines, and its limits.
    notes : sequence of str
        What a reader changed or wants to be known, in sentences.
    """
    parts = [
        f'<p class="notice">{escape(RESEARCH_USE)}</p>',
        f"<h1>{title_of(detection, name)}</h1>",
    ]
    for section in case_sections(detection, card=card, notes=notes):
        heading, body = escape(section.title), section.html
        if section.picture is not None:
            wide = section.picture.shape[1]
            body += (
                f'<p><img alt="{heading}" width="{wide}" src="{png_address(section.picture)}"></p>'
            )
        if section.folded:
            parts.append(f"<details><summary><b>{heading}</b></summary>{body}</details>")
        else:
            parts.append((f"<h2>{heading}</h2>" if heading else "") + body)
    return page(f"Anomaly report: {name or _pseudonym(detection)}", parts)


def save_case_report(
    detection: Detection,
    path: str | Path,
    *,
    name: str | None = None,
    card: ModelCard | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write :func:`case_report` to a ``.html`` file, whole or not at all.

    Raises
    ------
    OutputError
        ``OUT-016`` for another ending, ``OUT-002`` if the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise OutputError(
            "OUT-016",
            f"a report ends in .html, and this name in {target.suffix or 'nothing'}",
            "Choose a name that ends in .html (in the window also .pdf).",
            subject=target.name,
        )
    replace_files({target: case_report(detection, name=name, card=card, notes=notes).encode()})
    return target


def title_of(detection: Detection, name: str | None) -> str:
    """Return the heading of a report, HTML."""
    return f"Comparison of {escape(name or _pseudonym(detection))} with a normative model"


def case_sections(
    detection: Detection, *, card: ModelCard | None = None, notes: Sequence[str] = ()
) -> list[Section]:
    """Return the report piece by piece, for whatever it is printed on."""
    shown = Shown.of(detection)
    found = detection.candidates
    sections = [
        Section("", _result(detection)),
        Section("Notes of the reader", sentences(notes)) if notes else None,
        Section("Warnings", sentences(detection.warnings)) if detection.warnings else None,
        Section("Candidates", _candidates(detection)),
        Section("Overview", _legend(shown, detection), overview(shown), own_page=True),
        Section("", "", colour_bar(shown.limit_z, detection.threshold_z)),
        *(
            Section(
                f"Candidate {c.rank}",
                f"<p>{_candidate(detection, c)}</p>",
                key_image(shown, c),
                own_page=True,
            )
            for c in found[:MOST_PICTURED]
        ),
        Section("Does the model fit this scan?", _applicability(detection), own_page=True),
        Section("Scan", _scan(detection)),
        Section("Model", _model(detection, card)),
        Section("What this cannot show", _limits(card)),
        Section("Provenance", _provenance(detection), folded=True),
    ]
    return [section for section in sections if section is not None]


def words_of_p(p: float) -> str:
    """Return how many of a hundred healthy scans score at least as high."""
    percent = 100 * p
    if percent < 1:
        return "fewer than 1 in 100 healthy scans score at least as high"
    return f"about {percent:.0f} in 100 healthy scans score at least as high"


def _pseudonym(detection: Detection) -> str:
    return f"scan {detection.scan.source.digest[:12]}".strip()


def _result(detection: Detection) -> str:
    count = len(detection.candidates)
    own = own_threshold(detection)
    other = "" if own == detection.threshold_z else f" (the model's own is {own:.3g})"
    fits = detection.provenance.get("applicability", {}).get("verdict", "")
    rows = [
        ["scan score", f"{detection.scan_score:.3g}"],
        ["p of the score", f"{detection.scan_p:.3g}: {words_of_p(detection.scan_p)}"],
        ["candidates", f"{count} beyond the threshold |z| &gt; {detection.threshold_z:.3g}{other}"],
        ["model and scan", _VERDICTS.get(fits, "not checked")],
        ["made (UTC)", escape(detection.provenance.get("created_utc", "not recorded"))],
    ]
    return pairs(rows)


def _candidates(detection: Detection) -> str:
    if not detection.candidates:
        return (
            f"<p>No group of voxels lies beyond the threshold |z| &gt; {detection.threshold_z:.3g}."
            " That is no proof of health.</p>"
        )
    heads = ["rank", "than expected", "place, from the middle", "x, y, z (mm)"]
    heads += ["peak z", "mean z", "volume (ml)", "p"]
    rows = [
        [
            str(c.rank),
            _direction(c),
            detection.place_of(c),
            ", ".join(f"{v:.1f}" for v in c.centroid_mm),
            f"{c.peak_z:+.2f}",
            f"{c.mean_z:+.2f}",
            f"{c.volume_mm3 / 1000:.2f}",
            f"{c.p:.3g}",
        ]
        for c in detection.candidates
    ]
    note = (
        "<p><small>p: share of healthy calibration scans whose strongest candidate has at least "
        "this evidence. Places are those of centroids: in words from the middle of what was "
        "judged, left is the patient's left; x (right), y (anterior), z (superior) from the origin "
        "of the scan, which may lie anywhere.</small></p>"
    )
    if (own := own_threshold(detection)) != detection.threshold_z:
        note = (
            f"<p><b>The p of candidates are calibrated at |z| &gt; {own:.3g} and do not hold at "
            f"{detection.threshold_z:.3g}.</b></p>" + note
        )
    more = len(detection.candidates) - MOST_PICTURED
    if more > 0:
        note += f"<p><small>The {MOST_PICTURED} strongest have key images, {more} not.</small></p>"
    return table(heads, rows, text=4) + note


def _candidate(detection: Detection, c: Candidate) -> str:
    return (
        f"{_direction(c).capitalize()} than expected, {c.volume_mm3 / 1000:.2f} ml at "
        f"{detection.place_of(c)} from the middle; peak z {c.peak_z:+.2f}, mean z "
        f"{c.mean_z:+.2f}, p {c.p:.3g}. Yellow: its outline, and at the edges where its centroid "
        "lies; grey: other candidates."
    )


def _direction(c: Candidate) -> str:
    return "brighter" if c.sign > 0 else "darker"


def _legend(shown: Shown, detection: Detection) -> str:
    low, high = shown.window
    return (
        "<p>Axial planes from below to above. Red is brighter than expected, blue darker; full "
        f"colour at |z| = {shown.limit_z:.1f}. Yellow outlines: candidates beyond |z| = "
        f"{detection.threshold_z:.3g}. Grey values from {low:.4g} (black) to {high:.4g} (white). "
        "Planes lie along the world's axes, sampled linearly.</p>"
    )


def _applicability(detection: Detection) -> str:
    record = detection.provenance.get("applicability", {})
    rows = []
    for check in record.get("checks", ()):
        bound, form = _LIMITS.get(check["name"], ("limit", "{:.3g}"))
        expected = f"{bound} {form.format(check['expected'])}"
        verdict = _VERDICTS[check["status"]]
        values = [form.format(check["found"]), expected, verdict]
        rows.append([escape(check["name"]), *values, escape(check["remedy"])])
    if not rows:
        return "<p>Nothing was checked.</p>"
    remedy = "what helps" if any(row[-1] for row in rows) else ""
    heads = ["question", "found", "expected", "verdict", remedy]
    return f'<div class="pairs">{table(heads, rows, text=5)}</div>'


def _scan(detection: Detection) -> str:
    scan = detection.scan
    tilt = scan.tilt_deg
    return pairs(
        [
            ["voxels", " × ".join(map(str, scan.shape))],
            ["voxel size", " × ".join(f"{mm:.3g}" for mm in scan.spacing_mm) + " mm"],
            ["order of axes", escape(scan.orientation)],
            ["tilt", "none" if tilt < 0.1 else f"{tilt:.1f}°"],
            ["foreground", f"{float(detection.mask.sum()) * scan.voxel_ml:.0f} ml were judged"],
            ["SHA-256", f"<code>{escape(scan.source.digest)}</code>"],
        ]
    )


def _model(detection: Detection, card: ModelCard | None) -> str:
    told = detection.provenance.get("model", {})
    rows = [["model", escape(card.one_line() if card else told.get("title", "not recorded"))]]
    if card is not None:
        rows.append(["beside simple baselines", escape(card.verdict())])
        least = 1 / (1 + card.calibration.people)
        rows.append(
            ["healthy scans for p", f"{card.calibration.people}; no p is below {least:.2g}"]
        )
    rows.append(["SHA-256", f"<code>{escape(told.get('sha256', 'not recorded'))}</code>"])
    return pairs(rows)


def _limits(card: ModelCard | None) -> str:
    texts = [card.intended_use, card.limits] if card is not None else []
    texts.append(
        "A candidate is where the scan departs from the model's healthy people: disease, variant, "
        "artefact and misalignment look alike. The absence of candidates proves nothing."
    )
    return sentences(texts)


def _provenance(detection: Detection) -> str:
    return pairs([[escape(key), escape(value)] for key, value in _flat(detection.provenance)])


def _flat(record: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Return nested facts as names and values; the checks have a table of their own."""
    rows: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{above}{key}"
        if name == "applicability":
            continue
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}.")
        elif value is not None:
            rows.append((name, str(value)))
    return rows
