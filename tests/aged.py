"""Made people who differ by their age alone, and a model that can be told age and sex."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_normative.core.card import TrainingFacts
from napari_normative.core.preprocess import LEVELS, Template, with_reference
from napari_normative.engine.assemble import Label, assemble
from napari_normative.engine.cohort import Person, counts
from napari_normative.engine.optimise import How, optimise
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.io.nifti import write_volume
from napari_normative.volume import Volume

PEOPLE = 24
SPLITS = ("train", "train", "train", "calibration-a", "train", "calibration-b", "train", "test")


def brain(age: float, seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Return an ellipsoid in model units with a dark slab in its middle, wider with age."""
    random = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.8
    image = 1 + 0.15 * np.sin(5 * y) + 0.1 * np.cos(4 * z)
    share = np.clip((0.05 + 0.004 * (age - 20) - np.abs(x)) / 0.1 + 0.5, 0, 1)
    image = image * (1 - 0.8 * share * (np.abs(y) < 0.5)) + 0.02 * random.standard_normal(shape)
    return np.where(inside, image, 0).astype(np.float32)


def made_cohort(tiny_preset: Preset) -> PreparedCohort:
    """People of 20 to 66, alike but for the dark slab; the age of one is unknown."""
    space = tiny_preset.preprocess
    ages = [20.0 + 2 * n for n in range(PEOPLE)]
    images = np.stack([brain(age, n, space.shape) for n, age in enumerate(ages)])
    people = [
        Person(Path(f"{n}.nii.gz"), f"{n}", "s", SPLITS[n % len(SPLITS)],
               {"age": "n/a" if n == 8 else f"{age}", "sex": "FM"[n % 3 % 2]})
        for n, age in enumerate(ages)
    ]  # fmt: skip
    inside = images[0] != 0
    train = [n for n, one in enumerate(people) if one.split == "train"]
    quantiles = [tuple(np.quantile(images[n][inside], LEVELS)) for n in train]
    return PreparedCohort(
        people=people,
        images=images.astype(np.float16),
        masks=np.broadcast_to(inside, images.shape),
        config=with_reference(space, quantiles),
        template=Template(images[train].mean(axis=0), inside),
        digest="",
        refused=[],
    )


def made_model(aged_cohort: PreparedCohort, tiny_preset: Preset, folder: Path) -> Path:
    """Train a model of these people that can be told age and sex, and return its file."""
    preset = tiny_preset.model_copy(update={"steps": 8, "condition_on": ("age", "sex")})
    how = How("cpu", "fp32", None, False, False, folder, Ranks())
    made = optimise(aged_cohort, preset, how, 0, report=lambda *_: None, cancel=lambda: False)
    facts = TrainingFacts(
        preset="", command="", seed=0, steps=8, minutes=0, device="cpu", precision="fp32",
        people=counts(aged_cohort.people), cohort_digest="", versions={}, curves=(),
    )  # fmt: skip
    model = assemble(
        made.network, aged_cohort, Label("aged", "Aged", "T1-weighted MRI", "", ""), facts, "cpu",
        score=preset.score, objective=preset.objective, flip=True,
    )  # fmt: skip
    return model.save(folder / "aged.safetensors")


def write_scan(cohort: PreparedCohort, n: int, folder: Path) -> Path:
    """Write the scan of one of the people, and return its path."""
    image = cohort.images[n].astype(np.float32)
    volume = Volume.from_array(image, cohort.config.grid.affine, f"{n}")
    return write_volume(folder / f"{n}.nii.gz", volume)
