"""A codebook for the cells of the spatial form: each latent vector becomes one of K."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

DECAY = 0.95
"""Of the moving averages by which codes follow the cells that chose them."""
DEAD = 0.03
"""A code that is chosen less often than this share of its due is moved to where cells are."""


class Quantised(NamedTuple):
    """Latents (N, Z, i, j, k) and what the codebook makes of them.

    ``vectors`` are the nearest codes, of the latents' shape and without gradients; ``which``
    (N, i, j, k) says which; ``codes`` is how many there are.
    """

    latents: Tensor
    vectors: Tensor
    which: Tensor
    codes: int

    def distance(self) -> Tensor:
        """Return Σ (latent - code)² per volume, shape (N,): the commitment of the encoder."""
        return ((self.latents - self.vectors) ** 2).flatten(1).sum(1)

    def nats(self) -> float:
        """Return the KL to a uniform prior over codes, per volume: ln K for every cell.

        A cell's posterior has one code only, so that this holds whatever the code.
        """
        return self.which[0].numel() * math.log(self.codes)

    def used(self) -> Tensor:
        """Return how many codes occur, shape ()."""
        return (torch.bincount(self.which.flatten(), minlength=self.codes) > 0).sum()


class Quantiser(nn.Module):
    """Replaces every cell's latent by the nearest of K codes.

    Gradients pass as if nothing had been replaced [1]_. Codes are no part of what the optimiser
    moves: each is a moving average of the latents that chose it, and one that is hardly chosen
    moves to a latent of the batch. Both are parameters, so that checkpoints and averages hold
    them: ``codes`` (K, Z) and ``usage`` (K,), cells of a batch that choose each.

    References
    ----------
    .. [1] van den Oord, Vinyals & Kavukcuoglu, Neural discrete representation learning,
       NeurIPS 2017, with appendix A.1.
    .. [2] Dhariwal et al., Jukebox: a generative model for music, arXiv:2005.00341, 2020.
    """

    def __init__(self, codes: int, size: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(codes, size), requires_grad=False)
        self.usage = nn.Parameter(torch.zeros(codes), requires_grad=False)

    def forward(self, z: Tensor) -> Tensor:
        """Return the codes of latents (N, Z, i, j, k), with the gradient of the latents."""
        vectors = self.quantised(z).vectors
        return z + (vectors - z).detach() if z.requires_grad else vectors

    def quantised(self, z: Tensor) -> Quantised:
        """Return which codes are nearest to latents (N, Z, i, j, k)."""
        with torch.autocast(z.device.type, enabled=False):
            index = self._nearest(z.detach().float().movedim(1, -1))
            vectors = self.codes.detach()[index].movedim(-1, 1)
            return Quantised(z, vectors, index, len(self.codes))

    @torch.no_grad()
    def follow(self, z: Tensor) -> None:
        """Move codes towards the latents (N, Z, i, j, k) of a batch; draws no random numbers."""
        cells = z.detach().float().movedim(1, -1).flatten(0, -2)
        due = len(cells) / len(self.codes)
        dead = torch.nonzero(self.usage < DEAD * due).flatten()
        # Evenly spaced among the cells: more codes go where more cells are.
        spread = torch.arange(len(dead), device=z.device) * len(cells) // max(len(dead), 1)
        self.codes[dead] = cells[spread]
        self.usage[dead] = due
        index = self._nearest(cells)
        count = torch.bincount(index, minlength=len(self.codes)).to(cells)
        total = torch.zeros_like(self.codes).index_add_(0, index, cells)
        self.usage.mul_(DECAY).add_(count, alpha=1 - DECAY)
        away = total - count[:, None] * self.codes
        self.codes.addcdiv_(away, self.usage[:, None].clamp_min(1e-6), value=1 - DECAY)

    def _nearest(self, cells: Tensor) -> Tensor:
        """Return the nearest code of vectors (..., Z), shape (...)."""
        # |z - c|² but for |z|², which is the same for all codes.
        return ((self.codes**2).sum(1) - 2 * cells @ self.codes.T).argmin(-1)
