"""The convolution of the networks, quick for single volumes on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
