"""Simple baselines with the interface of the VAE: what a normative model has to beat.

Each turns volumes into latents and latents into volumes, so that score, calibration and files
are those of any model. Shapes as in :mod:`napari_normative.core.vae`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from torch import Tensor, nn

from napari_normative.core.autoencoder import Autoencoder
from napari_normative.core.config import AutoencoderConfig, BaselineConfig, VAEConfig
from napari_normative.core.two_levels import vae
from napari_normative.core.vae import VAE, Latent


class Baseline(nn.Module, ABC):
    """A reconstruction that needs no training loop.

    Without components a latent has one entry that says nothing: N(0, 1) for every scan.
    """

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.config = config

    def encode(self, x: Tensor) -> Latent:
        """Volumes (N, C, I, J, K) to a Gaussian over latents (N, Z)."""
        nothing = x.new_zeros(len(x), 1)
        return Latent(nothing, nothing)

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, Z) to volumes (N, C, I, J, K)."""

    def levels(self, x: Tensor) -> tuple[Latent, ...]:
        """Return the Gaussian over the latents, the only level there is."""
        return (self.encode(x),)

    def reconstruct(self, x: Tensor, latent: Latent | None = None) -> Tensor:
        """Decode the latent mean: the pseudo-healthy reconstruction."""
        return self.decode((self.encode(x) if latent is None else latent).mean)


class Threshold(Baseline):
    """One intensity everywhere, so that the residual is the intensity itself.

    Histogram equalisation is the preprocessing's: quantiles are matched to the cohort's.
    ``level`` () is the cohort's median.
    """

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        self.level: Tensor
        self.register_buffer("level", torch.zeros(()))

    def decode(self, z: Tensor) -> Tensor:
        """Return ``level`` everywhere, whatever the latents."""
        return self.level.expand(len(z), self.config.channels, *self.config.shape)


class MeanAtlas(Baseline):
    """The mean of the training people; ``mean_image`` (C, I, J, K)."""

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        self.mean_image: Tensor
        self.register_buffer("mean_image", torch.zeros(config.channels, *config.shape))

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean image, whatever the latents."""
        return self.mean_image.expand(len(z), *self.mean_image.shape)


class PCA(MeanAtlas):
    """Principal components of the training people at full resolution.

    Buffers: ``basis`` (Z, C·M) orthogonal rows of mean square 1 over the M foreground voxels,
    ``scale`` (Z,) standard deviation along each per voxel, ``voxels`` (M,) flat indices,
    ``log_variance`` (Z,) of the posterior of probabilistic PCA.
    """

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        z, m = config.components, config.voxels
        self.basis: Tensor
        self.scale: Tensor
        self.voxels: Tensor
        self.log_variance: Tensor
        self.register_buffer("basis", torch.zeros(z, config.channels * m))
        self.register_buffer("scale", torch.ones(z))
        self.register_buffer("voxels", torch.zeros(m, dtype=torch.int32))
        self.register_buffer("log_variance", torch.zeros(z))

    def encode(self, x: Tensor) -> Latent:
        """Volumes to whitened coordinates; 0 is outside the foreground, hence no deviation."""
        centred = (x - self.mean_image) * (x != 0).any(1, keepdim=True)
        values = centred.flatten(2)[:, :, self.voxels.long()].flatten(1)
        mean = values @ self.basis.T / (self.basis.shape[1] * self.scale)
        return Latent(mean, self.log_variance.expand_as(mean))

    def decode(self, z: Tensor) -> Tensor:
        """Whitened coordinates to volumes."""
        values = (z * self.scale) @ self.basis
        out = super().decode(z).flatten(2).clone()
        out[:, :, self.voxels.long()] += values.reshape(len(z), self.config.channels, -1)
        return out.reshape(len(z), *self.mean_image.shape)


Network: TypeAlias = VAE | Baseline | Autoencoder

_KINDS: dict[str, type[Baseline]] = {"threshold": Threshold, "atlas": MeanAtlas, "pca": PCA}


def build_network(config: VAEConfig | BaselineConfig | AutoencoderConfig) -> Network:
    """Return the network of a configuration, its numbers not yet set."""
    if isinstance(config, VAEConfig):
        return vae(config)
    if isinstance(config, AutoencoderConfig):
        return Autoencoder(config)
    return _KINDS[config.kind](config)
