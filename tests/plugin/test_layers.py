"""Result layers: names, places, colours; what a second run does."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_normative as nn
from napari_normative.engine.detection_layers import (
    Outputs,
    detection_layers,
)
from napari_normative.layers.spec import (
    ANOMALY_Z,
    SCAN,
    facts_of,
    is_edited,
    spec_of,
)
from napari_normative.plugin.layers import place
from placed import TILTED, UPRIGHT, made_detection, placed


def shown(affine, samples=0):
    viewer = ViewerModel()
    nn.show(made_detection(placed(affine, name="sub-07"), samples), viewer)
    return viewer


def test_result_layers_have_the_agreed_names():
    assert [layer.name for layer in shown(UPRIGHT, samples=2).layers] == [
        "sub-07",
        "sub-07 · reconstruction",
        "sub-07 · sample 1 (synthetic)",
        "sub-07 · sample 2 (synthetic)",
        "sub-07 · residual",
        "sub-07 · anomaly z",
        "sub-07 · |z|",
        "sub-07 · candidates",
    ]


@pytest.mark.parametrize("affine", [UPRIGHT, TILTED], ids=["upright", "tilted"])
def test_scan_and_results_have_the_same_world_extent(affine):
    layers = shown(affine, samples=1).layers
    scan = layers["sub-07"]
    for layer in layers:
        np.testing.assert_array_equal(layer.extent.world, scan.extent.world)
        np.testing.assert_array_equal(layer.extent.step, scan.extent.step)
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
        assert layer.axis_labels == ("S", "A", "R")


@pytest.mark.parametrize("affine", [UPRIGHT, TILTED], ids=["upright", "tilted"])
def test_a_candidate_lies_over_the_same_world_position_as_its_voxels(affine):
    layers = shown(affine).layers
    labels = layers["sub-07 · candidates"]
    centre_mm = affine[:3, :3] @ np.array([5.5, 5.5, 5.5]) + affine[:3, 3]
    at = np.floor(labels.world_to_data(centre_mm[::-1])).astype(int)
    assert labels.data[tuple(at)] == 1
    where = np.argwhere(labels.data == 1).mean(axis=0)
    np.testing.assert_allclose(labels.data_to_world(where), centre_mm[::-1], atol=0.5)


def test_signed_maps_have_symmetric_limits_and_are_transparent_at_zero():
    layers = shown(UPRIGHT).layers
    z = layers["sub-07 · anomaly z"]
    assert z.contrast_limits == [-5.0, 5.0]
    assert z.blending == "translucent_no_depth"
    assert z.colormap.map(np.array([0.5]))[0, 3] == 0
    np.testing.assert_allclose(z.colormap.map(np.array([0.0, 1.0])), [[0, 0, 1, 1], [1, 0, 0, 1]])
    residual = layers["sub-07 · residual"]
    assert residual.contrast_limits == [-50.0, 50.0]
    assert layers["sub-07 · |z|"].contrast_limits == [2.0, 5.0]  # from the threshold up


def test_local_volume_is_a_signed_layer_where_the_detection_has_one():
    detection = made_detection(placed(UPRIGHT))
    assert "local volume" not in {s.facts.role for s in detection_layers(detection)}
    change = detection.anomaly_z.with_data(4.0 * detection.anomaly_z.data)
    detection = dataclasses.replace(detection, local_volume=change)
    (layer,) = (s for s in detection_layers(detection) if s.facts.role == "local volume")
    assert layer.attributes["name"] == "scan · local volume"
    assert layer.attributes["contrast_limits"] == (-20.0, 20.0)
    assert layer.attributes["visible"] is False
    hidden = detection_layers(detection, outputs=Outputs(local_volume=False))
    assert "local volume" not in {s.facts.role for s in hidden}


def test_one_outlier_does_not_set_the_limits():
    scan = placed(UPRIGHT)
    detection = made_detection(scan)
    detection.anomaly_z.data[...] = 5.0
    detection.anomaly_z.data[0, 0, :3] = 500.0
    (z,) = detection_layers(detection, outputs=Outputs(False, False, True, False, False))
    assert z.attributes["contrast_limits"] == (-5.0, 5.0)


def test_reconstruction_shares_the_contrast_of_the_scan():
    layers = shown(UPRIGHT).layers
    scan, reconstruction = layers["sub-07"], layers["sub-07 · reconstruction"]
    np.testing.assert_allclose(reconstruction.contrast_limits, scan.contrast_limits, rtol=1e-6)


def test_candidates_carry_their_table():
    table = shown(UPRIGHT).layers["sub-07 · candidates"].features
    assert list(table["index"]) == [1, 2]
    assert list(table["sign"]) == ["brighter", "darker"]
    np.testing.assert_allclose(table["volume_ml"], 0.192)
    np.testing.assert_allclose(table.loc[0, ["right_mm", "anterior_mm", "superior_mm"]], [1, 2, 3])
    assert {"id", "rank", "peak_z", "mean_z", "p"} <= set(table.columns)


def test_no_candidates_make_an_empty_labels_layer():
    detection = made_detection(placed(UPRIGHT))
    empty = detection.candidate_labels.with_data(np.zeros(detection.scan.shape))
    detection = dataclasses.replace(detection, candidate_labels=empty, candidates=())
    viewer = ViewerModel()
    nn.show(detection, viewer)
    assert viewer.layers["scan · candidates"].data.max() == 0
    assert len(viewer.layers["scan · candidates"].features) == 0


def test_a_second_run_updates_in_place_and_keeps_what_was_set_by_hand():
    viewer = ViewerModel()
    scan = placed(UPRIGHT)
    nn.show(made_detection(scan), viewer)
    z = viewer.layers["scan · anomaly z"]
    z.opacity = 0.3
    count = len(viewer.layers)
    nn.show(made_detection(scan, strength=8.0), viewer)
    assert len(viewer.layers) == count
    assert viewer.layers["scan · anomaly z"] is z
    assert z.data.max() == 8
    assert z.contrast_limits == [-8.0, 8.0]
    assert z.opacity == 0.3
    assert viewer.layers["scan · candidates"].features["peak_z"].tolist() == [8.0, -4.0]


def test_without_replacing_a_second_run_adds_numbers():
    viewer = ViewerModel()
    detection = made_detection(placed(UPRIGHT))
    nn.show(detection, viewer)
    place(viewer, detection_layers(detection), replace_earlier=False)
    names = [layer.name for layer in viewer.layers]
    assert "scan · anomaly z 2" in names
    assert "scan · candidates 2" in names


def test_edited_labels_are_never_overwritten():
    viewer = ViewerModel()
    scan = placed(UPRIGHT)
    nn.show(made_detection(scan), viewer)
    edited = viewer.layers["scan · candidates"]
    assert not is_edited(edited)
    edited.data_setitem((np.array([0]), np.array([0]), np.array([0])), 7)
    assert is_edited(edited)
    nn.show(made_detection(scan, strength=8.0), viewer)
    assert edited.data[0, 0, 0] == 7
    assert edited.features["peak_z"].tolist() == [5.0, -2.5]
    fresh = viewer.layers["scan · candidates 2"]
    assert fresh.data[0, 0, 0] == 0
    assert fresh.features["peak_z"].tolist() == [8.0, -4.0]
    nn.show(made_detection(scan, strength=9.0), viewer)  # the fresh one may be replaced
    assert fresh.features["peak_z"].tolist() == [9.0, -4.5]
    assert "scan · candidates 3" not in viewer.layers


def test_results_of_another_scan_get_their_own_layers():
    viewer = ViewerModel()
    nn.show(made_detection(placed(UPRIGHT, name="a")), viewer)
    nn.show(made_detection(placed(TILTED, name="b")), viewer)
    assert {"a · anomaly z", "b · anomaly z"} <= {layer.name for layer in viewer.layers}


def test_a_copied_layer_keeps_its_facts():
    spec = spec_of([placed(UPRIGHT)], "scan", SCAN)
    attributes = copy.deepcopy(spec.attributes)
    assert attributes["metadata"]["napari_normative"] is spec.facts
    viewer = ViewerModel()
    layer = viewer.add_image(spec.data, **attributes)
    assert facts_of(layer).grid == spec.facts.grid


@pytest.mark.parametrize(("strength", "limit"), [(1.0, 2.0), (5.0, 5.0)])
def test_full_colour_is_never_reached_below_the_threshold(strength, limit):
    detection = made_detection(placed(UPRIGHT), strength=strength)  # threshold 2
    (z,) = [s for s in detection_layers(detection) if s.facts.role == ANOMALY_Z]
    assert z.attributes["contrast_limits"] == (-limit, limit)
