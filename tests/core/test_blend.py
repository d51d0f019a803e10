"""Joining made voxels: no seam, and only as much of a model as a copy of the gap says."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.core.blend import blended, copy_of, depth_mm, join, worth_of

SPACING = (1.0, 1.0, 2.0)
SHAPE = (40, 40, 40)


def textured(seed: int = 0) -> np.ndarray:
    i, j, k = np.indices(SHAPE).astype(np.float32)
    return 50 + 20 * np.sin(i / 3) * np.cos(j / 4) + k


def cube(low: int, high: int) -> np.ndarray:
    gap = np.zeros(SHAPE, bool)
    gap[low:high, 14:24, 14:24] = True
    return gap


def test_a_guide_of_other_contrast_and_shading_is_joined_to_the_truth() -> None:
    truth, gap, inside = textured(), cube(14, 24), np.ones(SHAPE, bool)
    guide = 0.02 * truth - 3 + 0.01 * np.indices(SHAPE)[2].astype(np.float32)
    found = join(np.where(gap, 0, truth), guide, gap, inside, SPACING)
    assert np.abs(found - truth)[gap].max() < 2.5
    np.testing.assert_array_equal(found[~gap], truth[~gap])


def test_outside_the_mask_the_gap_stays_as_it_is() -> None:
    truth, gap, inside = textured(), cube(14, 24), np.ones(SHAPE, bool)
    inside[:18] = False
    bare = np.where(gap, -7, truth)
    found = join(bare, truth, gap, inside, SPACING)
    assert set(found[gap & ~inside]) == {-7}
    assert (found[gap & inside] > 0).all()


def test_a_copy_has_the_shape_of_its_gap_and_keeps_its_distance() -> None:
    gap, inside = cube(4, 14), np.ones(SHAPE, bool)
    inside[:, :14] = inside[:, 24:] = inside[:, :, :14] = inside[:, :, 24:] = False
    copy = copy_of(gap, inside)
    assert copy is not None
    assert copy.sum() == gap.sum()
    first = int(np.flatnonzero(copy.any(axis=(1, 2)))[0])
    assert first >= 14 + 2, "along the one axis on which there is foreground"
    assert copy_of(np.ones(SHAPE, bool), inside) is None
    assert copy_of(gap, np.zeros(SHAPE, bool)) is None


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_worth_of_a_model_is_the_share_that_comes_nearest(share: float) -> None:
    random = np.random.default_rng(0)
    plain, joined = random.standard_normal((2, *SHAPE)).astype(np.float32)
    truth = plain + share * (joined - plain)
    copy, inside = cube(14, 24), np.ones(SHAPE, bool)
    worth = worth_of(truth, plain, joined, copy, inside, SPACING)
    np.testing.assert_allclose(worth.share, share, atol=1e-5)
    found = blended(plain, joined, copy, inside, worth, SPACING)
    np.testing.assert_allclose(found[copy], truth[copy], atol=1e-5)
    np.testing.assert_array_equal(found[~copy], plain[~copy])


def test_depth_is_in_mm_and_grows_inwards() -> None:
    depth = depth_mm(cube(14, 24), SPACING)
    assert depth[14, 18, 18] == 1.0
    assert depth[18, 18, 14] == 2.0
    assert depth[0, 0, 0] == 0.0
    assert depth.max() == depth[18:20, 18:20, 16:22].max() == 5.0
