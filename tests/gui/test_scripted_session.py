"""A session that a script drives, in a real window: what it does is seen, stored and waited for."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread

import napari_normative as nn
from napari_normative.errors import OutputError, SessionError
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.scripting import pictures
from napari_normative.plugin.work.detection import Detect
from napari_normative.review.assign import Plan
from napari_normative.review.create import create_reviews
from napari_normative.review.store import Store
from phantoms import phantom
from reviewed import material


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """A phantom with a dark lesion on the patient's left, in a file."""
    path = tmp_path_factory.mktemp("scans") / "sub-07_T1w.nii.gz"
    return nn.write_volume(path, phantom(7, lesion_ml=20.0))


@pytest.fixture
def session(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(800, 600)
    with nn.open_session(viewer=viewer, timeout_s=60) as session:
        yield session


def blue(picture):
    """Where a picture shows what is darker than expected."""
    values = picture[..., :3].astype(int)
    return values[..., 2] - values[..., :2].max(axis=-1) > 60


def test_a_morning_in_one_script(session, scan, tiny_model_path, tmp_path):
    detection = session.detect(scan, model=tiny_model_path, device="cpu")

    assert session.detection is detection
    assert list(session.layers) == [
        "scan", "reconstruction", "residual", "anomaly z", "|z|", "candidates",
    ]  # fmt: skip
    assert detection.candidates[0].centroid_mm[0] < 0, "the phantom's lesion is on the left"

    session.go_to(1)
    assert np.allclose(session.position_mm, detection.candidates[0].centroid_mm, atol=2.1)
    session.window(level=50, width=100)
    assert session.layers["reconstruction"].contrast_limits == [0, 100]
    weaker = session.threshold(detection.threshold_z - 0.5)
    assert weaker == session.candidates
    assert session.layers["candidates"].features["index"].max() == len(weaker)
    session.threshold()
    session.compare("swipe", position=0.25)
    assert session.layers["comparison"].visible
    session.compare()

    # Radiological: patient left is on the right of the picture. Neurological turns it over.
    (axial,) = session.screenshots(tmp_path, ["axial.png"])
    picture = imread(axial)
    assert np.argwhere(blue(picture))[:, 1].mean() > picture.shape[1] / 2
    session.convention("neurological")
    turned = imread(session.screenshots(tmp_path / "turned", ["axial.png"])[0])
    assert np.argwhere(blue(turned))[:, 1].mean() < turned.shape[1] / 2

    session.overlay(visible=False)
    with pytest.raises(OutputError, match=r"\[OUT-021\] axial\.png: .*Show the overlay"):
        session.screenshots(tmp_path / "hidden", ["axial.png"])
    assert not (tmp_path / "hidden").exists()

    draws = session.sample(2, seed=4, device="cpu")
    assert np.array_equal(session.layers["samples"].data[1], shown(draws[1]))


def shown(volume):
    """Values as a layer has them: superior, anterior, right."""
    return volume.canonical().data.transpose(2, 1, 0)


def test_the_standard_pictures_show_map_and_panes_and_leave_the_view(
    session, scan, tiny_model_path, tmp_path
):
    session.dock("Anomaly map")
    session.detect(scan, model=tiny_model_path, device="cpu")
    session.layout("coronal")
    session.go_to((10.0, 20.0, -8.0))
    camera = session.viewer.scene.camera
    before = session.position_mm, camera.center, camera.zoom, session.viewer.dims.order

    made = {path.name: imread(path) for path in session.screenshots(tmp_path)}

    assert set(made) == set(pictures.STANDARD)
    assert all(picture[..., :3].std() > 5 for picture in made.values())
    assert made["window.png"].shape[1] > made["axial.png"].shape[1] + 200, "docks are beside it"
    # The same finding is in each of three planes, and not in all of three pictures side by side.
    thirds = np.array_split(blue(made["side-by-side.png"]), 3, axis=1)
    assert [third.mean() > 1e-3 for third in thirds] == [False, False, True]
    halves = np.array_split(blue(made["planes.png"]), 2, axis=1)
    assert all(half.mean() > 1e-3 for half in halves)
    after = session.position_mm, camera.center, camera.zoom, session.viewer.dims.order
    assert (session.layout(), session.viewer.dims.ndisplay) == ("coronal", 2)
    assert after == before
    assert not session.layers["|z|"].visible and session.layers["scan"].opacity == 1.0


def test_a_blank_picture_and_one_without_its_overlay_are_refused():
    with pytest.raises(OutputError, match=r"\[OUT-020\] axial\.png: .*blank"):
        pictures.require_content(np.zeros((50, 50, 4), np.uint8), "axial.png")
    grey = np.random.default_rng(0).integers(0, 200, (100, 100, 1), np.uint8).repeat(3, axis=2)
    pictures.require_content(grey, "axial.png")
    with pytest.raises(OutputError, match=r"\[OUT-021\] axial\.png"):
        pictures.require_content(grey, "axial.png", grey.copy())
    overlaid = grey.copy()
    overlaid[:2, :2, 0] += 20
    pictures.require_content(overlaid, "axial.png", grey)


# ---- waiting


@pytest.fixture
def slow(monkeypatch):
    """Detections that last until they are cancelled; tells when one began."""
    began = threading.Event()

    def wait(work, progress, cancelled):
        began.set()
        while not cancelled():
            threading.Event().wait(0.02)
        raise nn.NormativeError("CAN-001", "cancelled", "Run it again.")

    monkeypatch.setattr(Detect, "__call__", wait)
    return began


def nothing_runs_or_came(session):
    return list(session.layers) == ["scan"] and not session.controller(AnomalyController).is_running


def test_what_takes_too_long_is_cancelled(make_napari_viewer, scan, slow):
    session = nn.open_session(viewer=make_napari_viewer(show=True), timeout_s=0.4)
    session.open(scan)
    with pytest.raises(SessionError, match=r"\[SES-003\] detect: it took longer than 0.4 s"):
        session.detect(device="cpu")
    assert nothing_runs_or_came(session)


def test_ctrl_c_cancels_the_work_and_ends_the_script(session, scan, slow):
    session.open(scan)
    handler = signal.getsignal(signal.SIGINT)

    def interrupt():
        assert slow.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        session.detect(device="cpu")
    thread.join()
    assert nothing_runs_or_came(session)
    assert signal.getsignal(signal.SIGINT) is handler


def test_cancel_in_the_dock_reaches_the_script(session, scan, slow):
    from qtpy.QtCore import QTimer

    session.open(scan)
    QTimer.singleShot(300, session.controller(AnomalyController).cancel)
    with pytest.raises(nn.NormativeError, match="CAN-001"):
        session.detect(device="cpu")
    assert nothing_runs_or_came(session)


def test_a_window_that_is_closed_meanwhile_is_said(make_napari_viewer, scan, slow):
    from qtpy.QtCore import QTimer

    viewer = make_napari_viewer(show=True)
    session = nn.open_session(viewer=viewer)
    session.open(scan)
    QTimer.singleShot(300, viewer.close)
    with pytest.raises(SessionError, match=r"\[SES-004\] detect: the window was closed"):
        session.detect(device="cpu")


def test_what_the_engine_refuses_is_raised_with_its_code(session, scan, tmp_path):
    session.open(scan)
    with pytest.raises(nn.NormativeError, match="MOD-004"):
        session.detect(model=tmp_path / "no.safetensors")
    with pytest.raises(nn.NormativeError, match=r"\[NIF-001\] none\.nii"):
        session.open(tmp_path / "none.nii")
    flat = tmp_path / "flat.nii"
    nn.write_volume(flat, phantom(1).with_data(np.full((42, 50, 42), 7.0)))
    with pytest.raises(nn.NormativeError, match="PRE-002"):
        session.detect(flat, device="cpu")


# ---- a review


def test_a_decision_is_on_the_disk_when_the_method_returns(session, tmp_path):
    create_reviews(tmp_path / "study", ["anna"], material(tmp_path, 2, candidates=2), Plan())
    path = tmp_path / "study" / "anna.review"

    def stored():
        with Store.open(path, read_only=True) as store:
            return [e.action for e in store.events() if e.action != "open"]

    with session.review(path) as review:
        assert review.progress.candidates == 4
        first = review.current
        review.accept("as an infarct")
        assert stored() == ["comment", "accept"]
        assert review.current != first and review.progress.decided == 1
        review.undo()
        assert stored()[-1] == "undo" and review.current.candidate == first.candidate
        for row in review.undecided():
            review.reject() if row.number > 1 else review.accept()
        assert review.progress.decided == 4
        review.submit()
        assert review.submitted and stored()[-1] == "submit"
        with pytest.raises(SessionError, match=r"\[SES-001\] review: .*submitted"):
            review.reject()


# ---- saving by hand


def test_a_session_is_saved_and_opened_by_hand(
    make_napari_viewer, scan, tiny_model_path, tmp_path, monkeypatch
):
    from qtpy.QtWidgets import QFileDialog

    from napari_normative.plugin import actions
    from napari_normative.plugin.scripting import dialogs

    said, asked, errors = [], [], []
    path = tmp_path / "hand.session.json"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(dialogs, "tell", said.append)
    monkeypatch.setattr(actions, "notify_error", errors.append)
    monkeypatch.setattr(dialogs, "ask", lambda text, answers, refuse: asked.append(text) or 0)

    viewer = make_napari_viewer(show=True)
    actions.perform("save_session")
    assert errors.pop() == "There is nothing to save yet: open a scan first."
    session = nn.open_session(viewer=viewer)
    session.detect(scan, model=tiny_model_path, device="cpu")
    viewer.add_points(np.zeros((1, 3)), name="my points")
    actions.perform("save_session")
    assert said.pop() == "The session was saved: hand.session.json"
    assert asked == ["A session cannot bring back these layers: my points."]
    actions.perform("open_session")
    assert "empty window" in errors.pop()
    viewer.layers.clear()
    actions.perform("open_session")
    assert said == ["detection of sub-07_T1w: equal in every value"] and errors == []
    assert "sub-07_T1w · candidates" in viewer.layers
