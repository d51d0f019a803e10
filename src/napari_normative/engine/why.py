"""Why a place of a scan is a candidate, asked of the model that found it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.attribution import (
    Effect,
    Explanation,
    Neighbour,
    inside_mean_sd,
    nearest_people,
    profiles,
    strongest_directions,
)
from napari_normative.core.candidates import Candidate, components
from napari_normative.core.latent import SAME
from napari_normative.core.residual import fit_contrast
from napari_normative.engine.infer import decode
from napari_normative.volume import FloatArray, Mask

if TYPE_CHECKING:
    from napari_normative.engine.detection import Detection, InModelSpace
    from napari_normative.engine.model import NormativeModel


def explain(
    model: NormativeModel,
    detection: Detection,
    candidate: Candidate,
    *,
    directions: int = 5,
    neighbours: int = 5,
    threshold_z: float | None = None,
    device: str = "cpu",
) -> Explanation:
    """Say why a place is a candidate; well below a second on a CPU.

    Parameters
    ----------
    model : NormativeModel
        The one that made the detection.
    detection : Detection
        Fresh from the model: one without ``in_model`` cannot be explained.
    candidate : Candidate
        One of the detection's, or of its ``recount`` at ``threshold_z``.
    directions, neighbours : int
        At most so many latent directions and healthy people.
    threshold_z : float, optional
        At which the candidate was formed; the detection's unless given.
    device : str

    Raises
    ------
    ValueError
        When detection and model, or candidate and detection, do not belong together.
    """
    space = require_together(model, detection)
    at = detection.threshold_z if threshold_z is None else threshold_z
    return explain_inside(
        model, space, candidate, at, directions=directions, neighbours=neighbours, device=device
    )


def require_together(model: NormativeModel, detection: Detection) -> InModelSpace:
    """Return a detection's maps on the model's grid; refuse one of another model, or of files."""
    space = detection.in_model
    if space is None or detection.provenance["model"]["sha256"] != model.digest:
        raise ValueError("explain needs a detection by this model, from this session")
    return space


def explain_inside(
    model: NormativeModel,
    space: InModelSpace,
    candidate: Candidate,
    threshold_z: float,
    *,
    directions: int = 5,
    neighbours: int = 5,
    device: str = "cpu",
) -> Explanation:
    """Do what :func:`explain` does with the part of a detection that it needs.

    Raises
    ------
    ValueError
        When the candidate is not one of these maps at this threshold.
    """
    model = model.given(space.known)
    image, mask = space.prepared.image, space.prepared.mask
    region = where_found(model, space.z, candidate, threshold_z)
    scoring, calibration = model.card.score, model.calibration

    def in_contrast(made: FloatArray) -> FloatArray:
        return fit_contrast(image, made, mask) if scoring.contrast_fit else made

    expected = in_contrast(space.reconstruction)
    observed_mean, observed_sd = inside_mean_sd(image, region)
    expected_mean, expected_sd = inside_mean_sd(expected, region)
    return Explanation(
        candidate=candidate.id,
        label=candidate.label,
        voxels=int(region.sum()),
        observed_mean=observed_mean,
        observed_sd=observed_sd,
        expected_mean=expected_mean,
        expected_sd=expected_sd,
        profiles=profiles(
            image,
            expected,
            mask,
            region,
            calibration,
            scoring,
            model.card.preprocess.spacing_mm,
        ),
        directions=_directions(model, space.latent_mean, region, directions, device),
        neighbours=_neighbours(model, space.latent_mean, region, neighbours, device, in_contrast),
    )


def where_found(
    model: NormativeModel, z: FloatArray, candidate: Candidate, threshold_z: float
) -> Mask:
    """Return a candidate's voxels on the model's grid, shape (I, J, K), where it was found.

    Raises
    ------
    ValueError
        When the candidate is not one of these maps at this threshold.
    """
    minimum_ml, spacing = model.card.score.minimum_ml, model.card.preprocess.spacing_mm
    labels, found = components(z, threshold_z, minimum_ml, spacing**3 / 1000)
    known = {component.label: (component.peak_z, component.mean_z) for component in found}
    if known.get(candidate.label) != (candidate.peak_z, candidate.mean_z):
        raise ValueError("the candidate is not one of this detection at its threshold")
    return np.asarray(labels == candidate.label)


def _directions(
    model: NormativeModel, latent: FloatArray, region: Mask, count: int, device: str
) -> tuple[Effect, ...]:
    """Return which directions of the global latent move the expectation inside a region."""
    if latent.ndim != 1:  # spatial: a latent belongs to a cell, not to the volume
        return ()
    return strongest_directions(
        sensitivity(model, latent, region, device), latent, model.posterior, count
    )


def sensitivity(
    model: NormativeModel, latent: FloatArray, region: Mask, device: str
) -> NDArray[np.floating]:
    """Return the gradient of the mean decoded intensity inside a region, shape (Z,).

    Exact, by one pass back through the global level: differences would need a pass for every
    direction. The local level below adjusts itself to what the global one leaves, and is held.
    """
    import torch

    network = model.network(device)
    with torch.enable_grad():
        z = torch.from_numpy(latent.astype(np.float32)).to(device)[None].requires_grad_()
        decoded = network.decode(z)[0, 0]
        mean = decoded[torch.from_numpy(region).to(device)].mean()
        if not mean.requires_grad:  # a baseline that decodes every latent alike
            return np.zeros(latent.shape)
        (gradient,) = torch.autograd.grad(mean, z)
    array: NDArray[np.floating] = gradient[0].cpu().numpy()
    return array


def _neighbours(
    model: NormativeModel,
    latent: FloatArray,
    region: Mask,
    count: int,
    device: str,
    in_contrast: Callable[[FloatArray], FloatArray],
) -> tuple[Neighbour, ...] | None:
    people = model.people
    if people is None:
        return None
    rows, distances = nearest_people(latent, people, model.posterior, count)
    decoded, _ = decode(model, people.latents[rows], device)
    found = []
    for row, distance, image in zip(rows, distances, decoded, strict=True):
        mean, sd = inside_mean_sd(in_contrast(image), region)
        found.append(
            Neighbour(
                person=int(row),
                distance=float(distance),
                unseen=bool(people.unseen[row]),
                same=bool(distance < SAME),
                mean=mean,
                sd=sd,
            )
        )
    return tuple(found)
