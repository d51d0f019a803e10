"""What a worker does with one scan of a cohort: exactly once, whole or not at all."""

from __future__ import annotations

import dataclasses
import faulthandler
import functools
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_normative import __version__
from napari_normative.core.condition import Value
from napari_normative.engine.result_place import ResultPlace
from napari_normative.errors import DeviceError, ModelFileError, NormativeError, OutputError
from napari_normative.io.digest import file_digest, file_stamp
from napari_normative.io.nifti import read_volume
from napari_normative.io.transforms import Trust

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel

State = Literal["done", "found", "refused", "failed"]
"""``found``: done before; ``failed``: for a reason outside the scan."""

FIGURES = (
    "scan_score", "scan_p", "candidates", "candidates_ml", "strongest_peak_z", "foreground_ml",
    "latent_distance", "reconstruction_error",
)  # fmt: skip
"""What a table says of a scan, taken from its record."""


@dataclass(frozen=True)
class Terms:
    """What all scans of a run are compared with, and how.

    Attributes
    ----------
    model : str
        Name or absolute path.
    model_digest : str
    trust, any_size, samples, seed, force, local_volume, report
        As for :func:`~napari_normative.engine.batch.detect_scans`.
    software : str
        Version of the program.
    known : tuple of (name, value)
        What the model is told of one scan's person; see :meth:`told`.
    """

    model: str
    model_digest: str
    trust: Trust | None = None
    any_size: bool = False
    samples: int = 0
    seed: int = 0
    force: bool = False
    local_volume: bool = False
    report: bool = False
    software: str = __version__
    known: tuple[tuple[str, Value], ...] = ()

    def told(self, known: tuple[tuple[str, Value], ...]) -> Terms:
        """Return the terms of a scan of whose person something is known."""
        return dataclasses.replace(self, known=known) if known else self

    @property
    def options(self) -> dict[str, Any]:
        """The options alone; JSON-ready."""
        left = ("model", "model_digest", "software", "known")
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in left}

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of model, options, version and what the model is told."""
        known = [list(self.known)] if self.known else []
        text = json.dumps([self.model_digest, self.software, self.options, *known], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def identity(self, scan_digest: str) -> str:
        """Return what a result is known by: scan, model, options and version."""
        return hashlib.sha256(f"{scan_digest}:{self.digest}".encode()).hexdigest()


@dataclass(frozen=True)
class Job:
    """One scan to be worked on.

    Attributes
    ----------
    name, path : str
    place : ResultPlace
    terms : Terms
    device : str
    timeout_s : float
        After this time the process ends itself; 0 never.
    alone : bool
        It is to have a worker for itself, because one died that may have been at work on it.
    """

    name: str
    path: str
    place: ResultPlace
    terms: Terms
    device: str = "auto"
    timeout_s: float = 0.0
    alone: bool = False


@dataclass(frozen=True)
class ScanResult:
    """What became of a scan in a worker.

    Attributes
    ----------
    state : State
    reason : str
        The sentence, where there is no result.
    digest : str
        Of the scan.
    stamp : list of int or None
        Of the file before it was read.
    figures : mapping
        ``FIGURES``, ``warnings`` and ``seconds``.
    anew : str
        Why earlier results were replaced; empty where there were none.
    host : str
        Name of the machine; not for a file.
    pid : int
    """

    state: State
    reason: str = ""
    digest: str = ""
    stamp: list[int] | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    anew: str = ""
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


_ONE_AT_A_TIME = threading.Lock()


def make_ready(terms: Terms, threads: int) -> str:
    """Load what every scan needs, so that it is on no scan's account; return what is amiss.

    Parameters
    ----------
    terms : Terms
    threads : int
        For the network. Resampling keeps its own number, on which the last digits depend: results
        do not depend on the number of workers.
    """
    if terms.software != __version__:
        return f"the worker has version {__version__}, the run {terms.software}"
    import torch

    torch.set_num_threads(threads)
    try:
        model_of(terms.model, terms.model_digest)
    except NormativeError as error:
        return str(error)
    return ""


def process(jobs: Sequence[Job]) -> list[ScanResult]:
    """Compare scans with the model unless their results are there; never raises for a scan."""
    with _ONE_AT_A_TIME:
        return [_process(job) for job in jobs]


def _process(job: Job) -> ScanResult:
    model = model_of(job.terms.model, job.terms.model_digest)
    stamp = file_stamp(Path(job.path))
    try:
        with _time_limit(job.timeout_s):
            result = _work(job, model)
    except (OutputError, DeviceError, MemoryError) as error:
        result = ScanResult("failed", sentence(error, job.name))
    except Exception as error:  # noqa: BLE001 - one bad scan must not stop the others
        result = ScanResult("refused", sentence(error, job.name))
    return dataclasses.replace(result, stamp=stamp)


@functools.lru_cache(maxsize=1)
def model_of(model: str, digest: str) -> NormativeModel:
    """Return the run's model, loaded once in a process.

    Raises
    ------
    ModelFileError
        ``MOD-024`` if it is another than the run began with.
    """
    from napari_normative.engine.model import load_model

    found = load_model(model)
    if found.digest != digest:
        raise ModelFileError(
            "MOD-024",
            "the model is another than the one that the run began with",
            "Use the same file everywhere, and let it be while a run is at work.",
            subject=Path(model).name,
        )
    return found


def figures_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table says of a scan, from the record of its results."""
    found = {name: record.get(name) for name in FIGURES}
    seconds = record.get("seconds", {}).get("total")
    return {**found, "warnings": list(record.get("warnings", ())), "seconds": seconds}


def identity_in(record: Mapping[str, Any] | None) -> str:
    """Return the identity that a record names; empty where it names none."""
    named = (record or {}).get("cohort")
    return str(named.get("identity", "")) if isinstance(named, dict) else ""


def sentence(error: BaseException, name: str) -> str:
    """Return one line about a failure, without folders."""
    if isinstance(error, NormativeError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{name}: memory did not suffice. Nothing was kept. Use fewer workers."
    what = f" ({error.strerror})" if isinstance(error, OSError) else ""
    return (
        f"[BUG-000] {name}: unexpected {type(error).__name__}{what}. This is a defect: please "
        "report it with the output of napari-normative --debug detect ..."
    )


def _work(job: Job, model: NormativeModel) -> ScanResult:
    start = time.perf_counter()
    before = job.place.record()
    if before is not None:
        digest = file_digest(Path(job.path))
        if identity_in(before) == job.terms.identity(digest):
            return ScanResult("found", digest=digest, figures=figures_of(before))
    terms = job.terms
    with job.place.writing() as save:
        scan = read_volume(job.path, trust=terms.trust, any_size=terms.any_size)
        found = model.given(dict(terms.known)).detect(
            scan,
            device=job.device,
            samples=terms.samples,
            seed=terms.seed,
            force=terms.force,
            local_volume=terms.local_volume,
        )
        digest = scan.source.digest
        named = {"identity": terms.identity(digest), "terms": terms.digest, **terms.options}
        found = dataclasses.replace(found, provenance={**found.provenance, "cohort": named})
        save(found, model.card if terms.report else None)
    figures = {**figures_of(found.record()), "seconds": round(time.perf_counter() - start, 3)}
    anew = "" if before is None else _difference(before, found.record())
    return ScanResult("done", digest=digest, figures=figures, anew=anew)


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return why results were replaced."""
    for key, text in (("scan", "scan"), ("model", "model")):
        if before.get(key, {}).get("sha256") != now[key]["sha256"]:
            return f"another {text}"
    return "another version" if before.get("software") != now["software"] else "other options"


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End this process when the time is over, even if compiled code holds it."""
    if not seconds:
        yield
        return
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
