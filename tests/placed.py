"""Volumes that lie in the world in known ways."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.candidates import Candidate
from napari_normative.engine.detection import Detection
from napari_normative.volume import Affine, Volume

SIGNED_ORDERS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
"""World axis of each stored axis, and its direction: all 48."""


def axis_affine(order: tuple[int, ...], signs: tuple[int, ...], shape: tuple[int, ...]) -> Affine:
    """Stored axis ``a`` runs along world axis ``order[a]``; the centre lies at (5, -3, 2) mm.

    Spacing is 1, 1.5 and 2 mm along world x, y and z.
    """
    spacing_mm = (1.0, 1.5, 2.0)
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[world, axis] = sign * spacing_mm[world]
    centre = (np.array(shape) - 1) / 2
    matrix[:3, 3] = np.array([5.0, -3.0, 2.0]) - matrix[:3, :3] @ centre
    return matrix


def rotation(axis: int, degrees: float) -> NDArray[np.float64]:
    """A rotation about a world axis, shape (4, 4)."""
    angle = np.radians(degrees)
    a, b = (n for n in range(3) if n != axis)
    matrix = np.eye(4)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def field(world_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a value that tells the position, at world positions of shape (3, n)."""
    x, y, z = world_mm
    return 100 + 2.0 * x - 1.0 * y + 0.5 * z


def placed(affine: Affine, shape: tuple[int, ...] = (24, 28, 20), name: str = "scan") -> Volume:
    """A volume whose value is :func:`field` of the world position."""
    index = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ index + affine[:3, 3:]
    return Volume.from_array(field(world).reshape(shape), affine, name)


TILTED = rotation(2, 10) @ axis_affine((0, 1, 2), (-1, 1, 1), (24, 28, 20))
UPRIGHT = axis_affine((1, 0, 2), (-1, -1, 1), (24, 28, 20))


def made_detection(scan: Volume, samples: int = 0, strength: float = 5.0) -> Detection:
    """A detection with known values: +strength in one block, -strength/2 in another."""
    z = np.zeros(scan.shape, np.float32)
    labels = np.zeros(scan.shape, np.float32)
    bright, dark = np.s_[4:8, 4:8, 4:8], np.s_[14:18, 14:18, 10:14]
    z[bright], z[dark] = strength, -strength / 2
    labels[bright], labels[dark] = 1, 2
    drawn = tuple(scan.with_data(scan.data * (1 + 0.01 * n)) for n in range(samples))

    def candidate(label: int, sign: int, peak: float) -> Candidate:
        return Candidate(
            id=f"c{label}", label=label, rank=label, sign=sign, peak_z=peak, mean_z=peak,
            volume_mm3=192.0, centroid_mm=(1.0, 2.0, 3.0), box=((4, 8), (4, 8), (4, 8)), p=0.02,
        )  # fmt: skip

    return Detection(
        scan=scan,
        mask=np.ones(scan.shape, bool),
        reconstruction=scan.with_data(scan.data - 10 * z),
        residual=scan.with_data(10 * z),
        anomaly_z=scan.with_data(z),
        anomaly_p=scan.with_data(np.ones(scan.shape)),
        candidate_labels=scan.with_data(labels, is_label=True),
        candidates=(candidate(1, 1, strength), candidate(2, -1, -strength / 2)),
        scan_score=1.25,
        scan_p=0.05,
        threshold_z=2.0,
        samples=drawn,
        warnings=("The scan is unlike the training cohort.",),
        provenance={"device": "cpu", "device_reason": "as asked", "seconds": {"total": 1.5}},
    )
