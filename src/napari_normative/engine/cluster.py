"""A run over a cohort: what is missing is done, once, by as many processes as are given."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import psutil

from napari_normative.core.condition import Covariates
from napari_normative.engine.bids_results import is_dataset_of_results, write_dataset
from napari_normative.engine.cohort_report import FILES
from napari_normative.engine.cohort_run import Plan, Run, ScanOutcome, Summary
from napari_normative.engine.cohort_scans import SCANS, CohortScan, CohortScans, list_scans
from napari_normative.engine.manifest import (
    FOLDER,
    Manifest,
    ManifestWriter,
    Shard,
    claimed_shard,
)
from napari_normative.engine.pools import (
    Pool,
    ThisProcess,
    can_have_workers,
    local_pool,
    remote_pool,
)
from napari_normative.engine.result_place import remove_unfinished_files
from napari_normative.engine.scan_work import Terms
from napari_normative.errors import ClusterError
from napari_normative.io.bids_dataset import DESCRIPTION
from napari_normative.io.folders import remove_unfinished

__all__ = ["Plan", "ScanOutcome", "Shard", "Summary", "run_cohort"]

_WORKER_BYTES = 2 << 30


def run_cohort(
    model: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    shard: Shard = Shard(),  # noqa: B008 - frozen
    bids: bool = False,
    suffix: str = "T1w",
    device: str = "auto",
    retries: int = 2,
    timeout_s: float = 0.0,
    retry_failed: bool = False,
    dashboard: bool = False,
    planned: Callable[[Plan], None] = lambda plan: None,
    ended: Callable[[Summary], None] = lambda summary: None,
    **options: Any,
) -> Generator[ScanOutcome, None, None]:
    """Compare every scan of a cohort with a model; go on where an earlier run ended.

    A script that asks for several workers must do so under ``if __name__ == "__main__":``.

    Parameters
    ----------
    model : str or Path
        Name of a packaged model or a model file.
    source : str or Path
        Folder, pattern, table or BIDS dataset; see
        :func:`~napari_normative.engine.cohort_scans.list_scans`.
    out : str or Path
        Gets ``scans/NAME/`` for each scan (or the files of a BIDS dataset), ``manifest/``,
        ``cohort.tsv``, ``cohort.json`` and ``cohort.html``.
    workers : int, optional
        Processes on this machine; 1 works here. One a GPU, or one a core, unless given.
    scheduler : str, optional
        Address of a running dask cluster, instead.
    shard : Shard
        The part of the cohort that this run does.
    bids : bool
        Results as a BIDS derivatives dataset; the source must be one.
    suffix : str
        Of the images of a BIDS dataset.
    device : str
    retries : int
        How often a scan is tried again when its worker died; then it is quarantined.
    timeout_s : float
        Time for one scan, after which its worker is ended; 0 for no limit.
    retry_failed : bool
        Try refused and quarantined scans again.
    dashboard : bool
        Let the local workers show themselves on a page, on the loopback device.
    planned, ended : callable
        Told what is about to be done, and how it ended.
    **options
        ``trust``, ``any_size``, ``samples``, ``seed``, ``force``, ``local_volume``, ``report``.

    Yields
    ------
    ScanOutcome
        One for each scan that was worked on.

    Raises
    ------
    ClusterError
        ``CLU-001`` to ``CLU-010``; what is done stays.
    CohortError, ModelFileError, OutputError
    """
    folder = Path(out)
    terms, covariates = _terms(model, options)
    cohort = list_scans(source, leave_out=folder, suffix=suffix).told(covariates)
    _require_own(folder, cohort, bids)
    own = [scan for scan in cohort.scans if scan.within(shard)]
    with claimed_shard(folder, shard), ManifestWriter(folder, shard) as writer:
        _clean(folder, own, bids)
        if bids and cohort.dataset is not None:
            write_dataset(folder, cohort.dataset)
        run = Run(
            folder, terms, writer, own,
            bids=bids, device=device, retries=retries, timeout_s=timeout_s,
        )  # fmt: skip
        kept, left_out = run.plan(Manifest(folder), retry_failed)
        count = len(run.todo)
        pool, processes = _pool(run, workers, scheduler, device, timeout_s, dashboard)
        writer.add(
            "run", software=terms.software, model=terms.model_digest, options=terms.options,
            shard=[shard.number, shard.count], scans=len(own), to_do=count,
            workers=processes or "cluster", device=device,
        )  # fmt: skip
        try:
            with pool as at_work:
                planned(Plan(len(own), kept, left_out, count, processes, at_work.dashboard))
                yield from run.outcomes(at_work)
        except BaseException:
            run.stop()
            raise
        finally:
            if scheduler is None:  # workers elsewhere may still be writing
                _clean(folder, own, bids)
        ended(run.finish(cohort))


def _terms(model: str | Path, options: Mapping[str, Any]) -> tuple[Terms, Covariates]:
    """Return the terms of a run, and what its model can be told."""
    from napari_normative.engine.model import available_models, load_model

    normative = load_model(model)
    packaged = str(model) in {entry.name for entry in available_models()}
    name = str(model) if packaged else str(Path(model).expanduser().absolute())
    return Terms(name, normative.digest, **options), normative.covariates


def _pool(
    run: Run,
    workers: int | None,
    scheduler: str | None,
    device: str,
    timeout_s: float,
    dashboard: bool,
) -> tuple[AbstractContextManager[Pool], int]:
    """Return who does the work, and how many processes of this machine that are."""
    if scheduler is not None:
        return remote_pool(scheduler), 0
    gpus = _gpus(device) if run.todo else ()
    cores = _cores()
    if workers is None:
        most = max(1, psutil.virtual_memory().available // _WORKER_BYTES)
        workers = (len(gpus) or min(cores, most)) if can_have_workers() else 1
    workers = max(1, min(workers, len(run.todo)))
    if not run.todo or (workers == 1 and not timeout_s):
        return nullcontext(ThisProcess(run.begin)), 1
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(chosen) if chosen.isdigit() else max(1, cores // workers)
    return local_pool(workers, threads=threads, devices=gpus, dashboard=dashboard), workers


def _gpus(device: str) -> tuple[str, ...]:
    """Return the GPUs that workers share; none where the device is named, or there is none.

    Raises
    ------
    DeviceError
    """
    if device == "cpu":  # torch stays out of the process that only shares work out
        return ()
    from napari_normative.engine.device import choose_device, list_devices

    if device not in ("auto", "cuda"):
        choose_device(device)
        return ()
    found = tuple(name for name in list_devices() if name.startswith("cuda"))
    if device == "cuda" and not found:
        choose_device(device)
    return found


def _cores() -> int:
    """Return the cores that this process may use, as a scheduler allots them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _clean(folder: Path, scans: Sequence[CohortScan], bids: bool) -> None:
    """Remove what killed processes left half written."""
    if bids:
        remove_unfinished_files({scan.place(folder, bids=True).folder for scan in scans})
    else:
        remove_unfinished(folder / SCANS, {scan.name for scan in scans})


def _require_own(folder: Path, cohort: CohortScans, bids: bool) -> None:
    """Refuse a folder in which files of others would be replaced."""
    if bids and cohort.dataset is None:
        raise ClusterError(
            "CLU-010",
            "results become a BIDS dataset only where the scans are one",
            "Name the root of a BIDS dataset (with dataset_description.json), or leave --bids out.",
        )
    names = (*FILES, DESCRIPTION, "README.md") if bids else FILES
    found = [name for name in names if (folder / name).exists()]
    if found and not (folder / FOLDER).is_dir():
        raise _foreign(folder, f"it holds {found[0]}, which no run wrote")
    if bids and (folder / SCANS).is_dir():
        raise _foreign(folder, "it holds results that are no BIDS dataset")
    if not bids and is_dataset_of_results(folder):
        raise _foreign(folder, "it holds results as a BIDS dataset")


def _foreign(folder: Path, why: str) -> ClusterError:
    return ClusterError(
        "CLU-009",
        f"the output folder cannot be used: {why}",
        "Choose another output folder.",
        subject=folder.name,
    )
