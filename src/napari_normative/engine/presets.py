"""Named sets of training choices."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from napari_normative.core.augment import AugmentConfig
from napari_normative.core.config import ObjectiveConfig
from napari_normative.core.preprocess import PreprocessConfig
from napari_normative.core.score import ScoreConfig


class Preset(BaseModel):
    """What ``train --preset`` stands for.

    Attributes
    ----------
    title, modality : str
        For the card.
    template : {"mni152", "none"}
        What scans are first aligned to, unless ``--template`` names a file.
    latent : {"dense", "spatial"}
    latent_size, stem, widths, bottleneck, linear_factor
        As in VAEConfig.
    steps, batch, rate
        Optimiser steps, volumes per step, largest learning rate.
    site_balance : float
        0 draws every person alike, 1 every site alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    modality: str
    preprocess: PreprocessConfig
    template: Literal["mni152", "none"] = "mni152"
    latent: Literal["dense", "spatial"] = "dense"
    latent_size: int = 128
    stem: int = 2
    widths: tuple[int, ...] = (16, 32, 64, 64)
    bottleneck: int = 32
    linear_factor: int = 0
    objective: ObjectiveConfig = ObjectiveConfig()
    augment: AugmentConfig = AugmentConfig()
    score: ScoreConfig = ScoreConfig()
    steps: int = 4000
    batch: int = 8
    rate: float = 1e-3
    ema: float = 0.995
    site_balance: float = 0.5


def _brain(spacing_mm: float, **choices: object) -> Preset:
    # 160 x 192 x 160 mm around the MNI152 brain, symmetric in x.
    i, j, k = (int(d / spacing_mm) for d in (160, 192, 160))
    half = spacing_mm / 2
    space = PreprocessConfig(
        shape=(i, j, k), spacing_mm=spacing_mm, origin_mm=(-80 + half, -111 + half, -71 + half)
    )
    return Preset(title="Adult brain", modality="T1-weighted MRI", preprocess=space, **choices)


PRESETS: dict[str, Preset] = {
    "brain-2mm": _brain(2.0, linear_factor=2, steps=2400),
    "brain-4mm": _brain(4.0, stem=1, linear_factor=1, widths=(16, 32, 64), steps=2400),
    "brain-8mm": _brain(
        8.0, stem=1, linear_factor=1, widths=(16, 32, 32), latent_size=16, steps=300,
        score=ScoreConfig(scales_mm=(8.0,), tolerance_mm=0.0, erosion_mm=8.0, minimum_ml=1.0),
    ),
    "crop-1mm": Preset(
        title="Small region",
        modality="unstated",
        preprocess=PreprocessConfig(
            shape=(48, 64, 48), spacing_mm=1.0, origin_mm=(-23.5, -31.5, -23.5),
            alignment="centre", bias_mm=0.0,
        ),
        template="none",
        latent="spatial",
        latent_size=8,
        widths=(16, 32, 64),
        augment=AugmentConfig(flip=False),
        steps=1000,
    ),
}  # fmt: skip
"""By name. ``brain-8mm`` trains in seconds: for tests and first looks."""
