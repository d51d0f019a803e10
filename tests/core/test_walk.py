"""Growing by a random walker: to the edge and not beyond, the same in every orientation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_normative.core import walk
from napari_normative.core.metrics import dice
from napari_normative.core.walk import REACH_MM, grow_candidates

SHAPE = (40, 36, 32)
THRESHOLD = 5.0


def ball(centre, radius):
    axes = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) < radius**2


def lesion(truth, sign=-1, seed=0):
    """Return core labels, blurred z and a sharp residual of a lesion of voxels of 1 mm."""
    noise = np.random.default_rng(seed).normal(0, 0.05, SHAPE)
    z = sign * ndimage.gaussian_filter(9.0 * truth, 2.5)
    core = (np.abs(z) > THRESHOLD).astype(np.int32)
    return core, z.astype(np.float32), (sign * truth + noise).astype(np.float32)


def grown(labels, z, residual, *, signs=((1, -1),), mask=None, spacing=(1.0, 1.0, 1.0)):
    mask = np.ones(z.shape, bool) if mask is None else mask
    return grow_candidates(
        labels, signs, z, residual, mask, spacing, threshold_z=THRESHOLD, spread=0.3
    )


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_core_grows_to_the_edge_that_only_the_residual_shows(sign):
    truth = ball((19, 18, 15), 8)
    core, z, residual = lesion(truth, sign)
    assert dice(core > 0, truth) < 0.9
    made = grown(core, z, residual, signs=[(1, sign)])
    assert dice(made.labels > 0, truth) > 0.98
    assert made.ways == {1: "grown"}
    assert not (made.labels == 0)[core > 0].any()


def test_a_candidate_of_the_wrong_sign_does_not_grow():
    truth = ball((19, 18, 15), 8)
    core, z, residual = lesion(truth)
    np.testing.assert_array_equal(grown(core, z, residual, signs=[(1, 1)]).labels, core)


def test_nothing_leaves_the_mask_or_goes_beyond_the_reach():
    truth = np.zeros(SHAPE, bool)
    truth[2:38, 14:20, 12:18] = True
    residual = -truth.astype(np.float32)
    z = 3.0 * residual  # below the threshold but far from healthy, all along
    core = (truth & (np.arange(SHAPE[0]) < 6)[:, None, None]).astype(np.int32)
    mask = np.ones(SHAPE, bool)
    mask[:, 18:] = False
    made = grown(core, z, residual, mask=mask).labels
    assert made[4 + int(REACH_MM) // 2, 16, 15] == 1  # half way where no edge is in between
    assert not made[6 + int(REACH_MM) :].any()
    np.testing.assert_array_equal(made[:, 18:], core[:, 18:])


def test_the_reach_is_in_millimetres_not_in_voxels():
    truth = np.zeros(SHAPE, bool)
    truth[:, 10:26, 8:24] = True
    residual = -truth.astype(np.float32)
    core = (truth & (np.arange(SHAPE[0]) < 6)[:, None, None]).astype(np.int32)
    made = grown(core, 3 * residual, residual, spacing=(3.0, 1.0, 1.0)).labels
    assert made[6, 18, 16] == 1
    assert not made[8:].any()  # beyond 6 mm, half way
    finer = grown(core, 3 * residual, residual).labels
    assert finer[10, 18, 16] == 1


def test_two_candidates_share_nothing_and_keep_their_labels():
    first, second = ball((15, 18, 15), 5), ball((25, 18, 15), 5)
    core = np.where(ball((15, 18, 15), 2), 1, 0) + np.where(ball((25, 18, 15), 2), 2, 0)
    residual = -(first | second).astype(np.float32)
    made = grown(core, 4 * residual, residual, signs=[(1, -1), (2, -1)]).labels
    assert dice(made == 1, first & ~second) > 0.9
    assert dice(made == 2, second & ~first) > 0.9
    only = grown(core, 4 * residual, residual, signs=[(2, -1)]).labels
    np.testing.assert_array_equal(only == 1, core == 1)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flip", [(), (0,), (1, 2)])
def test_the_orientation_of_the_array_makes_no_difference(axes, flip):
    core, z, residual = lesion(ball((19, 18, 15), 7))
    usual = grown(core, z, residual).labels

    def turn(data):
        return np.flip(data.transpose(axes), flip)

    made = grown(turn(core), turn(z), turn(residual)).labels
    assert (made != turn(usual)).sum() <= 2  # of thousands: ties at one half


def test_the_same_input_gives_the_same_voxels():
    core, z, residual = lesion(ball((19, 18, 15), 7))
    np.testing.assert_array_equal(grown(core, z, residual).labels, grown(core, z, residual).labels)


def test_the_halo_of_a_strong_lesion_is_given_back():
    truth = ball((19, 18, 15), 6)
    z = -ndimage.gaussian_filter(80.0 * truth, 2.5)
    core = (np.abs(z) > THRESHOLD).astype(np.int32)
    assert dice(core > 0, truth) < 0.65
    made = grown(core, z, -truth.astype(np.float32))
    assert dice(made.labels > 0, truth) > dice(core > 0, truth) + 0.15


def test_a_large_box_is_walked_on_every_second_voxel_and_says_so(monkeypatch):
    truth = ball((19, 18, 15), 9)
    core, z, residual = lesion(truth)
    monkeypatch.setattr(walk, "MOST_VOXELS", core.size // 8)
    made = grown(core, z, residual)
    assert made.ways == {1: "grown coarsely"}
    assert dice(core > 0, truth) + 0.04 < dice(made.labels > 0, truth)


def test_a_core_with_nothing_around_it_stays_as_it_was_found():
    core, z, residual = lesion(ball((19, 18, 15), 7))
    made = grown(core, z, residual, mask=core > 0)
    assert made.ways == {1: "as found"}
    np.testing.assert_array_equal(made.labels, core)
    assert grown(np.zeros_like(core), z, residual).ways == {}
