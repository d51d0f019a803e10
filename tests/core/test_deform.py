"""Facts of bending a reconstruction to its scan, and of volume change in a field."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_normative.core.deform import (
    DeformConfig,
    deform_to,
    local_volume,
    log_jacobian,
    warp,
)
from napari_normative.volume import FloatArray, Mask

SHAPE = (48, 56, 44)
SPACING_MM = 2.0
STRONG = DeformConfig(field_mm=6.0, iterations=40)


def grid_mm() -> FloatArray:
    return np.indices(SHAPE, dtype=np.float32) * SPACING_MM


def scene(shift_mm: float = 0.0) -> tuple[FloatArray, Mask]:
    """A smooth, textured ball, displaced along the first axis."""
    noise = np.random.default_rng(3).standard_normal(SHAPE)
    texture = ndimage.gaussian_filter(noise, 4.0)
    texture = 1.0 + 0.3 * texture / texture.std()
    centre = (np.array(SHAPE) - 1) / 2
    radius = np.sqrt(((np.indices(SHAPE).T - centre) ** 2).sum(-1)).T
    image = ndimage.shift(texture, (shift_mm / SPACING_MM, 0, 0), order=1, mode="nearest")
    mask = radius < 19
    return (image * mask).astype(np.float32), mask


def test_a_field_of_the_same_shift_everywhere_changes_no_volume() -> None:
    field = np.empty((3, *SHAPE), dtype=np.float32)
    field[:] = np.array([3.0, -2.0, 0.5])[:, None, None, None]
    assert np.abs(log_jacobian(field, SPACING_MM)).max() < 1e-6


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
def test_scaling_changes_the_log_of_volume_by_three_times_the_log_of_the_scale(
    scale: float,
) -> None:
    field = (scale - 1) * (grid_mm() - 40.0)
    np.testing.assert_allclose(log_jacobian(field, SPACING_MM), 3 * np.log(scale), atol=1e-5)


def test_stretching_one_axis_and_shear() -> None:
    """det [[1.5, .4, 0], [0, 1, 0], [0, 0, .5]] = .75; the shear has no say."""
    x, y, z = grid_mm()
    field = np.stack([0.5 * x + 0.4 * y, 0 * y, -0.5 * z]).astype(np.float32)
    np.testing.assert_allclose(log_jacobian(field, SPACING_MM), np.log(0.75), atol=1e-5)


def test_a_rotation_keeps_volume() -> None:
    x, y, z = grid_mm()
    c, s = np.cos(0.3), np.sin(0.3)
    field = np.stack([c * x - s * y - x, s * x + c * y - y, 0 * z]).astype(np.float32)
    np.testing.assert_allclose(log_jacobian(field, SPACING_MM), 0.0, atol=1e-4)


def test_a_folded_field_is_one_per_cent_and_not_nan() -> None:
    field = np.zeros((3, *SHAPE), dtype=np.float32)
    field[0] = -2.0 * grid_mm()[0]
    np.testing.assert_allclose(log_jacobian(field, SPACING_MM), np.log(0.01), atol=1e-6)


def test_warping_samples_where_the_field_points() -> None:
    ramp = grid_mm()[1].copy()
    field = np.zeros((3, *SHAPE), dtype=np.float32)
    field[1] = 3.0
    moved = warp(ramp, field, SPACING_MM)
    np.testing.assert_allclose(moved[:, :-2], ramp[:, :-2] + 3.0, atol=1e-4)
    assert (moved[:, -1] == ramp[:, -1]).all()


def test_a_displaced_reconstruction_is_brought_nearer() -> None:
    image, mask = scene()
    displaced, _ = scene(shift_mm=2.0)
    core = ndimage.binary_erosion(mask, iterations=4)
    warped, field = deform_to(displaced, image, mask, SPACING_MM, STRONG)
    # What lies 2 mm further along the first axis belongs here.
    assert 1.0 < float(np.median(field[0][core])) < 2.5
    assert np.abs(np.median(field[1:][:, core], axis=1)).max() < 0.3
    before = np.abs(displaced - image)[core].mean()
    assert np.abs(warped - image)[core].mean() < 0.5 * before


def test_equal_images_are_left_alone() -> None:
    image, mask = scene()
    warped, field = deform_to(image, image, mask, SPACING_MM)
    assert (field == 0).all()
    np.testing.assert_array_equal(warped, image)


def test_no_displacement_is_longer_than_the_cap() -> None:
    image, mask = scene()
    displaced, _ = scene(shift_mm=8.0)
    _, free = deform_to(displaced, image, mask, SPACING_MM, STRONG)
    capped = STRONG.model_copy(update={"cap_mm": 1.0})
    _, field = deform_to(displaced, image, mask, SPACING_MM, capped)
    assert np.sqrt((free**2).sum(axis=0)).max() > 1.5
    assert np.sqrt((field**2).sum(axis=0)).max() <= 1.0 + 1e-5


def test_a_cap_of_zero_turns_deformation_off() -> None:
    image, mask = scene()
    displaced, _ = scene(shift_mm=2.0)
    warped, field = deform_to(displaced, image, mask, SPACING_MM, DeformConfig(cap_mm=0.0))
    assert warped is displaced
    assert (field == 0).all()


def test_the_same_input_gives_the_same_field_bit_for_bit() -> None:
    image, mask = scene()
    displaced, _ = scene(shift_mm=2.0)
    first = deform_to(displaced, image, mask, SPACING_MM)
    second = deform_to(displaced, image, mask, SPACING_MM)
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_what_lies_outside_the_mask_has_no_say() -> None:
    image, mask = scene()
    displaced, _ = scene(shift_mm=2.0)
    _, field = deform_to(displaced, image, mask, SPACING_MM)
    littered = np.where(mask, image, 50.0).astype(np.float32)
    _, other = deform_to(displaced, littered, mask, SPACING_MM)
    np.testing.assert_array_equal(field, other)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirrored_images_give_the_mirrored_field(axis: int) -> None:
    image, mask = scene()
    displaced, _ = scene(shift_mm=2.0)
    _, field = deform_to(displaced, image, mask, SPACING_MM)
    turned = (np.flip(x, axis).copy() for x in (displaced, image, mask))
    _, mirrored = deform_to(*turned, SPACING_MM)
    mirrored = np.flip(mirrored, axis + 1)
    mirrored[axis] *= -1
    np.testing.assert_allclose(mirrored, field, atol=2e-3 * np.abs(field).max())


def test_the_cut_edge_of_a_mask_exerts_no_force() -> None:
    _, mask = scene()
    flat = np.ones(SHAPE, np.float32)
    _, field = deform_to(0.8 * flat, flat, mask, SPACING_MM, STRONG)
    assert (field == 0).all()


def test_a_lesion_is_not_explained_away() -> None:
    """A dark ball of 12 mm keeps nine tenths of its residual under the default field."""
    healthy, mask = scene()
    centre = (np.array(SHAPE) - 1) / 2 + (6, 0, 0)
    lesion = np.sqrt(((np.indices(SHAPE).T - centre) ** 2).sum(-1)).T * SPACING_MM < 6
    scan = np.where(lesion, 0.3, healthy).astype(np.float32)
    warped, _ = deform_to(healthy, scan, mask, SPACING_MM)
    kept = (scan - warped)[lesion].mean() / (scan - healthy)[lesion].mean()
    assert kept > 0.9


def dark_ball(radius_mm: float) -> tuple[FloatArray, Mask]:
    """A bright block with a soft-edged dark ball in it: a ventricle."""
    centre = (np.array(SHAPE) - 1) / 2
    away_mm = np.sqrt(((np.indices(SHAPE).T - centre) ** 2).sum(-1)).T * SPACING_MM
    image = 0.3 + 0.7 / (1 + np.exp(-(away_mm - radius_mm) / 1.5))
    return image.astype(np.float32), away_mm < 38


@pytest.mark.parametrize(("found_mm", "sign"), [(13.0, 1), (10.0, 0), (7.5, -1)])
def test_a_wider_ventricle_has_more_volume_than_expected(found_mm: float, sign: int) -> None:
    expected, mask = dark_ball(10.0)
    scan, _ = dark_ball(found_mm)
    ball = dark_ball(found_mm)[0] < 0.6
    change = local_volume(expected, scan, mask, SPACING_MM)
    inside = float(change[ball].mean())
    assert (change[~mask] == 0).all()
    assert (inside > 15, abs(inside) < 1e-3, inside < -8) == (sign > 0, sign == 0, sign < 0)
    # It understates: volume changed by (found / expected)³.
    assert abs(inside) <= abs(100 * ((found_mm / 10) ** 3 - 1)) + 1e-3


def test_odd_grids_and_coarse_models_work_on_their_own_grid() -> None:
    image, mask = scene()
    part = (slice(1, 44), slice(3, 52), slice(2, 41))
    displaced, _ = scene(shift_mm=2.0)
    warped, field = deform_to(displaced[part], image[part], mask[part], SPACING_MM)
    assert warped.shape == (43, 49, 39)
    assert field.shape == (3, 43, 49, 39)
    assert np.median(field[0][mask[part]]) > 0.1
    _, coarse = deform_to(displaced, image, mask, 8.0)
    assert np.isfinite(coarse).all()
