"""What a probe is made of: latents of scans, their voxels, and plain figures of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.applicability import (
    Applicability,
    check_likeness,
    reconstruction_error,
)
from napari_normative.core.volume_features import volume_features
from napari_normative.engine.embed import require_places
from napari_normative.engine.infer import DeviceNote, prepare_scan, run_network
from napari_normative.errors import ModelFileError
from napari_normative.io.nifti import require_signal
from napari_normative.volume import FloatArray, Volume

if TYPE_CHECKING:
    from napari_normative.engine.model import NormativeModel

MOST_VOXELS = 60_000
"""So many voxels inside the template's mask stand for a scan in principal components."""


@dataclass(frozen=True, eq=False)
class MeasuredScan:
    """A scan as a probe sees it.

    Attributes
    ----------
    latent, variance : float32 array, shape (Z,)
        Of the scan's Gaussian over latents.
    voxels : float16 array, shape (V,)
        Prepared intensities at fixed places inside the template's mask.
    features : float64 array, shape (F,)
        See :data:`~napari_normative.core.volume_features.NAMES`.
    applicability : Applicability
        What the model has to say about the scan.
    note : DeviceNote
    """

    latent: FloatArray
    variance: FloatArray
    voxels: NDArray[np.float16]
    features: NDArray[np.float64]
    applicability: Applicability
    note: DeviceNote


def measure_scan(
    model: NormativeModel, scan: Volume, *, device: str = "auto", force: bool = False
) -> MeasuredScan:
    """Prepare and encode one scan.

    Raises
    ------
    NormativeError
        As for a detection: no signal, no alignment, another contrast (unless ``force``).
    """
    require_signal(scan)
    prepared, checks = prepare_scan(model, scan, force=force)
    (image, mean, log_variance), note = run_network(model, prepared.image[None], device)
    distance = model.posterior.distance(mean)
    error = reconstruction_error(prepared.image, image[0], prepared.mask)
    places = np.flatnonzero(model.template.mask)
    places = places[:: -(-len(places) // MOST_VOXELS)]
    return MeasuredScan(
        mean,
        np.exp(log_variance),
        prepared.image.ravel()[places].astype(np.float16),
        volume_features(prepared, model.card.preprocess),
        Applicability((*checks, *check_likeness(distance, error, model.healthy_range))),
        note,
    )


def require_vectors(model: NormativeModel) -> None:
    """Raise ``MOD-007`` unless the model has one latent vector for a whole scan."""
    try:
        require_places(model)
    except ModelFileError as error:
        raise ModelFileError(
            error.code, error.what, error.remedy, consequence="No probe was made."
        ) from error
