"""Make every picture of the documentation from scans that are made here.

    xvfb-run -a -s "-screen 0 1600x1100x24" python scripts/screenshots.py [PART...]

The steps are those of the tutorials (tests/tutorial_steps.py); what no tutorial does in the window
follows below. Pictures go to docs/images, reduced to 256 colours. Parts: the names of PARTS.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks gain nothing from more
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()  # trainings and models used before
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "tests"))

import napari
import numpy as np
from PIL import Image

import napari_normative as nn
from napari_normative.plugin.controllers.explorer import ExplorerController
from napari_normative.plugin.controllers.latent_map import LatentMapController
from napari_normative.plugin.controllers.restore import RestoreController
from napari_normative.plugin.controllers.samples import SamplesController
from napari_normative.plugin.controllers.training import TrainingController
from napari_normative.plugin.session import session_for
from tutorial_pages import InProcess, run_page
from tutorial_steps import STEPS, Desk

WIDTH = 1400


def save(name: str, picture: np.ndarray) -> None:
    """Keep a picture, in as few bytes as it can be read in."""
    image = Image.fromarray(np.ascontiguousarray(picture[..., :3]))
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.LANCZOS)
    path = IMAGES / f"{name}.png"
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}  {path.stat().st_size / 1024:.0f} KiB", flush=True)


def desk() -> Desk:
    """Open a window."""
    return Desk(napari.Viewer(), save)


def tutorial(page: str) -> None:
    """Do what a tutorial does, in an empty folder; its steps take their pictures."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        at = desk()
        steps = {name: partial(step, at) for name, step in STEPS[page].items()}
        for _ in run_page(page, InProcess(page), steps):
            pass
        after = AFTER.get(page)
        if after is not None:
            after(at)
        at.viewer.close()
        os.chdir(ROOT)  # the engine's process cannot start in a folder that is gone


def demo() -> None:
    """Take the picture of README and quick start: the window of the demo."""
    from napari_normative.plugin.demo import open_window

    detection = nn.load_model().detect(nn.make_sample("brain-with-lesion"), samples=2)
    at = Desk(open_window(detection), save)
    at.shot("window")
    at.viewer.close()


def samples() -> None:
    """Show samples with their mean and SD, then the latent explorer."""
    from qtpy.QtWidgets import QTabWidget

    at = desk()
    dock = at.dock("Samples")
    state = session_for(at.viewer).get(SamplesController).state
    dock.count.setValue(6)
    dock.maps.setChecked(True)
    at.click(dock.job.run)
    at.wait(lambda: not state.running, 120)
    at.viewer.layers[-1].visible = False  # the SD, to see a sample below it
    at.shot("samples")
    explorer = session_for(at.viewer).get(ExplorerController).state
    dock.findChild(QTabWidget).setCurrentIndex(1)
    at.click(dock.explorer.job.run)
    at.wait(lambda: not explorer.running and explorer.rows, 120)
    dock.explorer.sliders[0].setValue(20)
    dock.explorer.sliders[2].setValue(-15)
    at.click(dock.explorer.effects[0])
    at.wait(lambda: not explorer.running, 120)
    at.shot("explorer")
    at.viewer.close()


def latent_map() -> None:
    """Place eight made people among those of the shipped model."""
    with tempfile.TemporaryDirectory() as folder:
        rows = ["path\tkind"]
        for n in range(8):
            kind = "brain-with-lesion" if n % 2 else "healthy-brain"
            name = f"sub-{n + 1:02d}.nii.gz"
            nn.write_volume(Path(folder) / name, nn.make_sample(kind, seed=n, spacing_mm=2))
            rows.append(f"{name}\t{kind}")
        table = Path(folder) / "people.tsv"
        table.write_text("\n".join(rows) + "\n")
        at = desk()
        dock = at.dock("Latent map")
        controller = session_for(at.viewer).get(LatentMapController)
        controller.cache = Path(folder) / "cache"
        controller.state.source = str(table)
        at.click(dock.job.run)
        at.wait(lambda: not controller.state.running and controller.state.scatter, 300)
        dock.colour_by.setCurrentIndex(dock.colour_by.findText("kind"))
        controller.requests.open_row.emit(1)
        at.wait(lambda: len(at.viewer.layers))
        controller.state.source = "people.tsv"  # no folder of this machine on the picture
        at.shot("latent-map")
        at.viewer.close()


def restore() -> None:
    """Fill slices that a made scan lacks."""
    at = desk()
    scan = nn.make_sample("healthy-brain", spacing_mm=2)
    lacking = scan.data.copy()
    lacking[:, :, 44:46] = 0
    with tempfile.TemporaryDirectory() as folder:
        path = nn.write_volume(Path(folder) / "healthy-brain.nii.gz", scan.with_data(lacking))
        at.viewer.open(str(path), plugin="napari-normative")
        dock = at.dock("Restore")
        state = session_for(at.viewer).get(RestoreController).state
        state.missing, state.slices = "slices", "k:44-45"
        at.click(dock.scan.job.run)
        at.wait(lambda: not state.running and state.summary, 300)
        at.viewer.dims.set_point(2, 0.0)  # the middle, from the side: all slices in one plane
        at.viewer.dims.order = (2, 0, 1)
        at.viewer.reset_view()
        at.shot("restore")
    at.viewer.close()


def training(at: Desk) -> None:
    """Train in the window what the tutorial trained on the command line."""
    dock = at.dock("Train a model")
    controller = session_for(at.viewer).get(TrainingController)
    state = controller.state
    state.preset, state.out, state.title = "brain-8mm", "curves.safetensors", "Tiny brain"
    at.click(dock.run.start)
    at.wait(lambda: not state.starting, 120)
    assert state.train_error == "", state.train_error
    at.wait(lambda: "train" in dock.run.headline.text() or state.use_blocked == "", 300)
    at.wait(lambda: not dock.run.montage.isHidden(), 300)
    dock.pages.setCurrentWidget(dock.run)
    at.shot("train-run")
    if dock.run.stop.isEnabled():
        at.click(dock.run.stop)
    at.wait(lambda: not dock.run.stop.isEnabled(), 300)


def report_page(at: Desk) -> None:
    """Take the first page of the report as PDF."""
    from qtpy.QtCore import QSize, Qt
    from qtpy.QtGui import QImage, QPainter
    from qtpy.QtPdf import QPdfDocument

    from tutorial_steps import answering

    dock = at.dock("Anomaly map")
    with answering("report.pdf"):
        at.click(dock.candidates.report)
    at.wait(lambda: Path("report.pdf").exists())
    document = QPdfDocument(None)
    document.load("report.pdf")
    pages = []
    for number in (0, 2):
        page = QImage(QSize(700, 990), QImage.Format.Format_RGB888)
        page.fill(Qt.GlobalColor.white)
        painter = QPainter(page)
        painter.drawImage(0, 0, document.render(number, page.size()))
        painter.end()
        bits = np.frombuffer(page.constBits().asstring(page.sizeInBytes()), np.uint8)
        rows = bits.reshape(page.height(), page.bytesPerLine())[:, : 3 * page.width()]
        pages.append(rows.reshape(page.height(), page.width(), 3))
    save("report", np.concatenate(pages, axis=1)[:720])  # below there is paper


AFTER = {"read-a-scan": report_page, "train-a-model": training}


PARTS = {
    "demo": demo,
    **{page: partial(tutorial, page) for page in STEPS},
    "samples": samples,
    "latent-map": latent_map,
    "restore": restore,
}


def main() -> None:
    """Make them all, or some; each in a window of its own."""
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
    total = sum(path.stat().st_size for path in IMAGES.glob("*.png"))
    print(f"{total / 1e6:.1f} MB in all")


if __name__ == "__main__":
    main()
