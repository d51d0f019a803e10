"""What the command line shows: progress on stderr, results on stdout."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection
    from napari_normative.engine.progress import TrainProgress
    from napari_normative.volume import Volume

MOST_ROWS = 6
"""Longer tables in a card are cut to their last row."""

LOG_EVERY_S = 30.0
"""How often a long training writes a line where there is no terminal for a bar."""


class Bar:
    """A progress bar on stderr; silent when quiet or when stderr is not a terminal.

    Parameters
    ----------
    quiet : bool
    total : int
        Number of things that are worked through one after another.
    """

    def __init__(self, quiet: bool, total: int = 1) -> None:
        self._quiet = quiet
        console = Console(stderr=True)
        self._shown = not quiet and console.is_terminal
        # stdout is not redirected through the bar: it may be a file or a pipe.
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._shown,
        )
        self._total = total
        self._done = 0
        self._task = self._bar.add_task("starting", total=float(total), note="")
        self._name = ""
        self._logged_s = 0.0
        self._stage = ("", False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, name: str) -> None:
        """Name the thing that is worked on now."""
        self._name = name if self._total == 1 else f"{self._done + 1}/{self._total} {name}"
        self._bar.update(self._task, description=self._name, note="")

    def step(self, stage: str, fraction: float) -> None:
        """Show how far the present thing has come (0 to 1), and with what."""
        self._bar.update(self._task, completed=self._done + fraction, note=stage)

    def end(self) -> None:
        """Count the present thing as done."""
        self._done += 1
        self._bar.update(self._task, completed=self._done, note="")

    def train(self, state: TrainProgress) -> None:
        """Show the state of a training; without a terminal write a line now and then."""
        note = state.describe()
        self._bar.update(self._task, description=state.stage, completed=state.fraction, note=note)
        if self._shown or self._quiet:
            return
        now = time.monotonic()
        # The first figures of a stage are worth a line; so is every scan that is left out.
        stage = (state.stage, state.point is not None)
        if stage != self._stage or state.left_out or now - self._logged_s >= LOG_EVERY_S:
            self._stage, self._logged_s = stage, now
            typer.echo(f"{state.stage} {100 * state.fraction:.0f} % {note}".rstrip(), err=True)

    def echo(self, text: str, *, err: bool = False) -> None:
        """Print a line without breaking the bar."""
        self._bar.stop()
        typer.echo(text, err=err)
        self._bar.start()


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
