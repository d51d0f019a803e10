"""Windows cover every voxel with weights that sum to one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_normative.core.windows import Windows


@st.composite
def coverings(draw: st.DrawFn) -> Windows:
    """Volumes of any size, windows and overlaps in whole steps."""
    step = draw(st.integers(1, 3))
    window = tuple(step * draw(st.integers(1, 5)) for _ in range(3))
    overlap = step * draw(st.integers(0, min(window) // step - 1))
    shape = tuple(draw(st.integers(1, 12)) for _ in range(3))
    return Windows.over(shape, window, overlap, step)


def blended(image: np.ndarray, windows: Windows) -> np.ndarray:
    """The image through windows that change nothing."""
    out = np.zeros(windows.shape)
    for start in windows:
        box = windows.box(start)
        out[box] += windows.weight(start) * image[box]
    return out


@settings(deadline=None, max_examples=40)
@given(coverings())
def test_weights_are_positive_and_sum_to_one_at_every_voxel_borders_included(windows) -> None:
    total = np.zeros(windows.shape)
    for start in windows:
        assert (windows.weight(start) > 0).all()
        total[windows.box(start)] += windows.weight(start)
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(coverings())
def test_constant_and_ramp_come_back_through_windows_that_change_nothing(windows) -> None:
    i, j, k = np.indices(windows.shape)
    for image in (np.full(windows.shape, 7.0), 2.0 * i - 3.0 * j + 0.5 * k + 1):
        np.testing.assert_allclose(blended(image, windows), image, rtol=0, atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(coverings())
def test_windows_lie_in_the_volume_and_rise(windows) -> None:
    for size, window, starts in zip(windows.shape, windows.window, windows.starts, strict=True):
        assert starts[0] == 0
        assert starts[-1] + window == size
        assert list(starts) == sorted(set(starts))
    assert len(list(windows)) == len(windows)


def test_neighbours_share_what_was_asked_and_begin_at_whole_steps() -> None:
    windows = Windows.over((160, 192, 64), (64, 64, 64), 16, 8)
    assert windows.starts == ((0, 48, 96), (0, 48, 96, 128), (0,))
    for starts in windows.starts:
        assert all(second - first <= 48 for first, second in itertools.pairwise(starts))


def test_where_windows_meet_the_nearer_one_counts_more_and_smoothly() -> None:
    windows = Windows.over((12, 8, 8), (8, 8, 8), 4)
    first = windows.profile(0, 0)
    np.testing.assert_array_equal(first[:4], 1)  # nothing else reaches there
    assert (np.diff(first[4:]) < 0).all()
    np.testing.assert_allclose(first[4:], windows.profile(0, 4)[:4][::-1])


@pytest.mark.parametrize(("overlap", "step"), [(8, 1), (-1, 1), (3, 2), (4, 3)])
def test_windows_that_cannot_be_laid_are_refused(overlap, step) -> None:
    with pytest.raises(ValueError, match="cannot overlap"):
        Windows.over((16, 16, 16), (8, 8, 8), overlap, step)
