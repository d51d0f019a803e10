"""The reading room without Qt: window, overlay, threshold, comparison."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy import ndimage

from napari_normative.core.place import coordinates
from napari_normative.engine.detection_layers import detection_layers
from napari_normative.errors import NormativeError
from napari_normative.layers.spec import (
    SCAN,
    facts_of,
    spec_of,
)
from napari_normative.plugin import models
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.controllers.layout import LayoutController
from napari_normative.plugin.controllers.reading import ReadingController
from napari_normative.plugin.latest import Latest
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.session import session_for
from napari_normative.volume import Volume
from phantoms import phantom
from placed import UPRIGHT, made_detection, placed


@pytest.fixture(autouse=True)
def recent(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "recent_file", lambda: tmp_path / "recent.json")


def opened(scan: Volume, **attributes):
    viewer = ViewerModel()
    layer = add_spec(viewer, spec_of([scan], "scan", SCAN, colormap="gray", **attributes))
    controller = session_for(viewer).get(ReadingController)
    return SimpleNamespace(
        viewer=viewer, layer=layer, controller=controller, state=controller.state,
        requests=controller.requests,
    )  # fmt: skip


def with_results(samples=1):
    made = opened(placed(UPRIGHT, name="scan"))
    detection = made_detection(made.layer.metadata["napari_normative"].volumes[0], samples)
    for spec in detection_layers(detection, "scan"):
        add_spec(made.viewer, spec)
    return made


@pytest.fixture(scope="module")
def detected(tiny_model_path, tmp_path_factory):
    """A phantom with a lesion, compared with the tiny model in a viewer without a window."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("settings")
        patch.setattr(models, "recent_file", lambda: folder / "recent.json")
        made = opened(phantom(7, lesion_ml=8.0))
        session = session_for(made.viewer)
        session.context.models.add_file(str(tiny_model_path))
        anomaly = session.get(AnomalyController)
        anomaly.requests.run.emit()
    assert anomaly.state.error == ""
    made.session, made.detection = session, made.controller.subject.detection()
    return made


def groups(z, threshold, minimum_voxels):
    """Count connected groups of one sign with scipy, on the model's grid."""
    count, neighbours = 0, ndimage.generate_binary_structure(3, 2)
    for sign in (1, -1):
        labels, n = ndimage.label(sign * z > threshold, structure=neighbours)
        sizes = np.bincount(labels.ravel(), minlength=n + 1)[1:]
        count += int((sizes >= minimum_voxels).sum())
    return count


def told_count(state):
    return int(state.count_line.split()[0])


# --- window


def test_a_scan_is_first_seen_in_its_automatic_window():
    made = opened(phantom(1))
    assert made.state.preset == "auto"
    assert made.state.modality_line == "Not Hounsfield units: taken as MR."
    low, high = made.layer.contrast_limits
    assert low > 0
    assert made.state.level == pytest.approx((low + high) / 2)
    assert made.state.width == pytest.approx(high - low)


def test_a_window_that_somebody_set_stays():
    made = opened(phantom(1), contrast_limits=(3.0, 33.0))
    assert tuple(made.layer.contrast_limits) == (3.0, 33.0)
    assert (made.state.level, made.state.width, made.state.preset) == (18.0, 30.0, "")


def test_ct_offers_its_presets_and_opens_in_the_brain_window():
    scan = phantom(1)
    ct = scan.with_data(np.where(scan.data > 0, scan.data / 3, -1000.0))
    made = opened(ct)
    assert tuple(made.layer.contrast_limits) == (0, 80)
    assert "bone" in {choice.key for choice in made.state.presets}
    made.state.preset = "bone"
    assert tuple(made.layer.contrast_limits) == (-800, 2000)
    made.state.modality = "MR"
    assert "bone" not in {choice.key for choice in made.state.presets}


def test_reconstruction_and_samples_share_the_window_and_maps_do_not():
    made = with_results()
    z = made.viewer.layers["scan · anomaly z"]
    before = tuple(z.contrast_limits)
    made.state.level, made.state.width = 100.0, 40.0
    for name in ("scan", "scan · reconstruction", "scan · sample 1 (synthetic)"):
        assert tuple(made.viewer.layers[name].contrast_limits) == (80, 120)
    assert tuple(z.contrast_limits) == before
    assert made.state.preset == ""


def test_naparis_own_slider_moves_the_numbers_and_the_reconstruction():
    made = with_results()
    made.layer.contrast_limits = (60, 100)
    assert (made.state.level, made.state.width) == (80, 40)
    assert made.viewer.layers["scan · reconstruction"].contrast_limits == [60, 100]


def drag(made, button, modifiers, way):
    """Press at (10, 10), move, release, as napari does with a mouse callback."""
    event = SimpleNamespace(
        type="mouse_press", button=button, modifiers=modifiers, pos=np.array((10, 10))
    )
    generator = made.controller._drag(made.viewer, event)
    if next(generator, "none") == "none":
        return False
    event.type, event.pos = "mouse_move", np.array((10 + way[0], 10 + way[1]))
    next(generator, None)
    moved = not made.viewer.scene.camera.mouse_pan
    event.type = "mouse_release"
    next(generator, None)
    assert made.viewer.scene.camera.mouse_pan
    return moved


def test_dragging_right_widens_and_dragging_down_lowers_the_level():
    made = opened(phantom(1))
    level, width = made.state.level, made.state.width
    assert drag(made, 1, ("Control",), (50, 100))
    assert made.state.width == pytest.approx(1.1 * width)
    assert made.state.level == pytest.approx(level - 0.2 * width)
    low, high = made.layer.contrast_limits
    assert (low + high) / 2 == pytest.approx(made.state.level)
    made.requests.reset_window.emit()
    assert (made.state.level, made.state.width) == pytest.approx((level, width))


def test_other_drags_are_naparis():
    made = opened(phantom(1))
    window = (made.state.level, made.state.width)
    for button, modifiers in ((1, ()), (1, ("Shift",)), (1, ("Alt",)), (2, ())):
        assert not drag(made, button, modifiers, (50, 50))
    labels = made.viewer.add_labels(np.zeros((4, 4, 4), int))
    labels.mode = "paint"
    assert not drag(made, 1, ("Control",), (50, 50))
    assert (made.state.level, made.state.width) == window
    labels.mode = "pan_zoom"
    made.state.right_button = True
    assert drag(made, 2, (), (50, 50))


# --- overlay


def test_hiding_restores_what_was_visible():
    made = with_results()
    made.viewer.layers["scan · residual"].visible = True
    made.viewer.layers["scan · candidates"].visible = False
    before = {layer.name: layer.visible for layer in made.viewer.layers}
    made.state.hidden = True
    shown = {layer.name for layer in made.viewer.layers if layer.visible}
    assert shown == {"scan"}
    made.state.hidden = False
    assert {layer.name: layer.visible for layer in made.viewer.layers} == before


def test_opacity_is_that_of_all_maps_and_of_nothing_else():
    made = with_results()
    assert made.state.opacity == 0.8
    made.state.opacity = 0.3
    opacities = {layer.name: layer.opacity for layer in made.viewer.layers}
    assert {n for n, o in opacities.items() if o == 0.3} == {
        "scan · residual", "scan · anomaly z", "scan · |z|",
    }  # fmt: skip


def test_the_colour_bar_is_symmetric_and_goes_with_the_map():
    made = with_results()
    z = made.viewer.layers["scan · anomaly z"]
    assert z.colorbar.visible
    assert z.contrast_limits[0] == -z.contrast_limits[1]
    unit = made.viewer.canvas.overlays["napari_normative_unit"]
    assert unit.visible and unit.text.startswith("anomaly z")
    z.visible = False
    assert not z.colorbar.visible and not unit.visible
    z.visible = True
    made.state.colour_bar = False
    assert not z.colorbar.visible and not unit.visible


def test_without_results_every_control_says_why():
    made = opened(phantom(1))
    state = made.state
    assert state.overlay_blocked == "There is no anomaly map of this scan yet."
    assert state.threshold_blocked == "Run the anomaly map of this scan first."
    assert state.compare_blocked.startswith("Run the anomaly map of this scan first")
    made.viewer.layers.clear()
    assert {state.window_blocked, state.overlay_blocked, state.threshold_blocked} == {
        "Open a scan first."
    }


def test_results_of_another_scan_are_left_alone():
    made = with_results()
    other = placed(UPRIGHT, name="other")
    other_layer = add_spec(made.viewer, spec_of([other.with_data(other.data + 1)], "other", SCAN))
    made.state.scan = str(other_layer.unique_id)
    made.state.level = 50.0
    assert made.viewer.layers["scan · reconstruction"].contrast_limits != list(
        other_layer.contrast_limits
    )
    assert made.state.overlay_blocked == "There is no anomaly map of this scan yet."


# --- threshold


def test_the_models_threshold_is_told_with_its_rate_in_healthy_scans(detected):
    state, told = detected.state, detected.detection
    assert state.threshold_z == told.threshold_z == state.threshold_default
    assert told_count(state) == len(told.candidates)
    rate, low, high = told.provenance["parameters"]["false_per_scan"]
    assert f"have {rate:.1f} candidates each" in state.rate_line
    assert f"{low:.1f} to {high:.1f}" in state.rate_line


@pytest.mark.parametrize("threshold", [2.0, 3.1, 4.5])
def test_the_count_at_any_threshold_is_that_of_an_independent_count(detected, threshold):
    state, told = detected.state, detected.detection
    state.threshold_z = threshold
    parameters = told.provenance["parameters"]
    voxel_ml = parameters["preprocess"]["spacing_mm"] ** 3 / 1000
    least = parameters["score"]["minimum_ml"] / voxel_ml
    assert told_count(state) == groups(told.in_model.z, threshold, least)
    labels = detected.viewer.layers["scan · candidates"]
    assert len(np.unique(labels.data)) - 1 == told_count(state) == len(labels.features)
    assert "of healthy voxels lie beyond" in state.rate_line
    assert facts_of(labels).provenance["candidates_threshold_z"] == threshold


def test_resetting_gives_back_the_models_candidates(detected):
    detected.state.threshold_z = 2.0
    detected.requests.reset_threshold.emit()
    labels = detected.viewer.layers["scan · candidates"]
    given = spec_of([detected.detection.candidate_labels], "", "candidates").data
    np.testing.assert_array_equal(labels.data, given)
    assert "at the model's threshold" in detected.state.rate_line


def test_another_model_cannot_count_for_this_one(detected):
    chosen = detected.session.context.models
    mine = chosen.state.model
    other = next(c.key for c in chosen.state.models if c.key != mine)
    before = detected.viewer.layers["scan · candidates"].data.copy()
    chosen.state.model = other
    detected.state.threshold_z = 2.5
    chosen.state.model = mine
    assert detected.state.threshold_note.startswith("[MOD-021]")
    np.testing.assert_array_equal(detected.viewer.layers["scan · candidates"].data, before)
    detected.requests.reset_threshold.emit()
    assert detected.state.threshold_note == ""


def test_edited_candidates_are_never_overwritten(detected):
    labels = detected.viewer.layers["scan · candidates"]
    original = labels.data.copy()
    labels.data_setitem((np.array([3]), np.array([3]), np.array([3])), 99)
    edited = labels.data.copy()
    detected.state.threshold_z = 2.2
    np.testing.assert_array_equal(labels.data, edited)
    assert "was edited and stays" in detected.state.threshold_note
    assert told_count(detected.state) > len(detected.detection.candidates)
    labels.data = original
    detected.requests.reset_threshold.emit()
    assert detected.state.threshold_note == ""


# --- comparison


def state_of(viewer):
    return {layer.name: (layer.visible, id(layer.data)) for layer in viewer.layers}


@pytest.mark.parametrize("kind", ["flicker", "checkerboard", "swipe"])
def test_a_comparison_shows_one_labelled_layer_below_the_maps_until_the_dock_goes(kind):
    made = with_results()
    before, order = state_of(made.viewer), [layer.name for layer in made.viewer.layers]
    made.state.compare = kind
    names = [layer.name for layer in made.viewer.layers]
    (added,) = set(names) - set(order)
    assert added == f"scan · {kind} (scan and reconstruction)"
    assert names.index(added) == names.index("scan · residual") - 1
    layer = made.viewer.layers[added]
    assert tuple(layer.contrast_limits) == tuple(made.layer.contrast_limits)
    np.testing.assert_array_equal(layer.extent.world, made.layer.extent.world)
    assert made.controller.context.scans.key_of(layer) == ""
    made.state.compare = ""
    assert not layer.visible
    assert {name: was for name, was in state_of(made.viewer).items() if name != added} == before
    made.requests.left.emit()
    assert [layer.name for layer in made.viewer.layers] == order
    assert state_of(made.viewer) == before


def test_the_checkerboard_shows_scan_and_reconstruction_in_squares_of_its_size():
    made = with_results()
    made.state.square_mm = 6.0
    made.state.compare = "checkerboard"
    (layer,) = [one for one in made.viewer.layers if "checkerboard" in one.name]
    scan = made.layer.data
    reconstruction = made.viewer.layers["scan · reconstruction"].data
    picture = np.asarray(layer.data[10])  # spacing in the plane 1.5 mm (A) and 1 mm (R)
    np.testing.assert_allclose(picture[:4, :6], scan[10, :4, :6])
    np.testing.assert_allclose(picture[4:8, :6], reconstruction[10, 4:8, :6])


def test_a_new_window_reaches_the_comparison():
    made = with_results()
    made.state.compare = "swipe"
    made.state.level, made.state.width = 100.0, 20.0
    (layer,) = [one for one in made.viewer.layers if "swipe" in one.name]
    assert tuple(layer.contrast_limits) == (90, 110)


def test_a_comparison_ends_with_what_it_compares():
    made = with_results()
    made.state.compare = "checkerboard"
    made.viewer.layers.remove(made.viewer.layers["scan · reconstruction"])
    assert made.state.compare == ""
    assert not [layer for layer in made.viewer.layers if "checkerboard" in layer.name]


def test_removing_the_comparison_layer_by_hand_ends_it():
    made = with_results()
    made.state.compare = "checkerboard"
    made.viewer.layers.remove(made.viewer.layers["scan · checkerboard (scan and reconstruction)"])
    assert made.state.compare == ""


def test_closing_the_dock_ends_it():
    made = with_results()
    made.state.compare = "flicker"
    made.requests.left.emit()
    assert made.state.compare == ""
    assert not [layer for layer in made.viewer.layers if "flicker" in layer.name]


# --- readout


def test_the_point_of_the_planes_is_read():
    made = opened(phantom(1))
    made.viewer.dims.set_point((0, 1, 2), (12.0, 20.0, -40.0))
    superior, anterior, right = made.viewer.dims.point  # napari rounds to whole steps
    assert made.state.readout.place == (f"R {right:+.0f}, A {anterior:+.0f}, S {superior:+.0f} mm")
    assert made.state.readout.values[0].name == "scan"


# --- newest wins


class Held:
    """A runner whose jobs end when the test says so."""

    def __init__(self):
        self.jobs = []

    def start(self, title, work, listener):
        self.jobs.append((work, listener))

    def end(self):
        work, listener = self.jobs.pop(0)
        listener.done(work)


def test_of_many_requests_the_first_and_the_newest_are_done():
    runner, done = Held(), []
    latest = Latest(runner)
    for number in range(5):
        latest.ask("count", number, done.append, done.append)
    assert len(runner.jobs) == 1
    runner.end()
    runner.end()
    assert (done, runner.jobs, latest.busy) == ([0, 4], [], False)


def test_after_a_failure_the_next_request_is_done():
    runner, failed, done = Held(), [], []
    latest = Latest(runner)
    latest.ask("count", 1, done.append, failed.append)
    latest.ask("count", 2, done.append, failed.append)
    error = NormativeError("JOB-001", "it failed", "Try again.")
    runner.jobs.pop(0)[1].failed(error)
    runner.end()
    assert (failed, done) == ([error], [2])


# --- panes


def test_the_panes_of_a_layout_answer_the_mouse_too():
    made = with_results()
    layout = session_for(made.viewer).get(LayoutController)
    made.controller.follow(layout)
    made.state.compare = "checkerboard"
    layout.state.layout = "planes"
    assert made.state.compare == ""
    pane = layout.board.models[0]
    width = made.state.width
    event = SimpleNamespace(
        type="mouse_press", button=1, modifiers=("Control",), pos=np.array((10, 10))
    )
    (callback,) = [c for c in pane.mouse_drag_callbacks if c == made.controller._drag]
    generator = callback(pane, event)
    next(generator)
    event.type, event.pos = "mouse_move", np.array((110, 10))
    next(generator)
    assert made.state.width == pytest.approx(1.2 * width)
    pane.cursor.position = (12.0, 3.0, -4.0)
    assert made.state.readout.place == "R -4, A +3, S +12 mm"


def test_after_a_jump_the_point_is_read_and_while_scrolling_the_mouse():
    made = with_results()
    viewer = made.viewer
    viewer.dims.set_point((0, 1, 2), (2.0, -3.0, 5.0))
    viewer.mouse_over_canvas = True
    viewer.cursor.position = (2.0, 6.0, 9.0)
    assert made.state.readout.place == "R +9, A +6, S +2 mm"
    viewer.dims.set_point(0, 4.0)
    assert made.state.readout.place == "R +9, A +6, S +4 mm"
    viewer.dims.set_point((0, 1, 2), (0.0, 0.0, -1.0))
    superior, anterior, right = viewer.dims.point
    assert made.state.readout.place == coordinates((right, anterior, superior))
