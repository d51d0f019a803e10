"""Prepared scans out of nothing: smooth, masked, low-dimensional, like people on a template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_normative.core.preprocess import Template
from napari_normative.engine.cohort import Person
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset

PATTERNS = 24
SPLITS = ("train",) * 7 + ("calibration-a", "calibration-b", "test")


class Synthetic:
    """A population on a preset's grid; a person is a function of its number.

    Parameters
    ----------
    preset : Preset
    """

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        shape = preset.preprocess.shape
        random = np.random.default_rng(0)
        axes = [np.linspace(-1.15, 1.15, n) for n in shape]
        grid = np.meshgrid(*axes, indexing="ij")
        self.radius = np.sqrt(sum(a**2 for a in grid)).astype(np.float32)
        blur = [n / 12 for n in shape]
        noise = random.standard_normal((PATTERNS, *shape)).astype(np.float32)
        smooth = np.stack([ndimage.gaussian_filter(one, blur) for one in noise])
        smooth /= smooth.std(axis=(1, 2, 3), keepdims=True)
        self.patterns = smooth * (0.12 / np.sqrt(1 + np.arange(PATTERNS)))[:, None, None, None]
        grey = ndimage.gaussian_filter(random.standard_normal(shape).astype(np.float32), 1.2)
        self.mean = (0.9 + 0.25 * np.tanh(2 * grey / grey.std()) * (self.radius > 0.6)).astype(
            np.float32
        )
        mask = self.radius < 1
        self.template = Template(np.where(mask, self.mean, 0).astype(np.float32), mask)

    def scan(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a person's image (float16) and mask."""
        random = np.random.default_rng((1, n))
        weights = random.standard_normal(PATTERNS).astype(np.float32)
        image = self.mean + np.tensordot(weights, self.patterns, 1)
        image += 0.03 * random.standard_normal(image.shape, dtype=np.float32)
        mask = self.radius < 1 + 0.02 * random.standard_normal()
        return np.where(mask, image.clip(0.05), 0).astype(np.float16), mask

    def scans(self, people: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the first people."""
        return map(self.scan, range(people))

    def people(self, count: int) -> list[Person]:
        """Return who they are: seven of ten train."""
        return [
            Person(Path(f"{n}.nii.gz"), f"{n}", f"site-{n % 2}", SPLITS[n % 10])
            for n in range(count)
        ]

    def cohort(self, count: int) -> PreparedCohort:
        """Return a cohort that lies in memory."""
        images, masks = zip(*self.scans(count), strict=True)
        return PreparedCohort(
            people=self.people(count),
            images=np.stack(images),
            masks=np.stack(masks),
            config=self.preset.preprocess,
            template=self.template,
            digest=f"synthetic-{count}",
            refused=[],
        )
