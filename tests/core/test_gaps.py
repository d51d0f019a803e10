"""Gaps of a scan: found by themselves, interpolated exactly where that is possible."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.core.gaps import (
    Slab,
    across_slices,
    empty_slabs,
    interpolated,
    membrane,
    rim_of,
    slab_axis,
)

SPACING = (1.0, 1.0, 2.0)


def ramp(shape: tuple[int, int, int] = (9, 10, 11)) -> np.ndarray:
    i, j, k = np.indices(shape).astype(np.float32)
    return 3 * i - 2 * j + 5 * k + 7


def test_empty_slices_between_others_are_found_and_background_is_not() -> None:
    data = np.zeros((12, 9, 8), np.float32)
    data[2:10, 2:7, 1:7] = ramp((8, 5, 6))
    assert empty_slabs(data) == []
    data[5:7] = 0
    data[:, :, 4] = 0
    assert [str(slab) for slab in empty_slabs(data)] == ["i:5-6", "k:4"]
    assert empty_slabs(np.full((4, 4, 4), 3.0, np.float32)) == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_ramp_is_interpolated_exactly_and_repeated_beyond_the_end(axis: int) -> None:
    data = ramp()
    gap = Slab(axis, 3, 5).mask((9, 10, 11))
    assert slab_axis(gap) == axis
    found = interpolated(np.where(gap, 0, data), gap, SPACING)
    np.testing.assert_allclose(found, data, atol=1e-4)
    end = Slab(axis, 0, 1).mask((9, 10, 11))
    held = across_slices(np.where(end, -99, data), end, axis)
    np.testing.assert_allclose(np.take(held, 0, axis=axis), np.take(data, 2, axis=axis), atol=1e-6)


def test_a_membrane_is_harmonic_and_keeps_what_is_known() -> None:
    data = ramp()
    hole = np.zeros(data.shape, bool)
    hole[3:7, 3:8, 3:8] = True
    found = membrane(np.where(hole, 0, data), hole, ~hole, SPACING)
    np.testing.assert_allclose(found, data, atol=0.02)  # a ramp is harmonic on any grid
    np.testing.assert_array_equal(found[~hole], data[~hole])


def test_a_membrane_weighs_neighbours_by_their_distance() -> None:
    data = np.zeros((3, 1, 3), np.float32)
    data[0], data[2] = 1.0, 1.0  # at 1 mm; 0 at 2 mm
    hole = np.zeros(data.shape, bool)
    hole[1, 0, 1] = True
    found = membrane(data, hole, ~hole, SPACING)
    assert found[1, 0, 1] == pytest.approx(2 / 2.5, abs=1e-3)


def test_what_touches_nothing_known_becomes_0() -> None:
    data = np.full((5, 5, 5), 4.0, np.float32)
    alone = np.zeros(data.shape, bool)
    alone[2, 2, 2] = True
    found = membrane(data, alone, np.zeros(data.shape, bool), SPACING)
    assert found[2, 2, 2] == pytest.approx(0.0, abs=1e-6)


def test_a_hole_is_no_slab_and_a_rim_has_its_width_in_mm() -> None:
    hole = np.zeros((20, 20, 20), bool)
    hole[8:12, 8:12, 8:12] = True
    assert slab_axis(hole) is None
    assert slab_axis(np.ones((3, 3, 3), bool)) is None
    inside = np.ones(hole.shape, bool)
    rim = rim_of(hole, inside, SPACING, 2.0)
    assert rim[6, 9, 9]
    assert not rim[5, 9, 9]
    assert rim[9, 9, 12]
    assert not rim[9, 9, 13]
    assert not (rim & hole).any()
