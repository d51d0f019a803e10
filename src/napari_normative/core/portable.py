"""The questions to a network as modules of their own, for graphs that run in other programs."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from napari_normative.core.baselines import Network
from napari_normative.core.vae import VAE


class _Question(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network


class Encode(_Question):
    """Volumes (N, C, I, J, K) to mean and log-variance of the global latent."""

    def forward(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Return two tensors of the latent's shape."""
        latent = self.network.encode(volume)
        return latent.mean, latent.log_variance


class Decode(_Question):
    """Global latents to volumes; the local level, where there is one, stays at its average."""

    def forward(self, latent: Tensor) -> Tensor:
        """Return volumes (N, C, I, J, K)."""
        return self.network.decode(latent)


class Reconstruct(_Question):
    """Volumes to pseudo-healthy reconstructions, with all levels."""

    def forward(self, volume: Tensor) -> Tensor:
        """Return volumes (N, C, I, J, K)."""
        return self.network.reconstruct(volume)


def questions(network: Network) -> dict[str, nn.Module]:
    """Return the three questions to a copy of the network that no longer learns.

    Parameters
    ----------
    network : Network
        On the CPU, with its weights.
    """
    still = copy.deepcopy(network).eval().requires_grad_(False)
    if isinstance(still, VAE) and still.local is not None:
        still.local.fix_places()
    return {"encode": Encode(still), "decode": Decode(still), "reconstruct": Reconstruct(still)}
