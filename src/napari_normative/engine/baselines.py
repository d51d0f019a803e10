"""Baselines of a cohort: fitted in seconds, calibrated and stored like any model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.card import TrainingFacts
from napari_normative.core.comparison import BASELINE_NAMES
from napari_normative.core.config import BaselineConfig, BaselineKind
from napari_normative.core.score import ScoreConfig
from napari_normative.engine.assemble import Label, assemble
from napari_normative.engine.calibrate import MOST_CALIBRATED
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset
from napari_normative.engine.start import MOST_COMPONENT_PEOPLE
from napari_normative.volume import FloatArray

if TYPE_CHECKING:
    from napari_normative.core.baselines import PCA, Baseline

FEWEST = 8
"""Components that principal components are first tried with; then twice as many, and so on."""
MOST = 256
"""Components that are kept at most: at 2 mm each is half a megabyte in the file."""


def baseline_model(
    kind: BaselineKind,
    prepared: PreparedCohort,
    preset: Preset,
    label: Label,
    facts: TrainingFacts,
    device: str,
    *,
    keep_people: bool = True,
) -> NormativeModel:
    """Fit a baseline to a cohort and calibrate it with the preset's score.

    Parameters
    ----------
    kind : {"threshold", "atlas", "pca"}
    prepared : PreparedCohort
    preset : Preset
    label : Label
        Of the model that is compared; name and title get the baseline's.
    facts : TrainingFacts
        Of that model.
    device : str
    keep_people : bool
        As in :func:`napari_normative.engine.assemble.assemble`.
    """
    return assemble(
        fit_baseline(kind, prepared, flip=preset.augment.flip),
        prepared,
        dataclasses.replace(
            label,
            name=f"{label.name}-{kind}",
            title=f"{label.title}, baseline: {BASELINE_NAMES[kind]}",
        ),
        facts.model_copy(
            update={"steps": 0, "minutes": 0.0, "precision": "fp32", "curves": ()},
        ),
        device,
        score=score_of(kind, preset.score),
        objective=None,
        flip=preset.augment.flip,
        keep_people=keep_people,
    )


def score_of(kind: BaselineKind, score: ScoreConfig) -> ScoreConfig:
    """Return the score of a baseline: the model's, but for the threshold what it is.

    A threshold knows no places and no reconstruction whose contrast or position could be
    fitted; scales, erosion and candidates stay.
    """
    if kind != "threshold":
        return score
    plain: dict[str, object] = {
        "contrast_fit": False,
        "tolerance_mm": 0.0,
        "deform_mm": 0.0,
        "texture_mm": 0.0,
        "voxel_statistics": False,
    }
    return score.model_copy(update=plain)


def fit_baseline(kind: BaselineKind, prepared: PreparedCohort, *, flip: bool) -> Baseline:
    """Return a baseline fitted to the training people.

    Parameters
    ----------
    kind : {"threshold", "atlas", "pca"}
    prepared : PreparedCohort
    flip : bool
        Principal components see every person mirrored as well.
    """
    import torch

    from napari_normative.core.baselines import MeanAtlas, Threshold

    if kind == "pca":
        return _principal_components(prepared, flip)
    shape, template = prepared.config.shape, prepared.template
    if kind == "atlas":
        atlas = MeanAtlas(BaselineConfig(kind="atlas", shape=shape))
        atlas.mean_image.copy_(torch.from_numpy(template.image)[None])
        return atlas
    threshold = Threshold(BaselineConfig(kind="threshold", shape=shape))
    threshold.level.fill_(float(np.median(template.image[template.mask])))
    return threshold


def _principal_components(prepared: PreparedCohort, flip: bool) -> PCA:
    import torch

    from napari_normative.core.baselines import PCA

    voxels = np.flatnonzero(prepared.template.mask)
    size = len(voxels)
    chosen = prepared.some(MOST_COMPONENT_PEOPLE, "train")
    rows = np.concatenate([_deviations(prepared, n, voxels, flip) for n in chosen])
    gram = np.zeros((len(rows), len(rows)))
    for start in range(0, size, 65536):  # in double precision, but not all at once
        part = rows[:, start : start + 65536].astype(np.float64)
        gram += part @ part.T
    values, vectors = np.linalg.eigh(gram / len(rows))
    order = np.argsort(values)[::-1]
    values, vectors = values[order], vectors[:, order]
    rank = max(1, min(int((values > 1e-6 * max(values[0], 1e-12)).sum()), MOST))
    unit = np.sqrt(np.maximum(values[:rank], 1e-12) * len(rows))
    basis = (vectors[:, :rank] / unit).T.astype(np.float32) @ rows
    # Signs are arbitrary; fixed so that the same cohort gives the same file.
    basis *= np.sign(basis[np.arange(rank), np.abs(basis).argmax(axis=1)])[:, None]
    kept, noise = _best_count(prepared, voxels, basis)
    network = PCA(
        BaselineConfig(kind="pca", shape=prepared.config.shape, components=kept, voxels=size)
    )
    network.mean_image.copy_(torch.from_numpy(prepared.template.image)[None])
    network.voxels.copy_(torch.from_numpy(voxels.astype(np.int32)))
    network.basis.copy_(torch.from_numpy(basis[:kept] * np.float32(np.sqrt(size))))
    spread = np.maximum(values[:kept], 1e-12)
    network.scale.copy_(torch.from_numpy(np.sqrt(spread / size).astype(np.float32)))
    network.log_variance.copy_(
        torch.from_numpy(np.log(noise / (spread + noise)).astype(np.float32))
    )
    return network


def _deviations(
    prepared: PreparedCohort, n: int, voxels: NDArray[np.intp], flip: bool
) -> FloatArray:
    """Return a person's deviations from the mean, and mirrored: shape (1 or 2, M)."""
    image, mask = prepared.images[n].astype(np.float32), prepared.masks[n]
    views = [(image, mask), (image[::-1], mask[::-1])] if flip else [(image, mask)]
    # Outside a person's own mask nothing is known: no deviation from the mean.
    return np.stack([((x - prepared.template.image) * m).ravel()[voxels] for x, m in views])


def _best_count(
    prepared: PreparedCohort, voxels: NDArray[np.intp], basis: FloatArray
) -> tuple[int, float]:
    """Return how many components reconstruct calibration part A best, and what they leave.

    The latter is the variance per voxel, on people who were not fitted: of those who were,
    all components leave nothing.
    """
    doubled = (FEWEST * 2**i for i in range(16))
    counts = [*(k for k in doubled if k < len(basis)), len(basis)]
    errors, variances = np.zeros(len(counts)), np.zeros(len(counts))
    people = prepared.some(MOST_CALIBRATED, "calibration-a")
    for n in people:
        left = _deviations(prepared, n, voxels, False)[0]
        inside = prepared.masks[n].ravel()[voxels]
        along, done = basis @ left, 0
        for c, count in enumerate(counts):
            left = left - along[done:count] @ basis[done:count]
            errors[c] += np.abs(left[inside]).mean()
            variances[c] += (left[inside] ** 2).mean()
            done = count
    best = int(errors.argmin())
    return counts[best], max(float(variances[best]) / len(people), 1e-9)
