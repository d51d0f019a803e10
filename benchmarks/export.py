"""The shipped model in other programs: size, difference and time, side by side in one run.

    python benchmarks/export.py [SCAN] [--model MODEL] [--repeats N]

Needs the extra ``export``. Every format is exported anew. SCAN, of the kind the model is for, is
prepared once; without it the template with some noise stands for it. Each program reconstructs
the same volume on the CPU with the same number of threads, in turn, so that what else the machine
does meets all of them alike.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from napari_normative.engine.export import FORMATS, export
from napari_normative.engine.graphs import quiet
from napari_normative.engine.model import NormativeModel, load_model

OUT = Path(__file__).parent / "results" / "export.md"
Ask = Callable[[np.ndarray], np.ndarray]


def own(model: NormativeModel) -> Ask:
    network = model.network("cpu")

    def ask(volume: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network.reconstruct(torch.from_numpy(volume)).numpy()

    return ask


def in_onnxruntime(folder: Path, threads: int) -> Ask:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / "reconstruct.onnx", options)
    return lambda volume: session.run(None, {"volume": volume})[0]


def in_torch_export(folder: Path) -> Ask:
    graph = torch.export.load(folder / "reconstruct.pt2").module()

    def ask(volume: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return graph(torch.from_numpy(volume)).numpy()

    return ask


def in_monai(folder: Path) -> Ask:
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor

    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser["bundle_root"] = str(folder)
    predict = parser.get_parsed_content("predict")

    def ask(volume: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return predict(MetaTensor(torch.from_numpy(volume[0])))[None].numpy()

    return ask


def megabytes(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def subject(model: NormativeModel, scan: Path | None) -> np.ndarray:
    if scan is not None:
        return model.prepare(scan).data[None, None]
    inside, random = model.template.mask, np.random.default_rng(0)
    noisy = model.template.image + random.normal(0, 0.05, inside.shape)
    return np.where(inside, noisy, 0).astype(np.float32)[None, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--model", default="brain-t1")
    parser.add_argument("--repeats", type=int, default=10)
    chosen = parser.parse_args()
    threads = torch.get_num_threads()
    model = load_model(chosen.model)
    volume = subject(model, chosen.scan)
    with tempfile.TemporaryDirectory() as place:
        folders = {format: Path(place) / format for format in FORMATS}
        records, spent = {}, {}
        for format, folder in folders.items():
            start = time.perf_counter()
            records[format] = export(model, folder, format)
            spent[format] = time.perf_counter() - start
        with quiet():
            asks = {
                "the model itself (torch)": own(model),
                "onnxruntime": in_onnxruntime(folders["onnx"], threads),
                "torch.export": in_torch_export(folders["torch"]),
                "MONAI bundle": in_monai(folders["monai"]),
            }
            wanted = asks["the model itself (torch)"](volume)
            times: dict[str, list[float]] = {name: [] for name in asks}
            worked: dict[str, list[float]] = {name: [] for name in asks}
            apart = dict.fromkeys(asks, 0.0)
            for turn in range(chosen.repeats + 1):
                for name, ask in asks.items():
                    start, cpu = time.perf_counter(), time.process_time()
                    made = ask(volume)
                    if turn:  # the first warms up
                        times[name].append(1e3 * (time.perf_counter() - start))
                        worked[name].append(1e3 * (time.process_time() - cpu))
                    apart[name] = max(apart[name], float(np.abs(made - wanted).max()))
        sizes = {format: megabytes(folder) for format, folder in folders.items()}
    keys = dict(zip(asks, (None, "onnx", "torch", "monai"), strict=True))
    lines = [
        "# The shipped model in other programs",
        "",
        f"Model {model.card.name} ({model.digest[:12]}), "
        f"{' × '.join(map(str, model.card.preprocess.shape))} voxels; reconstruction of "
        f"{'a prepared scan' if chosen.scan else 'the template with noise'}, batch 1, "
        f"{chosen.repeats} times each in turn. Machine: {platform.machine()}, {os.cpu_count()} "
        f"cores, {threads} thread(s), torch {torch.__version__}, "
        f"onnxruntime {metadata.version('onnxruntime')}, MONAI {metadata.version('monai')}; load "
        f"average {os.getloadavg()[0]:.1f} at the end.",
        "",
        "| program | folder, MB | export and check, s | largest difference when exported "
        "| difference on this volume | ms, fastest | ms, median | ms of CPU, median |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, format in keys.items():
        if format is None:
            first = ["", "", "", ""]
        else:
            found = records[format]["functions"]["reconstruct"]["largest_difference"]
            first = [
                f"{sizes[format]:.1f}",
                f"{spent[format]:.0f}",
                f"{found['reconstruction']:.1e}",
                f"{apart[name]:.1e}",
            ]
        ms = times[name]
        cells = [name, *first, f"{min(ms):.0f}", f"{np.median(ms):.0f}"]
        cells.append(f"{np.median(worked[name]):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Differences are in model units (bright tissue is about 1). ONNX and torch.export hold "
        "three graphs (encode, decode, reconstruct), the bundle one and its weights once more.",
        "",
        "Written by `benchmarks/export.py`. Wall times depend on what else the machine does; "
        "times of CPU, less.",
        "",
    ]
    OUT.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
