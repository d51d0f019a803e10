"""A keyboard session of the dock Review in a real window: 40 candidates, no mouse.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/review_keys.py SCANS

SCANS is a folder of T1-weighted heads. They are compared with brain-t1; candidates are taken at
|z| 4, below the model's threshold, so that there are enough. Measured from the key to the next
candidate on the drawn canvas, within a scan and from scan to scan, with one plane and with three
linked planes; the next scan is waited for beforehand, as while a reader looks.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import tempfile
import time
from itertools import cycle
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_normative.engine.infer import recount
from napari_normative.engine.model import load_model
from napari_normative.io.nifti import find_volumes, read_volume
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.review import ReviewController
from napari_normative.plugin.session import session_for
from napari_normative.review.assign import Plan
from napari_normative.review.book import Book
from napari_normative.review.create import create_reviews
from napari_normative.review.material import find_detections, gather

CANDIDATES, EACH, THRESHOLD_Z = 40, 4, 4.0
KEYS = (Qt.Key.Key_A, Qt.Key.Key_X, Qt.Key.Key_U)
OUT = Path(__file__).parent / "results" / "review_keys.md"


def turn(ms: int) -> None:
    loop = QEventLoop()
    QTimer.singleShot(ms, loop.quit)
    loop.exec()


def wait(until, limit_s: float = 120.0) -> None:
    end = time.perf_counter() + limit_s
    while not until():
        turn(1)
        if time.perf_counter() > end:
            raise TimeoutError


def write_detections(scans: Path, out: Path) -> None:
    """Compare scans until there are enough candidates."""
    model, count = load_model("brain-t1"), 0
    for path in find_volumes(scans):
        if count >= CANDIDATES:
            return
        found = model.detect(read_volume(path))
        labels, candidates = recount(model, found, THRESHOLD_Z)
        kept = candidates[:EACH]
        values = np.where(np.isin(labels.data, [c.label for c in kept]), labels.data, 0)
        found = dataclasses.replace(
            found, candidates=kept, candidate_labels=labels.with_data(values)
        )
        found.save(out / path.name.removesuffix(".nii.gz"))
        count += len(kept)


def session(review: Path, layout: str) -> dict[str, list[float]]:
    """Decide every candidate by key; return milliseconds to the next, drawn."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 950)
    viewer.window.add_plugin_dock_widget("napari-normative", "Review")
    context = session_for(viewer)
    made: ReviewController = context.get(ReviewController)
    state, main = made.state, viewer.window._qt_window
    made.open(str(review))
    wait(lambda: state.is_open and not state.loading)
    context.get(LayoutController).state.layout = layout
    turn(1500)
    viewer.scene.camera.zoom *= 1.5
    zoom = viewer.scene.camera.zoom
    QApplication.setActiveWindow(main)
    drawn = [0.0]
    canvas = viewer.window._qt_viewer.canvas._scene_canvas
    canvas.events.draw.connect(lambda event: drawn.__setitem__(0, time.perf_counter()))
    spent: dict[str, list[float]] = {"within a scan": [], "to the next scan": []}
    for key in cycle(KEYS):
        number = made.desk.number
        following = number + 1
        if following in made.book.reading.passes:
            wait(lambda n=following: n in made.desk._cases)
        turn(150)
        before, start = state.selected, time.perf_counter()
        QTest.keyClick(main, key)
        if made.book.reading.progress().decided == made.book.reading.progress().candidates:
            break
        wait(lambda b=before: state.selected != b and not state.loading)
        moved = time.perf_counter()
        wait(lambda m=moved: drawn[0] >= m - 1e-3 or time.perf_counter() - m > 1)
        kind = "within a scan" if made.desk.number == number else "to the next scan"
        spent[kind].append(1e3 * (max(drawn[0], moved) - start))
    wait(lambda: state.saved == "Saved")
    assert viewer.scene.camera.zoom == zoom, "the zoom was lost"
    viewer.close()
    turn(300)
    return spent


def main() -> None:
    """Run both sessions and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", type=Path)
    parser.add_argument("--detections", type=Path, help="keep or take detections here")
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp())
    detections = given.detections or root / "detections"
    if not detections.exists():
        write_detections(given.scans, detections)
    found, alone = find_detections(detections, [given.scans])
    material = gather(found, root / "study", refused=alone)
    rows, load = [], os.getloadavg()[0]
    for layout, name in (("axial", "one plane"), ("planes", "three linked planes")):
        folder = root / f"study-{layout}"
        plan = Plan(order="evidence", repeats=0, title="keys")
        (review,) = create_reviews(folder, ["reader"], material, plan)
        for kind, ms in session(review, layout).items():
            p50, p95 = np.percentile(ms, [50, 95])
            rows.append(f"| {name}, {kind} | {len(ms)} | {p50:.0f} | {p95:.0f} | {max(ms):.0f} |")
        with Book.open(review, read_only=True) as book:
            told = book.reading.progress()
            assert told.decided == told.candidates and not book.store.verify()
    shape = " × ".join(map(str, material.images[0].shape))
    OUT.write_text(
        f"""# From a key to the next candidate

{len(material.candidates)} candidates in {len(material.images)} scans of {shape} voxels, decided
with A, X and U in turn; every decision was on the disk at the end and the zoom was kept. Machine:
{platform.machine()}, {os.cpu_count()} cores, napari {napari.__version__}, Xvfb with software
OpenGL, 1500 × 950; load average {load:.1f} at the start.

| milliseconds from the key to the drawn canvas | times | p50 | p95 | largest |
|---|---:|---:|---:|---:|
"""
        + "\n".join(rows)
        + "\n\nWritten by `benchmarks/review_keys.py`.\n"
    )
    print(OUT.read_text())


if __name__ == "__main__":
    main()
