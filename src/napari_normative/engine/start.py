"""Where a network starts: sized for its cohort, at the cohort's principal components."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from napari_normative.core.config import VAEConfig
from napari_normative.core.covariate_effects import linear_effects
from napari_normative.engine.conditions import UNTOLD, codes_of, covariates_in, covariates_of
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset
from napari_normative.volume import FloatArray, Mask

if TYPE_CHECKING:
    from napari_normative.core.vae import VAE

OVERLAP = 8
"""Blocks that share a voxel: its evidence counts so many times, so its noise must as well."""

MOST_COMPONENT_PEOPLE = 512
"""Training people whose components are taken, drawn at random where there are more: components
are found from all of them at once, and memory must not grow with the cohort."""

LEAST_FOREGROUND = 0.08
"""Share of a block that must be foreground for it to carry local latents."""


def architecture(
    preset: Preset, prepared: PreparedCohort, anatomy: VAEConfig | None = None
) -> VAEConfig:
    """Return the network's configuration for a cohort: no more directions than it spans.

    ``anatomy`` is the level above the windows, where the preset has one.
    """
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
        local_edge=preset.local_edge,
        local_size=preset.local_size if preset.local_edge else 0,
        local_blocks=len(_block_starts(preset, prepared)) if preset.local_edge else 0,
        local_mirrored=preset.augment.flip,
        window=preset.window,
        overlap=preset.overlap,
        condition=covariates_of(prepared.people, preset.condition_on).each,
        anatomy=anatomy,
        codes=preset.codes,
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
    _set_effects(network, prepared, flip)
    branch = network.linear
    if branch is None:
        return
    factor = branch.factor
    inside = _coarse(prepared.template.mask[None].astype(np.float32), factor)[1]
    voxels = np.flatnonzero(inside)
    # Outside a person's own mask nothing is known: no deviation from the mean.
    told = _told(network, prepared)
    rows = [
        _coarse(((view - _expected(network, told[n])) * mask)[None], factor)[0].ravel()[voxels]
        for n, view, mask in _training_views(prepared, flip)
    ]
    people = len(rows)
    rows += [np.sqrt(UNTOLD * people) * row.ravel()[voxels] for row in _usual(network, told)]
    data = np.stack(rows).astype(np.float64)
    values, vectors = np.linalg.eigh(data @ data.T / people)
    order = np.argsort(values)[::-1][: network.config.latent_size]
    kept = np.maximum(values[order], 1e-9)
    basis = (vectors[:, order].T @ data) / np.sqrt(kept * people)[:, None]
    # Signs are arbitrary; fixed so that the same cohort gives the same file.
    basis *= np.sign(basis[np.arange(len(basis)), np.abs(basis).argmax(axis=1)])[:, None]
    left = max(float(values.sum() - kept.sum()), 1e-6)
    noise = left / max(len(voxels) - len(kept), 1)
    branch.voxels.copy_(torch.from_numpy(voxels.astype(np.int32)))
    branch.basis.copy_(torch.from_numpy(basis.astype(np.float32)))
    branch.scale.copy_(torch.from_numpy(np.sqrt(kept).astype(np.float32)))
    branch.noise.fill_(noise)


def fit_local_level(network: VAE, prepared: PreparedCohort, *, flip: bool) -> None:
    """Fit the local level to what the trained network's global level leaves of the cohort."""
    import torch

    level = network.local
    if level is None:
        return
    device = network.mean_image.device
    left, told = [], _told(network, prepared)
    with torch.inference_mode():
        for n, view, mask in _training_views(prepared, flip):
            x = torch.from_numpy(np.ascontiguousarray(view)).to(device)[None, None]
            person = network.given(torch.from_numpy(told[n]))
            whole = person.decode(person.encode(x).mean)[0, 0].float().cpu().numpy()
            left.append(_coarse(((view - whole) * mask)[None], level.factor)[0][0])
    data = np.stack(left)
    inside = _coarse(prepared.template.mask[None].astype(np.float32), level.factor)[1]
    starts, edge = _starts(inside, level.edge, level.mirrored), level.edge
    size = min(level.scale.shape[1], len(data) // 3)
    basis = np.zeros(tuple(level.basis.shape), dtype=np.float32)
    scale = np.zeros(tuple(level.scale.shape), dtype=np.float32)
    noise = np.ones(len(starts), dtype=np.float32)
    for b, (i, j, k) in enumerate(starts):
        box = slice(i, i + edge), slice(j, j + edge), slice(k, k + edge)
        rows = (data[(slice(None), *box)] * inside[box]).reshape(len(data), -1)
        values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64) / len(rows))
        order = np.argsort(values)[::-1][: min(size, int(inside[box].sum()) // 2)]
        kept = np.maximum(values[order], 0)
        found = vectors[:, order].T.astype(np.float32) @ rows
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
        basis[b, : len(order)] = found
        scale[b, : len(order)] = np.sqrt(kept)
        rest = max(int(inside[box].sum()) - len(order), 1)
        noise[b] = max(OVERLAP * float(values.sum() - kept.sum()) / rest, 1e-5)
    step = np.maximum(np.abs(basis).max(axis=2), 1e-9) / 127
    level.start.copy_(torch.from_numpy(np.array(starts, dtype=np.int32)))
    level.basis.copy_(torch.from_numpy(np.rint(basis / step[..., None]).astype(np.int8)))
    level.step.copy_(torch.from_numpy(step))
    level.scale.copy_(torch.from_numpy(scale))
    level.noise.copy_(torch.from_numpy(noise))


def _block_starts(preset: Preset, prepared: PreparedCohort) -> list[tuple[int, int, int]]:
    mask = prepared.template.mask[None].astype(np.float32)
    inside = _coarse(mask, preset.linear_factor)[1]
    return _starts(inside, preset.local_edge, preset.augment.flip)


def _starts(inside: Mask, edge: int, mirrored: bool) -> list[tuple[int, int, int]]:
    """Return the first cells of the half-overlapping blocks that hold foreground.

    With mirrored blocks only those of the first half: the others are their mirror images.
    """
    a, b, c = (range(0, n - edge + 1, edge // 2) for n in inside.shape)
    rows = [i for i in a if not mirrored or i <= (inside.shape[0] - edge) / 2]
    return [
        (i, j, k)
        for i in rows
        for j in b
        for k in c
        if inside[i : i + edge, j : j + edge, k : k + edge].mean() > LEAST_FOREGROUND
    ]


def _training_views(prepared: PreparedCohort, flip: bool) -> Iterator[tuple[int, FloatArray, Mask]]:
    """Yield number, image and mask of the training people, and mirrored where anatomy allows."""
    for n in prepared.some(MOST_COMPONENT_PEOPLE, "train"):
        image, mask = prepared.images[n].astype(np.float32), prepared.masks[n]
        yield n, image, mask
        if flip:
            yield n, image[::-1], mask[::-1]


def _told(network: VAE, prepared: PreparedCohort) -> FloatArray:
    """Return the code of everybody, shape (n, D); D is 0 where the network is told nothing."""
    return codes_of(prepared.people, covariates_in(network.config))


def _expected(network: VAE, code: FloatArray) -> FloatArray:
    """Return the mean image for what is known of a person, shape (I, J, K)."""
    import torch

    with torch.inference_mode():
        image: FloatArray = network.given(torch.from_numpy(code)).expected()[0, 0].numpy()
    return image


def _set_effects(network: VAE, prepared: PreparedCohort, flip: bool) -> None:
    """Set what the code adds to the mean image: alike on both sides where anatomy allows.

    Whether something is known has no effect of its own: of whom nothing is known the mean image
    is expected.
    """
    import torch

    part, codes = network.condition, _told(network, prepared)
    if part is None:
        return
    chosen = prepared.some(MOST_COMPONENT_PEOPLE, "train")
    rows = []
    for n in chosen:
        left = (prepared.images[n].astype(np.float32) - prepared.template.image) * prepared.masks[n]
        left = _coarse(left[None], part.factor)[0][0]
        rows.append(((left + left[::-1]) / 2 if flip else left).ravel())
    told = codes[chosen]
    told[:, [column.stop - 1 for column in covariates_in(network.config).columns]] = 0
    effects = linear_effects(np.stack(rows), told)
    part.effects.copy_(torch.from_numpy(effects).reshape(part.effects.shape))


def _usual(network: VAE, told: FloatArray) -> FloatArray:
    """Return rows whose sum of squares is the mean effect of what is known, shape (D, i, j, k).

    They stand among the people of whom components are taken as often as nothing is known of
    somebody in training: what age does must be among the components for those whose age is not
    told.
    """
    part = network.condition
    if part is None:
        return np.zeros((0, 1, 1, 1), np.float32)
    values, vectors = np.linalg.eigh(told.T.astype(np.float64) @ told / len(told))
    root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    effects = part.effects.numpy()
    rows: FloatArray = np.tensordot(root.astype(np.float32), effects[:, 0], axes=1)
    return rows


def _log_spread(prepared: PreparedCohort) -> FloatArray:
    """Return the log of the training people's SD about the mean image, shape (1, I, J, K)."""
    square = np.zeros(prepared.template.mask.shape)
    count = np.zeros(prepared.template.mask.shape)
    for n in prepared.some(MOST_COMPONENT_PEOPLE, "train"):
        mask = prepared.masks[n]
        square += mask * (prepared.images[n].astype(np.float64) - prepared.template.image) ** 2
        count += mask
    inside = count > 0
    usual = square.sum() / max(count.sum(), 1)
    variance = np.where(inside, square / np.maximum(count, 1), usual)
    log: FloatArray = (0.5 * np.log(np.maximum(variance, 1e-6))).astype(np.float32)
    return log[None]
