"""The command ``cohort``: thousands of scans, done once each, resumed where it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_normative.cli.common import (
    NOTICE,
    DeviceOption,
    JsonOption,
    ModelOption,
    Printer,
    QuietOption,
    SeedOption,
    SizeOption,
    TrustOption,
    guarded,
)
from napari_normative.cli.terminal import Bar

if TYPE_CHECKING:
    from napari_normative.engine.cluster import Plan, ScanOutcome, Summary

MOST_NAMED = 20
"""Scans that are left out and named; all are in the table."""


@guarded(kept="What is done is kept; the same command goes on.")
def cohort(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="Folder, quoted pattern, table (.tsv: path, subject, site), or BIDS dataset.",
            metavar="SCANS",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for results, manifest, table and report.")],
    model: ModelOption = "brain-t1",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes here; one a GPU, or one a core, unless given."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="A running dask cluster, such as tcp://node7:8786.", metavar="ADDRESS"),
    ] = None,
    shard: Annotated[
        str, typer.Option(help="Do the I-th of N disjoint parts, for job arrays.", metavar="I/N")
    ] = "1/1",
    bids: Annotated[
        bool, typer.Option("--bids", help="Write a BIDS derivatives dataset (of a BIDS dataset).")
    ] = False,
    suffix: Annotated[str, typer.Option(help="Which images of a BIDS dataset.")] = "T1w",
    device: DeviceOption = "auto",
    retries: Annotated[
        int, typer.Option(min=0, help="Tries of a scan after its worker died; then set aside.")
    ] = 2,
    timeout: Annotated[
        float, typer.Option(min=0.0, help="Seconds for one scan; 0 for no limit.")
    ] = 0.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try scans again that were refused or set aside.")
    ] = False,
    trust: TrustOption = None,
    any_size: SizeOption = False,
    samples: Annotated[
        int, typer.Option(min=0, help="Synthetic samples to draw on each scan's grid.")
    ] = 0,
    seed: SeedOption = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Score scans of another contrast than the model's too.")
    ] = False,
    local_volume: Annotated[
        bool,
        typer.Option("--local-volume", help="Map where there is more or less room than expected."),
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Write a report for each scan too.")
    ] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show the workers on a page of this machine.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare a cohort with a normative model, on all cores, GPUs or a cluster.

    Each scan gets a folder OUT/scans/NAME/ as detect writes it, or files named as in BIDS. The
    same command again does only what is missing or changed. OUT gets cohort.tsv (a row a scan),
    cohort.html (the report) and manifest/ (what became of every scan).
    """
    from napari_normative.engine.cluster import Shard, run_cohort

    part = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard)
    if part is None or not 1 <= int(part[1]) <= int(part[2]):
        raise typer.BadParameter(f"--shard is I/N with I from 1 to N, not {shard!r}")
    if scheduler is not None and (workers is not None or dashboard):
        raise typer.BadParameter("--workers and --dashboard do not go with --scheduler")
    with Bar(quiet) as bar, _ended_like_ctrl_c():
        printer = Printer(context, quiet=quiet, as_json=as_json, bar=bar)
        teller = _Teller(bar, printer)
        outcomes = run_cohort(
            model,
            source,
            out,
            workers=workers,
            scheduler=scheduler,
            shard=Shard(int(part[1]), int(part[2])),
            bids=bids,
            suffix=suffix,
            device=device,
            retries=retries,
            timeout_s=timeout,
            retry_failed=retry_failed,
            dashboard=dashboard,
            planned=teller.planned,
            ended=teller.ended,
            trust=trust,
            any_size=any_size,
            samples=samples,
            seed=seed,
            force=force,
            local_volume=local_volume,
            report=report,
        )
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                teller.outcome(outcome)
    if teller.bad:
        raise typer.Exit(1)


class _Teller:
    """Says what a run tells it."""

    def __init__(self, bar: Bar, printer: Printer) -> None:
        self._bar, self._printer = bar, printer
        self._plan: Plan | None = None
        self._start = time.monotonic()
        self._done = self._left_out = 0

    @property
    def bad(self) -> int:
        """Scans that have no results, now or from before."""
        return self._left_out + self._printer.failed

    def planned(self, plan: Plan) -> None:
        """Say what is about to be done, and which scans are left out."""
        self._plan, self._start = plan, time.monotonic()
        self._left_out = len(plan.left_out)
        for name, reason in plan.left_out[:MOST_NAMED]:
            self._bar.echo(f"{name}: left out as before: {reason}", err=True)
        if len(plan.left_out) > MOST_NAMED:
            more = len(plan.left_out) - MOST_NAMED
            self._bar.echo(f"{more:,} more are left out as before; see cohort.tsv", err=True)
        who = f"{plan.workers} process{'' if plan.workers == 1 else 'es'}"
        parts = [f"{plan.scans:,} scans", f"{plan.kept:,} done before", f"{plan.to_do:,} to do"]
        self._printer.note(f"{', '.join(parts)}; {who if plan.workers else 'a cluster'}")
        if plan.dashboard:
            self._printer.note(f"dashboard: {plan.dashboard}")

    def outcome(self, outcome: ScanOutcome) -> None:
        """Say what became of a scan."""
        assert self._plan is not None
        self._done += 1
        facts = _facts(outcome)
        if outcome.state != "done":
            self._printer.failure(outcome.reason, **facts)
        else:
            anew = f"{outcome.scan.name}: done anew, {outcome.anew}" if outcome.anew else ""
            self._printer.result(facts, anew)
        passed = time.monotonic() - self._start
        left = passed / self._done * (self._plan.to_do - self._done)
        note = f"{3600 * self._done / passed:,.0f} an hour, {left / 60:.0f} min left"
        self._bar.tally(self._done, self._plan.to_do, f"{note}, {self.bad} without results")

    def ended(self, summary: Summary) -> None:
        """Say how the run ended."""
        states = ", ".join(f"{count:,} {state}" for state, count in summary.states.items())
        facts = {"summary": True, **dataclasses.asdict(summary), "report": str(summary.report)}
        self._printer.result(
            {**facts, "notice": NOTICE},
            f"{states}; {summary.computed:,} computed in {summary.seconds:,.0f} s\n"
            f"{summary.report}: the report. {NOTICE}",
        )


def _facts(outcome: ScanOutcome) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "scan": outcome.scan.name,
        "subject": outcome.scan.subject,
        "state": outcome.state,
    }
    if outcome.state != "done":
        return facts
    more = {"folder": str(outcome.folder), "computed": outcome.computed, "anew": outcome.anew}
    return {**facts, **more, **outcome.figures}


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let the end that a job scheduler orders (SIGTERM) be as clean as Ctrl-C."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
