"""The linear levels of the network: components of the whole, and of each place.

Both are fixed while the convolutions learn: closed forms of a cohort, found in seconds.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_normative.core.config import VAEConfig

Apart: TypeAlias = tuple[int, Tensor, Tensor]
"""A side, some of its blocks that do not overlap, and their flat cells."""


def upsample(x: Tensor, factor: int) -> Tensor:
    """Repeat voxels, then smooth with a box along each axis: about linear, and quick."""
    width = 2 * (factor // 2) + 1
    for axis in (2, 3, 4) if factor > 1 else ():
        x = x.repeat_interleave(factor, dim=axis)
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, -1, 1)
        reach = factor // 2
        padded = torch.cat([*[first] * reach, x, *[last] * reach], axis)
        parts = [padded.narrow(axis, k, x.shape[axis]) for k in range(width)]
        x = torch.stack(parts).sum(0) / width
    return x


class LinearBranch(nn.Module):
    """Whitened principal components of the cohort: volumes to latents and back.

    Buffers, fixed in training: ``basis`` (Z, C·M) orthonormal rows over the M foreground
    voxels of the coarse grid, ``scale`` (Z,) standard deviation along each, ``voxels`` (M,)
    flat indices, ``noise`` () variance of what the components leave.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.factor = config.linear_factor
        self.coarse = tuple(n // self.factor for n in config.shape)
        self.channels = config.channels
        z, m = config.latent_size, config.linear_voxels
        self.basis: Tensor
        self.scale: Tensor
        self.voxels: Tensor
        self.noise: Tensor
        self.register_buffer("basis", torch.zeros(z, config.channels * m))
        self.register_buffer("scale", torch.ones(z))
        self.register_buffer("voxels", torch.zeros(m, dtype=torch.int32))
        self.register_buffer("noise", torch.ones(()))

    def encode(self, centred: Tensor) -> Tensor:
        """Deviation from the mean (N, C, I, J, K) to whitened coordinates (N, Z)."""
        with torch.autocast(centred.device.type, enabled=False):
            coarse = F.avg_pool3d(centred.float(), self.factor).flatten(2)
            values = coarse[:, :, self.voxels.long()].flatten(1)
            whitened: Tensor = values @ self.basis.T / self.scale
            return whitened

    def decode(self, z: Tensor) -> Tensor:
        """Whitened coordinates (N, Z) to deviations from the mean (N, C, I, J, K)."""
        with torch.autocast(z.device.type, enabled=False):
            values = (z.float() * self.scale) @ self.basis
            coarse = values.new_zeros(len(z), self.channels, *self.coarse).flatten(2)
            coarse[:, :, self.voxels.long()] = values.reshape(len(z), self.channels, -1)
            grid = coarse.reshape(len(z), self.channels, *self.coarse)
            return upsample(grid, self.factor)

    def prior_log_variance(self) -> Tensor:
        """Log of the posterior variance of probabilistic PCA per direction, shape (Z,)."""
        return torch.log(self.noise / (self.scale**2 + self.noise))


class LocalLevel(nn.Module):
    """The second level of the hierarchy: latents of overlapping blocks of the coarse grid.

    What the global level leaves of a scan is described block by block with the cohort's
    components of that place. In every block it is a linear Gaussian model, whose posterior is
    known: strong components are believed, weak ones shrunk towards the average. Blocks are
    blended with a Hann window.

    Buffers, fitted after training: ``start`` (B, 3) first cell of each block, ``basis``
    (B, K, e³) rows of unit length in steps of ``step`` (B, K), ``scale`` (B, K) standard
    deviation along each, ``noise`` (B,) variance of what they leave. With mirrored blocks the
    latents (N, 2B, K) are those of the B blocks and then of their mirror images.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.edge, self.mirrored = config.local_edge, config.local_mirrored
        self.factor = config.linear_factor
        self.coarse = tuple(n // self.factor for n in config.shape)
        b, k = config.local_blocks, config.local_size
        self.start: Tensor
        self.basis: Tensor
        self.step: Tensor
        self.scale: Tensor
        self.noise: Tensor
        self.register_buffer("start", torch.zeros(b, 3, dtype=torch.int32))
        self.register_buffer("basis", torch.zeros(b, k, self.edge**3, dtype=torch.int8))
        self.register_buffer("step", torch.ones(b, k))
        self.register_buffer("scale", torch.ones(b, k))
        self.register_buffer("noise", torch.ones(b))
        self._fixed: tuple[list[Tensor], list[Apart]] | None = None

    def fix_places(self) -> None:
        """Work out once and for all where the blocks lie.

        For a copy that is exported: a traced graph then holds tables in place of look-ups whose
        result has another size for every model. ``start`` must not change afterwards.
        """
        sides = self._sides()
        self._fixed = sides, self._apart(sides)

    def encode(self, left: Tensor) -> tuple[Tensor, Tensor]:
        """Encode what the global level leaves (N, 1, I, J, K).

        Return means and log-variances, each (N, B or 2B, K).
        """
        with torch.autocast(left.device.type, enabled=False):
            coarse = F.avg_pool3d(left.float(), self.factor).flatten(1)
            sides = self._fixed[0] if self._fixed else self._sides()
            seen = torch.stack([coarse[:, index] for index in sides], dim=1)
            along = torch.einsum("nhbe,bke->nhbk", seen, self.basis * self.step[..., None])
            variance = self.scale**2 + self.noise[:, None]
            mean = (along * self.scale / variance).flatten(1, 2)
            log_variance = torch.log(self.noise[:, None] / variance)
            log_variance = log_variance.repeat(seen.shape[1], 1).expand_as(mean)
            return mean, log_variance

    def encode_observed(self, left: Tensor, observed: Tensor) -> Tensor:
        """Encode a volume of which a part is missing; return means (N, B or 2B, K).

        The posterior mean of every block's model given the cells of which half or more was
        observed; :meth:`encode` where all were. A block of which nothing was has the average.

        Parameters
        ----------
        left : Tensor, shape (N, 1, I, J, K)
            What the global level leaves.
        observed : Tensor, same shape
            1 where a voxel was observed, else 0.
        """
        with torch.autocast(left.device.type, enabled=False):
            weight = F.avg_pool3d(observed.float(), self.factor).flatten(1)
            coarse = F.avg_pool3d((left * observed).float(), self.factor).flatten(1)
            coarse = coarse / weight.clamp_min(1e-6)
            known = (weight >= 0.5).float()
            rows = self.basis * (self.step * self.scale)[..., None]
            noise = self.noise.clamp_min(1e-12)[:, None]
            means = []
            for index in self._fixed[0] if self._fixed else self._sides():
                seen = rows * known[:, index].unsqueeze(2)
                system = seen @ rows.transpose(1, 2) / noise[..., None]
                system = system + torch.eye(system.shape[-1], device=left.device)
                right = torch.einsum("nbke,nbe->nbk", seen, coarse[:, index]) / noise
                means.append(torch.linalg.solve(system, right))
            return torch.cat(means, dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, B or 2B, K) to deviations (N, 1, I, J, K)."""
        with torch.autocast(z.device.type, enabled=False):
            sides = 2 if self.mirrored else 1
            z = z.float().reshape(len(z), sides, *self.scale.shape) * self.scale
            values = torch.einsum("nhbk,bke->nhbe", z, self.basis * self.step[..., None])
            hann = torch.hann_window(self.edge + 2, periodic=False, device=z.device)[1:-1]
            window = torch.einsum("i,j,k->ijk", hann, hann, hann).flatten()
            total = values.new_zeros(len(z), math.prod(self.coarse))
            weight = values.new_zeros(math.prod(self.coarse))
            groups = self._fixed[1] if self._fixed else self._apart(self._sides())
            for side, blocks, cells in groups:
                total[:, cells] += (values[:, side, blocks] * window).flatten(1)
                weight[cells] += window.repeat(len(blocks))
            blended = total / weight.clamp_min(1e-6)
            return upsample(blended.reshape(len(z), 1, *self.coarse), self.factor)

    def size(self) -> tuple[int, int]:
        """Return the shape of one volume's latents."""
        blocks, size = self.scale.shape
        return (2 if self.mirrored else 1) * blocks, size

    def _sides(self) -> list[Tensor]:
        """Return the flat cells (B, e³) of the blocks, and of their mirror images."""
        i, j, k = (self.start[:, a, None].long() for a in range(3))
        offset = torch.arange(self.edge, device=self.start.device)
        a, b, c = (x.flatten() for x in torch.meshgrid(offset, offset, offset, indexing="ij"))
        i = i + a
        rows = (j + b) * self.coarse[2] + (k + c)
        plane = self.coarse[1] * self.coarse[2]
        both = [i * plane + rows, (self.coarse[0] - 1 - i) * plane + rows]
        return both[: 2 if self.mirrored else 1]

    def _apart(self, sides: list[Tensor]) -> list[Apart]:
        """Return the blocks in groups: those of one parity do not overlap.

        So no sum over blocks depends on its order.
        """
        odd = self.start // (self.edge // 2) % 2
        parity = (odd * self.start.new_tensor([4, 2, 1])).sum(1)
        groups = []
        for side, index in enumerate(sides):
            for which in range(8):
                blocks = (parity == which).nonzero().flatten()
                groups.append((side, blocks, index[blocks].flatten()))
        return groups
