"""What is told of a place."""

from __future__ import annotations

import time

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_normative.engine.detection_layers import detection_layers
from napari_normative.layers.spec import (
    SCAN,
    spec_of,
)
from napari_normative.plugin.layers import add_spec
from napari_normative.plugin.readout import number, read_at
from placed import TILTED, UPRIGHT, field, made_detection, placed


def shown(affine):
    viewer = ViewerModel()
    scan = placed(affine)
    layer = add_spec(viewer, spec_of([scan], "scan", SCAN))
    for spec in detection_layers(made_detection(scan)):
        add_spec(viewer, spec)
    return viewer, layer, scan


def world_of(scan, index):
    return tuple(scan.affine[:3, :3] @ index + scan.affine[:3, 3])


@pytest.mark.parametrize("affine", [UPRIGHT, TILTED], ids=["upright", "tilted"])
def test_the_voxel_is_counted_on_the_stored_grid_and_the_value_is_the_files(affine):
    viewer, layer, scan = shown(affine)
    index = (5, 6, 7)
    ras = world_of(scan, index)
    read = read_at(viewer.layers, ras[::-1], layer)
    assert read.voxel == "5, 6, 7"
    told = {v.name: v.value for v in read.values}
    assert told["scan"] == number(float(field(np.array(ras)[:, None])[0]))
    assert told["anomaly z"] == "z +5.00"


def test_the_place_is_told_in_words():
    viewer, layer, _ = shown(UPRIGHT)
    assert read_at(viewer.layers, (12.0, 3.0, -4.0), layer).place == ("R -4, A +3, S +12 mm")


def test_a_candidate_is_told_with_rank_sign_and_p():
    viewer, layer, scan = shown(UPRIGHT)
    told = read_at(viewer.layers, world_of(scan, (15, 15, 11))[::-1], layer)
    assert told.values[0].name == "candidates"
    assert told.values[0].value == "candidate 2, darker, p 0.02"


def test_painted_labels_are_no_candidates_of_the_model():
    viewer, layer, scan = shown(UPRIGHT)
    labels = viewer.layers["scan · candidates"]
    point = world_of(scan, (10, 10, 10))[::-1]
    at = np.rint(labels.world_to_data(point)).astype(int)
    labels.data_setitem(tuple(np.array([i]) for i in at), 9)
    values = read_at(viewer.layers, point, layer).values
    assert values[0].value == "label 9, not a candidate of the model"


def test_hidden_layers_and_places_outside_are_not_told():
    viewer, layer, scan = shown(UPRIGHT)
    point = world_of(scan, (5, 6, 7))[::-1]
    visible = {layer.name.removeprefix("scan · ") for layer in viewer.layers if layer.visible}
    assert {v.name for v in read_at(viewer.layers, point, layer).values} == visible
    far = read_at(viewer.layers, (500.0, 0.0, 0.0), layer)
    assert (far.voxel, far.values) == ("outside the scan", ())


def test_a_layer_of_another_reader_is_told_too():
    viewer = ViewerModel()
    viewer.add_image(np.arange(64.0).reshape(4, 4, 4), name="array", scale=(2, 2, 2))
    viewer.add_image(np.zeros((8, 8, 3)), rgb=True, name="photo")
    read = read_at(viewer.layers, (2.0, 4.0, 6.0))
    assert [(v.name, v.value) for v in read.values] == [("array", "27")]
    assert read.voxel == ""


def test_a_series_is_read_at_its_volume():
    viewer = ViewerModel()
    scan = placed(UPRIGHT)
    series = [scan, scan.with_data(scan.data + 1000)]
    layer = add_spec(viewer, spec_of(series, "rest", SCAN))
    point = world_of(scan, (5, 6, 7))[::-1]
    first, second = (read_at(viewer.layers, (n, *point), layer).values[0].value for n in (0, 1))
    assert float(second) == pytest.approx(float(first) + 1000, abs=1)


def test_reading_is_cheap():
    viewer, layer, scan = shown(UPRIGHT)
    point = world_of(scan, (15, 15, 11))[::-1]
    times = []
    for _ in range(100):
        start = time.perf_counter()
        read_at(viewer.layers, point, layer)
        times.append(time.perf_counter() - start)
    assert np.quantile(times, 0.9) < 0.005


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1234"), (45.67, "45.7"), (0.12345, "0.123"), (3.0, "3")]
)
def test_values_have_the_digits_that_matter(value, text):
    assert number(value) == text
