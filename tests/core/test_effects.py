"""What directions do, on a made brain whose ventricles are moved."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.core.effects import T1_NAMES, Zones, effect_facts
from napari_normative.core.preprocess import Template

SPACING = 4.0
SHAPE = (40, 48, 40)
AFFINE = np.diag([SPACING] * 3 + [1.0])
AFFINE[:3, 3] = [-(n - 1) / 2 * SPACING for n in SHAPE]


@pytest.fixture(scope="module")
def grid() -> tuple[np.ndarray, ...]:
    axes = (np.arange(n) * SPACING + o for n, o in zip(SHAPE, AFFINE[:3, 3], strict=True))
    return tuple(np.meshgrid(*axes, indexing="ij"))


@pytest.fixture(scope="module")
def template(grid: tuple[np.ndarray, ...]) -> Template:
    x, y, z = grid
    radius = np.sqrt((x / 66) ** 2 + (y / 84) ** 2 + (z / 64) ** 2)
    image = np.where(radius > 0.9, 0.55, 1.0)
    image[ventricle(grid, -12) | ventricle(grid, 12)] = 0.2
    noise = 0.01 * np.random.default_rng(0).standard_normal(SHAPE)
    return Template(np.where(radius < 1, image + noise, 0).astype(np.float32), radius < 1)


def ventricle(grid: tuple[np.ndarray, ...], middle: float, wide: float = 7.0) -> np.ndarray:
    x, y, z = grid
    return ((x - middle) / wide) ** 2 + (y / 30) ** 2 + ((z - 8) / 10) ** 2 < 1


@pytest.fixture(scope="module")
def zones(template: Template) -> Zones:
    return Zones.of(template, SPACING, T1_NAMES)


def test_zones_are_the_parts_of_the_template(template: Template, zones: Zones) -> None:
    assert sum(where.astype(int) for where in zones.masks.values()).max() == 1
    whole = np.any(list(zones.masks.values()), axis=0)
    assert (whole == template.mask).all()
    fluid = template.mask & (template.image < 0.35)
    assert (zones.masks["ventricles and deep fluid"] == fluid).all()
    assert zones.masks["cortex"].any()
    assert "deep grey matter" not in zones.masks  # this brain has none


def moved(template: Template, where: np.ndarray, to: float) -> np.ndarray:
    image = template.image.copy()
    image[where] = to
    return image


def test_wider_ventricles_are_dark_voxels_in_ml_on_both_sides(
    grid: tuple[np.ndarray, ...], template: Template, zones: Zones
) -> None:
    wide = ventricle(grid, -12, 11) | ventricle(grid, 12, 11)
    fresh = wide & (template.image > 0.5)
    found = effect_facts(moved(template, wide, 0.2), template.image, template, zones, AFFINE)
    assert found.dark_ml == pytest.approx(fresh.sum() * 0.064)
    assert found.changed_ml == pytest.approx(fresh.sum() * 0.064)
    assert found.symmetry == pytest.approx(1, abs=0.01)
    assert found.side() == "both sides alike"
    assert found.largest < -0.7
    assert sum(zone.share for zone in found.zones) == pytest.approx(1)


def test_where_it_acts_is_said_with_its_excess(
    grid: tuple[np.ndarray, ...], template: Template, zones: Zones
) -> None:
    inside = ventricle(grid, -12) | ventricle(grid, 12)
    found = effect_facts(moved(template, inside, 0.6), template.image, template, zones, AFFINE)
    assert found.zones[0].name == "ventricles and deep fluid"
    assert found.zones[0].share == pytest.approx(1, abs=1e-3)
    assert found.zones[0].excess == pytest.approx(template.mask.sum() / inside.sum(), rel=1e-3)
    assert found.acts_on().startswith("ventricles and deep fluid (100% of the effect")


def test_one_side_alone_and_opposite_sides(
    grid: tuple[np.ndarray, ...], template: Template, zones: Zones
) -> None:
    left, right = ventricle(grid, -40), ventricle(grid, 40)
    one = effect_facts(moved(template, left, 0.2), template.image, template, zones, AFFINE)
    assert one.symmetry == pytest.approx(0, abs=0.05)
    assert one.place.startswith("left")
    assert one.at_mm[0] < 0
    above, below = moved(template, left, 0.2), moved(template, right, 0.2)
    both = effect_facts(above, below, template, zones, AFFINE)
    assert both.symmetry == pytest.approx(-1, abs=0.05)
    assert both.side() == "the sides oppositely"
    assert both.dark_ml == pytest.approx(0, abs=0.2)


def test_what_is_everywhere_acts_on_no_zone(template: Template, zones: Zones) -> None:
    found = effect_facts(template.image + 0.3, template.image, template, zones, AFFINE)
    assert found.acts_on() == "no zone in particular"
    assert found.rms == pytest.approx(0.3, rel=1e-4)
