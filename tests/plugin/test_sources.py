"""What is compared and saved are the voxels of the scan, not those of the display."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_normative.errors import GeometryMismatchError
from napari_normative.layers.sources import (
    geometry_lines,
    labels_of,
    mask_on,
    snapshot,
    volume_of,
)
from napari_normative.layers.spec import (
    LABELS,
    SCAN,
    spec_of,
)
from napari_normative.volume import Volume
from placed import TILTED, UPRIGHT, placed


def layer_of(volumes, role=SCAN):
    spec = spec_of(volumes, "scan", role)
    kind = Labels if role == LABELS else Image
    return kind(spec.data, **spec.attributes)


def block(affine):
    labels = np.zeros((24, 28, 20))
    labels[8:16, 9:19, 6:14] = 3
    volume = Volume.from_array(labels, affine, "labels")
    return volume.with_data(volume.data, is_label=True)


@pytest.mark.parametrize("affine", [UPRIGHT, TILTED], ids=["upright", "tilted"])
def test_the_scan_behind_a_layer_is_the_very_volume(affine):
    volume = placed(affine)
    assert volume_of(snapshot(layer_of([volume]))) is volume


@pytest.mark.parametrize("affine", [UPRIGHT, TILTED], ids=["upright", "tilted"])
def test_changed_values_are_compared_as_they_are_on_the_same_grid(affine):
    volume = placed(affine)
    layer = layer_of([volume])
    layer.data = layer.data * 2
    taken = volume_of(snapshot(layer))
    assert taken.same_grid(volume)
    assert taken.source.digest != volume.source.digest
    inner = np.s_[4:-4, 4:-4, 4:-4]
    # Read from the display at the nearest voxel: within one step of the field.
    np.testing.assert_allclose(taken.data[inner], 2 * volume.data[inner], atol=6)


def test_a_moved_layer_is_taken_where_it_lies_now():
    volume = placed(UPRIGHT)
    layer = layer_of([volume])
    layer.translate = layer.translate + np.array([0, 0, 7])  # 7 mm to the right
    taken = snapshot(layer)
    assert taken.moved
    np.testing.assert_allclose(
        volume_of(taken).corners_mm().mean(axis=0) - volume.corners_mm().mean(axis=0), [7, 0, 0]
    )
    assert "moved" in geometry_lines(taken)[1]


def test_a_layer_of_a_script_is_placed_by_its_transforms_and_the_assumption_is_said():
    layer = Image(
        np.random.default_rng(0).random((5, 6, 7)),
        scale=(3, 2, 1),
        translate=(10, 20, 30),
        name="x",
    )
    taken = snapshot(layer)
    volume = volume_of(taken)
    assert taken.assumed
    assert volume.shape == (5, 6, 7)
    assert volume.orientation == "SAR"
    np.testing.assert_allclose(volume.affine @ [1, 0, 0, 1], [30, 20, 13, 1])
    line, warning = geometry_lines(taken)
    assert line.startswith("7 × 6 × 5  ·  1 × 2 × 3 mm")
    assert "Orientation assumed" in warning


def test_micrometres_become_millimetres():
    layer = Image(np.zeros((4, 4, 4)), scale=(500, 500, 500), units="micrometer")
    assert volume_of(snapshot(layer)).spacing_mm == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("data", "arguments", "what"),
    [
        (np.zeros((5, 5)), {}, "2-dimensional"),
        (np.zeros((5, 5, 5, 3), np.uint8), {"rgb": True}, "RGB"),
        ([np.zeros((8, 8, 8)), np.zeros((4, 4, 4))], {"multiscale": True}, "multiscale"),
        (np.zeros((5, 5, 5)), {"units": "second"}, "not a length"),
    ],
)
def test_what_is_no_scan_is_refused_by_name(data, arguments, what):
    with pytest.raises(GeometryMismatchError, match=what):
        snapshot(Image(data, **arguments))


def test_a_series_is_never_taken_without_a_choice():
    first = placed(UPRIGHT)
    second = first.with_data(first.data + 1)
    taken = snapshot(layer_of([first, second]))
    assert taken.count == 2
    with pytest.raises(GeometryMismatchError, match="series of 2"):
        volume_of(taken)
    chosen = volume_of(taken, 1)
    np.testing.assert_array_equal(chosen.data, second.data)
    assert chosen.source.name == "scan (volume 2)"


@pytest.mark.parametrize("affine", [UPRIGHT, TILTED], ids=["upright", "tilted"])
def test_untouched_labels_are_exact_and_an_edit_changes_its_place_alone(affine):
    volume = block(affine)
    layer = layer_of([volume], LABELS)
    np.testing.assert_array_equal(labels_of(snapshot(layer)).data, volume.data)

    target_mm = affine[:3, :3] @ np.array([3.0, 4.0, 3.0]) + affine[:3, 3]
    at = np.round(layer.world_to_data(target_mm[::-1])).astype(int)
    around = tuple(np.s_[n - 2 : n + 3] for n in at)
    edited = layer.data.copy()
    edited[around] = 9
    layer.data = edited
    result = labels_of(snapshot(layer))
    assert result.same_grid(volume)
    assert result.data[3, 4, 3] == 9
    changed = np.argwhere(result.data != volume.data)
    assert np.abs(changed - [3, 4, 3]).max() <= 4
    np.testing.assert_array_equal(result.data[8:16, 9:19, 6:14], 3)


@pytest.mark.parametrize("affine", [UPRIGHT, TILTED], ids=["upright", "tilted"])
def test_a_mask_drawn_in_napari_lands_on_the_scan(affine):
    scan = placed(affine)
    scan_layer = layer_of([scan])
    drawn = Labels(
        np.zeros(scan_layer.data.shape, int),
        scale=scan_layer.scale,
        translate=scan_layer.translate,
        units="mm",
    )
    inside_mm = affine[:3, :3] @ np.array([12.0, 14.0, 10.0]) + affine[:3, 3]
    at = np.round(drawn.world_to_data(inside_mm[::-1])).astype(int)
    drawn.data[tuple(np.s_[n - 2 : n + 3] for n in at)] = 1
    mask = mask_on(snapshot(drawn), scan)
    assert mask.same_grid(scan)
    assert mask.data[12, 14, 10] == 1
    np.testing.assert_allclose(np.argwhere(mask.data).mean(axis=0), [12, 14, 10], atol=0.6)


def test_a_mask_that_misses_the_scan_is_refused():
    far = Labels(np.ones((3, 3, 3), int), translate=(900, 900, 900), name="far")
    with pytest.raises(GeometryMismatchError, match="far covers no voxel"):
        mask_on(snapshot(far), placed(UPRIGHT))
