"""The demo's window, in a real window: what its pictures must show."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_normative.cli import app
from napari_normative.engine.model import available_models, load_model
from napari_normative.errors import OutputError
from napari_normative.plugin import demo
from phantoms import phantom

MODEL = "brain-t1"


def test_a_blank_picture_is_refused() -> None:
    with pytest.raises(OutputError, match=r"\[OUT-020\] axial\.png: .*blank"):
        demo._require_content(np.zeros((50, 50, 4), np.uint8), "axial.png", coloured=True)


def test_a_picture_without_the_coloured_map_is_refused() -> None:
    grey = np.random.default_rng(0).integers(0, 255, (50, 50, 1), np.uint8).repeat(3, axis=2)
    demo._require_content(grey, "axial.png", coloured=False)
    with pytest.raises(OutputError, match=r"\[OUT-021\]"):
        demo._require_content(grey, "axial.png", coloured=True)


def test_the_pictures_show_the_scan_the_map_and_the_dock(
    make_napari_viewer, tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari
    from skimage.io import imread

    monkeypatch.setattr(napari, "Viewer", lambda **_: make_napari_viewer(show=True))
    detection = load_model(tiny_model_path).detect(phantom(7, lesion_ml=20.0))
    assert detection.candidates[0].centroid_mm[0] < 0, "the phantom's lesion is on the left"
    viewer = demo.open_window(detection)
    paths = demo.take_screenshots(viewer, detection, tmp_path)
    pictures = {path.name: imread(path)[..., :3].astype(float) for path in paths}
    assert set(pictures) == {"axial.png", "window.png", "volume-3d.png"}
    for picture in pictures.values():
        assert picture.std() > 5
    axial = pictures["axial.png"]
    assert pictures["window.png"].shape[1] > axial.shape[1] + 200, "the docks are beside it"
    # Blue is darker than expected; patient left is on the right of a radiological picture.
    blue = axial[..., 2] - axial[..., :2].max(axis=-1) > 60
    assert np.argwhere(blue)[:, 1].mean() > axial.shape[1] / 2


@pytest.mark.skipif(
    MODEL not in {entry.name for entry in available_models()}, reason=f"{MODEL} is not packaged"
)
def test_the_demo_command_runs_on_a_virtual_display(tmp_path: Path) -> None:
    pytest.importorskip("nilearn", reason="the sample scans need the extra demo")
    result = CliRunner().invoke(app, ["demo", "--screenshots", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"axial.png", "window.png", "volume-3d.png", "sample-brain-with-lesion.nii.gz"} <= made
    assert (tmp_path / "out" / "sample-brain-with-lesion" / "detection.json").exists()
