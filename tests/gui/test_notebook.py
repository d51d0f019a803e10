"""Results in a notebook and from a plain script, in programs of their own."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from PIL import Image as Picture

CELLS = (
    "import sys; sys.path.insert(0, FOLDER)",
    """
import napari_normative as nn
from napari.utils import nbscreenshot
from phantoms import phantom

model = nn.load_model(MODEL)
detection = model.detect(phantom(7, lesion_ml=20), device="cpu")
viewer = nn.show(detection)
nbscreenshot(viewer)
""",
    "print([layer.name for layer in viewer.layers][-1]); viewer.close()",
)


def test_a_notebook_shows_a_picture_of_the_window(tiny_model_path: Path, qapp: object) -> None:
    folder = str(Path(__file__).parents[1])
    cells = [c.replace("FOLDER", repr(folder)) for c in CELLS]
    cells = [c.replace("MODEL", repr(str(tiny_model_path))) for c in cells]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    _, shown, last = notebook.cells
    picture = next(o for o in shown.outputs if "image/png" in o.get("data", {}))
    pixels = Picture.open(io.BytesIO(base64.b64decode(picture["data"]["image/png"])))
    colours = np.asarray(pixels.convert("RGB"), dtype=float)
    assert colours.std() > 5
    assert (np.ptp(colours, axis=-1) > 60).mean() > 2e-4, "the anomaly map is not on it"
    assert last.outputs[0]["text"].strip() == "phantom-7 · candidates"


SCRIPT = """
import sys
import napari_normative as nn
from qtpy.QtCore import QTimer
from phantoms import phantom

viewer = nn.show(phantom(7))
QTimer.singleShot(500, viewer.close)
nn.show(phantom(8), viewer, block=True)
print("closed")
"""


def test_a_script_waits_until_its_window_is_closed(qapp: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=Path(__file__).parents[1],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["closed"], done.stderr
