"""The hierarchical form of the VAE: the anatomy of the whole, and below it windows.

The upper level is a dense VAE of the whole volume in blocks of voxels. What it reconstructs,
brought back to voxels and with the detail of the mean image, guides the lower level, the patch
form: windows are encoded and decoded beside it, and what they decode to is added to it. So a window
says only what anatomy and average leave of it.

The model's latents are those of the upper level, and all that works with a latent vector of a
scan works with them; the latents of the windows stay at 0, their prior's mean, unless given.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_normative.core.blocks import fold
from napari_normative.core.config import VAEConfig
from napari_normative.core.linear import upsample
from napari_normative.core.vae import LOG_VARIANCE_RANGE, VAE, Decoder, Encoder, Latent
from napari_normative.core.windows import Windows

MARGIN = 1
"""Cells around a window that its guide is interpolated with."""


NO_OVERVIEW = "windows of the hierarchical form need the overview of their volume"


def block_means(x: Tensor, factor: int) -> Tensor:
    """Return means over blocks of ``factor``³ voxels.

    Parameters
    ----------
    x : Tensor, shape (N, 1, I, J, K)
        0 outside the foreground, which has no part in a mean.
    factor : int

    Returns
    -------
    Tensor, shape (N, 1, I/f, J/f, K/f)
        0 where half of a block or less is foreground.
    """
    share = F.avg_pool3d((x != 0).float(), factor)
    means = F.avg_pool3d(x.float(), factor) / share.clamp_min(0.5)
    return means * (share > 0.5)


class TwoLevelVAE(VAE):
    """A dense network of the whole, and the patch form for what it leaves.

    Parameters
    ----------
    config : VAEConfig
        With an anatomy level.

    Attributes
    ----------
    mean_image : Tensor, shape (1, I, J, K)
        Not among the weights: a model file holds it as the template, and large ones once.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        if config.anatomy is None:
            raise ValueError("the hierarchical form needs an anatomy level")
        self.factor = config.anatomy_factor
        self.anatomy = VAE(config.anatomy)
        # What is left of the voxels, and the guide; beside the latents the guide's own cells.
        self.encoder = Encoder(config.model_copy(update={"channels": 2}))
        self.cells_per_latent = (config.stride // self.factor) ** 3
        self.decoder = Decoder(config, config.latent_size + self.cells_per_latent)
        self.mean_blocks: Tensor
        self.register_buffer("mean_image", torch.zeros(1, 1, 1, 1), persistent=False)
        self.register_buffer("mean_blocks", torch.zeros(1, 1, 1, 1, 1), persistent=False)

    def take_mean(self, image: Tensor) -> None:
        """Take on the mean image (I, J, K), 0 outside the foreground; memory is shared."""
        self.mean_image = image[None]
        slabs = torch.split(image, 8 * self.factor)  # a large image must not be copied as a whole
        self.mean_blocks = torch.cat([block_means(s[None, None], self.factor) for s in slabs], 2)

    def take_anatomy(self, anatomy: VAE) -> None:
        """Take on a trained anatomy level, which learns no more."""
        self.anatomy.load_state_dict(anatomy.state_dict())
        self.anatomy.requires_grad_(False)

    def encode(self, x: Tensor, origin: Tensor | None = None) -> Latent:
        """Volumes (N, 1, I, J, K) to the Gaussian over the anatomy's latents."""
        return self.anatomy.encode(block_means(x, self.factor))

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the anatomy encoder's features, (N, C, i, j, k) each, finest first."""
        return self.anatomy.features(block_means(x, self.factor))

    def decode(
        self,
        z: Tensor,
        local: Tensor | None = None,
        windows: Tensor | None = None,
        *,
        origin: Tensor | None = None,
    ) -> Tensor:
        """Latents of the anatomy to volumes (N, 1, I, J, K).

        Parameters
        ----------
        z : Tensor, shape (N, Z)
        local : Tensor, optional
            Latents of the anatomy's local level; without such a level, those of the windows.
        windows : Tensor, shape (N, W, latent_size, i, j, k), optional
            Of all windows in their order; 0 unless given.
        origin : Tensor, optional
            Without meaning here: a latent is that of the whole.
        """
        if self.anatomy.local is None:
            local, windows = None, local
        above = self.anatomy.decode(z, local)
        places = self._windows()
        if windows is None:
            cells = [n // self.config.stride for n in places.window]
            windows = z.new_zeros(1, 1, self.config.latent_size, *cells)
            windows = windows.expand(len(z), len(places), -1, -1, -1, -1)
        out = z.new_zeros(len(z), 1, *self.config.shape)
        for number, start in enumerate(places):
            if self.mean_image[(..., *places.box(start))].any():
                origin = z.new_tensor(start).expand(len(z), 3)
                weight = torch.from_numpy(places.weight(start)).to(z)
                guide = self.guide(above, origin)
                made = self.decode_windows(windows[:, number], origin, guide)
                out[(..., *places.box(start))] += weight * made
        return out

    def levels(self, x: Tensor) -> tuple[Latent, ...]:
        """Return the Gaussians over the latents of all levels: anatomy, its local level, windows.

        Those of the windows are (N, W, latent_size, i, j, k), and the prior's where a window holds
        no foreground.
        """
        coarse = block_means(x, self.factor)
        anatomy = self.anatomy.levels(coarse)
        above = self.anatomy.decode(*(level.mean for level in anatomy))
        places, found = self._windows(), []
        cells = [n // self.config.stride for n in places.window]
        nothing = x.new_zeros(len(x), self.config.latent_size, *cells)
        for start in places:
            seen, origin = x[(..., *places.box(start))], x.new_tensor(start).expand(len(x), 3)
            found.append(
                self.encode_windows(seen, origin, self.guide(above, origin))
                if seen.any()
                else Latent(nothing, nothing)
            )
        means, log_variances = zip(*found, strict=True)
        return (*anatomy, Latent(torch.stack(means, 1), torch.stack(log_variances, 1)))

    def overview(self, x: Tensor) -> Tensor:
        """Return what the anatomy level makes of volumes, in blocks: (N, 1, I/f, J/f, K/f)."""
        return self.anatomy.reconstruct(block_means(x, self.factor))

    def guide(self, above: Tensor | None, origin: Tensor) -> Tensor:
        """Return windows (N, 1, *window) of overviews (N or 1, 1, ...) at ``origin`` (N, 3)."""
        if above is None:
            raise ValueError(NO_OVERVIEW)
        return self.guide_of(self._cells(above, origin), origin)

    def guide_of(self, cells: Tensor | None, origin: Tensor) -> Tensor:
        """Return windows at ``origin`` of overviews cut to them, (N, i + 2, j + 2, k + 2).

        The overview is interpolated, and what blocks lose of the mean image added.
        """
        if cells is None:
            raise ValueError(NO_OVERVIEW)
        usual = []
        for start in origin.round().long().tolist():
            part = self.mean_image
            for axis, (first, size) in enumerate(zip(start, self.config.seen, strict=True), 1):
                part = part.narrow(axis, first, size)
            usual.append(part)
        # Interpolation is linear: one of the difference stands for two.
        away = cells.float() - self._cells(self.mean_blocks, origin)
        cut = slice(MARGIN * self.factor, -MARGIN * self.factor)
        return torch.stack(usual) + upsample(away[:, None], self.factor)[:, :, cut, cut, cut]

    def _cells(self, above: Tensor, origin: Tensor) -> Tensor:
        """Cut overviews (N or 1, 1, i, j, k) to windows and a margin: (N, i + 2, j + 2, k + 2)."""
        padded, parts = F.pad(above, [MARGIN] * 6, mode="replicate"), []
        for number, start in enumerate((origin / self.factor).round().long().tolist()):
            part = padded[number % len(above)]
            for axis, (first, size) in enumerate(zip(start, self.config.seen, strict=True), 1):
                part = part.narrow(axis, first, size // self.factor + 2 * MARGIN)
            parts.append(part)
        return torch.cat(parts)

    def encode_windows(self, x: Tensor, origin: Tensor, guide: Tensor | None = None) -> Latent:
        """Windows (N, 1, *window) beside their guide to Gaussians over latents."""
        assert guide is not None
        left = (x - guide) * (x != 0)
        features = self.encoder(torch.cat([left, guide], 1), origin)
        mean, log_variance = self.to_latent(features).chunk(2, dim=1)
        return Latent(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))

    def decode_windows(self, z: Tensor, origin: Tensor, guide: Tensor | None = None) -> Tensor:
        """Latents of windows and their guide to windows (N, 1, *window)."""
        assert guide is not None
        blocks = fold(F.avg_pool3d(guide, self.factor), self.config.stride // self.factor)
        out: Tensor = guide + self.decoder(torch.cat([z, blocks], 1), origin)
        return out

    def _windows(self) -> Windows:
        config = self.config
        return Windows.over(config.shape, config.seen, config.overlap, config.stride)


def vae(config: VAEConfig) -> VAE:
    """Return the network of a configuration, its numbers not yet set."""
    return VAE(config) if config.anatomy is None else TwoLevelVAE(config)
