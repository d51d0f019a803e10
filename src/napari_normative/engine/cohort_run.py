"""The scans of one run over a cohort: what is missing, and what becomes of each."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_normative.engine.cohort_report import REPORT, write_tables
from napari_normative.engine.cohort_scans import CohortScan, CohortScans
from napari_normative.engine.dask_pool import Lost
from napari_normative.engine.manifest import Manifest, ManifestWriter, guard
from napari_normative.engine.pools import Pool
from napari_normative.engine.scan_work import Job, ScanResult, Terms, identity_in
from napari_normative.errors import ClusterError
from napari_normative.io.digest import file_stamp

IN_A_ROW = 10
"""So many failures for reasons outside the scans, one after another, end a run."""

TRIED = ("refused", "quarantined")
"""States that are tried again only when asked."""


@dataclass(frozen=True)
class Plan:
    """What a run is about to do.

    Attributes
    ----------
    scans : int
        Of this shard.
    kept : int
        Whose results are there.
    left_out : tuple of (name, sentence)
        Refused or quarantined before, and not tried again.
    to_do : int
    workers : int
        Processes of this machine; 0 for a cluster.
    dashboard : str
        Address of the page that shows the workers; empty where there is none.
    """

    scans: int
    kept: int
    left_out: tuple[tuple[str, str], ...]
    to_do: int
    workers: int = 1
    dashboard: str = ""


@dataclass(frozen=True)
class ScanOutcome:
    """What became of one scan.

    Attributes
    ----------
    scan : CohortScan
    state : str
        ``done``, ``refused``, ``quarantined`` or ``failed``.
    folder : Path
        Of its results.
    reason : str
        The sentence, where there are none.
    anew : str
        Why earlier results were replaced; empty where there were none.
    computed : bool
        False where its results turned out to be there.
    figures : mapping
    """

    scan: CohortScan
    state: str
    folder: Path
    reason: str = ""
    anew: str = ""
    computed: bool = True
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """How a run ended; ``states`` counts all scans of the cohort, over all shards."""

    seconds: float
    computed: int
    lost: int
    states: dict[str, int]
    report: Path


class Run:
    """The scans of one run, and what becomes of them.

    Parameters
    ----------
    folder : Path
        Of the results.
    terms : Terms
    writer : ManifestWriter
    scans : sequence of CohortScan
    bids : bool
    device : str
    retries : int
    timeout_s : float
        As for :func:`~napari_normative.engine.cluster.run_cohort`.
    """

    def __init__(
        self,
        folder: Path,
        terms: Terms,
        writer: ManifestWriter,
        scans: Sequence[CohortScan],
        *,
        bids: bool,
        device: str,
        retries: int,
        timeout_s: float,
    ) -> None:
        self.folder, self.terms, self.writer = folder, terms, writer
        self.todo: deque[Job] = deque()
        self._scans = {scan.name: scan for scan in scans}
        self._bids, self._device = bids, device
        self._retries, self._timeout_s = retries, timeout_s
        self._lost: Counter[str] = Counter()
        self._outcomes: list[ScanOutcome] = []
        self._now = ""
        self._salt = secrets.token_bytes(16)
        self._start = time.monotonic()
        self._computed = self._deaths = 0

    def plan(self, known: Manifest, retry_failed: bool) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Find out what is missing; return how many are kept, and who is left out."""
        kept, left_out = 0, []
        absolute = Path.cwd()
        for name, scan in self._scans.items():
            entry, place = known.entry(name), scan.place(absolute / self.folder, bids=self._bids)
            terms = self.terms.told(scan.known)
            same = entry.terms == terms.digest and entry.stamp == file_stamp(Path(scan.path))
            if same and entry.state == "done":
                if identity_in(place.record()) == terms.identity(entry.scan):
                    kept += 1
                    continue
            elif same and entry.state in TRIED and not retry_failed:
                left_out.append((name, str(known.figures(name).get("reason", ""))))
                continue
            self._lost[name] = entry.lost + entry.open
            job = Job(
                name, str(absolute / scan.path), place, terms, self._device,
                timeout_s=self._timeout_s, alone=entry.open,
            )  # fmt: skip
            if self._lost[name] > self._retries:
                self._outcomes.append(self._quarantine(job, "its worker died"))
            else:
                self.todo.append(job)
        return kept, tuple(left_out)

    def outcomes(self, pool: Pool) -> Iterator[ScanOutcome]:
        """Let the pool work, write down what becomes of the scans, and yield it."""
        yield from self._outcomes
        in_a_row = 0
        for got in pool.work(self.todo):
            self._now = ""
            if isinstance(got, Lost):
                yield from self._lose(got)
                continue
            outcome = self._end(*got)
            yield outcome
            in_a_row = in_a_row + 1 if outcome.state == "failed" else 0
            if in_a_row == IN_A_ROW:
                raise ClusterError(
                    "CLU-008",
                    f"{IN_A_ROW} scans in a row failed, not by their own fault",
                    "Mend what the last line says, then give the same command again.",
                    consequence="The run was stopped; what is done stays.",
                )

    def _lose(self, got: Lost) -> Iterator[ScanOutcome]:
        """Blame a scan whose worker died; where it may have been another, try each alone."""
        self._deaths += 1
        if len(got.jobs) > 1:
            self.writer.add("lost", among=[job.name for job in got.jobs], reason=got.reason)
            self.todo.extendleft(replace(job, alone=True) for job in got.jobs)
            return
        (job,) = got.jobs
        self._lost[job.name] += 1
        self.writer.add("lost", scan=job.name, reason=got.reason)
        if self._lost[job.name] > self._retries:
            yield self._quarantine(job, got.reason)
        else:
            self.todo.append(replace(job, alone=True))

    def begin(self, name: str) -> None:
        """Write down that this process begins with a scan: its death would say nothing."""
        self._now = name
        self.writer.add("begun", scan=name)

    def stop(self) -> None:
        """Write down that a scan was given up on purpose."""
        if self._now:
            self.writer.add("stopped", scan=self._now)

    def finish(self, cohort: CohortScans) -> Summary:
        """Write the last event, the tables and the report."""
        seconds = round(time.monotonic() - self._start, 3)
        self.writer.add("end", seconds=seconds, computed=self._computed, lost=self._deaths)
        with guard(self.folder):
            states = write_tables(
                self.folder, cohort, self.terms, Manifest(self.folder), self._bids
            )
        return Summary(seconds, self._computed, self._deaths, states, self.folder / REPORT)

    def _end(self, job: Job, got: ScanResult) -> ScanOutcome:
        state = "done" if got.state == "found" else got.state
        code = hashlib.sha256(self._salt + got.host.encode()).hexdigest()[:6]
        facts: dict[str, Any] = {"stamp": got.stamp, "terms": job.terms.digest}
        if state == "done":
            facts |= {"digest": got.digest, "figures": dict(got.figures), "anew": got.anew}
            facts |= {"computed": got.state == "done", "host": f"host-{code}"}
            self._computed += got.state == "done"
        else:
            facts["reason"] = got.reason
        self.writer.add(state, scan=job.name, **facts)
        return ScanOutcome(
            self._scans[job.name], state, job.place.folder, got.reason, got.anew,
            got.state == "done", dict(got.figures),
        )  # fmt: skip

    def _quarantine(self, job: Job, last: str) -> ScanOutcome:
        error = ClusterError(
            "CLU-007",
            f"it ended {self._lost[job.name]} attempts, the last because {last}",
            "Look at the file (size, content); --retry-failed tries it again.",
            consequence="The scan was not scored and is set aside.",
            subject=Path(job.path).name,
        )
        stamp = file_stamp(Path(job.path))
        self.writer.add(
            "quarantined", scan=job.name, reason=str(error), stamp=stamp, terms=job.terms.digest
        )
        return ScanOutcome(self._scans[job.name], "quarantined", job.place.folder, str(error))
