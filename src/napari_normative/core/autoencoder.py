"""MONAI's autoencoder with the interface of the VAE: spatial latents, trained elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from napari_normative.core.config import AutoencoderConfig
from napari_normative.core.vae import Latent
from napari_normative.errors import ModelFileError

LOG_VARIANCE_RANGE = (-30.0, 20.0)
"""MONAI's, so that its numbers are kept."""


class Autoencoder(nn.Module):
    """``monai.networks.nets.AutoencoderKL`` in three dimensions, one channel in and out.

    Latents are (N, Z, I/s, J/s, K/s) with stride s; ``net`` is MONAI's own module.

    Raises
    ------
    ModelFileError
        ``MOD-030`` when MONAI is not installed.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        try:
            from monai.networks.nets import AutoencoderKL
        except ImportError as error:
            raise ModelFileError(
                "MOD-030",
                "the model's network is built by MONAI, which is not installed",
                'Run pip install "napari-normative[export]".',
            ) from error
        self.config = config
        self.net: Any = AutoencoderKL(
            spatial_dims=3,
            in_channels=config.channels,
            out_channels=config.channels,
            channels=config.widths,
            **config.model_dump(exclude={"kind", "shape", "widths", "scale", "weights_sha256"}),
        )

    def encode(self, x: Tensor) -> Latent:
        """Volumes (N, 1, I, J, K), model units, to a Gaussian over latents."""
        features = self.net.encoder(x * self.config.scale)
        log_variance = self.net.quant_conv_log_sigma(features)
        mean: Tensor = self.net.quant_conv_mu(features)
        return Latent(mean, torch.clamp(log_variance, *LOG_VARIANCE_RANGE))

    def decode(self, z: Tensor) -> Tensor:
        """Latents to volumes, model units."""
        out: Tensor = self.net.decoder(self.net.post_quant_conv(z))
        return out / self.config.scale

    def levels(self, x: Tensor) -> tuple[Latent, ...]:
        """Return the Gaussian over the latents, the only level there is."""
        return (self.encode(x),)

    def reconstruct(self, x: Tensor, latent: Latent | None = None) -> Tensor:
        """Decode the latent mean: the pseudo-healthy reconstruction."""
        return self.decode((self.encode(x) if latent is None else latent).mean)
