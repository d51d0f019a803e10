"""The last steps to a model, whoever trained its network: calibrate, compare, write the card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_normative.core.card import TrainingFacts
from napari_normative.core.comparison import BASELINE_NAMES
from napari_normative.core.config import BaselineKind, ObjectiveConfig
from napari_normative.engine.assemble import Label, assemble
from napari_normative.engine.baselines import baseline_model
from napari_normative.engine.compare import compare
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.prepared import PreparedCohort, Report
from napari_normative.engine.presets import Preset

if TYPE_CHECKING:
    from napari_normative.core.baselines import Network


def finish(
    network: Network,
    prepared: PreparedCohort,
    preset: Preset,
    label: Label,
    facts: TrainingFacts,
    device: str,
    *,
    folder: Path,
    report: Report,
    objective: ObjectiveConfig | None,
    keep_people: bool = True,
    half: bool = True,
) -> NormativeModel:
    """Calibrate a network, compare it with the baselines of its cohort and write its card.

    Parameters
    ----------
    network : Network
    prepared : PreparedCohort
    preset : Preset
        Score and symmetry.
    label, facts, device, objective, keep_people, half
        As for :func:`napari_normative.engine.assemble.assemble`.
    folder : Path
        Baselines go to ``baselines`` in it.
    report : callable
        Called with stage, fraction and message.

    Returns
    -------
    NormativeModel
        Not yet saved.
    """
    report("calibrate", 0.0, "healthy people who took no part in training")
    model = assemble(
        network,
        prepared,
        label,
        facts,
        device,
        score=preset.score,
        objective=objective,
        flip=preset.augment.flip,
        keep_people=keep_people,
        half=half,
    )
    baselines: dict[BaselineKind, NormativeModel] = {}
    for kind, words in BASELINE_NAMES.items():
        report("compare", 0.0, f"baseline: {words}")
        baselines[kind] = baseline_model(
            kind, prepared, preset, label, facts, device, keep_people=keep_people
        )
        baselines[kind].save(folder / "baselines" / f"{kind}.safetensors")
    rows = compare(
        model,
        baselines,
        prepared,
        device,
        seed=facts.seed,
        report=lambda fraction: report("compare", fraction, "people who took no part in anything"),
    )
    model.card = model.card.model_copy(update={"comparison": rows})
    return model
