"""From a cohort of healthy scans to a model file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.card import CurvePoint, TrainingFacts
from napari_normative.engine.align import aligned_cohort, places, reporter
from napari_normative.engine.anatomy import FOLDER
from napari_normative.engine.assemble import Label
from napari_normative.engine.cohort import counts
from napari_normative.engine.curves import require_tensorboard
from napari_normative.engine.device import DeviceChoice, choose_device
from napari_normative.engine.finish import finish
from napari_normative.engine.infer import versions
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.optimise import How, Optimised, optimise, uses_bf16
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset
from napari_normative.engine.progress import TrainProgress
from napari_normative.engine.ranks import Ranks, joined
from napari_normative.engine.variants import chosen as chosen_preset
from napari_normative.errors import TrainingError
from napari_normative.io.checkpoint import require_unused


def fit(
    cohort: str | Path,
    out: str | Path,
    *,
    preset: str | Preset = "brain-2mm",
    variant: str | None = None,
    changes: Mapping[str, object] | None = None,
    max_minutes: float | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    precision: str = "auto",
    template: str | Path | None = None,
    workdir: str | Path | None = None,
    title: str | None = None,
    license_text: str = "not stated",
    credit: str = "not stated",
    forget_people: bool = False,
    pictures: bool = False,
    tensorboard: bool = False,
    progress: Callable[[TrainProgress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> NormativeModel:
    """Train a normative model of healthy scans and write it to ``out``.

    Started by torchrun or srun, the processes share alignment and training, and take the steps
    that one would take alone. The first then calibrates, compares, writes and returns the model;
    in the others ``SystemExit(0)`` ends the program here.

    Parameters
    ----------
    cohort : path
        Folder, glob pattern or TSV table; see :func:`napari_normative.engine.cohort.read_cohort`.
    out : path
        Model file, ``.safetensors``.
    preset : str or Preset
        Name in ``PRESETS``, or one of your own.
    variant : str, optional
        Name in :data:`napari_normative.engine.variants.VARIANTS`: another form of autoencoder.
    changes : mapping, optional
        Values of the preset, or of the variant, to replace; see :meth:`Preset.changed`.
    max_minutes : float, optional
        Ends training (not alignment and calibration) after that; the learning rate follows.
    seed : int
        Of weights, draws and split.
    resume : bool
        Go on from the newest undamaged checkpoint in ``workdir``.
    device : str
        ``auto``, ``cpu``, ``cuda:N`` or ``mps``; ``auto``, ``cpu`` or ``cuda`` for several
        processes, which take the GPUs of their machine in turn.
    precision : {"auto", "fp32", "bf16"}
        ``auto``: bfloat16 where the device multiplies it in hardware.
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
    tensorboard : bool
        Write the curves for TensorBoard too, beside ``curves.csv`` in the work folder.
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
    chosen = chosen_preset(preset, variant, changes)
    out, folder = places(out, workdir)
    name = preset if isinstance(preset, str) else "custom"
    tell = progress or (lambda state: None)
    report = reporter(tell, cancel)
    with contextlib.ExitStack() as held:
        with joined() as ranks:
            choice = _device(device, ranks)
            tell(TrainProgress("check", 0.0, f"{choice.device} ({choice.reason})"))
            how = How(choice.device, precision, max_minutes, resume, tensorboard, folder, ranks)
            _check(chosen, how)
            prepared = aligned_cohort(
                cohort, chosen, folder, seed, template, ranks, held, tell, report
            )
            trained = _train(prepared, chosen, how, seed, pictures, tell, cancel)
            ranks.gather(None)
        if not ranks.first:
            raise SystemExit(0)
        facts = TrainingFacts(
            preset=name,
            command=_command(name, variant, changes or {}, max_minutes, seed, forget_people),
            seed=seed,
            steps=trained.steps,
            minutes=round(trained.minutes, 1),
            device=choice.device if ranks.alone else f"{choice.device} and {ranks.size - 1} more",
            precision="bf16" if trained.bf16 else "fp32",
            people=counts(prepared.people),
            cohort_digest=prepared.digest,
            versions=versions(),
            curves=tuple(trained.curves),
        )
        label = Label(out.stem, title or chosen.title, chosen.modality, license_text, credit)
        model = finish(
            trained.network,
            prepared,
            chosen,
            label,
            facts,
            choice.device,
            folder=folder,
            report=report,
            objective=chosen.objective,
            keep_people=not forget_people,
        )
        model.save(out)
        tell(TrainProgress("compare", 1.0, f"saved {out.name}"))
        return model


def _device(request: str, ranks: Ranks) -> DeviceChoice:
    """Return the device of this process."""
    if ranks.alone:
        return choose_device(request)
    if request not in {"auto", "cpu", "cuda"}:
        raise TrainingError(
            "TRN-023",
            f"{ranks.size} processes cannot share the device {request}",
            "Use --device auto, cuda or cpu: each process takes a GPU of its machine, or the CPU.",
        )
    choice = choose_device(request)
    if not choice.device.startswith("cuda"):
        return DeviceChoice("cpu", choice.reason)
    import torch

    if ranks.local_size > (gpus := torch.cuda.device_count()):
        raise TrainingError(
            "TRN-027",
            f"{ranks.local_size} processes of this machine see {gpus} GPU{'s' * (gpus != 1)}",
            "Start one process a GPU, and let each see all GPUs of its machine (under SLURM "
            "--gpus-per-node, not --gpus-per-task); or use --device cpu.",
        )
    index = ranks.local_rank
    return DeviceChoice(
        f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {ranks.size} processes"
    )


def _check(preset: Preset, how: How) -> None:
    """Refuse what would fail later."""
    if how.ranks.size > preset.batch:
        raise TrainingError(
            "TRN-026",
            f"{how.ranks.size} processes share steps of {preset.batch} volumes, so some would have "
            "nothing to do",
            f"Start at most {preset.batch} processes, or take more volumes a step: "
            f"--set batch={how.ranks.size}.",
        )
    if not how.ranks.alone and (preset.codes or preset.objective.total_correlation != 1):
        raise TrainingError(
            "TRN-032",
            "total correlation and a codebook look at all volumes of a step at once, which "
            f"{how.ranks.size} processes share",
            "Train it in one process, without --devices, torchrun or srun.",
        )
    uses_bf16(how.precision, how.device)
    if not how.ranks.first:
        return
    if how.tensorboard:
        require_tensorboard()
    if not how.resume:
        require_unused(how.checkpoints)
        require_unused(how.folder / FOLDER / how.checkpoints.name)


def _train(
    prepared: PreparedCohort,
    preset: Preset,
    how: How,
    seed: int,
    pictures: bool,
    tell: Callable[[TrainProgress], None],
    cancel: Callable[[], bool] | None,
) -> Optimised:
    def report(point: CurvePoint, fraction: float, left: float | None) -> None:
        tell(TrainProgress("train", fraction, f"step {point.step}", point, left))

    def show(picture: NDArray[np.uint8], fraction: float, step: int) -> None:
        tell(TrainProgress("train", fraction, f"step {step}", picture=picture))

    tell(TrainProgress("train", 0.0, "principal components"))
    return optimise(
        prepared,
        preset,
        how,
        seed,
        report=report,
        cancel=cancel or (lambda: False),
        show=show if pictures and how.ranks.first else None,
    )


def _command(
    preset: str,
    variant: str | None,
    changes: Mapping[str, object],
    max_minutes: float | None,
    seed: int,
    forget_people: bool,
) -> str:
    limit = f" --max-minutes {max_minutes:g}" if max_minutes else ""
    words = [f" --variant {variant}"] if variant is not None else []
    for name, value in changes.items():
        text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        words.append(f" --set {name}={text}")
    forget = " --forget-people" * forget_people
    return (
        f"napari-normative train COHORT --preset {preset}{''.join(words)}{limit} "
        f"--seed {seed}{forget}"
    )
