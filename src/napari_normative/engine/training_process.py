"""The process of a training in the background: ``python -m``, an order on standard input.

Writes what :mod:`napari_normative.engine.background` reads.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from napari_normative.engine.background import (
    LOG,
    MONTAGE,
    ORDER,
    PROCESS,
    STATUS,
    STOP,
    TrainingOrder,
    TrainingStatus,
    step_back,
)
from napari_normative.errors import CancelledError, NormativeError, TrainingError
from napari_normative.io.atomic import replace_files
from napari_normative.io.folders import claimed

if TYPE_CHECKING:
    from napari_normative.engine.progress import TrainProgress

LOOK_SECONDS = 0.2
"""How often the file that asks to stop is looked for."""
WRITE_SECONDS = 0.3
"""The status is written at most this often, except when it matters."""
GRACE_SECONDS = {"train": 30.0}
"""How long a stage may take to stop; training saves a checkpoint, other stages have nothing to
lose: what they finished is on disk already."""
GRACE_ELSEWHERE_SECONDS = 1.5


def main(arguments: list[str]) -> int:
    """Train what the order on standard input asks for; return the exit status."""
    folder, resume = Path(arguments[0]), "--resume" in arguments[1:]
    order = TrainingOrder.model_validate_json(sys.stdin.buffer.read())
    try:
        with claimed(folder):
            return Recorder(folder, order, resume).train()
    except NormativeError as error:  # somebody else is at work there: their files stay
        sys.stderr.write(f"{error}\n")
        return 1


class Recorder:
    """Runs a training and writes down how far it is."""

    def __init__(self, folder: Path, order: TrainingOrder, resume: bool) -> None:
        self.folder, self.order, self.resume = folder, order, resume
        self.status = TrainingStatus(started_utc=_now())
        if resume:
            with contextlib.suppress(OSError, ValueError):
                before = TrainingStatus.model_validate_json((folder / STATUS).read_bytes())
                self.status = self.status.model_copy(update={"points": before.points})
        self._written = self._logged = 0.0
        self._lock = threading.Lock()
        self._over = False
        self._stop = threading.Event()

    def train(self) -> int:
        """Train to the end, a stop, or an error; all three are in the status."""
        (self.folder / STOP).unlink(missing_ok=True)
        (self.folder / MONTAGE).unlink(missing_ok=True)
        own = psutil.Process()
        record = {"pid": own.pid, "created": own.create_time()}
        self.write(at_once=True)
        replace_files({self.folder / ORDER: self.order.model_dump_json(indent=1).encode()})
        replace_files({self.folder / PROCESS: json.dumps(record).encode()})
        step_back()
        for name in ("SIGTERM", "SIGINT"):
            signal.signal(getattr(signal, name), lambda *_: self._stop.set())
        threading.Thread(target=self._watch, daemon=True).start()
        self.log("resumed" if self.resume else "started")
        try:
            digest = self._fit()
        except CancelledError:
            self.end("stopped")
            return 0
        except NormativeError as error:
            return self.fail(error)
        except MemoryError:
            return self.fail(
                _unforeseen("the computer ran out of memory", "Take a coarser preset.")
            )
        except Exception as unforeseen:  # noqa: BLE001 - whoever watches must hear of the end
            import traceback

            self.log(traceback.format_exc())
            what = f"an error that was not foreseen ({type(unforeseen).__name__}: {unforeseen})"
            return self.fail(_unforeseen(what, "Please report it with the log."))
        self.end("finished", fraction=1.0, seconds_left=None, model_digest=digest)
        return 0

    def _fit(self) -> str:
        from napari_normative.engine.device import choose_device
        from napari_normative.engine.train import fit

        order = self.order
        choice = choose_device(order.device)
        self.update(device=choice.device, device_reason=choice.reason)
        model = fit(
            order.cohort,
            order.out,
            preset=order.preset,
            variant=order.variant,
            changes=order.changes,
            max_minutes=order.max_minutes,
            seed=order.seed,
            resume=self.resume,
            device=order.device,
            template=order.template,
            workdir=self.folder,
            title=order.title,
            license_text=order.license_text,
            credit=order.credit,
            forget_people=order.forget_people,
            pictures=True,
            progress=self.progress,
            cancel=self._stop.is_set,
        )
        return model.digest

    def progress(self, told: TrainProgress) -> None:
        """Take down what training tells."""
        from napari_normative.engine.pictures import png_bytes

        if told.picture is not None:
            grey = told.picture
            picture = grey[..., None].repeat(3, axis=-1)
            replace_files({self.folder / MONTAGE: png_bytes(picture)})
            return
        changes: dict[str, object] = {
            "stage": told.stage,
            "fraction": told.fraction,
            "message": told.message,
            "seconds_left": told.seconds_left,
        }
        if told.left_out:
            changes["left_out"] = (*self.status.left_out, told.left_out)
        if (point := told.point) is not None:
            before = tuple(p for p in self.status.points if p.step < point.step)
            changes["points"] = (*before, point)
        new = told.stage != self.status.stage
        self.update(**changes, at_once=new)
        if new or told.left_out or time.monotonic() - self._logged > 5:
            self.log(f"{told.stage} {100 * told.fraction:.0f} % {told.describe()}".rstrip())

    def update(self, *, at_once: bool = False, **changes: object) -> None:
        """Change the status, and write it unless that was done a moment ago."""
        with self._lock:
            if self._over:
                return
            self.status = self.status.model_copy(update=changes)
        self.write(at_once=at_once)

    def write(self, *, at_once: bool = False) -> None:
        """Write the status."""
        if at_once or time.monotonic() - self._written > WRITE_SECONDS:
            replace_files({self.folder / STATUS: self.status.model_dump_json().encode()})
            self._written = time.monotonic()

    def end(self, state: str, **changes: object) -> None:
        """Write the last status."""
        with self._lock:
            if self._over:
                return
            self._over = True
            self.status = self.status.model_copy(update={"state": state, **changes})
        self.log(f"{state} {changes.get('error', '')}".rstrip())
        self.write(at_once=True)

    def fail(self, error: NormativeError) -> int:
        """Write the sentence of an error and return the exit status."""
        self.end("failed", error=str(error))
        return 1

    def log(self, text: str) -> None:
        """Add a line to the log, with the time."""
        self._logged = time.monotonic()
        with (self.folder / LOG).open("a", encoding="utf-8") as handle:
            handle.write(f"{_now()} {text}\n")

    def _watch(self) -> None:
        """Look for the file that asks to stop; end a stage that cannot be interrupted."""
        stop = self.folder / STOP
        while not self._stop.wait(LOOK_SECONDS):
            if stop.exists():
                self._stop.set()
        asked = time.monotonic()
        while not self._over:
            time.sleep(0.05)
            grace = GRACE_SECONDS.get(self.status.stage, GRACE_ELSEWHERE_SECONDS)
            if time.monotonic() - asked > grace:
                self.end("stopped")
                os._exit(0)


def _unforeseen(what: str, remedy: str) -> NormativeError:
    return TrainingError("TRN-012", what, f"{remedy} Resume goes on from the last checkpoint.")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
