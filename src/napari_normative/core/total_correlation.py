"""The KL of a cohort's latents in three parts, estimated from a batch."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from napari_normative.core.vae import Latent


class Parts(NamedTuple):
    """Three parts of the mean KL(q(z|x) || N(0, I)), nats; scalars that carry gradients.

    ``mutual_information`` is what latents say about people, ``total_correlation`` how far the
    cohort's latents are from independent of each other, ``dimension_wise`` how far each for
    itself is from N(0, 1).
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise: Tensor


def decomposed(z: Tensor, latent: Latent, people: int) -> Parts:
    """Return the parts of the KL; they sum to the mean of log q(z|x) - log p(z) over ``z``.

    The density of the cohort's latents, q(z) = 1/n Σ q(z|x), is estimated where a person's draw
    lies from that person, who is one in n, and from the others of the batch, who stand for the
    n - 1 others: without bias for q(z), with some for its logarithm, which falls as the batch
    grows [1]_.

    Parameters
    ----------
    z : Tensor, shape (N, Z)
        A draw from each of the Gaussians.
    latent : Latent
        Of N people, shape (N, Z); two or more.
    people : int
        n, how many people there are in training.

    References
    ----------
    .. [1] Chen et al., Isolating sources of disentanglement in variational autoencoders,
       NeurIPS 2018, appendix C.
    """
    own = log_normal(z, latent.mean, latent.log_variance)
    # Of every draw under every person: (draw, person, Z).
    each = log_normal(z[:, None], latent.mean[None], latent.log_variance[None])
    weight = _log_weight(len(z), people, like=z)
    conditional = own.sum(1)
    joint = torch.logsumexp(each.sum(2) + weight, dim=1)
    marginals = torch.logsumexp(each + weight[..., None], dim=1).sum(1)
    prior = log_normal(z, torch.zeros_like(z), torch.zeros_like(z)).sum(1)
    return Parts(
        (conditional - joint).mean(), (joint - marginals).mean(), (marginals - prior).mean()
    )


def log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the log density of a Gaussian per entry, shape as broadcast."""
    square = (z - mean) ** 2 * torch.exp(-log_variance)
    return -0.5 * (square + log_variance + math.log(2 * math.pi))


def _log_weight(batch: int, people: int, like: Tensor) -> Tensor:
    """Return the log of what each person of a batch counts at each draw, shape (N, N)."""
    if batch < 2 or people < 2:
        raise ValueError("the density of a cohort's latents needs two people or more")
    other = math.log(people - 1) - math.log(people) - math.log(batch - 1)
    weight = like.new_full((batch, batch), other)
    return weight.fill_diagonal_(-math.log(people))
