"""Scans on the workers of a dask cluster: who has which, who died with which."""

from __future__ import annotations

import dataclasses
import queue
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_normative.engine.scan_work import Job, ScanResult, Terms, make_ready, process
from napari_normative.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, Future

AHEAD = 2
"""Shares that a worker has at a time: one at work and the next, so that it need not wait."""

SHARE_S, MOST_SHARED = 1.0, 16
"""A share is one scan, or, of tiny ones, as many as take so long: to be told of each costs the
scheduler ten milliseconds."""

STILLBORN = 5
"""So many workers that die before their first scan, while none does any, end a run."""

_LOOK_S = 0.5
_PATIENCE_S = 120.0
_ANSWER_S = 30.0
_FETCH_S = 10.0


@dataclass(frozen=True)
class Lost:
    """A process died.

    Attributes
    ----------
    jobs : list of Job
        What it may have been at work on. Where there is one, it was this one for certain; else
        they shall be tried alone.
    reason : str
    """

    jobs: list[Job]
    reason: str


@dataclass(eq=False)
class _Worker:
    """A process of the cluster; ``since`` it works on the first of its shares."""

    address: str
    loading: Future
    device: str = ""
    ready: bool = False
    shares: list[tuple[list[Job], Future]] = field(default_factory=list)
    since: float = 0.0


class DaskPool:
    """Gives scans to the workers of a dask cluster, and learns which died with what.

    Before its first scan a worker loads what all scans need. Then it has at most two shares, sent
    to it by name and worked on in turn. When it dies, each of its scans has a worker for itself the
    next time, so that in the end the right one is blamed. dask's own way would blame all.

    Parameters
    ----------
    client : Client
    local : bool
        The workers are on this machine and restarted by it.
    dashboard : str
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
        self._workers: dict[str, _Worker] = {}
        self._finished: queue.SimpleQueue[tuple[_Worker, Future]] = queue.SimpleQueue()
        self._looked_s = 0.0
        self._seen_s = time.monotonic()
        self._keys = self._stillborn = 0
        self._pace_s = SHARE_S

    def work(self, todo: deque[Job]) -> Iterator[tuple[Job, ScanResult] | Lost]:
        """Yield what becomes of the jobs, in the order in which they end; of lost ones just that.

        Raises
        ------
        ClusterError
            ``CLU-003`` the scheduler is lost, ``CLU-005`` a worker cannot run the program,
            ``CLU-006`` no worker of this machine lives.
        """
        while todo or any(worker.shares for worker in self._workers.values()):
            if time.monotonic() - self._looked_s > _LOOK_S:
                yield from self._look(todo)
            self._hand_out(todo)
            try:
                worker, future = self._finished.get(timeout=_LOOK_S / 2)
            except queue.Empty:
                continue
            if future is worker.loading:
                self._loaded(worker)
            elif any(future is held for _, held in worker.shares):
                yield from self._take(worker, future)

    def _hand_out(self, todo: deque[Job]) -> None:
        ready = [worker for worker in self._workers.values() if worker.ready]
        for depth in range(AHEAD):  # everybody gets one before anybody gets a second
            if depth and len(todo) < 2 * len(ready):
                return  # the last ones go to whoever is free
            for worker in ready:
                if not todo:
                    return
                alone = depth and (worker.shares[0][0][0].alone or todo[0].alone)
                if len(worker.shares) == depth and not alone:
                    self._give(worker, self._share(todo, len(ready)))

    def _share(self, todo: deque[Job], workers: int) -> list[Job]:
        """Take the next jobs for one worker; never one beside another that is to be alone."""
        jobs = [todo.popleft()]
        most = min(MOST_SHARED, int(SHARE_S / self._pace_s), len(todo) // (AHEAD * workers))
        if jobs[0].alone or jobs[0].timeout_s:  # a time limit is for one
            return jobs
        while len(jobs) < most and not todo[0].alone:
            jobs.append(todo.popleft())
        return jobs

    def _give(self, worker: _Worker, jobs: list[Job]) -> None:
        if worker.device:
            jobs = [dataclasses.replace(job, device=worker.device) for job in jobs]
        future = self._submit(worker.address, process, jobs)
        worker.since = worker.since if worker.shares else time.monotonic()
        worker.shares.append((jobs, future))
        future.add_done_callback(lambda done: self._finished.put((worker, future)))

    def _submit(self, address: str, task: Any, *arguments: Any) -> Future:
        self._keys += 1
        return self._client.submit(
            task, *arguments, key=f"scan-{self._keys}", pure=False,
            workers=[address], allow_other_workers=False,
        )  # fmt: skip

    def _loaded(self, worker: _Worker) -> None:
        """Let a worker have scans, or say why it cannot."""
        done, result = self._result(worker.loading)
        if done:
            if result:
                raise _unfit(result)
            worker.ready, self._stillborn = True, 0
            return
        self._workers.pop(worker.address, None)
        self._stillborn += 1
        if self._stillborn == STILLBORN:
            raise _unfit("it dies while it loads program and model")

    def _take(self, worker: _Worker, future: Future) -> Iterator[tuple[Job, ScanResult] | Lost]:
        done, results = self._result(future)
        if not done:
            yield self._bury(worker)
            return
        self._stillborn = 0
        jobs = next(jobs for jobs, held in worker.shares if held is future)
        worker.shares = [share for share in worker.shares if share[1] is not future]
        now = time.monotonic()
        self._pace_s += ((now - worker.since) / len(jobs) - self._pace_s) / 8
        worker.since = now
        yield from zip(jobs, results, strict=True)

    def _result(self, future: Future) -> tuple[bool, Any]:
        """Return whether a task ended, and with what; not so where its worker died."""
        if future.status == "cancelled":
            raise _scheduler_lost()
        if future.status == "error":
            error = future.exception()
            if type(error).__name__ != "KilledWorker":
                raise _unfit(f"{type(error).__name__} on the way to it")
            return False, None
        try:
            return True, future.result(timeout=_FETCH_S)
        except Exception:  # noqa: BLE001 - the worker died before it handed the result over
            return False, None

    def _bury(self, worker: _Worker) -> Lost:
        """Give up a dead worker."""
        self._workers.pop(worker.address, None)
        jobs = [job for share, _ in worker.shares for job in share]
        for _, future in worker.shares:
            future.cancel()
        worker.shares = []
        limit = jobs[0].timeout_s
        if limit and time.monotonic() - worker.since > 0.9 * limit:
            return Lost(jobs, f"it took longer than {limit:g} s")
        return Lost(jobs, "its worker died")

    def _look(self, todo: deque[Job]) -> Iterator[Lost]:
        """See which workers there are: welcome new ones, bury those that went without a word."""
        try:
            ask = self._client.scheduler.identity
            facts = self._client.sync(ask, n_workers=-1, callback_timeout=_ANSWER_S)
        except Exception as error:
            raise _scheduler_lost() from error
        self._looked_s = time.monotonic()
        present: dict[str, dict[str, Any]] = facts["workers"]
        if present:
            self._seen_s = self._looked_s
        elif self._local and self._looked_s - self._seen_s > _PATIENCE_S:
            raise no_workers()
        for worker in [w for a, w in self._workers.items() if a not in present]:
            if not worker.shares:
                del self._workers[worker.address]
            elif any(future.status == "pending" for _, future in worker.shares):
                yield self._bury(worker)
        for address in present.keys() - self._workers.keys() if todo else ():
            self._welcome(address, present[address], todo[0].terms)

    def _welcome(self, address: str, facts: dict[str, Any], terms: Terms) -> None:
        threads = self._threads or int(facts["nthreads"])
        worker = _Worker(address, self._submit(address, make_ready, terms, threads))
        if self._devices:
            worker.device = self._devices[int(facts["name"]) % len(self._devices)]
        self._workers[address] = worker
        worker.loading.add_done_callback(lambda done: self._finished.put((worker, worker.loading)))


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


def _unfit(why: str) -> ClusterError:
    return ClusterError(
        "CLU-005",
        f"a worker cannot do the work: {why.rstrip('.')}",
        "Give all workers the same environment, and one path to scans, model and output.",
        consequence="The run was stopped; what is done stays.",
    )
