"""Opening, saving and making volumes for napari."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_normative.errors import NormativeError, OutputError, VolumeFileError
from napari_normative.layers.sources import (
    Snapshot,
    labels_of,
    snapshot,
    volume_of,
)
from napari_normative.layers.spec import (
    LABELS,
    SCAN,
    LayerTuple,
    spec_of,
)
from napari_normative.volume import Volume

WRITABLE = (".nii.gz", ".nii")


def layer_of(
    volumes: list[Volume],
    name: str,
    answers: dict[str, Any] | None = None,
    labels: bool | None = None,
) -> LayerTuple:
    """Return the layer of a volume or series that was read.

    Parameters
    ----------
    volumes : list of Volume
    name : str
    answers : dict, optional
        What the reader was told of a doubtful header.
    labels : bool, optional
        Whether they are labels; as the file says unless given.
    """
    told: dict[str, Any] = {"read": answers} if answers else {}
    if len(volumes) == 1 and (volumes[0].source.is_label if labels is None else labels):
        return spec_of(volumes, name, LABELS, provenance=told).as_tuple()
    return spec_of(volumes, name, SCAN, colormap="gray", provenance=told).as_tuple()


Ask = Callable[[str, tuple[str, ...]], int | None]

_QUESTIONS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "NIF-022": (("Use the sform", {"trust": "sform"}), ("Use the qform", {"trust": "qform"})),
    "NIF-023": (("The size is right", {"any_size": True}),),
}
"""Refusals that a person may answer: what can be said, and what it means to the reader."""


def open_file(
    path: str, ask: Ask | None = None, *, labels: bool | None = None, **answers: Any
) -> list[LayerTuple]:
    """Read a file into one layer; a series gets a leading axis to scroll.

    Parameters
    ----------
    path : str
    ask : callable of (text, answers), optional
        Puts a question to a person and returns the number of the answer, None for none.
    labels : bool, optional
        As for :func:`layer_of`.
    **answers
        What is known before: ``trust`` and ``any_size`` of :func:`read_volume`.

    Raises
    ------
    VolumeFileError
        If the file is refused.
    """
    from napari_normative.io.nifti import read_series

    chosen = dict(answers)
    while True:
        try:
            series = read_series(path, **chosen)
        except VolumeFileError as error:
            offered = _QUESTIONS.get(error.code, ())
            number = ask(str(error), tuple(a for a, _ in offered)) if ask and offered else None
            if number is None:
                raise
            chosen |= offered[number][1]
        else:
            volumes = [series.volume(index) for index in range(series.data.shape[-1])]
            return [layer_of(volumes, series.first.source.name, chosen, labels)]


def make_sample_layers(key: str) -> list[LayerTuple]:
    """Return a sample scan and, where it has a simulated lesion, its true mask."""
    from napari_normative.io.samples import make_sample, sample_truth

    layers = [layer_of([make_sample(key)], key)]
    truth = sample_truth(key)
    if truth is not None:
        spec = spec_of([truth], f"{key} · true mask (simulated)", LABELS, visible=False)
        layers.append(spec.as_tuple())
    return layers


def _snapshot_of(data: Any, attributes: dict[str, Any]) -> Snapshot:
    """Return the snapshot of a layer data tuple."""
    from napari.layers import Image

    known = {
        key: attributes[key]
        for key in ("name", "metadata", "scale", "translate", "rotate", "shear", "affine", "units")
        if attributes.get(key) is not None
    }
    return snapshot(Image(np.asarray(data), rgb=False, contrast_limits=(0, 1), **known))


def save_layer(path: str, data: Any, attributes: dict[str, Any], *, labels: bool) -> list[str]:
    """Write one layer on the grid of the file it came from.

    Returns
    -------
    list of str
        The file written.

    Raises
    ------
    OutputError, GeometryMismatchError
    """
    from napari_normative.io.nifti import write_volume

    target = Path(path)
    taken = _snapshot_of(data, attributes)
    if taken.count > 1:
        raise OutputError(
            "OUT-013",
            f"the layer is a series of {taken.count} volumes and one is written at a time",
            "Save the volume you need from a script with napari_normative.write_volume.",
            subject=target.name,
        )
    if labels:
        volume = labels_of(taken)
        volume = volume.with_data(volume.data, is_label=True)
    else:
        volume = volume_of(taken)
    return [str(write_volume(target, volume))]


def save_folder(path: str, layers: list[LayerTuple]) -> list[str]:
    """Write several layers into a folder, one file each, named after the layers.

    Raises
    ------
    OutputError, GeometryMismatchError
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "OUT-012",
            "the folder cannot be made",
            "Choose another place.",
            subject=folder.name,
        ) from error
    written: list[str] = []
    taken_names: set[str] = set()
    for data, attributes, kind in layers:
        stem = file_stem(str(attributes.get("name", kind)))
        name, number = stem, 1
        while name in taken_names:
            number += 1
            name = f"{stem}_{number}"
        taken_names.add(name)
        target = folder / f"{name}.nii.gz"
        written += save_layer(str(target), data, attributes, labels=kind == "labels")
    return written


def file_stem(name: str) -> str:
    """Return a layer's name as a file name: letters, digits, ``-`` and ``_``."""
    stem = name.replace("|z|", "abs_z")
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in stem)
    while "__" in stem:
        stem = stem.replace("__", "_")
    return stem.strip("_") or "layer"


def in_window() -> bool:
    """Whether a person at the window, not a script, caused the present call."""
    if "qtpy.QtCore" not in sys.modules:  # no window without it, and it may not be installed
        return False
    from qtpy.QtCore import QThread

    thread = QThread.currentThread()
    return _is_command_napari() or (thread is not None and thread.loopLevel() > 0)


def _is_command_napari() -> bool:
    """Whether the program is ``napari FILE``: it opens files before the event loop runs."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    is_module = spec is not None and spec.name == "napari.__main__"
    return is_module or Path(sys.argv[0]).stem == "napari"


def report(error: NormativeError) -> None:
    """Show an error as a notification: one sentence, no traceback."""
    from napari_normative.plugin.session import notify_error

    notify_error(str(error))
