"""The first stage of a training, which may also be run for itself, on other machines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from napari_normative.engine.cohort import groups, read_cohort, require_enough
from napari_normative.engine.conditions import covariates_of
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import Preset
from napari_normative.engine.progress import TrainProgress
from napari_normative.engine.ranks import Ranks, joined
from napari_normative.engine.variants import chosen as chosen_preset
from napari_normative.errors import CancelledError, TrainingError
from napari_normative.io.folders import claimed


def align(
    cohort: str | Path,
    out: str | Path,
    *,
    preset: str | Preset = "brain-2mm",
    variant: str | None = None,
    changes: Mapping[str, object] | None = None,
    seed: int = 0,
    template: str | Path | None = None,
    workdir: str | Path | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> int:
    """Do what :func:`fit` begins with, on as many processes as there are; return how many scans.

    A training in the same work folder then finds every scan aligned. Arguments as for
    :func:`fit`; the processes need no GPU.

    Raises
    ------
    CohortError, TrainingError, OutputError
    """
    chosen = chosen_preset(preset, variant, changes)
    _, folder = places(out, workdir)
    tell = progress or (lambda state: None)
    with contextlib.ExitStack() as held, joined() as ranks:
        report = reporter(tell, cancel)
        made = aligned_cohort(cohort, chosen, folder, seed, template, ranks, held, tell, report)
        return len(made.people)


def places(out: str | Path, workdir: str | Path | None) -> tuple[Path, Path]:
    """Return the model file and the work folder."""
    out = Path(out)
    if out.suffix != ".safetensors":
        raise TrainingError(
            "TRN-002",
            "a model file ends in .safetensors",
            f"Use --out {out.with_suffix('.safetensors').name}.",
            subject=out.name,
        )
    return out, Path(workdir) if workdir is not None else out.with_name(out.name + ".work")


def reporter(
    tell: Callable[[TrainProgress], None], cancel: Callable[[], bool] | None
) -> Callable[[str, float, str], None]:
    """Return what tells how far it is, unless it was cancelled."""

    def report(stage: str, fraction: float, message: str) -> None:
        if cancel is not None and cancel():
            raise CancelledError
        tell(TrainProgress(stage, fraction, message))

    return report


def aligned_cohort(
    cohort: str | Path,
    preset: Preset,
    folder: Path,
    seed: int,
    template: str | Path | None,
    ranks: Ranks,
    held: contextlib.ExitStack,
    tell: Callable[[TrainProgress], None],
    report: Callable[[str, float, str], None],
) -> PreparedCohort:
    """Read the cohort, claim the work folder and bring everybody to the model's space."""
    people = read_cohort(cohort, seed=seed)
    groups(people, preset.balance_by)
    covariates_of(people, preset.condition_on)
    if ranks.first:
        held.enter_context(claimed(folder))
    ranks.gather(None)  # nobody writes into a folder that is another training's
    prepared = prepare_cohort(
        people,
        preset,
        folder / "prepared",
        template=None if template is None else Path(template),
        report=report,
        ranks=ranks,
    )
    require_enough(prepared.people, "the usable part of the cohort")
    for sentence in prepared.mended:
        tell(TrainProgress("align", 1.0, sentence))
    for sentence in prepared.refused:
        tell(TrainProgress("align", 1.0, f"left out: {sentence}", left_out=sentence))
    return prepared
