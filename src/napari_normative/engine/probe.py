"""Fit a probe to a column of a table, judge it beside simple baselines, keep it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.core.probe import OUTER, Kind
from napari_normative.engine.model import load_model
from napari_normative.engine.probe_judge import judge_probe
from napari_normative.engine.probe_result import MARKER, ProbeResult, save_result
from napari_normative.engine.probe_scans import measure_scan, require_vectors
from napari_normative.engine.probe_table import kind_and_target, labelled_scans
from napari_normative.errors import CancelledError, NormativeError
from napari_normative.io.folders import require_own
from napari_normative.io.nifti import read_volume

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import Cancel, Progress

MEASURING = 0.6
"""Part of the progress bar for reading and encoding."""


def fit_probe(
    table: str | Path,
    target: str,
    out: str | Path | None = None,
    *,
    model: str | Path | NormativeModel = "brain-t1",
    kind: Kind | None = None,
    folds: int = OUTER,
    permutations: int = 199,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    explain: Callable[[BaseException, str], str] | None = None,
) -> ProbeResult:
    """Fit a linear probe of a column to the latents of scans, and judge it.

    Logistic regression with classes weighted alike, or ridge regression, on the latent means.
    Nested cross-validation with folds of whole people; beside it, in the same folds, principal
    components of the voxels, plain figures of the volumes, the site alone where the table has
    several, and a guess.

    Parameters
    ----------
    table : path
        As for :func:`~napari_normative.engine.cohort.scans_table`: a column ``path``, the
        target, and ``subject`` where a person has several scans.
    target : str
        A column of the table, ``site`` too.
    out : path, optional
        Folder for the report, its tables and the probe.
    model : name, path or NormativeModel
        With dense latents.
    kind : {"category", "number"}, optional
        Decided by the values unless given: numbers if more than eight differ.
    folds : int
    permutations : int
        How often the test does all again with values exchanged among people; 0 for no test.
    seed : int
    device : str
    progress, cancel : callable, optional
    explain : callable, optional
        Told of each scan that cannot be used (error, file name); returns the line about it.

    Returns
    -------
    ProbeResult

    Raises
    ------
    CohortError
        ``COH-001``, ``COH-002`` a bad table.
    ProbeError
        ``PRB-001`` no such column, ``PRB-002`` too few people, ``PRB-003`` texts among numbers.
    ModelFileError
        ``MOD-007`` when the model has no one latent vector for a scan.
    OutputError
        ``OUT-010`` when ``out`` holds other files.
    CancelledError

    Examples
    --------
    >>> made = fit_probe("cohort.tsv", "age", "age-probe")  # doctest: +SKIP
    >>> made.value("latents", "mae"), made.p["latents"]  # doctest: +SKIP
    """
    tell, stop = progress or (lambda step, fraction: None), cancel or (lambda: False)
    if out is not None:
        require_own(Path(out), MARKER)
    normative = load_model(model) if isinstance(model, str | Path) else model
    require_vectors(normative)
    listed, left_out = labelled_scans(table, target)
    kind_and_target(listed, target, kind, folds)  # before hours are spent
    used, seen, refused = [], [], []
    for n, scan in enumerate(listed):
        if stop():
            raise CancelledError
        tell(scan.path.name, MEASURING * n / len(listed))
        try:
            volume = read_volume(scan.path)
            seen.append(measure_scan(normative, volume, device=device))
        except CancelledError:
            raise
        except (NormativeError, OSError) as error:
            code = error.code if isinstance(error, NormativeError) else ""
            line = explain(error, scan.path.name) if explain else str(error)
            refused.append({"row": scan.row, "code": code, "what": _without(line, scan.path.name)})
            continue
        used.append(scan.with_digest(volume.source.digest))
    result = judge_probe(
        normative,
        used,
        seen,
        target,
        kind=kind,
        folds=folds,
        permutations=permutations,
        seed=seed,
        refused=refused,
        left_out=left_out,
        progress=lambda step, share: tell(step, MEASURING + (1 - MEASURING) * share),
        cancel=cancel,
    )
    if out is not None:
        save_result(result, Path(out))
    tell("done", 1.0)
    return result


def _without(line: str, name: str) -> str:
    """Return a line without the name of the file."""
    return line.replace(f"{name}: ", "").replace(name, "the scan")
