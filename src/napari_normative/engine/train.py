"""From a cohort of healthy scans to a model file."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.card import CurvePoint, TrainingFacts
from napari_normative.core.comparison import BASELINE_NAMES
from napari_normative.core.config import BaselineKind
from napari_normative.engine.assemble import Label, assemble
from napari_normative.engine.baselines import baseline_model
from napari_normative.engine.cohort import counts, groups, read_cohort, require_enough
from napari_normative.engine.compare import compare
from napari_normative.engine.device import bf16_is_fast, choose_device
from napari_normative.engine.infer import versions
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import Preset, preset_named
from napari_normative.engine.start import architecture, fit_local_level, start_from_components
from napari_normative.errors import CancelledError, TrainingError
from napari_normative.io.checkpoint import require_unused
from napari_normative.io.folders import claimed

if TYPE_CHECKING:
    from napari_normative.core.vae import VAE


@dataclass(frozen=True)
class TrainProgress:
    """How far training is.

    Attributes
    ----------
    stage : {"check", "align", "train", "calibrate", "compare"}
    fraction : float
        Of the stage, 0 to 1.
    message : str
        The scan or step at hand.
    point : CurvePoint or None
        Newest point of the curves, nats per volume.
    seconds_left : float or None
        Of the stage.
    picture : uint8 array, shape (rows, columns), or None
        A new look at people who took no part; see :func:`thumbnails.montage`.
    left_out : str
        Why a scan was left out, when this tells of one.
    """

    stage: str
    fraction: float
    message: str = ""
    point: CurvePoint | None = None
    seconds_left: float | None = None
    picture: NDArray[np.uint8] | None = None
    left_out: str = ""

    def describe(self) -> str:
        """Return the ELBO and its terms in nats, active units and the time left, in one line."""
        parts = [self.message] if self.message else []
        if (point := self.point) is not None:
            parts.append(
                f"ELBO {point.elbo_nats:.0f} nats "
                f"(reconstruction {point.reconstruction_nats:.0f}, KL {point.kl_nats:.1f}), "
                f"{point.active_units} active units"
            )
        if self.seconds_left is not None:
            minutes, seconds = divmod(round(self.seconds_left), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
        return ", ".join(parts)


def fit(
    cohort: str | Path,
    out: str | Path,
    *,
    preset: str | Preset = "brain-2mm",
    changes: Mapping[str, object] | None = None,
    max_minutes: float | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    template: str | Path | None = None,
    workdir: str | Path | None = None,
    title: str | None = None,
    license_text: str = "not stated",
    credit: str = "not stated",
    forget_people: bool = False,
    pictures: bool = False,
    progress: Callable[[TrainProgress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> NormativeModel:
    """Train a normative model of healthy scans and write it to ``out``.

    Parameters
    ----------
    cohort : path
        Folder, glob pattern or TSV table; see :func:`napari_normative.engine.cohort.read_cohort`.
    out : path
        Model file, ``.safetensors``.
    preset : str or Preset
        Name in ``PRESETS``, or one of your own.
    changes : mapping, optional
        Values of the preset to replace; see :meth:`Preset.changed`.
    max_minutes : float, optional
        Ends training (not alignment and calibration) after that; the learning rate follows.
    seed : int
        Of weights, draws and split.
    resume : bool
        Go on from the newest undamaged checkpoint in ``workdir``.
    device : str
        ``auto``, ``cpu``, ``cuda:N`` or ``mps``.
    template : path, optional
        Skull-stripped template to align to instead of the preset's.
    workdir : path, optional
        Aligned scans and checkpoints; ``<out>.work`` unless given. Kept afterwards.
    title, license_text, credit : str, optional
        For the card.
    forget_people : bool
        Leave the latents of the cohort's people out of the model file; see
        docs/decisions/0010.
    pictures : bool
        Send pictures of a few held-out people to ``progress`` every quarter of a minute.
    progress, cancel : callable, optional

    Raises
    ------
    CohortError, TrainingError, DeviceError, OutputError

    Examples
    --------
    Minutes to hours, hence not run with the other examples; the tutorial trains a small one.

    >>> model = fit("healthy/", "brain.safetensors", max_minutes=120)  # doctest: +SKIP
    >>> print(model.card.verdict())  # doctest: +SKIP
    """
    chosen = preset_named(preset).changed(changes or {})
    out = Path(out)
    if out.suffix != ".safetensors":
        raise TrainingError(
            "TRN-002",
            "a model file ends in .safetensors",
            f"Use --out {out.with_suffix('.safetensors').name}.",
            subject=out.name,
        )
    name = preset if isinstance(preset, str) else "custom"
    folder = Path(workdir) if workdir is not None else out.with_name(out.name + ".work")
    tell = progress or (lambda state: None)
    choice = choose_device(device)
    tell(TrainProgress("check", 0.0, f"{choice.device} ({choice.reason})"))
    people = read_cohort(cohort, seed=seed)
    groups(people, chosen.balance_by)
    checkpoints = folder / "checkpoints"
    if not resume:
        require_unused(checkpoints)

    def report(stage: str, fraction: float, message: str) -> None:
        if cancel is not None and cancel():
            raise CancelledError
        tell(TrainProgress(stage, fraction, message))

    with claimed(folder):
        prepared = prepare_cohort(
            people,
            chosen,
            folder / "prepared",
            template=None if template is None else Path(template),
            report=report,
        )
        require_enough(prepared.people, "the usable part of the cohort")
        for sentence in prepared.refused:
            tell(TrainProgress("align", 1.0, f"left out: {sentence}", left_out=sentence))
        network, curves, steps, minutes, bf16 = _train(
            prepared,
            chosen,
            seed,
            choice.device,
            max_minutes,
            checkpoints,
            resume,
            pictures,
            tell,
            cancel,
        )
        facts = TrainingFacts(
            preset=name,
            command=_command(name, changes or {}, max_minutes, seed, forget_people),
            seed=seed,
            steps=steps,
            minutes=round(minutes, 1),
            device=choice.device,
            precision="bf16" if bf16 else "fp32",
            people=counts(prepared.people),
            cohort_digest=prepared.digest,
            versions=versions(),
            curves=tuple(curves),
        )
        label = Label(out.stem, title or chosen.title, chosen.modality, license_text, credit)
        tell(TrainProgress("calibrate", 0.0, "healthy people who took no part in training"))
        model = assemble(
            network,
            prepared,
            label,
            facts,
            choice.device,
            score=chosen.score,
            objective=chosen.objective,
            flip=chosen.augment.flip,
            keep_people=not forget_people,
        )
        baselines: dict[BaselineKind, NormativeModel] = {}
        for kind, words in BASELINE_NAMES.items():
            report("compare", 0.0, f"baseline: {words}")
            baselines[kind] = baseline_model(
                kind,
                prepared,
                chosen,
                label,
                facts,
                choice.device,
                keep_people=not forget_people,
            )
            baselines[kind].save(folder / "baselines" / f"{kind}.safetensors")
        rows = compare(
            model,
            baselines,
            prepared,
            choice.device,
            seed=seed,
            report=lambda fraction: report(
                "compare", fraction, "people who took no part in anything"
            ),
        )
        model.card = model.card.model_copy(update={"comparison": rows})
        model.save(out)
        tell(TrainProgress("compare", 1.0, f"saved {out.name}"))
        return model


def _train(
    prepared: PreparedCohort,
    preset: Preset,
    seed: int,
    device: str,
    max_minutes: float | None,
    checkpoints: Path,
    resume: bool,
    pictures: bool,
    tell: Callable[[TrainProgress], None],
    cancel: Callable[[], bool] | None,
) -> tuple[VAE, list[CurvePoint], int, float, bool]:
    """Return the averaged network, curves, steps, minutes, and whether bf16 was used."""
    import torch

    from napari_normative.core.vae import VAE

    with quiet():
        from napari_normative.engine import loop

    def report(point: CurvePoint, fraction: float, left: float | None) -> None:
        tell(TrainProgress("train", fraction, f"step {point.step}", point, left))

    def show(picture: NDArray[np.uint8]) -> None:
        done = trainee.progress()
        tell(TrainProgress("train", done, f"step {trainee.step}", picture=picture))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VAE(architecture(preset, prepared))
    start_from_components(network, prepared, flip=preset.augment.flip)
    trainee = loop.Trainee(
        network,
        prepared,
        preset,
        seed=seed,
        max_minutes=max_minutes,
        checkpoints=checkpoints,
        report=report,
        cancel=cancel or (lambda: False),
        show=show if pictures else None,
    )
    if resume:
        trainee.resume()
    bf16 = bf16_is_fast(device)
    try:
        with quiet():
            loop.run(trainee, device=device, bf16=bf16)
    except torch.OutOfMemoryError as error:
        used = torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else 0.0
        raise TrainingError(
            "TRN-006",
            f"the memory of {device} does not suffice for {preset.batch} volumes a step "
            f"(more than the {used:.1f} GiB it got)",
            "Use a coarser preset, another --device, or close what else uses the memory; with "
            "--resume it goes on from the last checkpoint.",
        ) from error
    network = trainee.average.cpu().eval()
    fit_local_level(network, prepared, flip=preset.augment.flip)
    return (
        network,
        trainee.curves,
        trainee.step,
        trainee.minutes(),
        bf16,
    )


def _command(
    preset: str,
    changes: Mapping[str, object],
    max_minutes: float | None,
    seed: int,
    forget_people: bool,
) -> str:
    limit = f" --max-minutes {max_minutes:g}" if max_minutes else ""
    words = []
    for name, value in changes.items():
        text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        words.append(f" --set {name}={text}")
    forget = " --forget-people" * forget_people
    return (
        f"napari-normative train COHORT --preset {preset}{''.join(words)}{limit} "
        f"--seed {seed}{forget}"
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
