"""Pieces of an HTML page that needs nothing but itself: its style, tables and lists."""

from __future__ import annotations

import html
from collections.abc import Sequence

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;max-width:1200px;
margin:0 auto;padding:16px 20px 60px}
h1{font-size:26px;margin:8px 0 2px}
h2{font-size:19px;margin:34px 0 8px;border-bottom:1px solid #ccc}
h3{font-size:15px;margin:18px 0 4px}
.notice{background:#7a1f1f;color:#fff;padding:7px 12px;font-weight:600;border-radius:4px}
.sub{color:#555}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:12.5px;margin:8px 0 14px}
th,td{padding:3px 5px;text-align:right;border-bottom:1px solid #e3e3e3;white-space:nowrap;
font-variant-numeric:tabular-nums}
th{background:#f3f4f6;font-weight:600;white-space:normal;vertical-align:bottom}
.t{text-align:left}
.first td{border-top:2px solid #bbb}
small{color:#666;font-size:11px}
td small{font-size:10px;letter-spacing:-.2px}
li{margin:3px 0}
.plots{display:flex;flex-wrap:wrap;gap:6px 10px}
.legend .key{margin-right:18px}
svg text{font-family:system-ui,sans-serif;fill:#333}
.title{font-size:12.5px;font-weight:600}
.tick{font-size:10px}
.axis{font-size:11px}
.row{font-size:12px}
.grid{stroke:#e4e4e4}
.zero{stroke:#222}
.line{fill:none;stroke-width:2}
.reference{fill:none;stroke:#999;stroke-width:1}
.scans{display:grid;grid-template-columns:repeat(auto-fill,minmax(500px,1fr));gap:14px}
figure{margin:0}
figure img{width:100%;background:#000;display:block}
figcaption{font-size:12.5px;color:#333}
.side{display:grid;grid-template-columns:repeat(3,1fr);font-size:11px;color:#555}
.side span{padding:0 5px}
.side b{float:right;font-weight:400}
.pairs td{white-space:normal;overflow-wrap:anywhere;vertical-align:top}
.pairs td:first-child{color:#555;white-space:nowrap}
p img{max-width:100%;height:auto}
"""


def page(title: str, parts: Sequence[str]) -> str:
    """Return a whole page of HTML parts; empty ones are left out."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: int = 1,
    marks: Sequence[bool] | None = None,
) -> str:
    """Return a table of HTML cells.

    Parameters
    ----------
    heads : sequence of str
        Plain text; no header when all are empty.
    rows : sequence of rows of HTML
    text : int
        Columns that are aligned left.
    marks : sequence of bool, optional
        Rows with a line above.
    """

    def cells(kind: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{kind}{' class=t' if n < text else ''}>{cell}</{kind}>" for n, cell in enumerate(row)
        )

    head = f"<tr>{cells('th', [escape(h) for h in heads])}</tr>" if any(heads) else ""
    body = "".join(
        f"<tr{' class=first' if marks and marks[n] else ''}>{cells('td', row)}</tr>"
        for n, row in enumerate(rows)
    )
    return f'<div class="wide"><table>{head}{body}</table></div>'


def pairs(rows: Sequence[Sequence[str]]) -> str:
    """Return names and values (HTML) as a table without a header; long values are broken."""
    return f'<div class="pairs">{table(["", ""], rows, text=2)}</div>'


def sentences(texts: Sequence[str]) -> str:
    """Return plain sentences as a list."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def escape(text: object) -> str:
    """Return text that HTML shows as it is."""
    return html.escape(str(text))
