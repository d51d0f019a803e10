"""From a network and a cohort to a model: statistics, thresholds, card."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_normative.core.calibration import Calibration
from napari_normative.core.card import CalibrationFacts, ModelCard, TrainingFacts
from napari_normative.core.config import NetworkConfig, ObjectiveConfig, VAEConfig
from napari_normative.core.latent import (
    AggregatedPosterior,
    LatentHealth,
    People,
    code_health,
    latent_health,
)
from napari_normative.core.score import ScoreConfig
from napari_normative.engine.calibrate import calibrate, held_out
from napari_normative.engine.conditions import codes_of, covariates_in
from napari_normative.engine.likeness import Encode, healthy_range
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.stored_model import NETWORK_PREFIX
from napari_normative.io.checkpoint import Tensors
from napari_normative.volume import FloatArray

if TYPE_CHECKING:
    from napari_normative.core.baselines import Network

MOST_LATENTS = 4096
"""People of a split whose latents are looked at and kept, drawn at random where there are more."""

INTENDED_USE = (
    "Research use only, not for diagnosis. Shows where a scan differs from healthy people like "
    "those it was trained on, as candidates for a person to review."
)
LIMITS = (
    "Trained on few people and scanners: other scanners, ages and sequences give more false "
    "candidates. Finds what changes intensity on this contrast; changes of texture, small "
    "displacements and lesions of ordinary intensity stay unseen. No candidate does not mean "
    "no disease. A left-right flipped scan is not noticed."
)
WINDOWED = (
    " Sees windows of {window} mm, each voxel with its place: what shows across larger distances "
    "only, such as the shape of the whole, is not judged. Streamed reconstructions come with the "
    "residual; z maps and candidates are those of detection, in memory."
)
CONDITIONED = (
    " Calibrated on people whose {columns} it was told: of others, or told less, rates are not "
    "known. Being told somebody's group hides what is common in that group, disease included."
)

HIERARCHICAL = (
    " Sees the whole in blocks of {block:g} mm and, beside that, windows of {window} mm: what is "
    "finer than the blocks and larger than a window is not judged. Latents are those of the whole. "
    "Streamed reconstructions come with the residual; z maps and candidates are those of "
    "detection, in memory."
)


@dataclass(frozen=True)
class Label:
    """What a card says of its origin.

    Attributes
    ----------
    name, title, modality, license, credit : str
    """

    name: str
    title: str
    modality: str
    license: str
    credit: str


def assemble(
    network: Network,
    prepared: PreparedCohort,
    label: Label,
    facts: TrainingFacts,
    device: str,
    *,
    score: ScoreConfig,
    objective: ObjectiveConfig | None,
    flip: bool,
    keep_people: bool = True,
    half: bool = True,
) -> NormativeModel:
    """Calibrate a network on people who took no part in it, and write its card.

    Parameters
    ----------
    network : Network
        A VAE or a baseline.
    prepared : PreparedCohort
    label : Label
    facts : TrainingFacts
    device : str
    score : ScoreConfig
    objective : ObjectiveConfig or None
        None where nothing was optimised.
    flip : bool
        Calibration people count mirrored as well.
    keep_people : bool
        Write the people's latents into the model; see docs/decisions/0010.
    half : bool
        Store large weights in half precision.
    """
    weights = {k: v.detach().cpu().numpy() for k, v in network.state_dict().items()}
    tensors = {NETWORK_PREFIX + k: _shrunk(v) if half else v for k, v in weights.items()}
    covariates = covariates_in(network.config)
    codes = codes_of(prepared.people, covariates)
    encode, gaussians = _applied(network, tensors, prepared, codes, device)
    latents, variances = gaussians("train")

    def reconstruct(images: FloatArray, code: FloatArray) -> FloatArray:
        return np.stack([encode(image, code)[0] for image in images])

    calibration = calibrate(prepared, reconstruct, score, flip=flip, codes=codes)
    posterior = AggregatedPosterior.fit(latents, variances)
    health = _health(network, latents, variances)
    card = ModelCard(
        name=label.name,
        title=label.title,
        modality=label.modality,
        created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        network=network.config,
        objective=objective,
        preprocess=prepared.config,
        score=score,
        training=facts,
        calibration=CalibrationFacts(
            people=calibration.n,
            threshold_z=calibration.threshold_z,
            false_per_scan=round(calibration.false_per_scan, 3),
            rate_low=round(calibration.rate_low, 3),
            rate_high=round(calibration.rate_high, 3),
            latent_total_kl_nats=round(health.total_kl_nats, 2),
            latent_active=health.active,
            latent_aggregate_kl_nats=(
                None if health.aggregate_kl_nats is None else round(health.aggregate_kl_nats, 2)
            ),
        ),
        held_out=held_out(prepared, reconstruct, codes),
        intended_use=INTENDED_USE,
        limits=LIMITS
        + windowed(network.config, prepared.config.spacing_mm)
        + (CONDITIONED.format(columns=" and ".join(covariates.names)) if covariates.each else ""),
        license=label.license,
        credit=label.credit,
    )
    tensors.update(_statistics(prepared, calibration, posterior))
    tensors.update(healthy_range(prepared, encode, posterior, codes).tensors())
    if keep_people and latents.ndim == 2:  # spatial latents belong to crops, not to people
        unseen, _ = gaussians("calibration-a", "calibration-b")
        tensors.update(People.anonymous(latents, unseen).tensors())
    return NormativeModel(card, tensors)


def _health(network: Network, means: FloatArray, variances: FloatArray) -> LatentHealth:
    codebook = getattr(network, "quantiser", None)
    if codebook is None:
        return latent_health(means, variances)
    import torch

    with torch.inference_mode():
        cells = torch.from_numpy(means).to(codebook.codes.device)
        return code_health(codebook.quantised(cells).which.cpu().numpy(), len(codebook.codes))


def windowed(config: NetworkConfig, spacing_mm: float) -> str:
    """Return what the patch form cannot do, for the card; empty for other forms."""
    if not isinstance(config, VAEConfig) or config.window is None:
        return ""
    window = " × ".join(f"{n * spacing_mm:g}" for n in config.window)
    block = config.anatomy_factor * spacing_mm
    return (HIERARCHICAL if block else WINDOWED).format(window=window, block=block)


def _applied(
    network: Network,
    tensors: Tensors,
    prepared: PreparedCohort,
    codes: FloatArray,
    device: str,
) -> tuple[Encode, Callable[..., tuple[FloatArray, FloatArray]]]:
    """Put the weights in as they are stored; return what encodes a scan, and people's latents."""
    import torch

    from napari_normative.core.vae import VAE

    stored = {k.removeprefix(NETWORK_PREFIX): torch.from_numpy(v) for k, v in tensors.items()}
    network.load_state_dict(stored)
    network = network.float().to(device)

    def told(code: FloatArray) -> Network:
        return network.given(torch.from_numpy(code)) if isinstance(network, VAE) else network

    def encode(image: FloatArray, code: FloatArray) -> tuple[FloatArray, FloatArray]:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(image)).to(device)[None, None]
            own = told(code)
            latent = own.encode(x)
            out = own.reconstruct(x, latent)
        return out[0, 0].float().cpu().numpy(), latent.mean[0].float().cpu().numpy()

    def gaussians(*splits: str) -> tuple[FloatArray, FloatArray]:
        means, variances = [], []
        with torch.inference_mode():
            for n in prepared.some(MOST_LATENTS, *splits):
                image = torch.from_numpy(prepared.images[n].astype(np.float32)).to(device)
                latent = told(codes[n]).encode(image[None, None])
                means.append(latent.mean[0].float().cpu().numpy())
                variances.append(latent.log_variance[0].float().exp().cpu().numpy())
        return np.stack(means), np.stack(variances)

    return encode, gaussians


def _statistics(
    prepared: PreparedCohort, calibration: Calibration, posterior: AggregatedPosterior
) -> Tensors:
    inside = prepared.template.mask
    return {
        "template.mask": np.packbits(inside),
        "template.image": prepared.template.image[inside].astype(np.float16),
        "calibration.mean": calibration.mean[:, inside].astype(np.float16),
        "calibration.sd": calibration.sd[:, inside].astype(np.float16),
        "calibration.z_tail": calibration.z_tail.astype(np.float32),
        "calibration.scan_scores": calibration.scan_scores.astype(np.float32),
        "calibration.evidence": calibration.evidence.astype(np.float32),
        "calibration.false_curve": calibration.false_curve.astype(np.float32),
        "latent.mean": posterior.mean,
        "latent.cholesky": posterior.cholesky.astype(np.float16),
    }


def _shrunk(array: np.ndarray) -> np.ndarray:
    """Store weights in half precision; small ones whole, they cost nothing."""
    return array.astype(np.float16) if array.dtype == np.float32 and array.size > 4096 else array
