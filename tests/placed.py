"""Volumes that lie in the world in known ways."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

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
