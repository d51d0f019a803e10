"""How much a model's samples look like the healthy people at hand, and how they vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.sample_metrics import fixed_features, mmd2, ms_ssim_diversity
from napari_normative.volume import FloatArray

if TYPE_CHECKING:
    from napari_normative.engine.latent_model import LatentModel

LEAST_PEOPLE = 4
"""Fewer healthy scans give no distribution to compare with."""

PAIRS = 50


def sample_quality(
    model: LatentModel, real: Sequence[NDArray[np.float16]], device: str
) -> dict[str, Any]:
    """Compare samples with real healthy scans in the model's space.

    Parameters
    ----------
    model : LatentModel
    real : sequence of float16 array, shape of the grid
        Prepared scans, one a person, 0 outside the foreground.
    device : str

    Returns
    -------
    dict
        ``people``, ``mmd2`` and ``diversity`` of samples from the aggregated posterior,
        ``mmd2_real`` (two halves of the real people: what chance alone gives) and
        ``diversity_real``. Diversity is the mean MS-SSIM of pairs; less is more varied.
        None where there are too few people.
    """
    if len(real) < LEAST_PEOPLE:
        return {"people": len(real), "mmd2": None, "diversity": None}
    inside = model.template.mask
    people: list[FloatArray] = [np.where(inside, image, 0).astype(np.float32) for image in real]
    drawn = [volume.data for volume in model.sample(len(people), seed=0, device=device)]
    features, sampled = fixed_features(people), fixed_features(drawn)
    halves = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(people))
        cut = len(people) // 2
        halves.append(mmd2(features[order[:cut]], features[order[cut:]]))
    return {
        "people": len(people),
        "mmd2": mmd2(features, sampled),
        "mmd2_real": float(np.mean(halves)),
        "diversity": ms_ssim_diversity(drawn, inside, seed=0, pairs=PAIRS),
        "diversity_real": ms_ssim_diversity(people, inside, seed=0, pairs=PAIRS),
    }
