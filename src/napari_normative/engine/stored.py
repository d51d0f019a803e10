"""What a model file holds beside the network, read from its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.calibration import Calibration
from napari_normative.core.card import ModelCard
from napari_normative.core.latent import AggregatedPosterior, People
from napari_normative.core.preprocess import Template
from napari_normative.errors import ModelFileError
from napari_normative.io.checkpoint import Tensors
from napari_normative.volume import FloatArray


def template_of(card: ModelCard, tensors: Tensors) -> Template:
    """Return the template; its mask is packed, its image holds the voxels inside."""
    shape = card.preprocess.shape
    size = int(np.prod(shape))
    packed = _array(tensors, "template.mask", ((size + 7) // 8,))
    mask = np.unpackbits(packed.astype(np.uint8), count=size).reshape(shape).astype(bool)
    image = np.zeros(shape, dtype=np.float32)
    image[mask] = _array(tensors, "template.image", (int(mask.sum()),))
    return Template(image, mask)


def require_calibration(card: ModelCard, tensors: Tensors, template: Template) -> None:
    """Raise ``MOD-006`` unless :func:`calibration_of` will find what it needs."""
    flat = (card.score.maps, int(template.mask.sum()))
    for name in ("calibration.mean", "calibration.sd"):
        _array(tensors, name, flat)
    _array(tensors, "calibration.z_tail")
    for name in ("calibration.scan_scores", "calibration.evidence"):
        _array(tensors, name, (card.calibration.people,))
    _curve(tensors)


def calibration_of(card: ModelCard, tensors: Tensors, template: Template) -> Calibration:
    """Return the calibration; its maps hold the voxels inside the template's mask."""
    facts, scales = card.calibration, card.score.maps
    inside = template.mask
    flat = (scales, int(inside.sum()))

    def map_of(name: str) -> FloatArray:
        full = np.zeros((scales, *inside.shape), dtype=np.float32)
        full[:, inside] = _array(tensors, name, flat)
        return full

    def per_person(name: str) -> NDArray[np.float64]:
        return _array(tensors, name, (facts.people,)).astype(np.float64)

    return Calibration(
        mean=map_of("calibration.mean"),
        sd=map_of("calibration.sd"),
        z_tail=_array(tensors, "calibration.z_tail").astype(np.float64),
        scan_scores=per_person("calibration.scan_scores"),
        evidence=per_person("calibration.evidence"),
        threshold_z=facts.threshold_z,
        false_per_scan=facts.false_per_scan,
        rate_low=facts.rate_low,
        rate_high=facts.rate_high,
        n=facts.people,
        false_curve=_curve(tensors),
    )


def posterior_of(tensors: Tensors) -> AggregatedPosterior:
    """Return the Gaussian of the cohort's latents."""
    return AggregatedPosterior(
        _array(tensors, "latent.mean").astype(np.float32),
        _array(tensors, "latent.cholesky").astype(np.float32),
    )


def people_of(tensors: Tensors, posterior: AggregatedPosterior) -> People | None:
    """Return the latents of the cohort's people; None where the file was written without."""
    try:
        return People.of(tensors, posterior.mean.size)
    except ValueError as error:
        raise unfit("latent.people", str(error)) from error


def unfit(what: str, why: str) -> ModelFileError:
    """Return ``MOD-006``: tensors and card do not belong together."""
    return ModelFileError(
        "MOD-006",
        f"{what} does not fit the card ({why})",
        "The file was changed after training; use the original.",
    )


def _curve(tensors: Tensors) -> NDArray[np.float64]:
    curve = tensors.get("calibration.false_curve")
    if curve is None:  # optional: older files have none
        return np.zeros((2, 0))
    if curve.ndim != 2 or len(curve) != 2 or (np.diff(curve[0]) <= 0).any():
        raise unfit("calibration.false_curve", "no rising thresholds with their rates")
    return curve.astype(np.float64)


def _array(tensors: Tensors, name: str, shape: Sequence[int] | None = None) -> NDArray[Any]:
    array = tensors.get(name)
    if array is None or (shape is not None and array.shape != tuple(shape)):
        raise unfit(name, "missing or of another shape")
    return array
