"""The report as PDF: pages with notice, number and whole pictures, from a thread of the pool."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_normative.engine.case_report import case_sections
from napari_normative.errors import OutputError
from napari_normative.plugin.jobs import Listener, ThreadRunner
from napari_normative.plugin.report_pdf import INNER_MM, shown_width
from napari_normative.plugin.work.report import Report
from planted import SECRETS, planted


def write(qtbot, report):
    ended = []
    listener = Listener(lambda *_: None, ended.append, ended.append, lambda: ended.append(None))
    ThreadRunner().start("report", report, listener)
    qtbot.waitUntil(lambda: bool(ended), timeout=60_000)
    return ended[0]


def opened(path):
    pdf = pytest.importorskip("qtpy.QtPdf")
    document = pdf.QPdfDocument(None)
    document.load(str(path))
    return document


def test_every_page_has_the_notice_and_its_number(qtbot, tmp_path):
    path = tmp_path / "report.pdf"
    found = planted(candidates=2)
    assert write(qtbot, Report(found, path, notes=("Threshold changed to 4.2.",))) == path
    assert path.read_bytes().startswith(b"%PDF")
    assert [p.name for p in tmp_path.iterdir()] == ["report.pdf"]
    document = opened(path)
    pages = document.pageCount()
    texts = [document.getAllText(n).text() for n in range(pages)]
    for number, text in enumerate(texts, start=1):
        assert "Research use only, not for diagnosis." in text
        assert f"page {number} of {pages}" in text
    whole = "\n".join(texts)
    assert "Threshold changed to 4.2." in whole
    assert f"{found.candidates[1].peak_z:+.2f}" in whole
    assert not [secret for secret in SECRETS if secret in whole]
    assert pages == 5, "facts, overview, two candidates, model and provenance"


def test_pictures_reach_the_page_in_colour(qtbot, tmp_path):
    path = tmp_path / "report.pdf"
    write(qtbot, Report(planted(), path))
    from qtpy.QtCore import QSize

    page = opened(path).render(2, QSize(620, 877))
    colours = {
        (c.red() // 64, c.green() // 64, c.blue() // 64)
        for c in (page.pixelColor(x, y) for x in range(0, 620, 3) for y in range(60, 877, 3))
    }
    assert (0, 1, 3) in colours or (0, 1, 2) in colours, "the blue of a darker candidate"


def test_a_picture_is_never_wider_or_higher_than_its_page():
    for picture in (s.picture for s in case_sections(planted())):
        if picture is not None:
            rows, columns = picture.shape[:2]
            width = shown_width(rows, columns) * 25.4 / 96
            assert width <= INNER_MM[0]
            assert width * rows / columns <= INNER_MM[1] - 40
    assert shown_width(5000, 500) * 10 * 25.4 / 96 <= INNER_MM[1]


def test_html_from_the_same_job_and_no_other_ending(qtbot, tmp_path):
    path = tmp_path / "report.html"
    assert write(qtbot, Report(planted(), path, name="Layer 1")) == path
    assert "Layer 1" in path.read_text(encoding="utf-8")
    failed = write(qtbot, Report(planted(), tmp_path / "report.docx"))
    assert isinstance(failed, OutputError)
    assert ".docx" in str(failed)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_process_without_a_window_can_write_one(tmp_path):
    """As in the engine's process."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from planted import planted\n"
        "from napari_normative.plugin.work.report import Report\n"
        "Report(planted(), Path(sys.argv[2]))(lambda *a: None, lambda: False)\n"
    )
    tests, path = Path(__file__).parents[1], tmp_path / "report.pdf"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tests), str(path)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert path.read_bytes().startswith(b"%PDF")
