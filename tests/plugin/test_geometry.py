"""The display grid shows every volume where it lies, whatever its axis order and tilt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_normative.layers.grid import (
    display_grid,
    from_display,
    to_display,
)
from napari_normative.volume import Volume
from placed import SIGNED_ORDERS, axis_affine, field, placed, rotation


def world_of(grid, index):
    """World mm (RAS) of display indices, shape (3, n)."""
    return grid.affine[:3, :3] @ np.asarray(index).T + grid.affine[:3, 3:]


@pytest.mark.parametrize(("order", "signs"), SIGNED_ORDERS)
def test_every_axis_order_shows_the_same_voxels_at_the_same_place(order, signs):
    shape_world = (5, 6, 7)  # along x, y, z
    shape = tuple(shape_world[w] for w in order)
    affine = axis_affine(order, signs, shape)
    volume = placed(affine, shape)

    grid = display_grid(volume)
    shown = to_display(volume, grid)

    assert grid.exact
    assert grid.shape == shape_world[::-1]
    np.testing.assert_allclose(grid.spacing_mm, (2.0, 1.5, 1.0))
    np.testing.assert_allclose(grid.origin_mm, (2 - 6.0, -3 - 3.75, 5 - 2.0))
    index = np.argwhere(np.ones(grid.shape))
    np.testing.assert_allclose(shown.ravel(), field(world_of(grid, index)), rtol=1e-5)


@pytest.mark.parametrize(("order", "signs"), SIGNED_ORDERS)
def test_an_exact_grid_gives_every_value_back(order, signs):
    shape = (4, 5, 6)
    rng = np.random.default_rng(0)
    volume = Volume.from_array(rng.random(shape), axis_affine(order, signs, shape))
    grid = display_grid(volume)
    back = from_display(to_display(volume, grid), grid, volume)
    np.testing.assert_array_equal(back.data, volume.data)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [5.0, -12.0, 40.0])
def test_a_tilted_volume_is_resampled_to_where_it_lies(axis, degrees):
    volume = placed(rotation(axis, degrees) @ axis_affine((0, 2, 1), (-1, 1, 1), (24, 28, 20)))
    grid = display_grid(volume)
    shown = to_display(volume, grid, outside=np.nan)

    assert not grid.exact
    corners = volume.corners_mm()
    origin = np.array(grid.origin_mm[::-1])
    end = origin + np.array(grid.spacing_mm[::-1]) * (np.array(grid.shape[::-1]) - 1)
    assert (origin <= corners.min(axis=0) + 1e-6).all()
    assert (end >= corners.max(axis=0) - 1e-6).all()
    inside = np.argwhere(np.isfinite(shown))
    expected = field(world_of(grid, inside))
    # The volume's rim is held constant half a voxel outwards; the field changes 2 per mm.
    assert np.abs(shown[tuple(inside.T)] - expected).max() < 3.0
    assert np.percentile(np.abs(shown[tuple(inside.T)] - expected), 90) < 1e-3


def test_shear_is_shown_where_it_lies():
    affine = axis_affine((0, 1, 2), (1, 1, 1), (24, 28, 20))
    affine[0, 2] += 0.4  # a tilted gantry
    volume = placed(affine)
    grid = display_grid(volume)
    shown = to_display(volume, grid, outside=np.nan)
    inside = np.argwhere(np.isfinite(shown))
    error = np.abs(shown[tuple(inside.T)] - field(world_of(grid, inside)))
    assert not grid.exact
    assert np.percentile(error, 90) < 1e-3


def test_a_tilt_below_half_a_voxel_is_not_resampled_and_misplaces_less_than_that():
    base = axis_affine((0, 1, 2), (1, 1, 1), (24, 28, 20))
    volume = placed(rotation(2, 0.5) @ base)
    grid = display_grid(volume)
    assert grid.exact
    index = np.argwhere(np.ones(volume.shape))
    true = volume.affine[:3, :3] @ index.T + volume.affine[:3, 3:]
    shown = world_of(grid, index[:, ::-1])
    off_voxels = np.abs(true - shown) / np.array(grid.spacing_mm[::-1])[:, None]
    assert 0.05 < off_voxels.max() <= 0.5


@given(
    degrees=st.floats(-45, 45),
    axis=st.integers(0, 2),
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
)
def test_no_display_step_skips_a_stored_voxel(degrees, axis, spacing):
    affine = rotation(axis, degrees) @ np.diag([*spacing, 1.0])
    volume = Volume.from_array(np.zeros((6, 7, 8)), affine)
    grid = display_grid(volume)
    steps = np.linalg.inv(volume.affine[:3, :3]) @ grid.affine[:3, :3]
    if not grid.exact:
        assert np.abs(steps).max() <= 1 + 1e-6


def test_edited_labels_of_a_tilted_scan_come_back_almost_unchanged():
    affine = rotation(2, 10) @ axis_affine((0, 1, 2), (-1, 1, 1), (24, 28, 20))
    labels = np.zeros((24, 28, 20))
    labels[8:16, 9:19, 6:14] = 3
    volume = Volume.from_array(labels, affine)
    grid = display_grid(volume)
    back = from_display(to_display(volume, grid, nearest=True), grid, volume)
    assert set(np.unique(back.data)) == {0, 3}
    overlap = 2 * ((back.data == 3) & (labels == 3)).sum() / ((back.data == 3).sum() + 640)
    assert overlap > 0.95
