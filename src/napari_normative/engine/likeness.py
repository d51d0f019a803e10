"""How far unseen healthy people lie from what a network was trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_normative.core.applicability import HealthyRange, reconstruction_error
from napari_normative.core.latent import AggregatedPosterior
from napari_normative.engine.calibrate import MOST_CALIBRATED, code_of
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.volume import FloatArray

Encode = Callable[..., tuple[FloatArray, FloatArray]]
"""Image (I, J, K), and its person's code where there is one, to reconstruction and latent mean."""


def healthy_range(
    cohort: PreparedCohort,
    encode: Encode,
    posterior: AggregatedPosterior,
    codes: FloatArray | None = None,
) -> HealthyRange:
    """Return latent distances and reconstruction errors of the calibration people, sorted.

    Not of the training people: a network knows them by heart, and their latents lie two to
    three times farther out than those of people it has never seen.

    Parameters
    ----------
    cohort : PreparedCohort
    encode : callable
    posterior : AggregatedPosterior
    codes : float32 array, shape (people, D), optional
        Of the people of the cohort.
    """
    distances, errors = [], []
    for n in cohort.some(MOST_CALIBRATED, "calibration-a", "calibration-b"):
        image = cohort.images[n].astype(np.float32)
        reconstruction, mean = encode(image, *code_of(codes, n))
        distances.append(posterior.distance(mean))
        errors.append(reconstruction_error(image, reconstruction, cohort.masks[n]))
    return HealthyRange(np.sort(distances), np.sort(errors))
