"""Random changes of training volumes, seeded, on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor


class AugmentConfig(BaseModel):
    """How far training volumes are changed; SDs unless named.

    Attributes
    ----------
    flip : bool
        Left-right mirror in half of the draws.
    scale, shear, shift_mm : float
        Of the affine map.
    field_mm : float
        Of a smooth displacement field.
    gain, gamma : float
        Of log gain and log gamma.
    noise : float
        Of white noise, model units.
    erase : float
        Probability that a box is blanked in the input; the target stays whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: bool = True
    scale: float = 0.01
    shear: float = 0.005
    shift_mm: float = 0.7
    field_mm: float = 1.0
    gain: float = 0.02
    gamma: float = 0.04
    noise: float = 0.01
    erase: float = 0.3


KNOTS = (5, 6, 5)
"""Of the smooth displacement field."""
MIRRORED = 0.5
"""Share of the draws that are mirrored, where anatomy allows: those whose first number is below."""


class Chance(NamedTuple):
    """All that is random about some volumes of a step, one row for each.

    A row is a function of seed, step and the volume's position in the whole batch, so it
    matters neither who shares the work nor how.

    Attributes
    ----------
    uniform : Tensor, shape (N, 8), in [0, 1)
        Mirror, erase, a box's edges (3) and place (3).
    affine : Tensor, shape (N, 15)
        Shear (9), scale (3), shift (3); standard normal, as all that follows.
    knots : Tensor, shape (N, 3, *KNOTS)
    tone : Tensor, shape (N, 2)
        Log gain, log gamma.
    noise : Tensor, shape (N, C, I, J, K)
    latent : Tensor, shape (N, ...) as the latent's
    """

    uniform: Tensor
    affine: Tensor
    knots: Tensor
    tone: Tensor
    noise: Tensor
    latent: Tensor


def draw_chance(
    seed: int,
    step: int,
    positions: Sequence[int],
    volume: tuple[int, ...],
    latent: tuple[int, ...],
) -> Chance:
    """Return what is random about the volumes at some positions of a step's batch.

    Parameters
    ----------
    seed, step : int
    positions : sequence of int
        In the whole batch, from 0.
    volume, latent : tuple of int
        Shape of a volume (C, I, J, K) and of its latent.
    """
    import torch

    shapes = ((15,), (3, *KNOTS), (2,), volume, latent)
    rows = []
    for position in positions:
        number = np.random.SeedSequence((seed, step, position)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(number) % 2**63)
        uniform = torch.rand(8, generator=generator)
        rows.append([uniform, *(torch.randn(shape, generator=generator) for shape in shapes)])
    return Chance(*(torch.stack(column) for column in zip(*rows, strict=True)))


def augment(
    images: Tensor,
    masks: Tensor,
    config: AugmentConfig,
    spacing_mm: float,
    chance: Chance,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return input, target and mask of changed volumes.

    Parameters
    ----------
    images : Tensor, shape (N, C, I, J, K)
        Model units, 0 outside the mask.
    masks : Tensor, shape (N, 1, I, J, K)
        1 inside.
    config : AugmentConfig
    spacing_mm : float
    chance : Chance
        On the device of the images; the only source of chance.
    """
    import torch
    from torch.nn import functional as F

    n, device = len(images), images.device
    if config.flip:
        mirrored = (chance.uniform[:, 0] < MIRRORED).view(n, 1, 1, 1, 1)
        images = torch.where(mirrored, images.flip(2), images)
        masks = torch.where(mirrored, masks.flip(2), masks)

    size = torch.tensor(images.shape[2:], device=device, dtype=torch.float32)
    shear, scale, shift = (chance.affine[:, a:b] for a, b in ((0, 9), (9, 12), (12, 15)))
    linear = torch.eye(3, device=device) + config.shear * shear.view(n, 3, 3)
    linear = linear + torch.diag_embed(config.scale * scale)
    voxel = 2 / (spacing_mm * size.flip(0))  # a millimetre in grid_sample's units
    affine = torch.cat([linear, (config.shift_mm * shift * voxel)[..., None]], 2)
    grid = F.affine_grid(affine, list(images.shape), False)
    knots = config.field_mm * chance.knots
    field = F.interpolate(knots, size=images.shape[2:], mode="trilinear", align_corners=True)
    grid = grid + field.permute(0, 2, 3, 4, 1) * voxel
    moved = F.grid_sample(torch.cat([images, masks], 1), grid, align_corners=False)
    images, masks = moved[:, :-1], (moved[:, -1:] > 0.5).float()

    tone = chance.tone.view(n, 2, 1, 1, 1, 1)
    gain, gamma = torch.exp(config.gain * tone[:, 0]), torch.exp(config.gamma * tone[:, 1])
    target = gain * images.clamp_min(0) ** gamma * masks
    seen = (target + config.noise * chance.noise) * masks
    for i, (_, erase, *place) in enumerate(chance.uniform.tolist()):
        if erase < config.erase:
            # A box of a sixth to a third of each edge.
            edge = [int(m * (1 / 6 + u / 6)) for m, u in zip(images.shape[2:], place, strict=False)]
            free = zip(images.shape[2:], edge, place[3:], strict=True)
            a, b, c = start = [int(u * (m - e)) for m, e, u in free]
            p, q, r = (s + e for s, e in zip(start, edge, strict=True))
            seen[i, :, a:p, b:q, c:r] = target[i, :, a:p, b:q, c:r].mean()
    return seen * masks, target, masks
