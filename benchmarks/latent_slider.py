"""From a slider to the updated layer: the latency of the latent explorer in a real window.

    xvfb-run -a python benchmarks/latent_slider.py [MODEL]

A slider of the dock is moved with the event loop running. Measured from there: until the layer
has its new values, and until the canvas was drawn with them, once with pauses between movements
and once while dragging without a pause. Decoding is done in the engine's process; the decoder
alone is measured in the same run, because both depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

import napari
import numpy as np
import torch
from qtpy.QtCore import QEventLoop, QTimer

from napari_normative.engine.draws import decode_levels
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.plugin.controllers.explorer import ExplorerController
from napari_normative.plugin.session import session_for

MOVES = 60
OUT = Path(__file__).parent / "results" / "latent_slider.md"


def turn(ms: int) -> None:
    """Let the event loop run; it sleeps while there is nothing to do, as a window's does."""
    loop = QEventLoop()
    QTimer.singleShot(ms, loop.quit)
    loop.exec()


def wait(until, limit_s: float = 120.0) -> None:
    end = time.perf_counter() + limit_s
    while not until():
        turn(1)
        if time.perf_counter() > end:
            raise TimeoutError


def decoder_ms(model: NormativeModel) -> tuple[list[float], list[float]]:
    """Return wall and CPU time of decodes; the latter hardly depends on other programs."""
    latent, spent, worked = (model.posterior.mean,), [], []
    for _ in range(MOVES // 2):
        start, cpu = time.perf_counter(), time.process_time()
        decode_levels(model, latent, "cpu")
        worked.append(1e3 * (time.process_time() - cpu))
        spent.append(1e3 * (time.perf_counter() - start))
    return spent, worked


def line(name: str, ms: list[float]) -> str:
    p50, p95 = np.percentile(ms, [50, 95])
    return f"| {name} | {p50:.0f} | {p95:.0f} | {max(ms):.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="brain-t1")
    parser.add_argument("--write", action="store_true", help="write the results file")
    arguments = parser.parse_args()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1600, 1000)
    _, dock = viewer.window.add_plugin_dock_widget("napari-normative", "Samples")
    session = session_for(viewer)
    models = session.context.models
    keys = {choice.label: choice.key for choice in models.state.models}
    models.state.model = keys.get(arguments.model, models.state.model)
    models.state.device = "cpu"
    explorer = session.get(ExplorerController)
    explorer.run()
    wait(lambda: not explorer.state.running)
    model = load_model(models.state.model)
    (layer,) = viewer.layers
    sliders = dock.explorer.sliders
    for slider in sliders[:3]:  # warm
        slider.setValue(5)
        wait(lambda: not explorer._decoding)
    turn(500)

    shown: list[float] = []
    at_work: list[float] = []

    def note() -> None:
        shown.append(time.perf_counter())
        at_work.append(time.process_time())

    layer.events.set_data.connect(note)
    canvas = viewer.window._qt_viewer.canvas._scene_canvas
    drawn: list[float] = []
    canvas.events.draw.connect(lambda event: drawn.append(time.perf_counter()), position="last")

    alone, alone_cpu = decoder_ms(model)
    random = np.random.default_rng(0)
    updated, updated_cpu, painted, stalls = [], [], [], []
    for _ in range(MOVES):
        shown.clear()
        slider = sliders[random.integers(len(sliders))]
        start, cpu = time.perf_counter(), time.process_time()
        slider.setValue(int(random.integers(-30, 31)) or 1)
        wait(lambda: not explorer._decoding and (bool(shown) or not any(explorer.state.values)))
        if not shown:
            continue
        updated.append(1e3 * (shown[-1] - start))
        updated_cpu.append(1e3 * (at_work[-1] - cpu))
        wait(lambda: bool(drawn) and drawn[-1] > shown[-1], 10)
        painted.append(1e3 * (next(t for t in drawn if t > shown[-1]) - start))

    shown.clear()
    begin = last = time.perf_counter()
    for value in range(240):
        sliders[0].setValue(round(30 * np.sin(value / 12)))
        turn(8)
        now = time.perf_counter()
        stalls.append(1e3 * (now - last))
        last = now
    seconds = time.perf_counter() - begin
    wait(lambda: not explorer._decoding)
    rate = len(shown) / seconds

    load = os.getloadavg()[0]
    text = "\n".join(
        [
            "# From a latent slider to the updated layer",
            "",
            f"Model {models.name}, {' × '.join(map(str, model.card.preprocess.shape))} voxels, "
            f"{model.posterior.mean.size} latents. Machine: {platform.machine()}, "
            f"{os.cpu_count()} cores, torch {torch.__version__} with {torch.get_num_threads()} "
            f"thread(s), napari {napari.__version__}, Xvfb with software OpenGL, 1600 × 1000; "
            f"load average {load:.1f} during the run.",
            "",
            "| milliseconds | p50 | p95 | largest |",
            "|---|---:|---:|---:|",
            line("the decoder alone", alone),
            line("the decoder alone, CPU time", alone_cpu),
            line("slider moved to layer updated", updated),
            line("slider moved to layer updated, CPU time of the window's process", updated_cpu),
            line("slider moved to canvas drawn", painted),
            line("between two turns of the event loop while dragging", stalls),
            "",
            f"While dragging without a pause (a new value every 8 ms) "
            f"the layer was updated {rate:.0f} times a second; values that came meanwhile were "
            "skipped, none queued.",
            "",
            "Written by `benchmarks/latent_slider.py`. Wall times depend on what else the machine "
            "does: with a load above the number of cores programs wait for each other; CPU time is "
            "nearer to what a quiet machine shows.",
            "",
        ]
    )
    print(text)
    if arguments.write:
        OUT.write_text(text, encoding="utf-8")
    viewer.close()


if __name__ == "__main__":
    main()
