"""A model's network for other programs: ONNX, torch.export, MONAI bundles."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_normative.core.applicability import Applicability, check_prepared
from napari_normative.core.card import RESEARCH_USE
from napari_normative.core.preprocess import LEVELS, prepare
from napari_normative.engine.graphs import (
    NOISE,
    OPSET,
    OUTPUTS,
    SEED,
    TOLERANCE,
    TRIALS,
    about,
    trace,
    write_onnx,
    write_torch,
)
from napari_normative.engine.infer import versions
from napari_normative.errors import ExportError
from napari_normative.io.atomic import replace_files
from napari_normative.io.folders import whole_folder
from napari_normative.io.nifti import write_volume
from napari_normative.volume import Volume

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel

Format = Literal["onnx", "torch", "monai"]
FORMATS: tuple[Format, ...] = get_args(Format)
MARKER = "export.json"
EXPECTED = (
    "One scan on the model's grid, in model units: aligned to the template, bias field divided "
    "out, quantiles matched to the reference, 0 outside the foreground. Other programs do none "
    "of this: napari-normative prepare, or model.prepare(scan), writes such a volume."
)


def export(
    model: NormativeModel,
    folder: str | Path,
    format: Format,
    *,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Write a model's network for another program; see docs/formats.md.

    Every graph is run in that program and compared with the model on the template and on
    synthetic scans; the largest difference is in the record. Alignment, calibration and candidates
    stay here.

    Parameters
    ----------
    model : NormativeModel
    folder : path
        Made whole or not at all; an earlier export in it is replaced.
    format : {"onnx", "torch", "monai"}
    progress : callable, optional
        Called with what is being done and the fraction done.

    Returns
    -------
    dict
        What ``export.json`` holds.

    Raises
    ------
    ExportError
        ``EXP-001`` a package is missing, ``EXP-002`` the graph's answers differ, ``EXP-003`` the
        model has no network, ``EXP-004`` it cannot be traced, ``EXP-005`` no such format,
        ``EXP-006`` it is in the patch form.
    OutputError
        When the folder holds other files, or cannot be written.
    """
    if format not in FORMATS:
        raise ExportError(
            "EXP-005", f"there is no export format {format!r}", f"Choose {', '.join(FORMATS)}."
        )
    tell = progress or (lambda step, fraction: None)
    target = Path(folder)
    record = _record(model, format)
    with whole_folder(target, MARKER) as fresh:
        if format == "monai":
            from napari_normative.engine.bundle import write_bundle

            record["functions"] = write_bundle(model, fresh, record, tell)
            example = fresh / "inputs" / "template.nii.gz"
        else:
            record["functions"] = _write_graphs(model, fresh, format, tell)
            example = fresh / "template.nii.gz"
        write_volume(example, _template(model))
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        (fresh / MARKER).write_text(text, encoding="utf-8")
    tell("done", 1.0)
    return record


def prepared_scan(model: NormativeModel, scan: Volume) -> tuple[Volume, dict[str, Any]]:
    """Return a scan as the network sees it, and a record of how it got there.

    Parameters
    ----------
    model : NormativeModel
    scan : Volume

    Returns
    -------
    volume : Volume
        On the model's grid, model units, 0 outside the foreground.
    record : dict
        Alignment, intensity knots, digests: what leads back.

    Raises
    ------
    PreprocessError
        If the scan is not what the model knows.
    """
    space = model.card.preprocess
    made = prepare(scan, space, model.template)
    fits = Applicability(check_prepared(scan, made, space, model.template))
    fits.require(scan.source.name)
    volume = Volume.from_array(made.image, space.grid.affine, "prepared")
    return volume, {
        "notice": RESEARCH_USE,
        "model": {"name": model.card.name, "sha256": model.digest},
        **model.told(),
        "scan": {"sha256": scan.source.digest, "shape": list(scan.shape)},
        "scan_to_template": made.alignment.scan_to_template.round(6).tolist(),
        "similarity": round(made.alignment.similarity, 4),
        "intensity": {"scan": made.intensity.scan.tolist(), "model": made.intensity.model.tolist()},
        "warnings": list(fits.warnings),
        "versions": versions(),
        "created_utc": _now(),
    }


def save_prepared(
    model: NormativeModel, scan: Volume, folder: Path, name: str
) -> tuple[Path, dict[str, Any]]:
    """Write ``NAME.nii.gz`` and ``NAME.json`` of :func:`prepared_scan`; return path and record."""
    volume, record = prepared_scan(model, scan)
    folder.mkdir(parents=True, exist_ok=True)
    path = write_volume(folder / f"{name}.nii.gz", volume)
    replace_files({folder / f"{name}.json": (json.dumps(record, indent=1) + "\n").encode()})
    return path, record


def _write_graphs(
    model: NormativeModel, fresh: Path, format: Format, tell: Callable[[str, float], None]
) -> dict[str, Any]:
    write, suffix = (write_onnx, "onnx") if format == "onnx" else (write_torch, "pt2")
    found: dict[str, Any] = {}
    tell("tracing", 0.0)
    for done, graph in enumerate(trace(model, *OUTPUTS)):
        file = f"{graph.name}.{suffix}"
        tell(f"writing and comparing {file}", (done + 0.5) / len(OUTPUTS))
        found[graph.name] = graph.record(file, write(graph, fresh / file, about(model)))
    return found


def _record(model: NormativeModel, format: Format) -> dict[str, Any]:
    card, grid = model.card, model.card.preprocess.grid
    made = {
        "format": "napari-normative-export/1",
        "kind": format,
        "notice": RESEARCH_USE,
        "model": {
            "name": card.name,
            "title": card.title,
            "modality": card.modality,
            "sha256": model.digest,
            "network": card.network.kind,
        },
        **model.told(),
        "license": card.license,
        "credit": card.credit,
        "intended_use": card.intended_use,
        "limits": card.limits,
        "grid": {
            "shape": list(grid.shape),
            "spacing_mm": grid.spacing_mm,
            "origin_mm": list(card.preprocess.origin_mm),
            "axes": "right, anterior, superior",
        },
        "input": {
            "expected": EXPECTED,
            "quantiles": list(LEVELS),
            "reference": list(card.preprocess.reference),
            "outside": 0.0,
        },
        "compared_on": (
            f"the template and {TRIALS - 1} synthetic scans with noise of SD {NOISE:g}, seed {SEED}"
        ),
        "tolerance": TOLERANCE,
        "versions": {**versions(), **_exporters(format)},
        "created_utc": _now(),
    }
    return made | ({"opset": OPSET} if format == "onnx" else {})


def _exporters(format: Format) -> dict[str, str]:
    from importlib import metadata

    names = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch": (), "monai": ("monai",)}
    found = {}
    for name in names[format]:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # said with a remedy when it is needed
            continue
    return found


def _template(model: NormativeModel) -> Volume:
    image = np.where(model.template.mask, model.template.image, 0).astype(np.float32)
    return Volume.from_array(image, model.card.preprocess.grid.affine, "template")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
