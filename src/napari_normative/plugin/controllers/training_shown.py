"""What the dock "Train a model" says of a cohort, a preset, a training and its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.core.comparison import BASELINE_NAMES
from napari_normative.engine.background import Training, can_resume
from napari_normative.engine.cohort import SPLITS
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.training import FIGURES, FileRow, TrainingState

if TYPE_CHECKING:
    from napari_normative.core.card import ModelCard
    from napari_normative.engine.check import CheckedFile, SplitRow
    from napari_normative.engine.presets import Preset
    from napari_normative.engine.variants import Variant

STAGES = {
    "check": "Looking at the cohort",
    "align": "Aligning the scans",
    "train": "Training",
    "calibrate": "Calibrating on people who took no part",
    "compare": "Comparing with simple baselines",
}
_FOR = {
    "brain-2mm": "Brains, 2 mm: the finest, as the shipped model. Hours on a processor with "
    "hundreds of people; minutes on a GPU.",
    "brain-4mm": "Brains, 4 mm: an eighth of the voxels. Small lesions are missed.",
    "brain-8mm": "Brains, 8 mm: for a first look at a cohort. Not for use.",
    "crop-1mm": "Small regions that were cut out alike, 1 mm; nothing is aligned.",
    "brain-1mm-patch": "Brains, 1 mm, in windows: little memory. Not yet shown to find more.",
    "brain-1mm-hierarchical": "Brains, 1 mm: windows below a level that knows the whole. Little "
    "memory. Not yet shown to find more.",
    "brain-2mm-hierarchical": "Brains, 2 mm: windows below a level that knows the whole.",
    "brain-4mm-hierarchical": "Brains, 4 mm: the same, for a first look.",
}


def preset_line(name: str, preset: Preset) -> str:
    """Return what a preset is for, and its grid."""
    shape = " × ".join(map(str, preset.preprocess.shape))
    words = _FOR.get(name, f"{preset.title}.")
    return f"{words} Grid {shape}, {preset.steps} steps of {preset.batch} scans."


def variant_choices(variants: Mapping[str, Variant]) -> Iterator[Choice]:
    """Yield the preset as it is, then the other forms by name."""
    for name, variant in variants.items():
        yield Choice(name, name) if variant.changes else Choice("", variant.title)


def file_row(file: CheckedFile) -> FileRow:
    """Return a scan's row of the check table."""
    person = file.person
    good = not file.refused
    result = "used"
    if file.warnings:
        result = f"used, {len(file.warnings)} warning{'s' * (len(file.warnings) > 1)}"
    if not good:
        code = file.refused.partition("]")[0].lstrip("[")
        result = f"refused: {code}" if file.refused.startswith("[") else "refused"
    cells = (
        person.path.name,
        result,
        person.split,
        person.subject,
        person.site,
        " × ".join(map(str, file.shape)),
        " × ".join(f"{mm:.3g}" for mm in file.spacing_mm),
        file.orientation,
    )
    notes = "\n".join([*filter(None, [file.refused]), *file.warnings])
    return FileRow(cells, str(person.path), good, bool(file.warnings), notes, file.picture)


def split_rows(
    split: Sequence[SplitRow],
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return header and cells of the split preview."""
    rows = tuple((row.group, *map(str, row.people), str(sum(row.people))) for row in split)
    short = [name.replace("calibration-", "calib. ") for name in SPLITS]
    return ("People of", *short, "all"), rows


def show_training(state: TrainingState, training: Training, *, curves: bool) -> None:
    """Write how a training fares into the dock's state; curves when they can be drawn."""
    status, name = training.status, Path(training.order.out).name
    stage = STAGES.get(status.stage, status.stage)
    words = {
        "running": f"{stage}: {name}",
        "stopping": f"Stopping {name}: the state is being saved…",
        "stopped": f"{name} was stopped while: {stage.lower()}. Resume goes on from there.",
        "finished": f"{name} is finished.",
        "failed": f"{name} failed.",
        "died": f"{name}: its process is gone. Resume goes on from the last checkpoint.",
    }
    state.headline = words[training.state]
    state.headline_bad = training.state in {"failed", "died"}
    state.done = status.fraction if training.alive else 0.0
    state.stage = _stage_line(training) if training.alive else ""
    device = f"{status.device}: {status.device_reason}" if status.device else ""
    state.device_line = device
    state.log = "\n".join(training.log_tail(100))
    if curves:
        state.curves = _curves(training)
    state.montage = training.montage()
    state.stop_blocked = {
        "running": "",
        "stopping": "It is stopping already.",
    }.get(training.state, "Nothing is being trained.")
    resumable = training.state in {"stopped", "failed", "died"} and can_resume(training.folder)
    state.resume_blocked = "" if resumable else "There is nothing to resume."
    if training.state == "finished":
        state.resume_blocked = "It is finished."


def _stage_line(training: Training) -> str:
    status = training.status
    parts = [f"{100 * status.fraction:.0f} %", status.message]
    if status.seconds_left is not None:
        minutes, seconds = divmod(round(status.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02d} left of this stage")
    if status.left_out:
        parts.append(f"{len(status.left_out)} scans left out, see the log")
    return " · ".join(part for part in parts if part)


def _curves(
    training: Training,
) -> tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]:
    made = []
    for field, _, _ in FIGURES:
        values = [(p.step, getattr(p, field)) for p in training.status.points]
        known = [(float(s), float(v)) for s, v in values if v is not None]
        made.append((field, tuple(s for s, _ in known), tuple(v for _, v in known)))
    return tuple(made)


def card_text(card: ModelCard) -> str:
    """Return a finished model in a few lines."""
    lines = [card.one_line(), card.verdict(figures=False), card.calibration.latents_line()]
    for site in card.held_out:
        lines.append(
            f"Held-out error at {site.site}: {site.mae:.3f} ({site.people} people), "
            f"the mean image {site.mae_mean_image:.3f}."
        )
    lines.append(f"Licence: {card.license}. Credit: {card.credit}.")
    lines.append(card.limits)
    return "\n\n".join(lines)


def comparison_rows(card: ModelCard) -> tuple[tuple[str, ...], ...]:
    """Return the table of the comparison with baselines, the header first."""
    rows: list[tuple[str, ...]] = [
        ("Against", "What", "Outcome", "Model", "Baseline", "Difference [95 %]", "People")
    ]
    for row in card.comparison:
        digits = 2 if row.figure == "ap" else 3
        difference = row.describe().removeprefix(row.describe(figures=False)).strip()
        rows.append(
            (
                BASELINE_NAMES[row.against],
                row.describe(figures=False),
                row.outcome,
                f"{row.model:.{digits}f}",
                f"{row.baseline:.{digits}f}",
                difference.removeprefix("AP").strip().partition(",  ")[0],
                str(row.people),
            )
        )
    return tuple(rows)
