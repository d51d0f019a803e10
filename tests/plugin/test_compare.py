"""Two images in one picture."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.plugin.compare import Mixed, checkerboard, everywhere, swipe

SHAPE = (6, 8, 12)
FIRST, SECOND = np.full(SHAPE, 1.0), np.full(SHAPE, 2.0)


def test_squares_have_their_size_in_mm_and_begin_with_the_first_image():
    board = Mixed(FIRST, SECOND, checkerboard((2.0, 1.0, 0.5), 2.0))
    picture = board[3]
    np.testing.assert_array_equal(picture[:2, :4], 1)
    np.testing.assert_array_equal(picture[:2, 4:8], 2)
    np.testing.assert_array_equal(picture[2:4, :4], 2)
    np.testing.assert_array_equal(picture[2:4, 4:8], 1)


def test_squares_do_not_swap_from_slice_to_slice():
    board = Mixed(FIRST, SECOND, checkerboard((1.0, 1.0, 1.0), 2.0))
    np.testing.assert_array_equal(board[0], board[3])
    np.testing.assert_array_equal(board[:, 0], board[:, 5])
    assert (board[0] == 1).mean() == 0.5


def test_every_voxel_shows_one_of_both_images_at_its_place():
    random = np.random.default_rng(0)
    first, second = random.random((2, *SHAPE)) + 1
    board = Mixed(first, second, checkerboard((1.0, 1.0, 1.0), 3.0))
    picture = board[:, 4, :]
    np.testing.assert_allclose(
        np.minimum(abs(picture - first[:, 4]), abs(picture - second[:, 4])), 0, atol=1e-6
    )


def test_it_follows_its_images():
    second = SECOND.copy()
    board = Mixed(FIRST, second, everywhere)
    second[2, 3, 4] = 9
    assert board[2][3, 4] == 9


def test_outside_the_reconstruction_the_scan_is_seen():
    second = SECOND.copy()
    second[:, :2] = 0
    np.testing.assert_array_equal(Mixed(FIRST, second, everywhere)[:, :2], 1)
    np.testing.assert_array_equal(Mixed(FIRST, second, everywhere)[:, 2:], 2)


@pytest.mark.parametrize(("from_end", "first_at"), [(False, slice(0, 3)), (True, slice(9, 12))])
def test_swipe_shows_the_first_image_up_to_the_line(from_end, first_at):
    picture = Mixed(FIRST, SECOND, swipe(SHAPE, 0.25, from_end=from_end))[1]
    expected = np.full(SHAPE[1:], 2.0)
    expected[:, first_at] = 1
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("key", [np.s_[2], np.s_[..., 3], np.s_[1:4, 2:, ::2]])
def test_it_is_indexed_like_an_array(key):
    board = Mixed(FIRST, SECOND, everywhere)
    np.testing.assert_array_equal(board[key], SECOND[key])
    assert (board.shape, board.ndim, board.size) == (SHAPE, 3, FIRST.size)
    assert np.asarray(board).shape == SHAPE


def test_images_of_two_grids_are_refused():
    with pytest.raises(ValueError, match="differ"):
        Mixed(FIRST, SECOND[1:], everywhere)
