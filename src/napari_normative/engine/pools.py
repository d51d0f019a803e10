"""Who works on the scans of a cohort: this process, worker processes, or a cluster."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import secrets
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from napari_normative.engine.dask_pool import DaskPool, Lost, no_workers
from napari_normative.engine.scan_work import Job, ScanResult, process
from napari_normative.errors import ClusterError

if TYPE_CHECKING:
    from distributed import LocalCluster

_KEPT_BYTES, _MAPPED_BYTES = 256 << 20, 32 << 20
_MARK = "NAPARI_NORMATIVE_RUN"
_STOP_S = 1.0
_CONNECT_S = 10
_NEEDED = ("dask", "distributed", "cryptography")


class Pool(Protocol):
    """Works on scans; its dashboard is the address of a page that shows it, or empty."""

    dashboard: str

    def work(self, todo: deque[Job]) -> Iterator[tuple[Job, ScanResult] | Lost]:
        """Yield what becomes of the jobs; more may be put in meanwhile."""


class ThisProcess:
    """Works on one scan after another, here.

    Parameters
    ----------
    begin : callable of (name)
        Told before each scan, because a death takes this process along.
    """

    dashboard = ""

    def __init__(self, begin: Callable[[str], None]) -> None:
        self._begin = begin

    def work(self, todo: deque[Job]) -> Iterator[tuple[Job, ScanResult] | Lost]:
        """Yield what becomes of the jobs."""
        while todo:
            job = todo.popleft()
            self._begin(job.name)
            yield job, process([job])[0]


@contextmanager
def local_pool(
    workers: int, *, threads: int, devices: tuple[str, ...], dashboard: bool
) -> Iterator[DaskPool]:
    """Yield worker processes on this machine; they end, at the latest, when this process does.

    They listen on the loopback device only, and only to whoever holds a key that is made for
    this run and kept in memory.

    Raises
    ------
    ClusterError
        ``CLU-001`` if distributed is not installed, ``CLU-006`` if they do not start.
    """
    distributed = _distributed(f"{workers} workers")
    import dask
    from distributed.security import Security

    quiet_end = "ignore::UserWarning:multiprocessing.resource_tracker"
    mark = secrets.token_hex(8)
    environment = {
        _MARK: mark,
        # What a killed process leaves is said by a helper process, to nobody's use.
        "PYTHONWARNINGS": ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), quiet_end))),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        # glibc keeps what a scan frees for the next: asking anew takes a thirtieth of a small one.
        "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
        "MALLOC_MMAP_THRESHOLD_": str(_MAPPED_BYTES),
        "DASK_LOGGING__DISTRIBUTED": "critical",
    }
    settings: dict[str, object] = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.scheduler.worker-ttl": None,  # a long scan is no dead worker
        "distributed.nanny.pre-spawn-environ": environment,
        # Workers watch themselves a hundred times a second, for pages that nobody opens.
        "distributed.worker.profile.enabled": False,
        "distributed.worker.memory.monitor-interval": "5s",
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
    }
    if not dashboard:  # a page that nobody asked for would show nothing
        settings |= {f"distributed.{who}.http.routes": [] for who in ("scheduler", "worker")}
    with dask.config.set(settings), _quiet(), _environment(environment):
        try:
            with _deaf_to_interrupts():
                cluster = distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    memory_limit=0,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    security=Security.temporary(),
                    silence_logs=logging.CRITICAL,
                )
                client = distributed.Client(cluster, set_as_default=False)
        except Exception as error:
            raise no_workers() from error
        link = client.dashboard_link if dashboard else ""
        try:
            yield DaskPool(client, local=True, dashboard=link, devices=devices, threads=threads)
        finally:
            _end(cluster)
            with suppress(Exception):
                client.close(timeout=_STOP_S)
            with suppress(Exception):
                cluster.close(timeout=_STOP_S)
            _end_late(mark)
            gc.collect()  # what died with a worker is reported now, while nobody listens


@contextmanager
def remote_pool(address: str) -> Iterator[DaskPool]:
    """Yield the workers of a running dask cluster.

    Raises
    ------
    ClusterError
        ``CLU-001`` if distributed is not installed, ``CLU-002`` if no scheduler answers.
    """
    distributed = _distributed("a scheduler")
    with _quiet():
        try:
            client = distributed.Client(address, set_as_default=False, timeout=_CONNECT_S)
        except (OSError, ValueError, TypeError) as error:
            raise ClusterError(
                "CLU-002",
                f"no dask scheduler answers there ({type(error).__name__})",
                "Check that it runs and its address, such as tcp://node7:8786; for tls:// the "
                "keys must be in dask's settings.",
                subject=address,
            ) from error
        try:
            yield DaskPool(client, local=False, dashboard=client.dashboard_link)
        finally:
            with suppress(Exception):
                client.close(timeout=_STOP_S)


def can_have_workers() -> bool:
    """Whether the extra ``cluster`` is installed."""
    return all(importlib.util.find_spec(name) for name in _NEEDED)


def _distributed(wanted: str) -> Any:
    if not can_have_workers():
        raise ClusterError(
            "CLU-001",
            f"{wanted} need the extra cluster, which is not installed",
            'Install it with: pip install "napari-normative[cluster]"; or take --workers 1.',
        )
    import distributed

    return distributed


def _end(cluster: LocalCluster) -> None:
    """End the worker processes at once: what is done is on disk."""
    for nanny in list(cluster.workers.values()):
        nanny.auto_restart = False
        if nanny.pid is not None:  # no process just now; to psutil that would be this one
            with suppress(psutil.Error):
                psutil.Process(nanny.pid).kill()


def _end_late(mark: str) -> None:
    """End worker processes that were being started anew when the run ended."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "--multiprocessing-fork" in child.cmdline() and child.environ().get(_MARK) == mark:
                child.kill()
                child.wait(_STOP_S)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let threads and processes that are started here never see Ctrl-C: it is for this one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own log from people: what matters is said by the run."""
    roots = ("asyncio", "distributed", "tornado")
    names = [n for n in logging.root.manager.loggerDict if n.split(".")[0] in roots]
    loggers = [logging.getLogger(name) for name in {*roots, *names}]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set variables for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
