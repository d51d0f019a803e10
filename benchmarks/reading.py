"""Time reading and writing a 256³ int16 ``.nii.gz`` beside nibabel, in one run.

The readers take turns, so that load on the machine falls on all of them alike; the
table gives medians and the ratio to nibabel. Ours verifies the checksum and takes the
file's SHA-256 in the same time.

Run: ``python benchmarks/reading.py [--side 256] [--rounds 7]``
"""

from __future__ import annotations

import argparse
import gzip
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from napari_normative.io.gzipped import _zlib
from napari_normative.io.nifti import read_volume, write_volume


def head(side: int) -> np.ndarray:
    """Return a smooth ball in noise, which compresses about as a T1-weighted head does."""
    axis = np.linspace(-1.2, 1.2, side, dtype=np.float32)
    radius = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    noise = np.random.default_rng(0).normal(0, 25, radius.shape)
    return np.where(radius < 1, 900 - 400 * radius + noise, np.abs(noise) / 8).astype(np.int16)


def nibabel_float32(path: Path) -> object:
    return np.asarray(nib.load(path).dataobj, dtype=np.float32)


def nibabel_fdata(path: Path) -> object:
    return nib.load(path).get_fdata(dtype=np.float32)


def nibabel_write(path: Path, data: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)


def main() -> None:
    """Print one table for reading and one for writing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packed, plain = Path(folder, "head.nii.gz"), Path(folder, "head.nii")
        nib.save(nib.Nifti1Image(head(options.side), np.eye(4)), plain)
        packed.write_bytes(gzip.compress(plain.read_bytes(), 6))
        volume = read_volume(packed)
        assert np.array_equal(volume.data, nibabel_float32(packed))
        read: dict[str, dict[str, Callable[[], object]]] = {
            f"read {path.name} ({path.stat().st_size / 2**20:.1f} MiB)": {
                "nibabel, dataobj as float32": lambda path=path: nibabel_float32(path),
                "nibabel, get_fdata(float32)": lambda path=path: nibabel_fdata(path),
                "napari-normative, read_volume": lambda path=path: read_volume(path),
            }
            for path in (packed, plain)
        }
        out = Path(folder, "out.nii.gz")
        read["write float32 .nii.gz"] = {
            "nibabel, save": lambda: nibabel_write(out, volume.data),
            "napari-normative, write_volume": lambda: write_volume(out, volume),
        }
        print(f"{options.side}³ int16; {platform.processor() or platform.machine()}; "
              f"nibabel {nib.__version__}; inflating with {_zlib.__name__}")  # fmt: skip
        for title, ways in read.items():
            report(title, ways, options.rounds if title.startswith("read") else 2)


def report(title: str, ways: dict[str, Callable[[], object]], rounds: int) -> None:
    """Time the ways in turns and print medians."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, call in ways.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    base = statistics.median(next(iter(seconds.values())))
    print(f"\n| {title} | median ms | least ms | nibabel / this |\n|---|---|---|---|")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"| {name} | {1e3 * median:.0f} | {1e3 * min(times):.0f} | {base / median:.2f} |")


if __name__ == "__main__":
    main()
