"""Trainings that outlive the window: started, watched, stopped and found again by their folder.

A training is its work folder. Everything a watcher needs is in small files there, each
replaced as a whole: ``order.json`` (what was asked for), ``process.json`` (who works on it),
``status.json`` (how far it is), ``montage.png`` (what it makes of people it does not see),
``log.txt``; a file ``stop`` asks it to save and end. See ``training_process`` for the writer.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_normative.core.card import CurvePoint
from napari_normative.engine.presets import Preset
from napari_normative.engine.variants import chosen
from napari_normative.errors import OutputError, TrainingError
from napari_normative.io.atomic import replace_files
from napari_normative.io.checkpoint import require_unused
from napari_normative.io.folders import claimed

ORDER, PROCESS, STATUS, LOG, MONTAGE, STOP = (
    "order.json", "process.json", "status.json", "log.txt", "montage.png", "stop",
)  # fmt: skip
START_SECONDS = 60.0
"""A process that has not come to life after this is given up."""
LEAVING_SECONDS = 10.0
REMEMBERED = 20

State = Literal["running", "stopping", "stopped", "finished", "failed", "died"]


class TrainingOrder(BaseModel):
    """What to train; the arguments of :func:`napari_normative.engine.train.fit`.

    Attributes
    ----------
    cohort, out : str
        Absolute paths (a pattern is allowed for the cohort).
    preset : str or Preset
        A name in ``PRESETS``, or a preset of your own.
    variant : str, optional
        A name in ``VARIANTS``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cohort: str
    out: str
    preset: str | Preset = "brain-2mm"
    variant: str | None = None
    changes: Mapping[str, str | list[str]] = {}
    max_minutes: float | None = None
    seed: int = 0
    device: str = "auto"
    template: str | None = None
    title: str | None = None
    license_text: str = "not stated"
    credit: str = "not stated"
    forget_people: bool = False

    def chosen(self) -> Preset:
        """Return the preset with variant and changes.

        Raises
        ------
        TrainingError
            As for :func:`napari_normative.engine.variants.chosen`.
        """
        return chosen(self.preset, self.variant, self.changes)

    @property
    def folder(self) -> Path:
        """The work folder, beside the model file."""
        out = Path(self.out)
        return out.with_name(out.name + ".work")


class TrainingStatus(BaseModel):
    """How far a training is, as its process last wrote it.

    Attributes
    ----------
    state : {"running", "stopped", "finished", "failed"}
        What the process says of itself; ask :attr:`Training.state` instead.
    fraction : float
        Of the stage, 0 to 1.
    seconds_left : float or None
        Of the stage.
    device, device_reason : str
    started_utc : str
        Of this process.
    points : tuple of CurvePoint
        The curves so far, earlier processes included.
    left_out : tuple of str
        A sentence for each scan that could not be used.
    error : str
        The sentence of a failure.
    model_digest : str
        SHA-256 of the finished model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["running", "stopped", "finished", "failed"] = "running"
    stage: str = "check"
    fraction: float = 0.0
    message: str = ""
    seconds_left: float | None = None
    device: str = ""
    device_reason: str = ""
    started_utc: str = ""
    points: tuple[CurvePoint, ...] = ()
    left_out: tuple[str, ...] = ()
    error: str = ""
    model_digest: str = ""


@dataclass(frozen=True)
class Training:
    """A training as seen from outside.

    Attributes
    ----------
    folder : Path
    order : TrainingOrder
    status : TrainingStatus
    state : {"running", "stopping", "stopped", "finished", "failed", "died"}
        ``died``: it says that it runs, and there is no such process.
    """

    folder: Path
    order: TrainingOrder
    status: TrainingStatus
    state: State

    @property
    def alive(self) -> bool:
        """Whether a process is at work."""
        return self.state in {"running", "stopping"}

    @property
    def problem(self) -> str:
        """Why it ended without a model, in a sentence; empty when it did not."""
        if self.state != "died":
            return self.status.error
        return str(
            TrainingError(
                "TRN-009",
                "the training's process ended without a word: it was killed, ran out of memory, "
                "or the computer was switched off",
                "Resume it: it goes on from the last checkpoint, at most a minute back.",
                consequence="No model was made yet.",
                subject=Path(self.order.out).name,
            )
        )

    def montage(self) -> bytes:
        """Return the newest picture as PNG; empty before there is one."""
        try:
            return (self.folder / MONTAGE).read_bytes()
        except OSError:
            return b""

    def log_tail(self, lines: int = 200) -> list[str]:
        """Return the end of the log."""
        try:
            with (self.folder / LOG).open("rb") as handle:
                handle.seek(0, os.SEEK_END)
                handle.seek(max(0, handle.tell() - 200 * lines))
                text = handle.read().decode("utf-8", "replace")
        except OSError:
            return []
        return text.splitlines()[-lines:]


def read_training(folder: Path) -> Training:
    """Return the training of a work folder, as it is now; a few small files are read.

    Raises
    ------
    TrainingError
        ``TRN-010`` when the folder is no work folder of a training that was started here.
    """
    try:
        order = TrainingOrder.model_validate_json((folder / ORDER).read_bytes())
        status = TrainingStatus.model_validate_json((folder / STATUS).read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(
            "TRN-010",
            "this is no work folder of a training that was started in the window",
            "Choose the folder MODEL.safetensors.work; trainings of the command line are resumed "
            "there.",
            consequence="Nothing is shown.",
            subject=folder.name,
        ) from error
    state: State = status.state
    if state == "running":
        state = "died" if not _is_alive(folder) else state
        if state == "running" and (folder / STOP).exists():
            state = "stopping"
    return Training(folder, order, status, state)


def start_training(order: TrainingOrder, *, resume: bool = False) -> Training:
    """Start a process of its own for a training, and return when it is at work.

    It goes on when this process ends.

    Parameters
    ----------
    order : TrainingOrder
    resume : bool
        Go on from the newest checkpoint.

    Raises
    ------
    TrainingError
        ``TRN-008`` another training is at work in the folder, ``TRN-005`` the folder holds a
        training and ``resume`` is false, ``TRN-011`` the process does not come to life.
    OutputError
        ``OUT-015``
    """
    folder = order.folder
    _wait_for_the_last_one(folder)
    if not resume:
        require_unused(folder / "checkpoints")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        process = _spawn(folder, resume)
    except OSError as error:
        raise OutputError(
            "OUT-015",
            f"the training cannot be started there ({error.strerror or error})",
            "Choose another output file, in a folder that can be written.",
            subject=folder.name,
        ) from error
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(order.model_dump_json().encode())
    remember(folder)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if _process_of(folder) == process.pid:
            # Reaped when it ends, so that it leaves no zombie while this window is open.
            threading.Thread(target=process.wait, name="training", daemon=True).start()
            return read_training(folder)
        if process.poll() is not None:
            break
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise TrainingError(
        "TRN-011",
        "the training's process did not come to life",
        f"Read {LOG} in the work folder, and try again.",
        subject=folder.name,
    )


def stop_training(folder: Path) -> None:
    """Ask a training to save and end; it sees it within two seconds.

    Raises
    ------
    OutputError
    """
    replace_files({folder / STOP: b""})


def can_resume(folder: Path) -> bool:
    """Whether there is something to go on from: a checkpoint, or aligned scans."""
    return any((folder / "checkpoints").glob("step-*.safetensors")) or (folder / ORDER).exists()


# -- the trainings that are known on this computer ------------------------------------------


def registry_file() -> Path:
    """Return where the work folders are remembered."""
    from platformdirs import user_state_path

    return user_state_path("napari-normative") / "trainings.json"


def remember(folder: Path) -> None:
    """Put a work folder first on the list of known trainings."""
    known = [str(folder), *(p for p in _remembered() if p != str(folder))]
    replace_files({registry_file(): json.dumps(known[:REMEMBERED], indent=1).encode()})


def known_trainings() -> list[Training]:
    """Return the trainings that were started or attached here and still exist, newest first."""
    found = []
    for folder in map(Path, _remembered()):
        try:
            found.append(read_training(folder))
        except TrainingError:
            continue  # its folder was deleted
    return found


def _remembered() -> list[str]:
    try:
        stored = json.loads(registry_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [p for p in stored if isinstance(p, str)] if isinstance(stored, list) else []


# -- processes ------------------------------------------------------------------------------


def gentle_environment() -> dict[str, str]:
    """Return the environment of a process that leaves one core to the window."""
    threads = max(1, (os.cpu_count() or 2) - 1)
    return {"OMP_NUM_THREADS": str(threads), **os.environ}


def step_back() -> None:
    """Let the window go first."""
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process().nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10))


def _spawn(folder: Path, resume: bool) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "napari_normative.engine.training_process", str(folder)]
    if resume:
        program.append("--resume")
    environment = gentle_environment()
    with (folder / LOG).open("ab") as log:
        if sys.platform == "win32":
            flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
            return subprocess.Popen(
                program,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                creationflags=flags,
            )
        return subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _wait_for_the_last_one(folder: Path) -> None:
    """Let a process that has said its last word go away; refuse while one is at work."""
    deadline = time.monotonic() + LEAVING_SECONDS
    while _is_alive(folder):
        try:
            alive = read_training(folder).alive
        except TrainingError:
            alive = True
        if alive or time.monotonic() > deadline:
            with claimed(folder):
                return
        time.sleep(0.02)


def _process_of(folder: Path) -> int | None:
    """Return the number of the process that wrote itself down, if it still is that one."""
    try:
        record = json.loads((folder / PROCESS).read_bytes())
        process = psutil.Process(int(record["pid"]))
        # Numbers are used again: the time of birth tells one process from another.
        same = abs(process.create_time() - float(record["created"])) < 1.0
        return process.pid if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def _is_alive(folder: Path) -> bool:
    return _process_of(folder) is not None
