"""The layers that the networks are built of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALL_CONVOLUTION = 20480
"""Up to this C·D·H torch sends a single float32 volume on a CPU to a slow fallback."""


class Conv3d(nn.Conv3d):
    """Convolution that stays on the fast CPU kernel for small float32 inputs."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, I, J, K)."""
        n, c, i, j, _ = x.shape
        small = n == 1 and c * i * j <= SMALL_CONVOLUTION
        if (
            small
            and x.device.type == "cpu"
            and x.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and torch.backends.mkldnn.enabled
        ):
            if c > 1 and torch.is_grad_enabled():  # backward: one volume is slow, two are not
                return super().forward(x.expand(2, -1, -1, -1, -1))[:1]
            out: Tensor = torch.ops.aten.mkldnn_convolution(
                x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
            )
            return out
        return super().forward(x)


class VoxelNorm(nn.Module):
    """Divides the features of each voxel by their root mean square, then scales and shifts.

    Statistics over a window, as of GroupNorm, would make a voxel depend on what else its window
    holds: the same place would look different in neighbouring windows.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(width, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return an array of the shape of ``x`` (N, C, I, J, K)."""
        size = torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-5)
        out: Tensor = torch.addcmul(self.bias, x * size, self.weight)
        return out


def norm(width: int, patches: bool) -> nn.Module:
    """Return the normalisation of features, of one that sees windows or of one that does not."""
    return VoxelNorm(width) if patches else nn.GroupNorm(8 if width % 8 == 0 else 1, width)


class ResidualBlock(nn.Module):
    """Two normalised convolutions around an identity; starts as the identity."""

    def __init__(self, width: int, patches: bool = False) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(width, patches), Conv3d(width, width, 3, padding=1)
        self.norm2, self.conv2 = norm(width, patches), Conv3d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return an array of the shape of ``x``."""
        h = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = x + self.conv2(F.silu(self.norm2(h)))
        return out


def fold(x: Tensor, block: int) -> Tensor:
    """Move blocks of ``block``³ voxels into channels: (N, C, I, ..) to (N, C·b³, I/b, ..)."""
    n, c, i, j, k = x.shape
    b = block
    x = x.reshape(n, c, i // b, b, j // b, b, k // b, b)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, c * b**3, i // b, j // b, k // b)


def unfold(x: Tensor, block: int) -> Tensor:
    """Undo :func:`fold`."""
    n, c, i, j, k = x.shape
    b = block
    x = x.reshape(n, c // b**3, b, b, b, i, j, k)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(n, c // b**3, i * b, j * b, k * b)


class Unfold(nn.Module):
    """:func:`unfold` as a layer."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Return blocks of channels as voxels."""
        return unfold(x, self.block)
