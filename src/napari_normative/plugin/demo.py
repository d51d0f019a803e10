"""The window of ``napari-normative demo``: a sample scan with everything found in it.

Run as ``python -m napari_normative.plugin.demo``; the command line starts it as a program
of its own, on the person's display or on a virtual one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.errors import NormativeError, OutputError
from napari_normative.layers.spec import (
    CANDIDATES,
    SCAN,
    facts_of,
)
from napari_normative.plugin.controllers.anomaly import AnomalyController
from napari_normative.plugin.session import session_for
from napari_normative.plugin.show import show
from napari_normative.plugin.work.detection import summary_text

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection
    from napari_normative.volume import Volume

SAMPLES_SHOWN = 2
VIEW_3D_DEG = (0.0, 25.0, 70.0)
LEAST_SD = 5.0
"""A screenshot with less contrast (grey values 0 to 255) is blank."""
LEAST_COLOURED = 2e-4
"""Share of coloured pixels below which an overlay is not on the picture."""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(prog="napari-normative demo")
    parser.add_argument("--sample", default="brain-with-lesion")
    parser.add_argument("--model", default="brain-t1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="save screenshots and results, then close")
    options = parser.parse_args(arguments)
    try:
        return _run(options.sample, options.model, options.seed, options.out)
    except NormativeError as error:
        print(error, file=sys.stderr)
        return 1


def _run(key: str, model_name: str, seed: int, out: Path | None) -> int:
    from napari_normative.engine.model import load_model
    from napari_normative.io.samples import make_sample, sample_truth

    _say(f"making the sample scan {key}")
    scan = make_sample(key, seed=seed)
    model = load_model(model_name)
    _say(f"detecting with {model.card.one_line()}")
    detection = model.detect(scan, samples=SAMPLES_SHOWN, seed=seed)
    if out is not None:
        _save(detection, sample_truth(key, seed=seed), out)
    viewer = open_window(detection)
    if out is None:
        import napari

        _say("close the window to end; research use only, not for diagnosis")
        napari.run()
        return 0
    try:
        pictures = take_screenshots(viewer, detection, out)
    finally:
        viewer.close()
    for path in sorted({*pictures, *out.rglob("*")}):
        if path.is_file():
            print(f"{path}  ({path.stat().st_size / 1024:.0f} KiB)")
    return 0


def open_window(detection: Detection) -> Any:
    """Open napari with the scan, the result layers and the dock; return the viewer."""
    import napari

    viewer = napari.Viewer(title="napari-normative demo")
    viewer.window.resize(1600, 1000)
    show(detection, viewer)
    viewer.window.add_plugin_dock_widget("napari-normative", "Anomaly map")
    session_for(viewer).get(AnomalyController).state.summary = summary_text(detection)
    viewer.reset_view()
    _look_at(viewer, detection)
    return viewer


def _look_at(viewer: Any, detection: Detection) -> None:
    """Go to the strongest candidate, or to the middle of the foreground."""
    if detection.candidates:
        right, anterior, superior = detection.candidates[0].centroid_mm
    else:
        inside = np.argwhere(detection.mask).mean(axis=0)
        affine = detection.scan.affine
        right, anterior, superior = affine[:3, :3] @ inside + affine[:3, 3]
    viewer.dims.set_point((0, 1, 2), (superior, anterior, right))  # layers are ordered S, A, R


def _arrange_3d(viewer: Any) -> None:
    """Show the volume obliquely from the front, the scan faint behind the map."""
    for layer in viewer.layers:
        facts = facts_of(layer)
        if facts is not None and facts.role == SCAN:
            layer.opacity = 0.35
        if facts is not None and facts.role == CANDIDATES:
            layer.contour = 0  # contours exist in planes only
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    viewer.scene.camera.angles = VIEW_3D_DEG


def take_screenshots(viewer: Any, detection: Detection, out: Path) -> list[Path]:
    """Save the axial plane with its overlay, the volume in 3D and the whole window.

    Raises
    ------
    OutputError
        ``OUT-020`` if a picture is blank, ``OUT-021`` if the overlay is not on it.
    """
    from qtpy.QtWidgets import QApplication

    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, planes, canvas_only in (
        ("axial.png", 2, True),
        ("window.png", 2, False),
        ("volume-3d.png", 3, True),
    ):
        if planes == 3:
            _arrange_3d(viewer)
        else:
            _look_at(viewer, detection)
        for _ in range(5):  # layers are sliced and drawn by later events
            QApplication.processEvents()
        picture = viewer.screenshot(str(out / name), canvas_only=canvas_only, flash=False)
        _require_content(picture, name, coloured=bool(detection.anomaly_z.data.any()))
        paths.append(out / name)
    return paths


def _require_content(picture: np.ndarray[Any, Any], name: str, *, coloured: bool) -> None:
    """Refuse a blank picture, and one without the coloured map."""
    colours = picture[..., :3].astype(float)
    if colours.std() <= LEAST_SD:
        raise OutputError(
            "OUT-020",
            f"the screenshot is blank (standard deviation {colours.std():.1f})",
            "Check that OpenGL works on this display (on Debian: libgl1 and libegl1).",
            subject=name,
            consequence="The other screenshots were not taken.",
        )
    if coloured and (np.ptp(colours, axis=-1) > 60).mean() < LEAST_COLOURED:
        raise OutputError(
            "OUT-021",
            "the screenshot does not show the anomaly map",
            "Please report it with the scan's name and the versions of napari and vispy.",
            subject=name,
            consequence="The other screenshots were not taken.",
        )


def _save(detection: Detection, truth: Volume | None, out: Path) -> None:
    from napari_normative.io.folders import whole_folder
    from napari_normative.io.nifti import write_volume

    name = detection.scan.source.name
    with whole_folder(out / name, "detection.json") as folder:
        detection.save(folder)
    write_volume(out / f"{name}.nii.gz", detection.scan)
    if truth is not None:
        write_volume(out / f"{truth.source.name}.nii.gz", truth)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
