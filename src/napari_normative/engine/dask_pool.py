"""Scans on the workers of a dask cluster: who has which, who died with which."""

from __future__ import annotations

import dataclasses
import queue
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_normative.engine.scan_work import Job, ScanResult, process
from napari_normative.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, Future

AHEAD = 2
"""Scans that a worker has at a time: one at work and the next, so that it need not wait."""

_LOOK_S = 0.5
_PATIENCE_S = 120.0
_ANSWER_S = 30.0


@dataclass(frozen=True)
class Lost:
    """The process that worked on a scan died."""

    reason: str


class DaskPool:
    """Gives scans to the workers of a dask cluster, and learns which died with what.

    A worker has at most two scans, sent to it by name and worked on in turn: when it dies, the
    first was at work. dask's own way of trying again would blame both, and others.

    Parameters
    ----------
    client : Client
    local : bool
        The workers are on this machine and restarted by it.
    devices : tuple of str
        Shared out among the workers of this machine; empty leaves the job's own.
    threads : int
        For each scan; 0 takes what the worker has.
    """

    def __init__(
        self,
        client: Client,
        *,
        local: bool,
        dashboard: str = "",
        devices: tuple[str, ...] = (),
        threads: int = 0,
    ) -> None:
        self._client, self.dashboard = client, dashboard
        self._local, self._devices, self._threads = local, devices, threads
        self._busy: dict[str, list[tuple[Job, Future]]] = {}
        self._since: dict[str, float] = {}
        self._finished: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._workers: dict[str, dict[str, Any]] = {}
        self._looked_s = 0.0
        self._seen_s = time.monotonic()
        self._count = 0

    def work(self, todo: deque[Job]) -> Iterator[tuple[Job, ScanResult | Lost]]:
        """Yield what becomes of the jobs, in the order in which they end.

        Raises
        ------
        ClusterError
            ``CLU-003`` the scheduler is lost, ``CLU-005`` a worker cannot run the program,
            ``CLU-006`` no worker of this machine lives.
        """
        while todo or self._busy:
            yield from self._look(todo)
            self._hand_out(todo)
            try:
                address, key = self._finished.get(timeout=_LOOK_S / 2)
            except queue.Empty:
                continue
            yield from self._take(address, key, todo)

    def _hand_out(self, todo: deque[Job]) -> None:
        for depth in range(AHEAD):  # everybody gets one before anybody gets a second
            if depth and len(todo) < 2 * len(self._workers):
                return  # the last ones go to whoever is free
            for address in self._workers:
                has = self._busy.get(address, [])
                if not todo:
                    return
                if len(has) != depth or (has and (has[0][0].alone or todo[0].alone)):
                    continue
                self._send(address, todo.popleft())

    def _send(self, address: str, job: Job) -> None:
        worker = self._workers[address]
        threads = self._threads or int(worker["nthreads"])
        job = dataclasses.replace(job, threads=threads)
        if self._devices:
            device = self._devices[int(worker["name"]) % len(self._devices)]
            job = dataclasses.replace(job, device=device)
        self._count += 1
        future = self._client.submit(
            process, job, key=f"scan-{self._count}", pure=False, retries=0,
            workers=[address], allow_other_workers=False,
        )  # fmt: skip
        if not self._busy.setdefault(address, []):
            self._since[address] = time.monotonic()
        self._busy[address].append((job, future))
        future.add_done_callback(lambda done: self._finished.put((address, done.key)))

    def _take(
        self, address: str, key: str, todo: deque[Job]
    ) -> Iterator[tuple[Job, ScanResult | Lost]]:
        held = self._busy.get(address, [])
        found = next((pair for pair in held if pair[1].key == key), None)
        if found is None:
            return  # its worker died and it was given to another
        job, future = found
        if future.status == "finished":
            try:
                result = future.result(timeout=10)
            except Exception:  # noqa: BLE001 - the worker died before it handed the result over
                yield from self._bury(address, todo)
                return
            held.remove(found)
            self._since[address] = time.monotonic()
            if not held:
                del self._busy[address]
            yield job, result
        elif future.status == "error":
            error = future.exception()
            if type(error).__name__ != "KilledWorker":
                raise unfit(type(error).__name__)
            yield from self._bury(address, todo)
        elif future.status == "cancelled":
            raise _scheduler_lost()
        else:  # the worker died with the result
            yield from self._bury(address, todo)

    def _bury(self, address: str, todo: deque[Job]) -> Iterator[tuple[Job, ScanResult | Lost]]:
        """Give up a dead worker: the scan at work is lost, the next one waits again, alone."""
        held = self._busy.pop(address)
        self._workers.pop(address, None)
        for _, future in held:
            future.cancel()
        for job, _ in held[1:]:
            todo.appendleft(dataclasses.replace(job, alone=True))
        job = held[0][0]
        elapsed = time.monotonic() - self._since[address]
        if job.timeout_s and elapsed > 0.9 * job.timeout_s:
            yield job, Lost(f"it took longer than {job.timeout_s:g} s")
        else:
            yield job, Lost("its worker died")

    def _look(self, todo: deque[Job]) -> Iterator[tuple[Job, ScanResult | Lost]]:
        """See which workers there are; bury those that went without a word."""
        now = time.monotonic()
        if now - self._looked_s < _LOOK_S:
            return
        self._looked_s = now
        try:
            ask = self._client.scheduler.identity
            facts = self._client.sync(ask, n_workers=-1, callback_timeout=_ANSWER_S)
        except Exception as error:
            raise _scheduler_lost() from error
        self._workers = dict(facts["workers"])
        if self._workers:
            self._seen_s = now
        elif self._local and now - self._seen_s > _PATIENCE_S:
            raise no_workers()
        for address in [a for a in self._busy if a not in self._workers]:
            if any(f.status == "pending" for _, f in self._busy[address]):
                yield from self._bury(address, todo)


def no_workers() -> ClusterError:
    """Return the error for a machine on which no worker process lives."""
    return ClusterError(
        "CLU-006",
        "no worker process lives on this machine",
        "Check memory and the limit of processes, or take --workers 1.",
        consequence="The run was stopped; what is done stays.",
    )


def _scheduler_lost() -> ClusterError:
    return ClusterError(
        "CLU-003",
        "the dask scheduler is lost",
        "Start it again and give the same command: only what is missing is done.",
        consequence="The run was stopped; what is done stays.",
    )


def unfit(why: str) -> ClusterError:
    """Return the error for a worker that cannot run this program."""
    return ClusterError(
        "CLU-005",
        f"a worker cannot do the work: {why.rstrip('.')}",
        "Give all workers the same environment, and a path to scans, model and output.",
        consequence="The run was stopped; what is done stays.",
    )
