"""Named sets of training choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from napari_normative.core.augment import AugmentConfig
from napari_normative.core.config import ObjectiveConfig, VAEConfig
from napari_normative.core.preprocess import PreprocessConfig
from napari_normative.core.score import ScoreConfig
from napari_normative.errors import TrainingError


class AnatomyLevel(BaseModel):
    """The level above the windows, which sees the whole space in blocks of voxels.

    Attributes
    ----------
    factor : int
        Edge of the blocks, voxels.
    latent_size, stem, widths, bottleneck, linear_factor, local_edge, local_size, steps
        As in Preset, of a dense network on the grid of the blocks; it is trained first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    factor: int = Field(ge=2)
    latent_size: int = 64
    stem: int = 2
    widths: tuple[int, ...] = (16, 32, 64)
    bottleneck: int = 8
    linear_factor: int = 1
    local_edge: int = 8
    local_size: int = 10
    steps: int = 200


class Preset(BaseModel):
    """What ``train --preset`` stands for.

    Attributes
    ----------
    title, modality : str
        For the card.
    template : {"mni152", "none"}
        What scans are first aligned to, unless ``--template`` names a file.
    latent : {"dense", "spatial"}
    latent_size, stem, widths, bottleneck, linear_factor, local_edge, local_size, window, overlap,
    codes
        As in VAEConfig.
    steps, batch, rate
        Optimiser steps, volumes (in the patch form: windows) per step, largest learning rate.
    ema : float
        Decay of the moving average of the weights.
    balance_by : tuple of str
        Columns of the cohort that sort people into groups; see ``cohort.groups``.
    anatomy : AnatomyLevel, optional
        The hierarchical form: a dense level above the windows.
    balance : float
        A group of n people is drawn with weight n^(1 - balance): 0 draws every person alike,
        1 every group alike.
    condition_on : tuple of str
        Columns of the cohort that the network is told; dense form only.
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
    local_edge: int = 0
    local_size: int = 10
    window: tuple[int, int, int] | None = None
    overlap: int = 0
    anatomy: AnatomyLevel | None = None
    codes: int = 0
    objective: ObjectiveConfig = ObjectiveConfig()
    augment: AugmentConfig = AugmentConfig()
    score: ScoreConfig = ScoreConfig()
    steps: int = 4000
    batch: int = 8
    rate: float = 1e-3
    ema: float = 0.995
    balance_by: tuple[str, ...] = ("site",)
    balance: float = Field(0.5, ge=0, le=1)
    condition_on: tuple[str, ...] = ()

    @field_validator("balance_by", "condition_on", mode="before")
    @classmethod
    def _one_column(cls, value: object) -> object:
        """Take one name, as ``--set`` gives it, for a list of one."""
        return (value,) if isinstance(value, str) else value

    def changed(self, changes: Mapping[str, object]) -> Preset:
        """Return the preset with some values replaced, checked like the rest.

        Parameters
        ----------
        changes : mapping
            Dotted names to values or their text: ``{"objective.beta": "0.3"}``.

        Raises
        ------
        TrainingError
            ``TRN-007`` for a name or a value that does not fit.
        """
        made = self.model_dump()
        for name, value in changes.items():
            *path, last = name.split(".")
            place: object = made
            for key in path:
                place = place.get(key) if isinstance(place, dict) else None
            if not isinstance(place, dict) or last not in place or isinstance(place[last], dict):
                raise TrainingError(
                    "TRN-007",
                    f"a preset has no value {name!r}",
                    "Choose e.g. objective.beta, objective.likelihood, augment.erase, "
                    "latent_size, steps.",
                )
            place[last] = value
        try:
            return Preset.model_validate(made)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the preset"
            raise TrainingError(
                "TRN-007", f"{where}: {first['msg']}", "Give another value."
            ) from error

    def above(self) -> Preset:
        """Return the choices by which the anatomy level is trained, on the grid of its blocks."""
        assert self.anatomy is not None
        grid = self.preprocess.grid.coarser(self.anatomy.factor)
        space = {"shape": grid.shape, "spacing_mm": grid.spacing_mm, "origin_mm": grid.origin_mm}
        changes = self.anatomy.model_dump(exclude={"factor"})
        return Preset.model_validate(
            {
                **self.model_dump(),
                **changes,
                "preprocess": {**self.preprocess.model_dump(), **space},
                "latent": "dense", "window": None, "overlap": 0, "anatomy": None,
            }
        )  # fmt: skip

    @model_validator(mode="after")
    def _mirror_needs_symmetry(self) -> Preset:
        if self.score.asymmetry and not self.augment.flip:
            raise ValueError("score.asymmetry needs an anatomy that augment.flip may mirror")
        return self

    @model_validator(mode="after")
    def _map_needs_places(self) -> Preset:
        if self.objective.likelihood == "gaussian-map" and self.latent != "dense":
            raise ValueError("a map of σ needs the dense latent: voxels of one place in the body")
        return self

    @model_validator(mode="after")
    def _parts_fit_the_latent(self) -> Preset:
        if self.condition_on and self.latent != "dense":
            raise ValueError("a condition needs the dense latent: one person a volume")
        if self.codes and self.latent != "spatial":
            raise ValueError("codes need the spatial latent: a code is of a cell")
        if self.codes and self.anatomy is not None:
            raise ValueError("windows below an anatomy level have no codes")
        if self.latent != "dense" and self.objective.total_correlation != 1:
            raise ValueError("a weight of total correlation needs the dense latent")
        return self

    @model_validator(mode="after")
    def _windows_tile(self) -> Preset:
        if self.window is not None or self.overlap or self.anatomy is not None:
            try:
                VAEConfig(
                    shape=self.preprocess.shape, latent=self.latent, stem=self.stem,
                    widths=self.widths, window=self.window, overlap=self.overlap,
                    anatomy=None if self.anatomy is None else self._anatomy(self.anatomy),
                )  # fmt: skip
            except ValidationError as error:
                raise ValueError(error.errors()[0]["msg"]) from error
        return self

    def _anatomy(self, level: AnatomyLevel) -> VAEConfig:
        """Return the network of the anatomy level, its linear and local parts not yet sized."""
        i, j, k = (n // level.factor for n in self.preprocess.shape)
        factor, edge = level.linear_factor, level.local_edge
        return VAEConfig(
            shape=(i, j, k), stem=level.stem, widths=level.widths, linear_factor=factor,
            linear_voxels=1 if factor else 0, local_edge=edge, local_size=level.local_size,
            local_blocks=1 if edge else 0,
        )  # fmt: skip


def _brain(spacing_mm: float, **choices: object) -> Preset:
    # 160 x 192 x 160 mm around the MNI152 brain, symmetric in x.
    i, j, k = (int(d / spacing_mm) for d in (160, 192, 160))
    half = spacing_mm / 2
    space = PreprocessConfig(
        shape=(i, j, k), spacing_mm=spacing_mm, origin_mm=(-80 + half, -111 + half, -71 + half)
    )
    return Preset(title="Adult brain", modality="T1-weighted MRI", preprocess=space, **choices)


# With about a hundred people larger changes of shape raise the error on others, as does a
# wide bottleneck; see benchmarks/results/ablations.md.
_GENTLE = AugmentConfig(field_mm=0.4, shift_mm=0.3, scale=0.004, shear=0.002)
_FEW_PEOPLE: dict[str, object] = {
    "latent_size": 64,
    "bottleneck": 8,
    "local_edge": 8,
    "augment": _GENTLE,
    "steps": 200,
}

PRESETS: dict[str, Preset] = {
    "brain-2mm": _brain(2.0, linear_factor=2, **_FEW_PEOPLE),
    "brain-4mm": _brain(4.0, linear_factor=1, widths=(16, 32, 64), **_FEW_PEOPLE),
    "brain-8mm": _brain(
        8.0, stem=1, linear_factor=1, widths=(16, 32, 32), latent_size=16, local_edge=4,
        local_size=8, augment=_GENTLE, steps=300,
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
        score=ScoreConfig(asymmetry=0.0),
        steps=1000,
    ),
    "brain-1mm-patch": _brain(
        1.0, latent="spatial", latent_size=8, widths=(16, 32, 64), window=(64, 64, 64), overlap=16,
        augment=_GENTLE, steps=4000,
    ),
    "brain-1mm-hierarchical": _brain(
        1.0, latent="spatial", latent_size=8, widths=(16, 32, 64), window=(64, 64, 64), overlap=16,
        anatomy=AnatomyLevel(factor=4), augment=_GENTLE, steps=4000,
    ),
    "brain-2mm-hierarchical": _brain(
        2.0, latent="spatial", latent_size=8, widths=(16, 32, 64), window=(48, 48, 48), overlap=16,
        anatomy=AnatomyLevel(factor=2), augment=_GENTLE, steps=1000,
    ),
    "brain-4mm-hierarchical": _brain(
        4.0, latent="spatial", latent_size=8, widths=(16, 32), window=(24, 24, 24), overlap=8,
        anatomy=AnatomyLevel(
            factor=2, latent_size=16, stem=1, widths=(16, 32, 32), local_edge=4, local_size=8,
            steps=300,
        ),
        augment=_GENTLE, steps=600,
    ),
}  # fmt: skip
"""By name. ``brain-8mm`` trains in seconds: for tests and first looks."""


def preset_named(preset: str | Preset) -> Preset:
    """Return the preset of a name; a preset stays what it is.

    Raises
    ------
    TrainingError
        ``TRN-001``
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise TrainingError(
            "TRN-001", f"there is no preset {preset!r}", f"Choose one of {', '.join(PRESETS)}."
        )
    return PRESETS[preset]


def settings_from(
    words: Sequence[str], balance: str | None, condition_on: str | None = None
) -> dict[str, object]:
    """Return the changes that ``--set``, ``--balance`` and ``--condition-on`` ask for.

    A value with commas is a list.

    Raises
    ------
    TrainingError
        ``TRN-007`` for a word without ``=``.
    """
    changes: dict[str, object] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise TrainingError(
                "TRN-007", f"{word!r} is no NAME=VALUE", "Write e.g. --set objective.beta=0.3."
            )
        changes[name] = _listed(text) if "," in text else text
    if balance is not None:
        changes["balance_by"] = _listed(balance)
    if condition_on is not None:
        changes["condition_on"] = _listed(condition_on)
    return changes


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
