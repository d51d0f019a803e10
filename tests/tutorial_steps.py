"""What the tutorials do in the window, with its buttons and keys; also how the pictures are made.

``tests/docs/test_tutorials.py`` runs the steps where the pages have them, and
``scripts/screenshots.py`` runs them to save pictures.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_normative.plugin.controllers.candidates import CandidatesController
from napari_normative.plugin.controllers.review import ReviewController
from napari_normative.plugin.session import session_for

PLUGIN = "napari-normative"
SIZE = (1400, 900)


class Desk:
    """A window and who works in it.

    Parameters
    ----------
    viewer : napari.Viewer
    save : callable of (name, picture), optional
        Keeps a picture of the window, uint8 (rows, columns, 4).
    """

    def __init__(
        self, viewer: Any, save: Callable[[str, np.ndarray], None] = lambda name, picture: None
    ) -> None:
        self.viewer, self._save, self._docks = viewer, save, dict[str, Any]()
        self._taken: set[str] = set()
        viewer.window.resize(*SIZE)

    def dock(self, name: str) -> Any:
        """Return a dock of ours, opened as by its entry in the menu *Plugins*."""
        if name not in self._docks:
            self._docks[name] = self.viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)
        frame, dock = self._docks[name]
        frame.raise_()  # docks share a place, and this one is to be seen
        QApplication.processEvents()
        return dock

    def click(self, button: Any) -> None:
        """Click a button that can be clicked."""
        assert button.isEnabled(), button.toolTip()
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def press(self, key: Qt.Key) -> None:
        """Press a key in the window, made active: a bare X server has nobody who would do so."""
        main = self.viewer.window._qt_window
        QApplication.setActiveWindow(main)
        self.wait(main.isActiveWindow)
        QTest.keyClick(QApplication.focusWidget() or main, key)

    def wait(self, until: Callable[[], object], seconds: float = 60) -> None:
        """Let the window work until something is so."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, "it took too long"
            QApplication.processEvents()
            time.sleep(0.01)

    def shot(self, name: str) -> None:
        """Take a picture of the whole window, once; it must show something."""
        if name in self._taken:
            return
        self._taken.add(name)
        for _ in range(20):  # layers are sliced and drawn by later events
            QApplication.processEvents()
            time.sleep(0.01)
        picture = self.viewer.screenshot(canvas_only=False, flash=False)
        assert picture[..., :3].std() > 20, name
        self._save(name, picture)


@contextlib.contextmanager
def answering(path: Path | str) -> Iterator[None]:
    """Answer the system's file dialogs, which a test cannot click."""
    answer = lambda *_: (str(path), "")  # noqa: E731
    with (
        patch.object(QFileDialog, "getOpenFileName", answer),
        patch.object(QFileDialog, "getSaveFileName", answer),
        patch.object(QFileDialog, "getExistingDirectory", lambda *_: str(path)),
    ):
        yield


# ---- read-a-scan


def open_sample(desk: Desk) -> None:
    """*File > Open Sample > Normative models > Brain with a simulated lesion*."""
    desk.viewer.open_sample(PLUGIN, "brain-with-lesion")
    names = [layer.name for layer in desk.viewer.layers]
    assert names == ["brain-with-lesion", "brain-with-lesion · true mask (simulated)"]


def run_map(desk: Desk) -> None:
    """Press *Run* and wait for the map."""
    dock = desk.dock("Anomaly map")
    assert "mm" in dock.geometry_line.text()
    desk.click(dock.job.run)
    assert dock.job.run.text() == "Cancel"
    desk.wait(lambda: dock.job.run.text() == "Run", 120)
    assert dock.job.error.text() == ""
    names = [layer.name for layer in desk.viewer.layers]
    assert "brain-with-lesion · anomaly z" in names
    assert dock.candidates.headline.text().startswith("1 candidate")


def look_at_candidate(desk: Desk) -> None:
    """Choose the first row; read why it is there."""
    dock = desk.dock("Anomaly map")
    table = dock.candidates.table
    where = table.visualItemRect(table.item(0, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    state = session_for(desk.viewer).get(CandidatesController).state
    desk.wait(lambda: state.why is not None and not state.why_busy)
    assert "darker" in state.why.sentence
    assert table.item(0, 1).text() == "darker"
    area = dock.candidates.parent().parent().parent()
    area.ensureWidgetVisible(dock.candidates.why, 0, 400)
    desk.shot("candidates")


def three_planes(desk: Desk) -> None:
    """Open the reading room and divide the canvas."""
    dock = desk.dock("Reading room")
    desk.click(dock.layouts.buttons["planes"])
    desk.wait(lambda: dock.count.text() != "")
    desk.shot("reading-room")


def lower_threshold(desk: Desk) -> None:
    """Move the threshold, read what it costs, go back."""
    dock = desk.dock("Reading room")
    before = dock.count.text()
    assert before.startswith("1 candidate")
    dock.threshold.setValue(3.5)
    desk.wait(lambda: dock.count.text().endswith("candidates beyond |z| 3.5"))
    assert "Healthy scans have" in dock.rate.text()
    desk.click(dock.reset_threshold)
    desk.wait(lambda: dock.count.text() == before)


def side_by_side(desk: Desk) -> None:
    """Scan, reconstruction and map of the same slice; then one plane and the swipe."""
    dock = desk.dock("Reading room")
    desk.click(dock.layouts.buttons["side-by-side"])
    desk.click(dock.layouts.fit)
    desk.shot("side-by-side")
    desk.click(dock.layouts.buttons["axial"])
    desk.click(dock.compare["swipe"])
    assert any("swipe" in layer.name for layer in desk.viewer.layers)
    desk.click(dock.compare["swipe"])


def report(desk: Desk) -> None:
    """Write the report."""
    dock = desk.dock("Anomaly map")
    with answering("report.html"):
        desk.click(dock.candidates.report)
    desk.wait(lambda: Path("report.html").exists())
    text = Path("report.html").read_text(encoding="utf-8")
    assert "Research use only, not for diagnosis." in text
    assert "brain-with-lesion" not in text
    desk.wait(lambda: dock.candidates.report.isEnabled())


# ---- review-candidates


def decide(desk: Desk, reader: str, least_ml: float) -> None:
    """Open a reader's file and decide all by keys: accept what is large enough."""
    dock = desk.dock("Review")
    with answering(Path("study") / f"{reader}.review"):
        desk.click(dock.files.open)
    controller = session_for(desk.viewer).get(ReviewController)
    state = controller.state
    desk.wait(lambda: state.is_open and not state.loading and state.selected)
    open_left = True
    while open_left:
        desk.wait(lambda: not state.loading)
        now = state.selected
        row = next(row for row in state.rows if row.candidate == now)
        if reader == "anna" and row.volume_ml > 10:
            desk.shot("review")
        desk.press(Qt.Key.Key_A if row.volume_ml >= least_ml else Qt.Key.Key_X)
        told = controller.book.reading.progress()
        open_left = told.decided < told.candidates
        if open_left:
            desk.wait(partial(lambda before: state.selected != before, now))
    desk.wait(lambda: state.saved == "Saved")
    desk.click(dock.submit)
    desk.click(dock.submit)  # twice: decisions become final
    desk.wait(lambda: controller.book.reading.submitted)
    desk.click(dock.files.close_review)


# ---- train-a-model


def check_cohort(desk: Desk) -> None:
    """Look at every scan of the table before anything is trained."""
    dock = desk.dock("Train a model")
    line = dock.cohort.cohort
    line.setFocus()
    QTest.keyClicks(line, "cohort.tsv")
    desk.click(dock.cohort.job.run)
    desk.wait(lambda: "can be used" in dock.cohort.job.summary.text())
    assert dock.cohort.job.summary.text() == "10 of 10 scans can be used."
    dock.cohort.files.selectRow(0)
    desk.wait(lambda: not dock.cohort.preview.pixmap().isNull())
    dock.cohort.files.doubleClicked.emit(dock.cohort.files.currentIndex())
    desk.wait(lambda: [layer.name for layer in desk.viewer.layers] == ["sub-01_T1w"])
    desk.shot("train-cohort")


STEPS: dict[str, dict[str, Callable[[Desk], None]]] = {
    "read-a-scan": {
        "open-sample": open_sample,
        "run-map": run_map,
        "look-at-candidate": look_at_candidate,
        "three-planes": three_planes,
        "lower-threshold": lower_threshold,
        "side-by-side": side_by_side,
        "report": report,
    },
    "review-candidates": {
        "anna-decides": partial(decide, reader="anna", least_ml=3.0),
        "ben-decides": partial(decide, reader="ben", least_ml=10.0),
    },
    "train-a-model": {"check-cohort": check_cohort},
}
"""By page and by the name that stands on it."""
