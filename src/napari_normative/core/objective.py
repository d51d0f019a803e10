"""The evidence lower bound, in nats per volume."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_normative.core.config import ObjectiveConfig
from napari_normative.core.latent import ACTIVE_NATS
from napari_normative.core.quantise import Quantised
from napari_normative.core.total_correlation import decomposed
from napari_normative.core.vae import Latent

LOG_SIGMA_FLOOR = -4.0
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
SSIM_WINDOW = 5

Whole = Callable[[Tensor], Tensor]
"""Sums a statistic, which carries no gradient, over all parts of a batch."""


class Terms(NamedTuple):
    """Means over the whole batch, nats per volume.

    ``loss`` is what training minimises (with β, free bits and SSIM), of which a part of the
    batch has its share: losses and gradients of all parts sum to the whole's. ``elbo`` is the
    plain bound ``-reconstruction - kl``. ``scale`` is the likelihood's σ or b in model units,
    ``voxels`` the mask's size per volume.
    """

    loss: Tensor
    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor
    active: Tensor
    scale: Tensor
    voxels: Tensor


def alone(statistic: Tensor) -> Tensor:
    """Return the statistic of a batch that has no other parts."""
    return statistic


def kl_divergence(latent: Latent) -> Tensor:
    """Return KL(q(z|x) || N(0, I)) per volume and direction, nats; shape of the latent.

    References
    ----------
    .. [1] Kingma & Welling, Auto-Encoding Variational Bayes, ICLR 2014, appendix B.
    """
    mean, log_variance = latent
    return 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance)


def latent_nats(levels: tuple[Latent, ...], codes: int = 0) -> float:
    """Return the KL of a volume's latents to their prior, nats, all levels together.

    Parameters
    ----------
    levels : tuple of Latent
        Of one volume.
    codes : int
        Of a codebook for the cells, whose prior is uniform over them; 0 for a prior N(0, I).
    """
    if codes:
        return sum(level.mean[0, 0].numel() for level in levels) * math.log(codes)
    return sum(float(kl_divergence(level).sum()) for level in levels)


def gaussian(error: Tensor, weight: Tensor, whole: Whole = alone) -> tuple[Tensor, Tensor]:
    """Return nats per volume, shape (N,), and the σ that is optimal for the whole batch.

    With that σ the term is ``n (½ log 2πσ² + ½)`` at the batch's own mean square error. It
    passes no gradient: where it is optimal, the batch's nats do not change with it.

    Parameters
    ----------
    error, weight : Tensor, shape (N, C, I, J, K)
        ``error`` is 0 where ``weight`` is.
    whole : callable

    References
    ----------
    .. [1] Rybkin, Daniilidis & Levine, Simple and Effective VAE Training with Calibrated
       Decoders, ICML 2021.
    """
    count = weight.flatten(1).sum(1)
    squared = (error**2).flatten(1).sum(1)
    log_scale = 0.5 * _log_mean(squared, count, whole)
    log_scale = log_scale.clamp_min(LOG_SIGMA_FLOOR)
    constant = log_scale + HALF_LOG_TAU
    return 0.5 * squared * torch.exp(-2 * log_scale) + count * constant, log_scale.exp()


def _log_mean(values: Tensor, count: Tensor, whole: Whole) -> Tensor:
    values, count = whole(torch.stack([values.detach().sum(), count.sum()]))
    return torch.log(values / count + 1e-12)


def laplace(error: Tensor, weight: Tensor, whole: Whole = alone) -> tuple[Tensor, Tensor]:
    """Return nats per volume, shape (N,), and the b that is optimal for the whole batch.

    Arguments as for :func:`gaussian`.
    """
    count = weight.flatten(1).sum(1)
    absolute = error.abs().flatten(1).sum(1)
    log_scale = _log_mean(absolute, count, whole).clamp_min(LOG_SIGMA_FLOOR)
    constant = log_scale + math.log(2.0)
    return absolute * torch.exp(-log_scale) + count * constant, log_scale.exp()


def gaussian_map(error: Tensor, weight: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return nats per volume, shape (N,), for a σ per voxel, and σ's root mean square.

    σ² = exp(2 ``log_sigma``) + exp(2 ``LOG_SIGMA_FLOOR``): a floor that never stops the
    gradient. At the optimum σ² is the mean square error of the voxel, or the floor.

    Parameters
    ----------
    error, weight : Tensor, shape (N, C, I, J, K)
    log_sigma : Tensor, shape (C, I, J, K)
    """
    variance = torch.exp(2 * log_sigma) + math.exp(2 * LOG_SIGMA_FLOOR)
    nats = 0.5 * error**2 / variance + weight * (0.5 * torch.log(variance) + HALF_LOG_TAU)
    mean_square = (weight * variance).sum() / weight.sum().clamp_min(1)
    return nats.flatten(1).sum(1), mean_square.sqrt()


def ssim_map(x: Tensor, reconstruction: Tensor, mask: Tensor) -> Tensor:
    """Return the local structural similarity, shape (N, C, I, J, K).

    Cubes of ``SSIM_WINDOW`` voxels, weighed by the mask, so that nothing outside has a say;
    constants for a range of 1 model unit.

    Parameters
    ----------
    x, reconstruction : Tensor, shape (N, C, I, J, K)
    mask : Tensor, broadcastable to ``x``

    References
    ----------
    .. [1] Wang et al., Image quality assessment: from error visibility to structural
       similarity, IEEE Trans. Image Process. 13:600-612, 2004.
    """
    weight = mask.expand_as(x)
    share = _box_sum(weight).clamp_min(1.0)

    def local(values: Tensor) -> Tensor:
        return _box_sum(values * weight) / share

    a, b = local(x), local(reconstruction)
    var_a, var_b = local(x * x) - a * a, local(reconstruction * reconstruction) - b * b
    covariance = local(x * reconstruction) - a * b
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * a * b + c1) * (2 * covariance + c2)
    return similar / ((a * a + b * b + c1) * (var_a + var_b + c2))


def _box_sum(x: Tensor) -> Tensor:
    """Sum over cubes around every voxel, 0 beyond the grid; deterministic on every device."""
    reach = SSIM_WINDOW // 2
    for axis in (2, 3, 4):
        padding = [0, 0] * (4 - axis) + [reach, reach]
        padded = F.pad(x, padding)
        x = sum((padded.narrow(axis, k, x.shape[axis]) for k in range(SSIM_WINDOW)), 0 * x)
    return x


def evaluate(
    x: Tensor,
    reconstruction: Tensor,
    latent: Latent,
    mask: Tensor,
    config: ObjectiveConfig,
    progress: float = 1.0,
    log_sigma: Tensor | None = None,
    whole: Whole = alone,
    z: Tensor | None = None,
    people: int = 0,
    quantised: Quantised | None = None,
) -> Terms:
    """Return the objective of a batch, or of a part of it.

    Sums run over the mask's voxels and all latent directions.

    Parameters
    ----------
    x, reconstruction : Tensor, shape (N, C, I, J, K)
    latent : Latent
    mask : Tensor, broadcastable to ``x``
    config : ObjectiveConfig
    progress : float
        Share of training done, 0 to 1; sets the KL's warm-up.
    log_sigma : Tensor, shape (C, I, J, K), optional
        The network's, for the likelihood ``gaussian-map``.
    whole : callable
        Where this is a part of a batch: sums over all parts.
    z : Tensor, shape (N, Z), optional
        The draws that were decoded, where total correlation has a weight of its own. That needs
        the batch in one part.
    people : int
        In training; likewise.
    quantised : Quantised, optional
        What the codebook made of the draws, where there is one: β then weighs the commitment
        instead, the KL being the same for all latents. Needs the batch in one part.
    """
    weight = mask.expand_as(x)
    error = (x - reconstruction) * weight
    if config.likelihood == "gaussian-map":
        if log_sigma is None:
            raise ValueError("gaussian-map needs a network with a map of σ")
        nll, scale = gaussian_map(error, weight, log_sigma)
    else:
        likelihood = gaussian if config.likelihood == "gaussian" else laplace
        nll, scale = likelihood(error, weight, whole)
    per_direction = kl_divergence(latent)
    # In the spatial form a direction is a channel: free bits and activity are per cell.
    own_kl = per_direction.sum(0)
    own = [torch.full_like(nll[0], len(x)), nll.sum(), mask.sum() * (len(x) / len(mask))]
    sums = whole(torch.cat([torch.stack(own).to(own_kl.dtype), own_kl.flatten()]).detach())
    volumes, nats, voxels = sums[:3]
    mean_kl = (sums[3:] / volumes).view_as(own_kl)
    dear = mean_kl >= config.free_nats
    free = (config.free_nats * len(x) / volumes).expand_as(own_kl)
    penalty = torch.where(dear, own_kl / volumes, free).sum()
    if quantised is not None:
        penalty = quantised.distance().mean()
    warm = min(1.0, progress / config.warmup) if config.warmup > 0 else 1.0
    loss = nll.sum() / volumes + warm * config.beta * penalty
    if config.total_correlation != 1:
        if z is None:
            raise ValueError("a weight of total correlation needs the draws")
        excess = config.total_correlation - 1
        total = decomposed(z, latent, people).total_correlation
        loss = loss + warm * config.beta * excess * total
    if config.ssim > 0:
        unlike = (1 - ssim_map(x, reconstruction, mask)) * weight
        loss = loss + config.ssim * unlike.sum() / volumes
    reconstruction_nats, kl, active = nats / volumes, mean_kl.sum(), (mean_kl > ACTIVE_NATS).sum()
    if quantised is not None:
        kl, active = torch.full_like(kl, quantised.nats()), quantised.used()
    return Terms(
        loss=loss,
        elbo=-(reconstruction_nats + kl),
        reconstruction=reconstruction_nats,
        kl=kl,
        active=active,
        scale=scale,
        voxels=voxels / volumes,
    )
