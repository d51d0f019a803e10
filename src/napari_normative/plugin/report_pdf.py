"""The report of one detection as PDF: the same content, laid out by Qt on A4 pages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_normative.core.card import RESEARCH_USE
from napari_normative.engine.case_report import Section, case_sections, title_of
from napari_normative.io.atomic import replace_files
from napari_normative.io.page import escape

if TYPE_CHECKING:
    from napari_normative.core.card import ModelCard
    from napari_normative.engine.detection import Detection

_DPI = 150
"""Of the layout; pictures keep their own pixels."""

_WIDTH_MM, _HEIGHT_MM, _EDGE_MM, _BAND_MM = 210.0, 297.0, 15.0, 9.0
INNER_MM = _WIDTH_MM - 2 * _EDGE_MM, _HEIGHT_MM - 2 * _EDGE_MM - 2 * _BAND_MM
"""Room on a page between the notice and the number."""

_HEADING_MM = 45.0
"""Of it, what a heading with its text may take."""

_STYLE = """
body{font-family:sans-serif;font-size:9pt;color:#1b1b1b}
h1{font-size:15pt} h2{font-size:12pt;margin-top:16px}
table{border-collapse:collapse}
td,th{padding:2px 5px;font-size:8pt}
th{background-color:#f3f4f6}
small{font-size:7pt;color:#555}
"""


def pdf_report(
    detection: Detection,
    *,
    name: str | None = None,
    card: ModelCard | None = None,
    notes: Sequence[str] = (),
) -> bytes:
    """Return what :func:`napari_normative.engine.case_report.case_report` shows, as a PDF file.

    Every page has the notice above and its number below. Qt lets text be laid out and painted
    on any thread. In a process without a Qt application one without windows is made.

    Parameters
    ----------
    detection : Detection
    name, card, notes
        As in ``case_report``.
    """
    from qtpy.QtCore import QBuffer, QByteArray, QIODevice, QMarginsF, QRectF, QSizeF, QUrl
    from qtpy.QtGui import QImage, QPageLayout, QPageSize, QPainter, QPdfWriter, QTextDocument

    _application()
    heading = title_of(detection, name)
    content = QByteArray()
    buffer = QBuffer(content)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = QPdfWriter(buffer)
    writer.setResolution(_DPI)
    writer.setTitle(f"Anomaly report. {RESEARCH_USE}")
    writer.setCreator("napari-normative")
    writer.setPageSize(QPageSize(QPageSize.PageSizeId.A4))
    writer.setPageMargins(QMarginsF(0, 0, 0, 0), QPageLayout.Unit.Millimeter)

    document = QTextDocument()
    layout = document.documentLayout()
    assert layout is not None  # a new document has one
    layout.setPaintDevice(writer)
    document.setDocumentMargin(0)
    document.setDefaultStyleSheet(_STYLE)
    width, height = (_pixels(mm) for mm in INNER_MM)
    document.setPageSize(QSizeF(width, height))
    sections = case_sections(detection, card=card, notes=notes)
    for number, section in enumerate(sections):
        if (picture := section.picture) is not None:
            rows, columns = picture.shape[:2]
            image = QImage(
                picture.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888
            )
            # A copy: the image does not keep the bytes alive.
            kind = QTextDocument.ResourceType.ImageResource
            document.addResource(kind, QUrl(f"picture-{number}"), image.copy())
    document.setHtml(_body(heading, sections))

    painter = QPainter(writer)
    pages = document.pageCount()
    for number in range(pages):
        if number:
            writer.newPage()
        _bands(painter, number + 1, pages)
        painter.save()
        painter.translate(_pixels(_EDGE_MM), _pixels(_EDGE_MM + _BAND_MM) - number * height)
        document.drawContents(painter, QRectF(0, number * height, width, height))
        painter.restore()
    painter.end()
    buffer.close()
    return bytes(content.data())


def save_pdf_report(
    detection: Detection,
    path: str | Path,
    *,
    name: str | None = None,
    card: ModelCard | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write :func:`pdf_report` to a file, whole or not at all.

    Raises
    ------
    OutputError
        ``OUT-002`` if the file cannot be written.
    """
    target = Path(path)
    replace_files({target: pdf_report(detection, name=name, card=card, notes=notes)})
    return target


def _body(heading: str, sections: Sequence[Section]) -> str:
    parts = [f"<h1>{heading}</h1>"]
    for number, section in enumerate(sections):
        own = ' style="page-break-before:always"' if section.own_page else ""
        title = escape(section.title)
        parts.append(f"<h2{own}>{title}</h2>" if title else "")
        parts.append(section.html)
        if section.picture is not None:
            width = shown_width(*section.picture.shape[:2])
            parts.append(f'<p><img width="{width}" src="picture-{number}"></p>')
    return "<html><body>" + "".join(parts) + "</body></html>"


def shown_width(rows: int, columns: int) -> int:
    """Return how wide a picture is shown, in 1/96 inch: no wider or higher than the page has room.

    Small pictures stay small.
    """
    widest, highest = (mm / 25.4 * 96 for mm in (INNER_MM[0], INNER_MM[1] - _HEADING_MM))
    return int(min(widest, highest * columns / rows, columns * 0.7))


def _bands(painter: Any, number: int, pages: int) -> None:
    """Paint the notice above and the number below."""
    from qtpy.QtCore import QRectF, Qt
    from qtpy.QtGui import QColor, QFont

    left, width, high = _pixels(_EDGE_MM), _pixels(_WIDTH_MM - 2 * _EDGE_MM), _pixels(6)
    painter.save()
    painter.setFont(QFont("sans-serif", 9))
    band = QRectF(left, _pixels(_EDGE_MM - 2), width, high)
    painter.fillRect(band, QColor("#7a1f1f"))
    painter.setPen(QColor("#ffffff"))
    painter.drawText(band, Qt.AlignmentFlag.AlignCenter, RESEARCH_USE)
    painter.setPen(QColor("#555555"))
    foot = QRectF(left, _pixels(_HEIGHT_MM - _EDGE_MM - 4), width, high)
    painter.drawText(foot, Qt.AlignmentFlag.AlignCenter, f"page {number} of {pages}")
    painter.restore()


def _pixels(mm: float) -> float:
    return mm / 25.4 * _DPI


@cache
def _application() -> Any:
    """Return the Qt application that fonts need; one without windows where there is none.

    Kept until the process ends: Qt cannot have one again after it was deleted.
    """
    from qtpy.QtCore import QCoreApplication
    from qtpy.QtGui import QGuiApplication

    return QCoreApplication.instance() or QGuiApplication(["report", "-platform", "offscreen"])
