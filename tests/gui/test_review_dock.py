"""The dock "Review" in a real window: by keys alone, with the brush, beside other docks."""

from __future__ import annotations

import shutil
from itertools import cycle, islice

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.reading import ReadingController
from napari_normative.plugin.controllers.review import ReviewController
from napari_normative.plugin.controllers.review_files import ReviewFilesController
from napari_normative.plugin.session import session_for
from napari_normative.review.assign import Plan
from napari_normative.review.book import Book
from napari_normative.review.create import create_reviews
from reviewed import material, write_detection

PLUGIN = "napari-normative"
KEYS = {
    "accept": Qt.Key.Key_A,
    "reject": Qt.Key.Key_X,
    "uncertain": Qt.Key.Key_U,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    plan = Plan(order="evidence", repeats=0, labels=("infarct", "other"), title="keys")
    create_reviews(root / "study", ["anna"], material(root, 10, candidates=4), plan)
    return root


@pytest.fixture
def path(study, tmp_path):
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    return tmp_path / "study" / "anna.review"


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    return viewer


def open_dock(viewer, qtbot, path):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Review")
    made = session_for(viewer).get(ReviewController)
    dock.files._requests.open.emit(str(path))
    qtbot.waitUntil(lambda: made.state.is_open and not made.state.loading, timeout=20_000)
    activate(viewer, qtbot)
    return dock, made


def activate(viewer, qtbot):
    main = viewer.window._qt_window
    QApplication.setActiveWindow(main)
    qtbot.waitUntil(main.isActiveWindow)
    return main


def press(viewer, key, modifiers=Qt.KeyboardModifier.NoModifier):
    focus = QApplication.focusWidget() or viewer.window._qt_window
    QTest.keyClick(focus, key, modifiers)


def stored(path):
    with Book.open(path, read_only=True) as book:
        assert book.store.verify() == ()
        return book.reading, [(e.action, e.candidate) for e in book.store.events()]


def test_forty_candidates_by_keys_alone(window, qtbot, path):
    """No mouse, no lost zoom, and each decision in the file."""
    dock, made = open_dock(window, qtbot, path)
    window.scene.camera.zoom *= 1.5
    zoom = window.scene.camera.zoom
    words, decided = list(islice(cycle(KEYS), 40)), {}
    for word in words:
        decided[made.state.selected] = word
        before = made.state.selected
        press(window, KEYS[word])
        if len(decided) < 40:
            qtbot.waitUntil(
                lambda b=before: made.state.selected != b and not made.state.loading, timeout=10_000
            )
            case, read = made.desk.case, made.desk.labels.selected_label
            assert made.state.selected.startswith(case.image.id)
            point = np.array(made.context.get(LayoutController).point_mm)
            index = np.linalg.solve(case.scan.affine[:3, :3], point - case.scan.affine[:3, 3])
            assert case.labels.data[tuple(np.rint(index).astype(int))] == read
    qtbot.waitUntil(lambda: made.state.saved == "Saved", timeout=10_000)
    assert window.scene.camera.zoom == zoom
    assert dock.progress_line.text().startswith("40 of 40 candidates · 10 of 10 scans")
    assert np.std(window.screenshot(canvas_only=True, flash=False)) > 5
    made.close()
    reading, log = stored(path)
    got = {r.candidate: r.decision for at in reading.passes.values() for r in at.reads}
    assert got == decided and len(got) == 40
    assert [a for a, _ in log if a in KEYS] == words


def test_flag_skip_undo_comment_and_label_need_no_mouse(window, qtbot, path):
    dock, made = open_dock(window, qtbot, path)
    state, first = made.state, made.state.selected
    press(window, Qt.Key.Key_F)
    press(window, Qt.Key.Key_L)
    press(window, Qt.Key.Key_C)
    qtbot.waitUntil(dock.comment.hasFocus)
    QTest.keyClicks(dock.comment, "a xauf")  # letters are letters here
    QTest.keyClick(dock.comment, Qt.Key.Key_Return)
    row = state.rows[0]
    assert (row.marks, row.label, row.comment, row.decision) == ("⚑", "infarct", "a xauf", "")
    assert state.selected == first and not dock.comment.hasFocus()
    press(window, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: state.selected != first)
    press(window, Qt.Key.Key_A)
    press(window, Qt.Key.Key_Backspace)
    assert made.book.reading.progress().decided == 0
    press(window, Qt.Key.Key_Backspace, Qt.KeyboardModifier.ShiftModifier)
    assert made.book.reading.progress().decided == 1
    press(window, Qt.Key.Key_B)
    press(window, Qt.Key.Key_N)
    assert dock.undo.text() == "Undo (⌫)" and "(A)" in dock.decide["accept"].text()
    made.close()


def test_a_held_key_decides_once(window, qtbot, path):
    _, made = open_dock(window, qtbot, path)
    from qtpy.QtGui import QKeyEvent

    main = window.window._qt_window
    press(window, Qt.Key.Key_A)
    for _ in range(5):
        event = QKeyEvent(
            QKeyEvent.Type.KeyPress, Qt.Key.Key_A, Qt.KeyboardModifier.NoModifier, "a", True
        )
        QApplication.sendEvent(main, event)
    assert made.book.reading.progress().decided == 1
    made.close()


def test_the_brush_of_napari_edits_and_the_pause_records(window, qtbot, path):
    """A stroke with the mouse on the canvas, recorded without any further key."""
    dock, made = open_dock(window, qtbot, path)
    dock.mask_tools.expand(animate=False)
    qtbot.wait(100)  # for the layout
    qtbot.mouseClick(dock.paint, Qt.MouseButton.LeftButton)
    layer = made.desk.labels
    assert str(layer.mode) == "paint" and window.layers.selection.active is layer
    layer.brush_size = 4
    before = (layer.data == 1).sum()
    window.screenshot(canvas_only=True, flash=False)
    canvas = window.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    for step in (qtbot.mousePress, qtbot.mouseRelease):
        step(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, middle)
        qtbot.wait(50)
    assert (layer.data == 1).sum() > before
    qtbot.waitUntil(lambda: made.state.rows[0].marks == "✎", timeout=5000)
    qtbot.waitUntil(lambda: made.state.saved == "Saved", timeout=5000)
    assert [a for a, _ in stored_events(made)][-1] == "edit_mask"
    made.close()


def stored_events(made):
    return [(e.action, e.candidate) for e in made.book.store.events()]


def test_a_click_grows_a_missed_finding(window, qtbot, path):
    _, made = open_dock(window, qtbot, path)
    made.requests.paint.emit("paint")  # the brush is put away when the next click is to grow
    press(window, Qt.Key.Key_G)
    assert made.state.growing
    window.screenshot(canvas_only=True, flash=False)
    canvas = window.window._qt_viewer.canvas.native
    # Right of the middle on the screen: the patient's left, where nothing is outlined.
    at = QPoint(canvas.width() // 2 + 20, canvas.height() // 2 + 30)
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=at)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=at)
    qtbot.waitUntil(lambda: any("＋" in r.marks for r in made.state.rows), timeout=10_000)
    added = next(r for r in made.state.rows if "＋" in r.marks)
    assert added.decision == "accept" and added.volume_ml > 0
    assert "left" in added.place
    made.close()


def test_keys_belong_to_the_review_while_it_is_seen_and_to_the_reading_room_after(
    window, qtbot, path
):
    _, room = window.window.add_plugin_dock_widget(PLUGIN, "Reading room")
    reading = session_for(window).get(ReadingController)
    dock, made = open_dock(window, qtbot, path)
    for _ in range(2):
        press(window, Qt.Key.Key_U)
    qtbot.waitUntil(lambda: not made.state.loading)
    assert made.book.reading.progress().decided == 2
    assert reading.state.compare == ""
    press(window, Qt.Key.Key_H)
    assert made.state.hidden and not made.desk.labels.visible
    press(window, Qt.Key.Key_H)
    assert made.desk.labels.visible
    window.window.remove_dock_widget(dock.parent())
    qtbot.waitUntil(lambda: not session_for(window).context.keys.taken)
    assert all(shortcut.isEnabled() for shortcut in room._shortcuts.values())
    made.close()


def test_closing_the_window_saves_what_is_on_the_way(window, qtbot, path):
    _, made = open_dock(window, qtbot, path)
    press(window, Qt.Key.Key_A)
    press(window, Qt.Key.Key_A)
    window.close()
    del made
    reading, _ = stored(path)
    assert reading.progress().decided == 2


def test_a_review_is_made_in_the_window(window, qtbot, tmp_path):
    for n in range(2):
        write_detection(tmp_path, f"sub-{n:02d}_T1w")
    _, dock = window.window.add_plugin_dock_widget(PLUGIN, "Review")
    made = session_for(window).get(ReviewController)
    files = session_for(window).get(ReviewFilesController)
    block = dock.files
    block.new.expand(animate=False)
    assert not block.job.run.isEnabled()
    for name, folder in (("source", "detections"), ("scans", "scans"), ("target", "study")):
        block.form.paths[name].line.setText(str(tmp_path / folder))
    assert "who reads" in block.job.run_reason.text()
    block.form.reader.setText("anna")
    qtbot.wait(100)  # for the layout
    qtbot.mouseClick(block.job.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: made.state.is_open and not made.state.loading, timeout=20_000)
    assert files.state.error == ""
    assert dock.table.rowCount() == 3
    assert dock.headline.text() == "study · anna · blind"
    made.close()
    assert dock.decide["accept"].toolTip() == "Open a review first."
