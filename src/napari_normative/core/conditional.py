"""The part of a network that knows the person's age, sex, site or what else it is given."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from napari_normative.core.condition import Covariates
from napari_normative.core.config import VAEConfig
from napari_normative.core.linear import upsample


class Condition(nn.Module):
    """Shifts the expected image, the latents and the decoder's cells by what is known of a person.

    Buffers: ``effects`` (D, C, i, j, k), fixed in training, what each number of the code adds to
    the mean image on the linear branch's grid; ``bound`` (1 or N, D), the code of one person or of
    each volume of a batch, not stored: zeros, nothing known, unless :meth:`given` binds another.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        size = Covariates(config.condition).size
        self.factor = max(1, config.linear_factor)
        coarse = [n // self.factor for n in config.shape]
        flat = config.bottleneck * math.prod(config.cells)
        self.effects: Tensor
        self.bound: Tensor
        self.register_buffer("effects", torch.zeros(size, config.channels, *coarse))
        self.register_buffer("bound", torch.zeros(1, size), persistent=False)
        self.to_latent = nn.Linear(size, 2 * config.latent_size, bias=False)
        self.to_cells = nn.Linear(size, flat, bias=False)
        nn.init.zeros_(self.to_latent.weight)
        nn.init.zeros_(self.to_cells.weight)

    def given(self, code: Tensor) -> Condition:
        """Return this module, all but ``bound`` shared, with another code: (D,) or (N, D)."""
        twin = copy.copy(self)
        bound = code.to(self.effects).reshape(-1, self.effects.shape[0])
        twin._buffers = {**self._buffers, "bound": bound}
        return twin

    def shift(self) -> Tensor:
        """Return what is added to the mean image, (1 or N, C, I, J, K)."""
        with torch.autocast(self.bound.device.type, enabled=False):
            coarse = self.bound @ self.effects.flatten(1)
            return upsample(coarse.reshape(-1, *self.effects.shape[1:]), self.factor)

    def latent(self) -> Tensor:
        """Return what is added to means and log-variances, (1 or N, 2·Z)."""
        out: Tensor = self.to_latent(self.bound)
        return out

    def cells(self) -> Tensor:
        """Return what is added to the decoder's cells, (1 or N, bottleneck·cells)."""
        out: Tensor = self.to_cells(self.bound)
        return out
