"""Simulated lesions: what they change, by how much, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_normative.core.lesions import (
    LESION_KINDS,
    SimulatedLesion,
    drawn_shape,
    place_shape,
    simulate,
)
from napari_normative.errors import SimulationError
from phantoms import phantom

SPACING_MM = 4.0


@pytest.fixture(scope="module")
def scan() -> np.ndarray:
    return phantom(1).data


@pytest.fixture(scope="module")
def mask(scan: np.ndarray) -> np.ndarray:
    return scan > 0


@pytest.fixture(scope="module")
def shape(mask: np.ndarray) -> np.ndarray:
    """A ball of 31 ml in the white matter of the left."""
    return ball(mask.shape, (12, 28, 24), 5) & mask


def ball(size: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    axes = np.ogrid[tuple(slice(0, n) for n in size)]
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


def put(scan: np.ndarray, shape: np.ndarray, kind: str, **more: float) -> SimulatedLesion:
    return simulate(scan, scan > 0, shape, SPACING_MM, kind, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_nothing_changes_outside_the_foreground(
    scan: np.ndarray, mask: np.ndarray, shape: np.ndarray, kind: str
) -> None:
    made = put(scan, shape, kind)
    assert (made.image[~mask] == scan[~mask]).all()
    assert not (made.truth & ~mask).any()
    assert made.image.dtype == np.float32
    assert np.abs(made.image - scan)[made.truth].mean() > 2.0
    assert made.volume_ml == pytest.approx(made.truth.sum() * 0.064)


@pytest.mark.parametrize("kind", ["hypointense", "hyperintense", "texture"])
def test_an_intensity_change_stays_within_its_edge(
    scan: np.ndarray, shape: np.ndarray, kind: str
) -> None:
    made = put(scan, shape, kind, edge_mm=4.0)
    far = ndimage.distance_transform_edt(~shape) * SPACING_MM > 1.5 * 4.0 * np.sqrt(3)
    assert (made.image[far] == scan[far]).all()
    assert (made.truth == shape).all()


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_the_same_seed_gives_the_same_lesion(
    scan: np.ndarray, shape: np.ndarray, kind: str
) -> None:
    one, two = put(scan, shape, kind, seed=3), put(scan, shape, kind, seed=3)
    assert (one.image == two.image).all() and (one.truth == two.truth).all()


def test_a_drawn_shape_is_connected_and_of_the_stated_volume(mask: np.ndarray) -> None:
    for seed, volume_ml in enumerate((0.5, 5.0, 50.0)):
        drawn = drawn_shape(mask, volume_ml, SPACING_MM, seed=seed)
        assert not (drawn & ~mask).any()
        assert drawn.sum() * 0.064 == pytest.approx(volume_ml, rel=0.1)
        assert ndimage.label(drawn, np.ones((3, 3, 3)))[1] == 1


def test_a_placed_shape_lies_at_the_same_place_in_the_world() -> None:
    fine = np.diag([-1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = (60, -60, -60)
    source = ball((120, 120, 120), (80, 60, 50), 12)
    coarse = np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = (-60, -60, -60)
    placed = place_shape(source, fine, (60, 60, 60), coarse)
    centre = np.argwhere(placed).mean(axis=0) * 2 - 60
    assert centre == pytest.approx((-20, 0, -10), abs=0.3)
    assert placed.sum() * 8 == pytest.approx(source.sum(), rel=0.05)


def test_what_cannot_be_simulated_is_said(
    scan: np.ndarray, mask: np.ndarray, shape: np.ndarray
) -> None:
    with pytest.raises(SimulationError, match="SIM-001"):
        put(scan, shape, "haemorrhage")
    with pytest.raises(SimulationError, match="SIM-001"):
        put(scan, shape, "mass", strength=0.0)
    with pytest.raises(SimulationError, match="SIM-002"):
        put(scan, ~mask, "mass")
    with pytest.raises(SimulationError, match="SIM-003"):
        put(scan, shape[1:], "mass")
    with pytest.raises(SimulationError, match="SIM-004"):
        simulate(np.ones_like(scan), mask, shape, SPACING_MM, "hypointense")
    with pytest.raises(SimulationError, match="SIM-005"):
        drawn_shape(np.zeros_like(mask), 1.0, SPACING_MM, seed=0)
