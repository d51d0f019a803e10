"""Where a network starts: sized for its cohort, at the cohort's principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_normative.core.config import VAEConfig
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset
from napari_normative.volume import FloatArray, Mask

if TYPE_CHECKING:
    from napari_normative.core.vae import VAE


def architecture(preset: Preset, prepared: PreparedCohort) -> VAEConfig:
    """Return the network's configuration for a cohort: no more directions than it spans."""
    factor = preset.linear_factor if preset.latent == "dense" else 0
    size = preset.latent_size
    voxels = 0
    if factor:
        voxels = int(_coarse(prepared.template.mask[None].astype(np.float32), factor)[1].sum())
        views = len(prepared.select("train")) * (2 if preset.augment.flip else 1)
        size = min(size, views - 1)
    return VAEConfig(
        shape=preset.preprocess.shape,
        latent=preset.latent,
        latent_size=size,
        stem=preset.stem,
        widths=preset.widths,
        bottleneck=preset.bottleneck,
        linear_factor=factor,
        linear_voxels=voxels,
        sigma_map=preset.objective.likelihood == "gaussian-map",
    )


def _coarse(images: FloatArray, factor: int) -> tuple[FloatArray, Mask]:
    """Return block means (n, i, j, k) and where the first image's exceed a half."""
    n, *size = images.shape
    i, j, k = (s // factor for s in size)
    blocks = images.reshape(n, i, factor, j, factor, k, factor).mean(axis=(2, 4, 6))
    return blocks, blocks[0] > 0.5


def start_from_components(network: VAE, prepared: PreparedCohort, *, flip: bool) -> None:
    """Set mean image, map of σ, and the linear branch to whitened principal components."""
    import torch

    if network.config.latent != "dense":
        return
    mean = prepared.template.image
    network.mean_image.copy_(torch.from_numpy(mean)[None])
    if network.log_sigma is not None:
        with torch.no_grad():
            network.log_sigma.copy_(torch.from_numpy(_log_spread(prepared)))
    branch = network.linear
    if branch is None:
        return
    factor = branch.factor
    inside = _coarse(prepared.template.mask[None].astype(np.float32), factor)[1]
    voxels = np.flatnonzero(inside)
    rows = []
    for n in prepared.select("train"):
        image = prepared.images[n].astype(np.float32)
        for view in (image, image[::-1]) if flip else (image,):
            # Outside a person's own mask nothing is known: no deviation from the mean.
            mask = prepared.masks[n] if view is image else prepared.masks[n][::-1]
            rows.append(_coarse(((view - mean) * mask)[None], factor)[0].ravel()[voxels])
    data = np.stack(rows).astype(np.float64)
    values, vectors = np.linalg.eigh(data @ data.T / len(data))
    order = np.argsort(values)[::-1][: network.config.latent_size]
    kept = np.maximum(values[order], 1e-9)
    basis = (vectors[:, order].T @ data) / np.sqrt(kept * len(data))[:, None]
    # Signs are arbitrary; fixed so that the same cohort gives the same file.
    basis *= np.sign(basis[np.arange(len(basis)), np.abs(basis).argmax(axis=1)])[:, None]
    left = max(float(values.sum() - kept.sum()), 1e-6)
    noise = left / max(len(voxels) - len(kept), 1)
    branch.voxels.copy_(torch.from_numpy(voxels.astype(np.int32)))
    branch.basis.copy_(torch.from_numpy(basis.astype(np.float32)))
    branch.scale.copy_(torch.from_numpy(np.sqrt(kept).astype(np.float32)))
    branch.noise.fill_(noise)


def _log_spread(prepared: PreparedCohort) -> FloatArray:
    """Return the log of the training people's SD about the mean image, shape (1, I, J, K)."""
    square = np.zeros(prepared.template.mask.shape)
    count = np.zeros(prepared.template.mask.shape)
    for n in prepared.select("train"):
        mask = prepared.masks[n]
        square += mask * (prepared.images[n].astype(np.float64) - prepared.template.image) ** 2
        count += mask
    inside = count > 0
    usual = square.sum() / max(count.sum(), 1)
    variance = np.where(inside, square / np.maximum(count, 1), usual)
    log: FloatArray = (0.5 * np.log(np.maximum(variance, 1e-6))).astype(np.float32)
    return log[None]
