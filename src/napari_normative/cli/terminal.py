"""What the command line shows: progress on stderr, results on stdout."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.progress import TrainProgress
    from napari_normative.volume import Volume

MOST_ROWS = 6
"""Longer tables in a card are cut to their last row."""

LOG_EVERY_S = 30.0
"""How often a long training writes a line where there is no terminal for a bar."""


PIPE_S = 0.05
"""How long a line through a pipe may take to come back to the terminal."""


class ReaderGoneError(Exception):
    """Whoever read the output has stopped, as ``| head`` does."""


def say(text: str, *, err: bool = False) -> None:
    """Print a line; every line that a command prints goes through here.

    Raises
    ------
    ReaderGoneError
        If nobody reads standard output any more; nothing more is printed then.
    """
    try:
        typer.echo(text, err=err)
        (sys.stderr if err else sys.stdout).flush()
    except BrokenPipeError as error:
        # What is still in the buffer would complain again when Python ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, (sys.stderr if err else sys.stdout).fileno())
        os.close(nowhere)
        raise ReaderGoneError from error


class Bar:
    """A progress bar on stderr; silent when quiet or when stderr is not a terminal.

    Of several things the first line counts them and says how long the rest will take, and the
    second follows the one at hand.

    Parameters
    ----------
    quiet : bool
    total : int or None
        Number of things that are worked through one after another; None if nobody knows yet.
    as_json : bool
        A training reports as JSON, one object a line.
    """

    def __init__(self, quiet: bool, total: int | None = 1, *, as_json: bool = False) -> None:
        self._quiet = quiet
        console = Console(stderr=True)
        self._shown = not quiet and console.is_terminal and not as_json
        self._as_json = as_json
        # stdout is not redirected through the bar: it may be a file or a pipe.
        self._bar = Progress(
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", max_width=22),
            ),
            BarColumn(bar_width=20),
            _Done(),
            TimeElapsedColumn(),
            _Left(),
            TextColumn(
                "{task.fields[note]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            expand=True,
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._shown,
            speed_estimate_period=600,  # one scan takes seconds to minutes
        )
        self._many = total != 1
        self._all = None
        if self._many:
            self._all = self._bar.add_task(
                "all scans", total=total, note="", many=True, left_s=None
            )
        self._task = self._bar.add_task("starting", total=1.0, note="", many=False, left_s=None)
        self._logged_s = 0.0
        self._stage = ""
        self._running = False

    def __enter__(self) -> Self:
        self._running = True
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running = False
        self._bar.stop()

    def begin(self, name: str) -> None:
        """Name the thing that is worked on now."""
        if self._many:
            self._bar.reset(self._task, total=1.0)
        self._bar.update(self._task, description=name, completed=0.0, note="")

    def step(self, stage: str, fraction: float) -> None:
        """Show how far the present thing has come (0 to 1), and with what."""
        self._bar.update(self._task, completed=fraction, note=stage)

    def end(self) -> None:
        """Count the present thing as done."""
        if self._all is not None:
            self._bar.advance(self._all)
        self._bar.update(self._task, completed=1.0, note="")

    def train(self, state: TrainProgress) -> None:
        """Show the state of a training; without a terminal write a line now and then."""
        note = state.describe()
        left, short = state.seconds_left, replace(state, seconds_left=None).describe()
        self._bar.update(
            self._task, description=state.stage, completed=state.fraction, note=short, left_s=left
        )
        if self._shown or self._quiet:
            return
        now = time.monotonic()
        if state.stage != self._stage or now - self._logged_s >= LOG_EVERY_S:
            self._stage, self._logged_s = state.stage, now
            say(_training_json(state) if self._as_json else _training_line(state, note), err=True)

    def tally(self, done: int, total: int, note: str) -> None:
        """Show how many of many things are done; without a terminal say it now and then."""
        self._bar.update(
            self._task, description=f"{done:,}/{total:,}", completed=done / total, note=note
        )
        now = time.monotonic()
        self._logged_s = self._logged_s or now
        if not (self._shown or self._quiet) and now - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now
            typer.echo(f"{done:,} of {total:,} {note}", err=True)

    def echo(self, text: str, *, err: bool = False) -> None:
        """Print a line without breaking the bar."""
        if not (self._running and self._shown):
            say(text, err=err)
        elif err or sys.stdout.isatty():
            self._bar.console.out(text, highlight=False)  # above the bar, on the same terminal
        elif _is_pipe(sys.stdout):
            self._bar.stop()  # the program behind it may write to this terminal
            say(text, err=err)
            time.sleep(PIPE_S)
            self._bar.live = Live(
                console=self._bar.console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                get_renderable=self._bar.get_renderable,
            )
            self._bar.start()
        else:
            say(text, err=err)


def _is_pipe(stream: IO[str]) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # no file of the system
        return False


class _Done(TaskProgressColumn):
    """Counts things where there are several, else per cent."""

    def render(self, task: Task) -> Text:
        if not task.fields["many"]:
            return super().render(task)
        total = "?" if task.total is None else f"{task.total:.0f}"
        return Text(f"{task.completed:.0f}/{total}", style="progress.percentage")


class _Left(TimeRemainingColumn):
    """Says how long all things, or a training that knows it, will take yet."""

    def render(self, task: Task) -> Text:
        if (left_s := task.fields["left_s"]) is not None:
            minutes, seconds = divmod(round(left_s), 60)
            return Text(f"{minutes}:{seconds:02d} left", style="progress.remaining")
        if not task.fields["many"] or task.total is None or task.time_remaining is None:
            return Text("")
        return Text.assemble(super().render(task), " left")


def _training_line(state: TrainProgress, note: str) -> str:
    return f"{state.stage} {100 * state.fraction:.0f} % {note}".rstrip()


def _training_json(state: TrainProgress) -> str:
    from napari_normative.io.tables import json_line

    point = state.point.model_dump(mode="json") if state.point is not None else None
    return json_line(
        {
            "stage": state.stage,
            "fraction": round(state.fraction, 4),
            "message": state.message,
            "point": point,
            "seconds_left": state.seconds_left,
            "left_out": state.left_out or None,
        }
    )


def describe_detection(scan: Path, folder: Path, found: Detection) -> str:
    """Return the few lines a person reads after a detection."""
    count = len(found.candidates)
    lines = [
        f"{scan.name} -> {folder}",
        f"  scan score {found.scan_score:.2f} (p {found.scan_p:.3g}), "
        f"{count} candidate{'' if count == 1 else 's'} above |z| {found.threshold_z:.2f}",
    ]
    for c in found.candidates[:3]:
        lines.append(
            f"  {c.rank}. {c.volume_mm3 / 1000:.1f} ml {'brighter' if c.sign > 0 else 'darker'}, "
            f"peak z {c.peak_z:.1f}, p {c.p:.3g}, {found.place_of(c)} of the middle"
        )
    lines.extend(f"  warning: {text}" for text in found.warnings)
    return "\n".join(lines)


def detection_facts(scan: Path, folder: Path, found: Detection) -> dict[str, object]:
    """Return the figures of a detection; JSON-ready."""
    return {
        "scan": scan.name,
        "folder": str(folder),
        **found.summary(),
        "warnings": list(found.warnings),
    }


def volume_facts(volume: Volume, volumes: int = 1) -> dict[str, object]:
    """Return what ``inspect`` says of a scan; JSON-ready.

    Parameters
    ----------
    volume : Volume
    volumes : int
        How many volumes the file holds (4D).
    """
    low, high = volume.corners_mm().min(axis=0), volume.corners_mm().max(axis=0)
    return {
        "kind": "labels" if volume.source.is_label else "image",
        "shape": list(volume.shape),
        "volumes": volumes,
        "spacing_mm": [round(s, 4) for s in volume.spacing_mm],
        "orientation": volume.orientation,
        "tilt_deg": round(volume.tilt_deg, 2),
        "world_box_mm": [
            [round(float(a), 1), round(float(b), 1)] for a, b in zip(low, high, strict=True)
        ],
        "value_range": [float(volume.data.min()), float(volume.data.max())],
        "sha256": volume.source.digest,
        "warnings": list(volume.source.warnings),
    }


SIZES = ("shape", "spacing_mm")
"""Facts that are lengths along three axes."""


def describe_facts(name: str, facts: Mapping[str, object]) -> str:
    """Return facts as aligned lines under a name; what lies deeper is named by a path."""
    lines = [name]
    for key, value in _flat(facts):
        lines.extend(f"  {key:<28} {text}" for text in _values(key, value))
    return "\n".join(lines)


def _flat(facts: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            shown = value if len(value) <= MOST_ROWS else value[-1:]  # of curves the newest point
            for number, row in enumerate(shown, start=len(value) - len(shown) + 1):
                yield from _flat(row, f"{prefix}{key}.{number}.")
        else:
            yield prefix + key, value


def _values(key: str, value: object) -> list[str]:
    if not isinstance(value, list):
        return [_short(value)]
    if key.endswith(("warnings", "comparison")):
        return [str(text) for text in value]
    between = " to " if key.endswith("range") else " x " if key.endswith(SIZES) else ", "
    return [between.join(map(_short, value)) if value else "none"]


def _short(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(map(_short, value))
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return "-" if value is None else str(value)
