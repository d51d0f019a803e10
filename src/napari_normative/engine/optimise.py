"""From prepared scans to trained weights: the stage that several processes share."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.card import CurvePoint
from napari_normative.engine.anatomy import FOLDER, anatomies, in_blocks
from napari_normative.engine.curves import CurveLog
from napari_normative.engine.device import bf16_is_fast
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.engine.start import architecture, fit_local_level, start_from_components
from napari_normative.errors import TrainingError

if TYPE_CHECKING:
    from napari_normative.core.vae import VAE
    from napari_normative.engine.loop import Trainee

ANATOMY_SHARE = 0.25
"""Of the time of a hierarchical training that its first level gets at most."""
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Optimised:
    """What training gave.

    Attributes
    ----------
    network : VAE
        With the averaged weights, on the CPU.
    curves : list of CurvePoint
    steps : int
    minutes : float
    bf16 : bool
    """

    network: VAE
    curves: list[CurvePoint]
    steps: int
    minutes: float
    bf16: bool


@dataclass(frozen=True)
class How:
    """How a training runs, which decides nothing about what it learns but rounding.

    Attributes
    ----------
    device : str
    precision : {"auto", "fp32", "bf16"}
        ``auto``: bfloat16 where the device multiplies it in hardware.
    max_minutes : float or None
    resume, tensorboard : bool
    folder : Path
        The work folder.
    ranks : Ranks
    """

    device: str
    precision: str
    max_minutes: float | None
    resume: bool
    tensorboard: bool
    folder: Path
    ranks: Ranks

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.folder / "checkpoints"


def optimise(
    prepared: PreparedCohort,
    preset: Preset,
    how: How,
    seed: int,
    *,
    report: Callable[[CurvePoint, float, float | None], None],
    cancel: Callable[[], bool],
    show: Callable[[NDArray[np.uint8], float, int], None] | None = None,
) -> Optimised:
    """Train a network; all processes return it, the local level is fitted in the first alone.

    Of the hierarchical form the anatomy level first, in a work folder of its own within the other.

    Raises
    ------
    TrainingError
    CancelledError
        After a checkpoint.
    """
    import torch

    from napari_normative.core.two_levels import TwoLevelVAE, vae

    with quiet():
        from napari_normative.engine import loop

    ranks = how.ranks
    bf16 = ranks.from_first(uses_bf16(how.precision, how.device))
    log: CurveLog | None = None

    def note(point: CurvePoint, fraction: float, left: float | None) -> None:
        if log is not None:
            log.add(point, trainee.rate)
        report(point, done + (1 - done) * fraction, left)

    anatomy: VAE | None = None
    minutes, spent, done = how.max_minutes, 0.0, 0.0
    if preset.anatomy is not None:
        anatomy, prepared, spent = _optimise_anatomy(
            prepared, preset, how, seed, lambda p, f, left: report(p, ANATOMY_SHARE * f, None),
            cancel,
        )  # fmt: skip
        minutes, done = minutes and (1 - ANATOMY_SHARE) * minutes, ANATOMY_SHARE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = vae(architecture(preset, prepared, None if anatomy is None else anatomy.config))
    if isinstance(network, TwoLevelVAE) and anatomy is not None:
        network.take_anatomy(anatomy)
        # As a model file will hold it.
        mean = prepared.template.image.astype(np.float16).astype(np.float32)
        network.take_mean(torch.from_numpy(mean))
    if ranks.first:
        start_from_components(network, prepared, flip=preset.augment.flip)
    ranks.take_on(network.state_dict().values())
    trainee: Trainee = loop.Trainee(
        network,
        prepared,
        preset,
        seed=seed,
        max_minutes=minutes,
        checkpoints=how.checkpoints,
        report=note,
        cancel=cancel,
        ranks=ranks,
        show=None if show is None else lambda image: show(image, trainee.progress(), trainee.step),
    )
    if how.resume:
        trainee.resume()
    if ranks.first:
        log = CurveLog(how.folder, trainee.step, tensorboard=how.tensorboard)
    try:
        with quiet():
            loop.run(trainee, device=how.device, bf16=bf16)
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(how.device, preset.batch) from error
    finally:
        if log is not None:
            log.close()
    network = trainee.average.cpu().eval()
    if ranks.first:
        fit_local_level(network, prepared, flip=preset.augment.flip)
    return Optimised(network, trainee.curves, trainee.step, spent + trainee.minutes(), bf16)


def _optimise_anatomy(
    prepared: PreparedCohort,
    preset: Preset,
    how: How,
    seed: int,
    report: Callable[[CurvePoint, float, float | None], None],
    cancel: Callable[[], bool],
) -> tuple[VAE, PreparedCohort, float]:
    """Train the anatomy level of a preset.

    Return it, the cohort with what it makes of everybody, and the minutes it took.
    """
    folder, minutes = how.folder / FOLDER, how.max_minutes
    upper = dataclasses.replace(how, folder=folder, max_minutes=minutes and ANATOMY_SHARE * minutes)
    coarse = in_blocks(prepared, preset.above(), folder, how.ranks)
    found = optimise(coarse, preset.above(), upper, seed, report=report, cancel=cancel)
    known = anatomies(found.network, coarse, how.device, folder, how.ranks)
    return found.network, dataclasses.replace(prepared, anatomies=known), found.minutes


def uses_bf16(precision: str, device: str) -> bool:
    """Whether training multiplies bfloat16.

    Raises
    ------
    TrainingError
        ``TRN-025`` for a precision that is not known.
    """
    if precision not in PRECISIONS:
        raise TrainingError(
            "TRN-025", f"{precision!r} is no precision", f"Use {', '.join(PRECISIONS)}."
        )
    return bf16_is_fast(device) if precision == "auto" else precision == "bf16"


def _out_of_memory(device: str, batch: int) -> TrainingError:
    import torch

    used = torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else 0.0
    return TrainingError(
        "TRN-006",
        f"the memory of {device} does not suffice for {batch} volumes a step "
        f"(more than the {used:.1f} GiB it got)",
        "Use a coarser preset, another --device, or close what else uses the memory; with "
        "--resume it goes on from the last checkpoint.",
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and advice for programmers away from users."""
    os.environ.setdefault("POSSIBLE_USER_WARNINGS", "off")
    loggers: list[Any] = [
        logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric", "lightning")
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
