"""The command ``train``: its options, its signals, its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_normative.cli import complete
from napari_normative.cli.common import (
    INTERRUPTED,
    NOTICE,
    DeviceOption,
    JsonOption,
    Printer,
    QuietOption,
    SeedOption,
    guarded,
)
from napari_normative.cli.terminal import Bar, say
from napari_normative.engine.launch import LAUNCHED, together
from napari_normative.errors import CancelledError, NormativeError

if TYPE_CHECKING:
    from napari_normative.engine.progress import TrainProgress

REQUEUE = 75
"""Exit status (EX_TEMPFAIL) of a training that was told to make room and can go on later."""


class Stop:
    """What a signal means: a checkpoint while steps are taken, else an end at once.

    Attributes
    ----------
    asked : int or None
        The first signal that came.
    stage : str
        Of the training.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.stage = ""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take signals; end with ``REQUEUE`` after those of a scheduler."""
        names = [n for n in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, n)]
        before = {n: signal.signal(getattr(signal, n), self._on) for n in names}
        try:
            yield
        except (CancelledError, KeyboardInterrupt, SystemExit, NormativeError) as error:
            if self.asked is None or self.asked == signal.SIGINT:
                raise
            name = signal.Signals(self.asked).name
            kept = "at a checkpoint" if self.stage == "train" else "with what was done kept"
            say(
                f"Stopped by {name} {kept}. Exit status {REQUEUE}: the same command with --resume "
                "goes on.",
                err=True,
            )
            raise typer.Exit(REQUEUE) from error
        finally:
            for name, handler in before.items():
                signal.signal(getattr(signal, name), handler)

    def _on(self, number: int, frame: FrameType | None) -> None:
        impatient = self.asked == number == signal.SIGINT
        self.asked = self.asked or number
        # Aligned scans are on the disk already, and a step in hand ends soon.
        if impatient or self.stage != "train":
            raise KeyboardInterrupt


@contextlib.contextmanager
def _only_the_first_speaks() -> Iterator[None]:
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        try:
            yield
        except (KeyboardInterrupt, CancelledError):
            raise typer.Exit(INTERRUPTED) from None
        except typer.Exit:
            raise
        except Exception:  # noqa: BLE001 - the first process says what it was
            raise typer.Exit(1) from None


@guarded(kept="Add --resume to go on; only work since the last checkpoint is lost.")
def train(
    context: typer.Context,
    cohort: Annotated[
        str,
        typer.Argument(
            help="Folder, quoted pattern, or table (.tsv: path, subject, site, age, sex, split).",
            metavar="COHORT",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The model file to write (.safetensors).")],
    preset: Annotated[
        str,
        typer.Option(help="Size of network and spacing.", autocompletion=complete.presets),
    ] = "brain-2mm",
    variant: Annotated[
        str | None,
        typer.Option(
            help="Form of the autoencoder, e.g. beta-tc or vq; the preset's own unless given.",
            autocompletion=complete.variants,
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(
            help="Columns of the table, e.g. site,age: rare groups are drawn more often.",
            metavar="COLUMNS",
        ),
    ] = None,
    condition_on: Annotated[
        str | None,
        typer.Option(
            "--condition-on",
            help="Columns of the table that the model can be told of a person: age,sex,site.",
            metavar="COLUMNS",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a value of the preset, e.g. objective.beta=0.3; may be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Stop training after this time; then calibrate.")
    ] = None,
    seed: SeedOption = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest valid checkpoint.")
    ] = False,
    device: DeviceOption = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="Processes on this machine, each with a GPU or on the CPU.")
    ] = 1,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="auto: bfloat16 where the hardware multiplies it."),
    ] = "auto",
    template: Annotated[
        Path | None, typer.Option(help="Volume to align to, instead of the preset's.")
    ] = None,
    workdir: Annotated[
        Path | None, typer.Option(help="Aligned scans and checkpoints; OUT.work unless given.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="One line for the model's card.")] = None,
    licence: Annotated[
        str, typer.Option("--license", help="Of the weights, for the card.")
    ] = "not stated",
    credit: Annotated[str, typer.Option(help="Whose scans, for the card.")] = "not stated",
    forget_people: Annotated[
        bool,
        typer.Option("--forget-people", help="Leave the people's latents out of the model file."),
    ] = False,
    align_only: Annotated[
        bool,
        typer.Option("--align-only", help="Align the scans and end; training finds them."),
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Write the curves for TensorBoard too."),
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a normative model on healthy scans, calibrate it and write one file.

    With --json the progress is JSON too, one object a line on stderr.
    SIGTERM and SIGUSR1 end it at a checkpoint with exit status 75: run it again with --resume.
    """
    from napari_normative.engine.align import align
    from napari_normative.engine.presets import settings_from
    from napari_normative.engine.ranks import from_environment
    from napari_normative.engine.train import fit

    changes = settings_from(settings or [], balance, condition_on)
    ranks, stop = from_environment(), Stop()
    with contextlib.ExitStack() as around:
        if ranks.alone and devices > 1:
            around.enter_context(together(devices, sys.argv[1:]))
        elif devices > 1 and LAUNCHED not in os.environ:
            raise typer.BadParameter(
                "--devices starts processes itself: leave torchrun or srun away"
            )
        elif not ranks.first and LAUNCHED not in os.environ and not context.obj["debug"]:
            around.enter_context(_only_the_first_speaks())
        around.enter_context(stop.listening())
        bar = around.enter_context(Bar(quiet or not ranks.first, as_json=as_json))
        printer = Printer(context, quiet=quiet or not ranks.first, as_json=as_json, bar=bar)

        def show(state: TrainProgress) -> None:
            stop.stage = state.stage
            bar.train(state)

        if align_only:
            count = align(
                cohort,
                out,
                preset=preset,
                variant=variant,
                changes=changes,
                seed=seed,
                template=template,
                workdir=workdir,
                progress=show,
                cancel=lambda: stop.asked is not None,
            )
            if ranks.first:
                printer.result({"aligned": count}, f"{count} scans are aligned. {NOTICE}")
            return
        made = fit(
            cohort,
            out,
            preset=preset,
            variant=variant,
            changes=changes,
            max_minutes=max_minutes,
            seed=seed,
            resume=resume,
            device=device,
            precision=precision,
            template=template,
            workdir=workdir,
            title=title,
            license_text=licence,
            credit=credit,
            forget_people=forget_people,
            tensorboard=tensorboard,
            progress=show,
            cancel=lambda: stop.asked is not None,
        )
    card = made.card
    facts = {"model": str(out), "card": card.one_line(), "sha256": made.digest}
    facts |= {"verdict": card.verdict(), "latents": card.calibration.latents_line()}
    Printer(context, quiet=quiet, as_json=as_json).result(
        {**facts, "training": card.training.model_dump(mode="json")},
        f"{out}: {card.one_line()}\n{card.calibration.latents_line()}\n"
        f"{card.verdict()}\nsha256 {made.digest}\n{NOTICE}",
    )
