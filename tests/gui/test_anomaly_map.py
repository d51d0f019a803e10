"""The dock "Anomaly map" in a real window: from click to layers, and cancel."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_normative.errors import CancelledError
from napari_normative.io.nifti import write_volume
from napari_normative.layers.spec import facts_of
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.panels import AnomalyMap
from napari_normative.plugin.session import session_for
from phantoms import phantom
from stalls import StallMeter

PLUGIN = "napari-normative"


@pytest.fixture
def scan_path(tmp_path):
    return write_volume(tmp_path / "sub-07_T1w.nii.gz", phantom(7, lesion_ml=8.0))


@pytest.fixture
def window(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    return viewer


def open_dock(viewer):
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Anomaly map")
    return dock, session_for(viewer).get(AnomalyController)


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_idle(qtbot, state, timeout_ms=60_000):
    qtbot.waitUntil(lambda: not state.running, timeout=timeout_ms)


def test_from_click_to_layers_then_cancel_a_second_run(
    window, qtbot, scan_path, tiny_model_path, capsys
):
    (scan,) = window.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(window)
    controller.context.models.add_file(str(tiny_model_path))
    state = controller.state
    assert dock.scan.currentText() == "sub-07_T1w"
    assert "Phantom" in dock.models.model_line.text()
    assert "whether it beats simple baselines" in dock.models.verdict.text()
    assert dock.job.run.text() == "Run"
    assert dock.job.run.isEnabled()
    dock.samples.setValue(1)

    meter = StallMeter()
    click(qtbot, dock.job.run)
    assert dock.job.run.text() == "Cancel"
    assert not dock.job.progress.isHidden()
    wait_idle(qtbot, state)
    stalls = meter.report("detection of a 4 mm phantom")

    assert state.error == ""
    assert [layer.name for layer in window.layers] == [
        "sub-07_T1w",
        "sub-07_T1w · reconstruction",
        "sub-07_T1w · sample 1 (synthetic)",
        "sub-07_T1w · residual",
        "sub-07_T1w · anomaly z",
        "sub-07_T1w · |z|",
        "sub-07_T1w · candidates",
    ]
    for layer in window.layers:
        np.testing.assert_array_equal(layer.extent.world, scan.extent.world)
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
        assert np.isfinite(layer.data).all()
    z = window.layers["sub-07_T1w · anomaly z"]
    assert z.contrast_limits[0] == -z.contrast_limits[1]
    told = facts_of(z).provenance
    assert (
        told["model"]["sha256"]
        == controller.context.models.shelf.load(controller.context.models.state.model).digest
    )
    assert "Scan score" in dock.job.summary.text()
    assert dock.models.device_line.text().startswith("cpu: ")
    assert dock.models.unload.isEnabled()

    before = {layer.name: layer.data.copy() for layer in window.layers}
    click(qtbot, dock.job.run)
    click(qtbot, dock.job.run)
    assert state.cancelling
    start = time.perf_counter()
    wait_idle(qtbot, state)
    cancelled_s = time.perf_counter() - start
    assert dock.job.summary.text() == "Cancelled. Nothing was kept."
    assert dock.job.run.text() == "Run"
    assert dock.job.run.isEnabled()
    for layer in window.layers:
        np.testing.assert_array_equal(layer.data, before[layer.name])
    assert set(before) == {layer.name for layer in window.layers}

    click(qtbot, dock.models.unload)
    assert not dock.models.unload.isEnabled()
    with capsys.disabled():
        print(f"\n[measured] {stalls}; cancel took {cancelled_s:.2f} s")


def test_the_window_shows_the_scan_and_its_overlay(window, qtbot, scan_path, tiny_model_path):
    window.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(window)
    controller.context.models.add_file(str(tiny_model_path))
    click(qtbot, dock.job.run)
    wait_idle(qtbot, controller.state)

    def picture(*roles):
        for layer in window.layers:
            layer.visible = facts_of(layer).role in roles
        qtbot.wait(200)
        return window.screenshot(canvas_only=True, flash=False)[..., :3].astype(float)

    plain, overlaid = picture("scan"), picture("scan", "anomaly z")
    assert plain.std() > 5
    changed = np.abs(overlaid - plain).max(axis=-1) > 30
    bright = plain.max(axis=-1) > 60
    assert changed.sum() > 100
    assert bright[changed].mean() > 0.5  # the overlay lies on the brain
    window.dims.ndisplay = 3
    qtbot.wait(300)
    assert window.screenshot(canvas_only=True, flash=False)[..., :3].std() > 5


def test_the_right_side_of_the_patient_is_on_the_left_of_the_screen(window, qtbot, tmp_path):
    scan = phantom(3)
    lit = scan.data.copy()
    half = lit.shape[0] // 2
    lit[:half] *= 0.2  # stored RAS: the first half is the patient's left
    lit[:, : lit.shape[1] // 2] *= 0.6  # and the first half of the second axis the back
    path = write_volume(tmp_path / "halves.nii.gz", scan.with_data(lit))
    (layer,) = window.open(path, plugin=PLUGIN)
    layer.contrast_limits = (0, 130)
    window.window._qt_viewer.dockLayerList.setVisible(False)
    window.reset_view()
    qtbot.wait(300)
    picture = window.screenshot(canvas_only=True, flash=False)[..., :3].max(axis=-1).astype(float)
    rows, columns = picture.shape
    inner = picture[rows // 4 : -rows // 4, columns // 4 : -columns // 4]
    left, right = np.array_split(inner, 2, axis=1)
    top, bottom = np.array_split(left, 2, axis=0)
    assert left.mean() > 2 * right.mean()
    assert top.mean() > 1.2 * bottom.mean()


def test_the_list_of_candidates_leads_to_each_and_says_why(
    window, qtbot, scan_path, tiny_model_path
):
    window.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(window)
    controller.context.models.add_file(str(tiny_model_path))
    block = dock.candidates
    assert block.isHidden()
    click(qtbot, dock.job.run)
    wait_idle(qtbot, controller.state)
    detection = next(iter(controller.context.detections.values()))
    strongest = detection.candidates[0]
    assert block.table.rowCount() == len(detection.candidates)
    row = [block.table.item(0, column).text() for column in range(6)]
    assert row[:4] == [
        "1",
        "darker" if strongest.sign < 0 else "brighter",
        f"{strongest.peak_z:+.1f}",
        f"{strongest.volume_mm3 / 1000:.1f}",
    ]
    side = "R" if strongest.centroid_mm[0] >= 0 else "L"
    assert row[4].startswith(f"{side} {abs(round(strongest.centroid_mm[0]))} ")
    window.scene.camera.zoom = 4.0
    block.table.selectRow(0)
    at = dict(zip("SAR", window.dims.point, strict=True))
    assert abs(at["R"] - strongest.centroid_mm[0]) <= max(detection.scan.spacing_mm)
    assert window.scene.camera.zoom == 4.0
    qtbot.waitUntil(lambda: block.why.plot is not None, timeout=20_000)
    assert "than the model expects here" in block.why.sentence.text()
    observed = block.why._lines["observed"].getData()[1]
    assert np.isfinite(observed).sum() > 4
    assert "contrast: " in block.fits.text()
    click(qtbot, block.after)
    assert block.table.selectionModel().hasSelection()


def test_a_closed_dock_comes_back_with_its_state(window, qtbot, scan_path, tiny_model_path):
    window.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(window)
    controller.context.models.add_file(str(tiny_model_path))
    dock.seed.setValue(11)
    click(qtbot, dock.job.run)
    window.window.remove_dock_widget(dock)
    dock.deleteLater()
    del dock
    wait_idle(qtbot, controller.state)
    assert "sub-07_T1w · anomaly z" in window.layers
    again, same = open_dock(window)
    assert same is controller
    assert again.seed.value() == 11
    assert "Scan score" in again.job.summary.text()


def test_the_same_dock_twice_shows_one_state(window, qtbot):
    dock, _ = open_dock(window)
    other = AnomalyMap(window)
    qtbot.addWidget(other)
    dock.seed.setValue(5)
    assert other.seed.value() == 5


class Held:
    """A model that works until it is told to stop or is let go."""

    digest = "held"

    def __init__(self):
        self.started, self.release = threading.Event(), threading.Event()

    def given(self, known):
        return self

    def detect(self, scan, *, progress, cancel, **_):
        self.started.set()
        progress("working", 0.5)
        while not self.release.wait(0.01):
            if cancel():
                raise CancelledError
        raise CancelledError

    def unload(self):
        """Nothing to free."""


def hold(controller, tiny_model_path):
    controller.context.models.add_file(str(tiny_model_path))
    held = Held()
    shelf = controller.context.models.shelf
    shelf._loaded, shelf._loaded_key = held, controller.context.models.state.model
    return held


def test_the_scan_may_be_removed_while_it_is_worked_on(window, qtbot, scan_path, tiny_model_path):
    (scan,) = window.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(window)
    held = hold(controller, tiny_model_path)
    click(qtbot, dock.job.run)
    qtbot.waitUntil(held.started.is_set)
    window.layers.remove(scan)
    assert dock.job.run.text() == "Cancel"
    click(qtbot, dock.job.run)
    wait_idle(qtbot, controller.state)
    assert (len(window.layers), dock.job.run_reason.text()) == (0, "Open a scan first.")


def test_closing_the_window_stops_the_work(make_napari_viewer, qtbot, scan_path, tiny_model_path):
    viewer = make_napari_viewer(show=True)
    viewer.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(viewer)
    held = hold(controller, tiny_model_path)
    click(qtbot, dock.job.run)
    qtbot.waitUntil(held.started.is_set)
    viewer.close()
    wait_idle(qtbot, controller.state, timeout_ms=2_000)
    assert not held.release.is_set()


def test_errors_are_shown_in_the_dock_and_as_one_notification(
    window, qtbot, tmp_path, tiny_model_path, capfd
):
    from napari.utils.notifications import notification_manager

    empty = phantom(1)
    path = write_volume(tmp_path / "flat.nii.gz", empty.with_data(np.full(empty.shape, 7.0)))
    window.open(path, plugin=PLUGIN)
    dock, controller = open_dock(window)
    controller.context.models.add_file(str(tiny_model_path))
    seen = []
    notification_manager.notification_ready.connect(seen.append)
    click(qtbot, dock.job.run)
    wait_idle(qtbot, controller.state)
    notification_manager.notification_ready.disconnect(seen.append)
    assert dock.job.error.text().startswith("[")
    assert [n.message for n in seen if str(n.severity) == "error"] == [dock.job.error.text()]
    assert len(window.layers) == 1
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_scan_of_another_weighting_is_refused_in_the_dock_and_run_on_demand(
    window, qtbot, tmp_path, tiny_model_path, monkeypatch
):
    from napari_normative.engine.model import NormativeModel

    class Lenient(NormativeModel):
        """Lets the alignment of an inverted phantom pass, so that its contrast is judged."""

        def __init__(self, card, tensors, digest):
            space = card.preprocess.model_copy(update={"min_similarity": -1.0})
            super().__init__(card.model_copy(update={"preprocess": space}), tensors, digest)

    monkeypatch.setattr("napari_normative.engine.model.NormativeModel", Lenient)
    scan = phantom(7)
    data = np.where(scan.data > 0, 1.05 * scan.data.max() - scan.data, 0)
    window.open(write_volume(tmp_path / "sub-07_T2w.nii.gz", scan.with_data(data)), plugin=PLUGIN)
    dock, controller = open_dock(window)
    controller.context.models.add_file(str(tiny_model_path))
    assert not dock.force.isVisible()
    dock.outputs["local_volume"].setChecked(True)
    click(qtbot, dock.job.run)
    wait_idle(qtbot, controller.state)
    assert dock.job.error.text().startswith("[PRE-004] sub-07_T2w")
    assert dock.force.isVisible()
    dock.force.setChecked(True)
    click(qtbot, dock.job.run)
    wait_idle(qtbot, controller.state)
    assert not dock.job.error.isVisible()
    said = dock.candidates.checks.text()
    assert "⚠ the contrast between bright and medium tissue is reversed" in said
    assert "Use a model of this scan's modality" in said
    assert "sub-07_T2w · local volume" in {layer.name for layer in window.layers}


def test_a_blocked_run_says_why(window):
    dock, _ = open_dock(window)
    assert not dock.job.run.isEnabled()
    assert dock.job.run_reason.text() == "Open a scan first."
    assert dock.job.run.toolTip() == "Open a scan first."


def test_a_series_asks_for_its_volume(window, qtbot, tmp_path, tiny_model_path):
    import nibabel as nib

    one = phantom(1)
    data = np.stack([one.data, one.data * 2], axis=-1)
    path = tmp_path / "rest.nii.gz"
    nib.save(nib.Nifti1Image(data, one.affine), path)
    window.open(path, plugin=PLUGIN)
    dock, controller = open_dock(window)
    controller.context.models.add_file(str(tiny_model_path))
    assert not dock.volume.isHidden()
    assert dock.volume.text() == "choose…"
    assert not dock.job.run.isEnabled()
    assert dock.job.run_reason.text() == "Choose which of the 2 volumes to compare."
    dock.volume.setValue(2)
    assert dock.job.run.isEnabled()
    assert controller.state.volume == 2


def test_the_dock_is_readable_at_1400_by_900(window, qtbot, scan_path, tiny_model_path):
    window.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(window)
    controller.context.models.add_file(str(tiny_model_path))
    qtbot.wait(100)
    for widget in (
        dock.scan,
        dock.models.model,
        dock.models.choose_file,
        dock.seed,
        dock.job.run,
        dock.models.unload,
    ):
        corner = widget.mapTo(dock, widget.rect().bottomRight())
        assert dock.rect().contains(corner), widget
    assert dock.width() < 450


def test_opening_the_dock_loads_no_torch():
    code = """
        import sys, napari
        viewer = napari.Viewer(show=False)
        viewer.window.add_plugin_dock_widget("napari-normative", "Anomaly map")
        print([m for m in ("torch", "lightning", "SimpleITK", "monai") if m in sys.modules])
        viewer.close()
    """
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip().splitlines()[-1] == "[]"


def test_candidates_grow_to_their_edges_and_one_shows_what_it_rests_on(
    window, qtbot, scan_path, tiny_model_path, capfd
):
    window.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(window)
    controller.context.models.add_file(str(tiny_model_path))
    grow, rests = dock.candidates.segment, dock.candidates.attribution
    click(qtbot, dock.job.run)
    wait_idle(qtbot, controller.state)
    assert not rests.run.isEnabled()
    assert rests.run_reason.text() == "Choose a candidate in the list."
    grow.rule.setCurrentIndex(1)
    assert grow.rate.isVisibleTo(dock)
    assert not grow.fdr.isVisibleTo(dock)
    grow.rate.setValue(0.01)
    click(qtbot, grow.job.run)
    qtbot.waitUntil(lambda: grow.job.error.text() != "", timeout=30_000)
    assert grow.job.error.text().startswith("[SEG-001] rate 0.01 is asked for")
    grow.rule.setCurrentIndex(0)
    click(qtbot, grow.job.run)
    qtbot.waitUntil(lambda: "ml within their edges" in grow.job.summary.text(), timeout=30_000)
    grown = window.layers["sub-07_T1w · segmentation"]
    found = window.layers["sub-07_T1w · candidates"]
    assert set(np.unique(grown.data)) == set(np.unique(found.data))
    dock.candidates.table.selectRow(0)
    click(qtbot, rests.run)
    qtbot.waitUntil(lambda: "in the candidate itself" in rests.summary.text(), timeout=30_000)
    shown = window.layers["sub-07_T1w · candidate 1 · attribution"]
    assert shown.data.shape == window.layers["sub-07_T1w"].data.shape
    assert shown.visible
    qtbot.wait(200)
    picture = window.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    assert (
        np.abs(picture[..., 0] - picture[..., 2]) > 60
    ).sum() > 20  # the signed map lies over the grey scan
    dock.candidates.table.selectRow(1)
    assert rests.summary.text() == ""
    assert "Traceback" not in "".join(capfd.readouterr())


def test_growing_can_be_cancelled_and_the_palette_does_it(
    window, qtbot, scan_path, tiny_model_path, monkeypatch
):
    from napari_normative.engine import segmentation
    from napari_normative.plugin.actions import perform
    from napari_normative.plugin.controllers.segment import SegmentController

    window.open(scan_path, plugin=PLUGIN)
    dock, controller = open_dock(window)
    controller.context.models.add_file(str(tiny_model_path))
    click(qtbot, dock.job.run)
    wait_idle(qtbot, controller.state)
    held, real = threading.Event(), segmentation.segment

    def slow(*given, **rule):
        held.wait(30)
        return real(*given, **rule)

    monkeypatch.setattr(segmentation, "segment", slow)
    job = dock.candidates.segment.job
    perform("segment_candidates")
    state = session_for(window).get(SegmentController).state
    qtbot.waitUntil(lambda: job.run.text() == "Cancel", timeout=10_000)
    click(qtbot, job.run)
    held.set()
    wait_idle(qtbot, state)
    assert job.summary.text() == "Cancelled. Nothing was kept."
    assert "sub-07_T1w · segmentation" not in window.layers
    assert job.run.isEnabled()
