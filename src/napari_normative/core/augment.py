"""Random changes of training volumes, seeded, on the device that trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch
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


def augment(
    images: Tensor,
    masks: Tensor,
    config: AugmentConfig,
    spacing_mm: float,
    generator: torch.Generator,
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
    generator : torch.Generator
        On the CPU; the only source of chance.
    """
    import torch
    from torch.nn import functional as F

    n, device = len(images), images.device

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(device)

    if config.flip:
        mirrored = (uniform(n) < 0.5).view(n, 1, 1, 1, 1)
        images = torch.where(mirrored, images.flip(2), images)
        masks = torch.where(mirrored, masks.flip(2), masks)

    size = torch.tensor(images.shape[2:], device=device, dtype=torch.float32)
    linear = torch.eye(3, device=device) + config.shear * normal(n, 3, 3)
    linear = linear + torch.diag_embed(config.scale * normal(n, 3))
    voxel = 2 / (spacing_mm * size.flip(0))  # a millimetre in grid_sample's units
    shift = config.shift_mm * normal(n, 3) * voxel
    grid = F.affine_grid(torch.cat([linear, shift[..., None]], 2), list(images.shape), False)
    knots = config.field_mm * normal(n, 3, 5, 6, 5)
    field = F.interpolate(knots, size=images.shape[2:], mode="trilinear", align_corners=True)
    grid = grid + field.permute(0, 2, 3, 4, 1) * voxel
    moved = F.grid_sample(torch.cat([images, masks], 1), grid, align_corners=False)
    images, masks = moved[:, :-1], (moved[:, -1:] > 0.5).float()

    gain = torch.exp(config.gain * normal(n, 1, 1, 1, 1))
    gamma = torch.exp(config.gamma * normal(n, 1, 1, 1, 1))
    target = gain * images.clamp_min(0) ** gamma * masks
    seen = (target + config.noise * normal(*images.shape)) * masks
    for i in range(n):
        if float(uniform(1)) < config.erase:
            # A box of a sixth to a third of each edge.
            edge = (size * (1 / 6 + uniform(3) / 6)).long()
            start = (uniform(3) * (size - edge)).long()
            (a, b, c), (p, q, r) = start.tolist(), (start + edge).tolist()
            seen[i, :, a:p, b:q, c:r] = target[i, :, a:p, b:q, c:r].mean()
    return seen * masks, target, masks
