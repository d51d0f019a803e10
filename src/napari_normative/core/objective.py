"""The evidence lower bound, in nats per volume."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from napari_normative.core.config import ObjectiveConfig
from napari_normative.core.vae import Latent

LOG_SIGMA_FLOOR = -4.0
ACTIVE_NATS = 0.01
"""A latent direction whose mean KL exceeds this is counted as active."""


class Terms(NamedTuple):
    """Batch means, nats per volume.

    ``loss`` is what training minimises (with β and free bits); ``elbo`` is the plain bound
    ``-reconstruction - kl``. ``scale`` is the likelihood's σ or b in model units.
    """

    loss: Tensor
    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor
    active: Tensor
    scale: Tensor


def kl_divergence(latent: Latent) -> Tensor:
    """Return KL(q(z|x) || N(0, I)) per volume and direction, nats; shape of the latent.

    References
    ----------
    .. [1] Kingma & Welling, Auto-Encoding Variational Bayes, ICLR 2014, appendix B.
    """
    mean, log_variance = latent
    return 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance)


def negative_log_likelihood(
    x: Tensor, reconstruction: Tensor, mask: Tensor, likelihood: Literal["gaussian", "laplace"]
) -> tuple[Tensor, Tensor]:
    """Return nats per volume, shape (N,), and the scale that is optimal for the batch.

    Summed over the mask's voxels. With the optimal σ the Gaussian term is
    ``n (½ log 2πσ² + ½)`` at the batch's own mean square error.

    Parameters
    ----------
    x, reconstruction : Tensor, shape (N, C, I, J, K)
    mask : Tensor, broadcastable to ``x``
        1 where a voxel counts.
    likelihood : {"gaussian", "laplace"}

    References
    ----------
    .. [1] Rybkin, Daniilidis & Levine, Simple and Effective VAE Training with Calibrated
       Decoders, ICML 2021.
    """
    weight = mask.expand_as(x)
    error = (x - reconstruction) * weight
    count = weight.flatten(1).sum(1)
    if likelihood == "gaussian":
        squared = (error**2).flatten(1).sum(1)
        log_scale = 0.5 * torch.log(squared.sum() / count.sum() + 1e-12)
        log_scale = log_scale.clamp_min(LOG_SIGMA_FLOOR)
        constant = log_scale + 0.5 * math.log(2 * math.pi)
        return 0.5 * squared * torch.exp(-2 * log_scale) + count * constant, log_scale.exp()
    absolute = error.abs().flatten(1).sum(1)
    log_scale = torch.log(absolute.sum() / count.sum() + 1e-12).clamp_min(LOG_SIGMA_FLOOR)
    constant = log_scale + math.log(2.0)
    return absolute * torch.exp(-log_scale) + count * constant, log_scale.exp()


def evaluate(
    x: Tensor,
    reconstruction: Tensor,
    latent: Latent,
    mask: Tensor,
    config: ObjectiveConfig,
    progress: float = 1.0,
) -> Terms:
    """Return the objective of a batch.

    Parameters
    ----------
    x, reconstruction : Tensor, shape (N, C, I, J, K)
    latent : Latent
    mask : Tensor, broadcastable to ``x``
    config : ObjectiveConfig
    progress : float
        Share of training done, 0 to 1; sets the KL's warm-up.
    """
    nll, scale = negative_log_likelihood(x, reconstruction, mask, config.likelihood)
    per_direction = kl_divergence(latent)
    kl = per_direction.flatten(1).sum(1).mean()
    mean_kl = per_direction.mean(0)
    # In the spatial form a direction is a channel: free bits and activity are per cell.
    penalty = mean_kl.clamp_min(config.free_nats).sum()
    warm = min(1.0, progress / config.warmup) if config.warmup > 0 else 1.0
    reconstruction_nats = nll.mean()
    return Terms(
        loss=reconstruction_nats + warm * config.beta * penalty,
        elbo=-(reconstruction_nats + kl),
        reconstruction=reconstruction_nats,
        kl=kl,
        active=(mean_kl > ACTIVE_NATS).sum(),
        scale=scale,
    )
