"""Scans of an evaluation's report: what was there, what the model expected, what it marked."""

from __future__ import annotations

import pandas as pd

from napari_normative.engine.evaluation import Evaluation
from napari_normative.engine.pictures import row_picture
from napari_normative.io.page import escape

MOST_SHOWN, WORST = 8, 6


def gallery(made: Evaluation) -> str:
    """Return the first scans of each group and the worst ones, as the first model sees them."""
    rows = made.cases[made.cases["model"] == made.models[0]]
    parts = []
    for group in ("real", "healthy", "simulated"):
        some = rows[rows["group"] == group].head(MOST_SHOWN)
        parts.append(_row_of_scans(made, some, f"The first {group} scans"))
    ill = rows[rows["group"] != "healthy"]
    if len(ill):
        parts.append(_row_of_scans(made, ill.sort_values("ap").head(WORST), "Lowest AP"))
    false = rows[(rows["group"] == "healthy") & (rows["candidates"] > 0)]
    worst = false.sort_values("candidates", ascending=False).head(WORST)
    parts.append(_row_of_scans(made, worst, "Healthy people with most candidates"))
    return (
        f"<h2>Scans, as {escape(made.models[0])} sees them</h2><p>From left to right: the scan "
        "with the truth outlined, the pseudo-healthy reconstruction, the anomaly map (blue "
        "darker, red brighter than expected, from |z| 2 on). One axial slice in the model's "
        "space, through most of the lesion, seen from below: the patient's right (R) is on the "
        "left.</p>" + "".join(parts)
    )


def _row_of_scans(made: Evaluation, rows: pd.DataFrame, title: str) -> str:
    figures = []
    for index, row in zip(rows.index, rows.to_dict("records"), strict=True):
        words = [row["case"], row["site"]]
        if row["group"] != "healthy":
            words += [f"{row['group']} {row['kind']}", f"{row['lesion_ml']:.1f} ml"]
            words.append(f"AP {row['ap']:.3f}, Dice {row['dice']:.3f}")
        words.append(f"{row['candidates']} candidate{'s' * (row['candidates'] != 1)}")
        words.append(f"scan score {row['scan_score']:.1f} (p {row['scan_p']:.2g})")
        caption = escape(" · ".join(words))
        measured = made.measured[index]
        source = row_picture(measured.picture, measured.outline)
        side = "<span>R<b>L</b></span>" * 3
        figures.append(
            f'<figure><img alt="{caption}" src="{source}"><div class="side">{side}</div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    if not figures:
        return ""
    return f'<h3>{escape(title)}</h3><div class="scans">{"".join(figures)}</div>'
