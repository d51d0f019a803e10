"""Heads made of a few smooth shapes: quick stand-ins for healthy people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_normative.io.nifti import write_volume
from napari_normative.volume import Volume


def phantom(seed: int, *, spacing_mm: float = 4.0, lesion_ml: float = 0.0) -> Volume:
    """Return a bare 'brain' in RAS, world origin at its middle, 0 outside.

    Grey rim, white inside, two dark ventricles, a dark cerebellar notch at the back below,
    so that no axis can be mistaken; size, contrast and shading differ by ``seed``.
    A lesion is a dark ball on the patient's left (x < 0).
    """
    random = np.random.default_rng(seed)
    n = [int(d / spacing_mm) for d in (168, 200, 168)]
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = [-(m - 1) / 2 * spacing_mm for m in n]
    axes = [np.arange(m) * spacing_mm + o for m, o in zip(n, affine[:3, 3], strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    a, b, c = np.array([66, 84, 64]) * (1 + 0.03 * random.standard_normal(3))
    radius = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    brain = (radius < 1) & ~((y < -30) & (z < -38))
    data = np.where(radius > 0.82, 55.0, 100.0)
    wide = 1 + 0.2 * random.standard_normal()
    for side in (-1, 1):
        ventricle = ((x - side * 12) / (7 * wide)) ** 2 + (y / 30) ** 2 + ((z - 8) / 10) ** 2
        data = np.where(ventricle < 1, 20.0, data)
    data += 6 * np.sin(x / 9 + seed) * np.cos(y / 11) * np.cos(z / 13 + seed)
    data *= 1 + 0.1 * random.standard_normal() * y / 80
    if lesion_ml:
        reach = (3000 * lesion_ml / (4 * np.pi)) ** (1 / 3)
        data = np.where((x + 38) ** 2 + (y - 15) ** 2 + (z - 15) ** 2 < reach**2, 35.0, data)
    data += random.standard_normal(data.shape) * 1.5
    gain = 1 + 0.2 * random.standard_normal()
    values = np.where(brain, np.clip(gain * data, 1, None), 0)
    return Volume.from_array(values.astype(np.float32), affine, f"phantom-{seed}")


def write_cohort(folder: Path, people: int, *, first_seed: int = 100) -> Path:
    """Write healthy phantoms as sub-XX_T1w.nii.gz and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(people):
        write_volume(folder / f"sub-{i:02d}_T1w.nii.gz", phantom(first_seed + i))
    return folder
