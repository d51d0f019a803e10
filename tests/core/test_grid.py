"""One grid onto another without interpolation: every voxel at its place, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_normative.core.grid import on_grid
from napari_normative.errors import GeometryMismatchError
from napari_normative.volume import Volume
from regions import GRIDS, regions
from strategies import AXIS_ORDERS, turn, volumes


def reordered(volume: Volume, order: np.ndarray, crop: tuple[int, int, int] = (0, 0, 0)) -> Volume:
    """The same voxels with axes permuted and flipped; ``crop`` are dropped at the low ends."""
    axes = np.abs(order).argmax(axis=1)
    data = volume.data.transpose(axes)
    index = np.eye(4)
    index[:3, :3] = 0
    for new, old in enumerate(axes):
        sign = order[new, old]
        index[old, new] = sign
        index[old, 3] = 0 if sign > 0 else volume.shape[old] - 1
        if sign < 0:
            data = np.flip(data, new)
    index[:3, 3] += index[:3, :3] @ crop
    a, b, c = crop
    return Volume.from_array(data[a:, b:, c:], volume.affine @ index, "other")


@settings(max_examples=50, deadline=None)
@given(volume=volumes(shear=True), order=st.sampled_from(AXIS_ORDERS))
def test_flips_and_permutations_are_taken_back(volume, order):
    other = reordered(volume, order)
    back = on_grid(other, volume)
    np.testing.assert_array_equal(back.data, volume.data)
    assert back.affine is volume.affine


@pytest.mark.parametrize("name", GRIDS)
def test_a_crop_is_put_back_at_its_place(name):
    labels, _ = regions(GRIDS[name])
    for order in AXIS_ORDERS[::5]:
        cropped = reordered(labels, order, (1, 1, 1))  # the border holds no region
        back = on_grid(cropped.with_data(cropped.data, is_label=True), labels)
        np.testing.assert_array_equal(back.data, labels.data)
        assert back.source.is_label


def test_what_the_scan_does_not_cover_is_dropped_if_it_is_empty():
    labels, _ = regions(GRIDS["oblique"])
    part = Volume(labels.data[1:], labels.affine @ shifted(1, 0, 0), labels.source)
    np.testing.assert_array_equal(on_grid(labels, part).data, part.data)
    lacking = Volume(labels.data[2:], labels.affine @ shifted(2, 0, 0), labels.source)
    with pytest.raises(GeometryMismatchError, match=r"GEO-011.*outside"):
        on_grid(labels, lacking)


@pytest.mark.parametrize("steps", [(50, 0, 0), (0, -50, 0)])
def test_volumes_that_do_not_meet(steps):
    labels, _ = regions(GRIDS["RAS"])
    away = Volume(labels.data, labels.affine @ shifted(*steps), labels.source)
    with pytest.raises(GeometryMismatchError, match="GEO-011"):
        on_grid(away, labels)
    empty = away.with_data(away.data * 0)
    assert not on_grid(empty, labels).data.any()


def shifted(*steps: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = steps
    return matrix


@pytest.mark.parametrize(
    "change",
    [
        shifted(0.5, 0, 0),
        shifted(0, 0.2, 0),
        np.diag([2.0, 1, 1, 1]),
        np.diag([1.02, 1, 1, 1]),
        np.block([[turn(0.02, 0, 0), np.zeros((3, 1))], [0, 0, 0, 1]]),
        np.array([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["half a voxel", "a fifth", "double size", "scaled", "turned", "sheared by a voxel"],
)
def test_voxels_that_do_not_coincide_are_refused(change):
    labels, _ = regions(GRIDS["LAS"])
    other = Volume(labels.data, labels.affine @ change, labels.source)
    with pytest.raises(GeometryMismatchError, match=r"GEO-010.*do not coincide"):
        on_grid(other, labels)


def test_a_few_micrometres_are_no_other_grid():
    """ITK reads some scans more than 1 µm off their sform, and Slicer saves what ITK read."""
    labels, _ = regions(GRIDS["LAS"])
    other = Volume(labels.data, labels.affine @ shifted(0.002, 0, 0), labels.source)
    assert not other.same_grid(labels)
    np.testing.assert_array_equal(on_grid(other, labels).data, labels.data)
