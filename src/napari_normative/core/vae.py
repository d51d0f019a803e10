"""The 3D convolutional variational autoencoder, in one file.

Two forms by configuration:

``dense``
    One latent vector per volume, for anatomy aligned to a template. It may carry a
    *linear branch*: principal components of the cohort give the first estimate of
    the latent (whitened) and of the reconstruction, and the convolutions learn what
    lines cannot. Prior samples then look like the cohort from the first step. A *local
    level* below it gives blocks of the volume latents of their own. A *condition* tells both
    halves what is known of the person.
``spatial``
    A latent vector per cell of a coarse grid, for crops and large fields of view;
    any spatial size divisible by the stride. In its *patch form* the network sees windows of
    the model's space and, as three further channels, where each voxel lies in it; a volume is
    reconstructed window by window and blended, at a cost linear in its voxels. The
    *hierarchical form* (:mod:`napari_normative.core.two_levels`) has a dense level above. With a
    *codebook* every cell's latent is decoded as the nearest of a number of codes.

Shapes: volumes are (N, C, I, J, K); dense latents (N, Z); spatial latents
(N, Z, I/s, J/s, K/s) with stride s.
"""

from __future__ import annotations

import copy
import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from napari_normative.core.blocks import Conv3d, ResidualBlock, Unfold, fold, norm, unfold
from napari_normative.core.conditional import Condition
from napari_normative.core.config import VAEConfig
from napari_normative.core.linear import LinearBranch, LocalLevel
from napari_normative.core.quantise import Quantiser
from napari_normative.core.windows import Windows

LOG_VARIANCE_RANGE = (-10.0, 4.0)


class Latent(NamedTuple):
    """A Gaussian over latents: mean and log-variance of equal shape."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw by reparameterisation; gradients flow to mean and log-variance."""
        noise = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + noise * torch.exp(0.5 * self.log_variance)


class Place(nn.Module):
    """Joins three channels to features: where each cell lies in the model's space.

    Its centre's position along right, anterior, superior, from -1 at one face of the space to 1 at
    the opposite one.
    """

    def __init__(self, shape: tuple[int, int, int], step: int) -> None:
        super().__init__()
        self.shape, self.step = shape, step

    def forward(self, h: Tensor, origin: Tensor | None) -> Tensor:
        """(N, C, ...) to (N, C + 3, ...); ``origin`` (N, 3) is the first voxel, 0 unless given."""
        n, _, *cells = h.shape
        first = h.new_zeros(n, 3) if origin is None else origin.to(h)
        channels = []
        for axis, (size, count) in enumerate(zip(self.shape, cells, strict=True)):
            centre = (torch.arange(count, device=h.device, dtype=h.dtype) + 0.5) * self.step
            at = 2 * (first[:, axis, None] + centre) / size - 1
            view = [n, 1, 1, 1, 1]
            view[2 + axis] = count
            channels.append(at.view(view).expand(n, 1, *cells))
        return torch.cat([h, *channels], 1)


class Encoder(nn.Module):
    """Volumes to features on the coarsest grid."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.stem = config.stem
        widths, patches = config.widths, config.window is not None
        self.place = Place(config.shape, config.stem) if patches else None
        layers: list[nn.Module] = [
            Conv3d(config.channels * config.stem**3 + 3 * patches, widths[0], 3, padding=1),
            ResidualBlock(widths[0], patches),
        ]
        for before, after in itertools.pairwise(widths):
            layers += [Conv3d(before, after, 2, stride=2), ResidualBlock(after, patches)]
        self.layers = nn.Sequential(*layers, norm(widths[-1], patches), nn.SiLU())

    def forward(self, x: Tensor, origin: Tensor | None = None) -> Tensor:
        """(N, C, I, J, K) to (N, widths[-1], I/s, J/s, K/s)."""
        h = fold(x, self.stem)
        out: Tensor = self.layers(h if self.place is None else self.place(h, origin))
        return out

    def levels(self, x: Tensor) -> list[Tensor]:
        """Return what comes out of each residual block, the finest grid first."""
        h = fold(x, self.stem)
        h, found = h if self.place is None else self.place(h, None), []
        for layer in self.layers:
            h = layer(h)
            if isinstance(layer, ResidualBlock):
                found.append(h)
        return found


class Decoder(nn.Module):
    """Features on the coarsest grid to volumes; starts as zero everywhere."""

    def __init__(self, config: VAEConfig, in_width: int) -> None:
        super().__init__()
        self.stem = config.stem
        widths, patches = config.widths[::-1], config.window is not None
        self.place = Place(config.shape, config.stride) if patches else None
        layers: list[nn.Module] = [
            Conv3d(in_width + 3 * patches, widths[0], 3, padding=1),
            ResidualBlock(widths[0], patches),
        ]
        for before, after in itertools.pairwise(widths):
            # Fold's inverse after a 1-voxel convolution: its backward pass is
            # deterministic on every device, that of trilinear upsampling is not.
            layers += [Conv3d(before, after * 8, 1), Unfold(2), ResidualBlock(after, patches)]
        last = Conv3d(widths[-1], config.channels * config.stem**3, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.layers = nn.Sequential(*layers, norm(widths[-1], patches), nn.SiLU(), last)

    def forward(self, h: Tensor, origin: Tensor | None = None) -> Tensor:
        """(N, in_width, I/s, J/s, K/s) to (N, C, I, J, K)."""
        return unfold(self.layers(h if self.place is None else self.place(h, origin)), self.stem)


class VAE(nn.Module):
    """Encoder, Gaussian latent, decoder; and a local level where the configuration asks for it.

    ``mean_image`` (C, I, J, K) is added to every reconstruction of the dense form, so that
    the network describes departures from the average. ``log_sigma``, of the same shape, is
    the decoder's map of σ, where the configuration asks for one.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.mean_image: Tensor
        size, width = config.latent_size, config.widths[-1]
        self.linear: LinearBranch | None = None
        self.local: LocalLevel | None = None
        self.condition: Condition | None = None
        self.log_sigma: nn.Parameter | None = None
        self.quantiser: Quantiser | None = None
        if config.latent == "dense":
            i, j, k = config.cells
            flat = config.bottleneck * i * j * k
            self.squeeze: nn.Module = Conv3d(width, config.bottleneck, 1)
            self.to_latent: nn.Module = nn.Linear(flat, 2 * size)
            self.from_latent = nn.Linear(size, flat)
            self.decoder = Decoder(config, config.bottleneck)
            self.register_buffer("mean_image", torch.zeros(config.channels, *config.shape))
            if config.sigma_map:
                self.log_sigma = nn.Parameter(torch.zeros(config.channels, *config.shape))
            if config.linear_factor:
                self.linear = LinearBranch(config)
            if config.local_edge:
                self.local = LocalLevel(config)
            if config.condition:
                self.condition = Condition(config)
            nn.init.zeros_(self.to_latent.weight)
            nn.init.zeros_(self.to_latent.bias)
        else:
            self.to_latent = Conv3d(width, size if config.codes else 2 * size, 1)
            self.decoder = Decoder(config, size)
            if config.codes:
                self.quantiser = Quantiser(config.codes, size)

    def given(self, code: Tensor) -> VAE:
        """Return this network, its weights shared, for people of whom something is known.

        ``code`` is that of one person, (D,), or of each volume of a batch, (N, D); see
        :class:`~napari_normative.core.condition.Covariates`. An unconditional network stays itself.
        """
        if self.condition is None:
            return self
        twin = copy.copy(self)
        twin._modules = {**self._modules, "condition": self.condition.given(code)}
        return twin

    def expected(self) -> Tensor:
        """Return the mean image for what is known of a person, (1 or N, C, I, J, K)."""
        mean = self.mean_image[None]
        return mean if self.condition is None else mean + self.condition.shift()

    def encode(self, x: Tensor, origin: Tensor | None = None) -> Latent:
        """Volumes (N, C, I, J, K) to a Gaussian over latents.

        ``origin`` (N, 3) is for the patch form where the first voxels lie in the model's space;
        0, as of whole volumes, unless given.
        """
        if self.config.latent == "spatial":
            found = self.to_latent(self.encoder(x, origin))
            if self.quantiser is not None:  # which code is certain, given the scan
                return Latent(found, torch.full_like(found, LOG_VARIANCE_RANGE[0]))
            mean, log_variance = found.chunk(2, dim=1)
            return Latent(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))
        centred = self._centred(x)
        features = self.squeeze(self.encoder(centred)).flatten(1)
        found = self.to_latent(features)
        if self.condition is not None:
            found = found + self.condition.latent()
        mean, log_variance = found.chunk(2, dim=1)
        if self.linear is not None:
            mean = mean + self.linear.encode(centred)
            log_variance = log_variance + self.linear.prior_log_variance()
        return Latent(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the encoder's features of whole volumes, (N, C, i, j, k) each, finest first."""
        return self.encoder.levels(x if self.config.latent == "spatial" else self._centred(x))

    def _centred(self, x: Tensor) -> Tensor:
        # 0 is outside the scan's foreground: nothing is known there, so no deviation either.
        return (x - self.expected()) * (x != 0).any(1, keepdim=True)

    def decode(
        self, z: Tensor, local: Tensor | None = None, *, origin: Tensor | None = None
    ) -> Tensor:
        """Latents to volumes (N, C, I, J, K); linear output, no squashing.

        ``local`` (N, B, K) are latents of the local level; its average unless given. ``origin`` as
        for :meth:`encode`.
        """
        if self.config.latent == "spatial":
            out: Tensor = self.decoder(z if self.quantiser is None else self.quantiser(z), origin)
            return out
        flat = self.from_latent(z)
        if self.condition is not None:
            flat = flat + self.condition.cells()
        cells = flat.reshape(len(z), self.config.bottleneck, *self.config.cells)
        out = self.expected() + self.decoder(cells)
        if self.linear is not None:
            out = out + self.linear.decode(z)
        if self.local is not None and local is not None:
            out = out + self.local.decode(local)
        return out

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Latent]:
        """Return the reconstruction of one draw of the (global) latent, and the latent."""
        latent = self.encode(x)
        return self.decode(latent.sample(generator)), latent

    def encode_local(self, x: Tensor, whole: Tensor) -> Latent | None:
        """Return the local level's latents of what the global reconstruction leaves of ``x``."""
        if self.local is None:
            return None
        return Latent(*self.local.encode((x - whole) * (x != 0)))

    def levels(self, x: Tensor) -> tuple[Latent, ...]:
        """Return the Gaussians over the latents of all levels, the global one first."""
        latent = self.encode(x)
        local = self.encode_local(x, self.decode(latent.mean))
        return (latent,) if local is None else (latent, local)

    def reconstruct(self, x: Tensor, latent: Latent | None = None) -> Tensor:
        """Decode the latent means of all levels: the pseudo-healthy reconstruction.

        ``latent`` is the global one of ``x``, where it is known already. The patch form looks
        again, window by window.
        """
        if self.config.window is not None:
            return self._blended(x, self.overview(x))
        whole = self.decode((self.encode(x) if latent is None else latent).mean)
        local = self.encode_local(x, whole)
        return (
            whole if local is None or self.local is None else whole + self.local.decode(local.mean)
        )

    def overview(self, x: Tensor) -> Tensor | None:
        """Return what a level above the windows makes of whole volumes; there is none here."""
        return None

    def encode_windows(self, x: Tensor, origin: Tensor, guide: Tensor | None = None) -> Latent:
        """Windows (N, C, *window) that begin at ``origin`` (N, 3) to Gaussians over latents.

        ``guide``, of the same shape, is what a level above says of them.
        """
        return self.encode(x, origin)

    def decode_windows(self, z: Tensor, origin: Tensor, guide: Tensor | None = None) -> Tensor:
        """Latents of windows to windows (N, C, *window); arguments as :meth:`encode_windows`."""
        return self.decode(z, origin=origin)

    def guide(self, above: Tensor | None, origin: Tensor) -> Tensor | None:
        """Return what an :meth:`overview` says of windows, or None where there is none."""
        return None

    def guide_of(self, cells: Tensor | None, origin: Tensor) -> Tensor | None:
        """Return the same from an overview that is cut to the windows."""
        return None

    def reconstruct_windows(self, x: Tensor, origin: Tensor, above: Tensor | None = None) -> Tensor:
        """Decode the latent means of windows; ``above`` is the :meth:`overview` they are of."""
        guide = self.guide(above, origin)
        return self.decode_windows(self.encode_windows(x, origin, guide).mean, origin, guide)

    def _blended(self, x: Tensor, above: Tensor | None) -> Tensor:
        i, j, k = x.shape[2:]
        config, out = self.config, torch.zeros_like(x)
        windows = Windows.over((i, j, k), config.seen, config.overlap, config.stride)
        for start in windows:
            box = (..., *windows.box(start))
            if x[box].any():  # 0 is outside the foreground: nothing is reconstructed there
                origin = x.new_tensor(start).expand(len(x), 3)
                weight = torch.from_numpy(windows.weight(start)).to(x)
                out[box] += weight * self.reconstruct_windows(x[box], origin, above)
        return out
