"""Simulated lesions: known changes in scans of healthy people, for evaluation only.

What comes from here is always called simulated. It is never a training signal: a method
that has seen a simulator learns the simulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.core.grid import antialias, resample
from napari_normative.core.lesion_kinds import PAINTERS, Site, tissue_levels
from napari_normative.errors import SimulationError
from napari_normative.volume import Affine, FloatArray, Mask

LESION_KINDS = ("hypointense", "hyperintense", "texture", "mass", "atrophy", "regional")
"""Kinds of simulated lesion; see :func:`simulate`."""


@dataclass(frozen=True, eq=False)
class SimulatedLesion:
    """A healthy scan with a simulated lesion.

    Attributes
    ----------
    image : float32 array, shape (I, J, K)
        In the units of the scan that was given; equal to it outside the foreground.
    truth : bool array, shape (I, J, K)
        What a perfect reader would mark.
    kind : str
        One of ``LESION_KINDS``.
    volume_ml : float
        Of ``truth``.
    strength : float
    """

    image: FloatArray
    truth: Mask
    kind: str
    volume_ml: float
    strength: float


def simulate(
    image: FloatArray,
    mask: Mask,
    shape: Mask,
    spacing_mm: float | Sequence[float],
    kind: str,
    *,
    strength: float = 1.0,
    seed: int = 0,
    edge_mm: float = 2.0,
) -> SimulatedLesion:
    """Put a simulated lesion into a healthy scan.

    ``hypointense``: towards fluid, as an old stroke. ``hyperintense``: above the brightest
    tissue. ``texture``: the mean stays, fine structure is replaced. ``mass``: a body of
    slightly low intensity that pushes its surroundings outward. ``atrophy``: tissue in the
    shape shrinks by ``30 % x strength`` and fluid beside it takes the room. ``regional``:
    a smooth loss of ``30 % x strength`` of the intensity.

    Changes are relative to the scan's own tissue contrast. Nothing outside ``mask`` changes.

    Parameters
    ----------
    image : float32 array, shape (I, J, K)
        A healthy scan in any units, T1-like: fluid darkest.
    mask : bool array, shape (I, J, K)
        Foreground. Not eroded: a lesion cut by an eroded mask leaves a rim that any
        method finds.
    shape : bool array, shape (I, J, K)
        The lesion's shape on the same grid.
    spacing_mm : float or 3 floats
    kind : str
        One of ``LESION_KINDS``.
    strength : float
        1 is clearly visible, 0.5 subtle; in (0, 2].
    seed : int
        Of the variation within the lesion.
    edge_mm : float
        Width over which the lesion fades into its surroundings.

    Raises
    ------
    SimulationError
        ``SIM-001`` unknown kind or strength, ``SIM-002`` no voxel of the shape in the
        foreground, ``SIM-003`` grids differ, ``SIM-004`` no contrast.
    """
    if kind not in LESION_KINDS or not 0 < strength <= 2:
        raise SimulationError(
            "SIM-001",
            f"there is no simulated lesion of kind {kind!r} and strength {strength:g}",
            f"Kinds are {', '.join(LESION_KINDS)}; strength is above 0 and at most 2.",
        )
    if not image.shape == mask.shape == shape.shape:
        raise SimulationError(
            "SIM-003",
            f"image {image.shape}, foreground {mask.shape} and shape {shape.shape} differ in size",
            "Bring the shape onto the scan's grid first, with place_shape.",
        )
    inside = shape & mask
    if not inside.any():
        raise SimulationError(
            "SIM-002",
            "no voxel of the lesion's shape lies in the foreground",
            "Choose another shape, or check that shape and scan share a space.",
        )
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
    paint, margin_mm = PAINTERS[kind]
    voxel_ml = float(np.prod(spacing)) / 1000
    radius_mm = (3 * float(inside.sum()) * voxel_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    margin = np.ceil((max(margin_mm, 1.5 * edge_mm) + radius_mm) / spacing).astype(int) + 1
    box = tuple(
        slice(max(0, s.start - m), s.stop + m)
        for s, m in zip(ndimage.find_objects(inside.astype(np.int8))[0], margin, strict=True)
    )
    site = Site(
        image[box].astype(np.float32), mask[box], inside[box], spacing,
        tissue_levels(image[mask]), strength, edge_mm, np.random.default_rng(seed),
    )  # fmt: skip
    changed, marked = paint(site)
    out = image.astype(np.float32, copy=True)
    out[box] = np.where(site.mask, changed, site.image)
    truth = np.zeros(mask.shape, dtype=bool)
    truth[box] = marked & site.mask
    return SimulatedLesion(out, truth, kind, float(truth.sum()) * voxel_ml, strength)


def place_shape(
    shape: NDArray[np.generic],
    shape_affine: Affine,
    grid_shape: tuple[int, int, int],
    grid_affine: Affine,
) -> Mask:
    """Lay a real lesion's mask onto a grid of the same world.

    Parameters
    ----------
    shape : array, shape (A, B, C)
        Anything above 0 is lesion.
    shape_affine, grid_affine : array, shape (4, 4)
        Voxel index to world mm.
    grid_shape : tuple of 3 int

    Returns
    -------
    bool array, shape ``grid_shape``
        Voxels of which the lesion fills more than half; may be empty.
    """
    spacing = np.linalg.norm(shape_affine[:3, :3], axis=0)
    target_mm = float(np.linalg.norm(grid_affine[:3, :3], axis=0).min())
    soft = antialias((np.asarray(shape) > 0).astype(np.float32), spacing, target_mm)
    placed: Mask = resample(soft, shape_affine, grid_shape, grid_affine) > 0.5
    return placed


def drawn_shape(
    mask: Mask, volume_ml: float, spacing_mm: float | Sequence[float], *, seed: int
) -> Mask:
    """Draw an irregular connected shape inside the foreground.

    It grows from a random voxel through a landscape of smooth random cost until it has the
    volume; connected by construction, and exact to a voxel where the foreground allows.

    Raises
    ------
    SimulationError
        ``SIM-005`` when the foreground is empty.
    """
    from skimage.graph import MCP_Geometric

    points = np.argwhere(mask)
    if not len(points):
        raise SimulationError(
            "SIM-005", "the foreground is empty", "Check the foreground mask in a viewer."
        )
    random = np.random.default_rng(seed)
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
    start = points[random.integers(len(points))]
    wanted = max(1, round(volume_ml * 1000 / float(np.prod(spacing))))
    radius_mm = (3 * volume_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    out = np.zeros(mask.shape, dtype=bool)
    for reach_mm in (4 * radius_mm + 5, np.inf):
        reach = np.minimum(np.ceil(reach_mm / spacing), mask.shape).astype(int)
        low = np.maximum(start - reach, 0)
        box = tuple(slice(a, b) for a, b in zip(low, start + reach + 1, strict=True))
        noise = np.random.default_rng(seed).standard_normal(mask[box].shape)
        bumps = ndimage.gaussian_filter(noise, 0.35 * radius_mm / spacing)
        cost = np.exp(1.2 * bumps / max(float(bumps.std()), 1e-9))
        search = MCP_Geometric(np.where(mask[box], cost, -1), sampling=tuple(spacing))
        arrival, _ = search.find_costs([tuple(start - low)])
        order = np.argsort(arrival, axis=None, kind="stable")[:wanted]
        order = order[np.isfinite(arrival.flat[order])]
        if len(order) == wanted or not np.isfinite(reach_mm):
            break
    out[box].flat[order] = True
    return out
