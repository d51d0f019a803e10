"""Segmentation of a scan, and heads that learnt from reviews, on phantoms with a dark lesion."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

import napari_normative as nn
from napari_normative.core.metrics import dice
from napari_normative.core.reviewed import ReviewedScan, choose_voxels
from napari_normative.engine.head_features import voxel_features
from napari_normative.engine.head_fit import fit_head
from napari_normative.errors import SegmentationError
from napari_normative.io.nifti import read_volume
from napari_normative.volume import Volume
from phantoms import phantom
from planted import turned

CPU = {"device": "cpu"}
LEFT = (-38.0, 15.0, 15.0)
OTHER = (30.0, -20.0, 30.0)


@pytest.fixture(scope="module")
def model(tiny_model_path):
    return nn.load_model(tiny_model_path)


@pytest.fixture(scope="module")
def ill():
    return phantom(31, lesion_ml=30)


@pytest.fixture(scope="module")
def detection(model, ill):
    return model.detect(ill, **CPU)


def near(volume, centre_mm, radius_mm):
    index = np.indices(volume.shape).reshape(3, -1).T
    world = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return (((world - centre_mm) ** 2).sum(1) < radius_mm**2).reshape(volume.shape)


def truth_of(volume, ml=30):
    return near(volume, LEFT, (3000 * ml / (4 * np.pi)) ** (1 / 3))


def test_the_lesion_is_outlined_better_than_by_the_threshold(model, detection, ill):
    made = model.segment(detection, **CPU)
    truth = truth_of(ill)
    strongest = made.candidates[0]
    grown = dice(made.labels.data == strongest.label, truth)
    assert grown > dice(detection.candidate_labels.data == strongest.label, truth) + 0.02
    assert grown > 0.85
    assert strongest.sign == -1
    assert strongest.mean_z < 0
    assert 25 < strongest.volume_ml < 40 < strongest.found_ml
    assert strongest.place.startswith("left")
    np.testing.assert_allclose(strongest.centroid_mm, LEFT, atol=6)


@pytest.mark.parametrize(
    ("codes", "degrees"), [("LPS", 0.0), ("PIR", 0.0), ("RAS", 14.0), ("ASL", 9.0)]
)
def test_left_is_left_however_the_scan_is_stored(model, ill, codes, degrees):
    start = nib.orientations.io_orientation(ill.affine)
    change = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(codes))
    data = nib.orientations.apply_orientation(ill.data, change)
    affine = ill.affine @ nib.orientations.inv_ornt_aff(change, ill.shape)
    tilt = turned(2, degrees)
    scan = Volume.from_array(np.ascontiguousarray(data), tilt @ affine, "stored otherwise")
    made = model.segment(scan, **CPU)
    assert made.labels.shape == scan.shape
    np.testing.assert_array_equal(made.labels.affine, scan.affine)
    assert made.labels.source.is_label
    found = made.labels.data == made.candidates[0].label
    centre = scan.affine[:3, :3] @ np.argwhere(found).mean(axis=0) + scan.affine[:3, 3]
    expected = tilt[:3, :3] @ np.array(LEFT)
    np.testing.assert_allclose(centre, expected, atol=6)
    np.testing.assert_allclose(made.candidates[0].centroid_mm, centre, atol=1e-3)
    truth = near(scan, expected, (3000 * 30 / (4 * np.pi)) ** (1 / 3))
    assert dice(found, truth) > 0.8


def test_rules_leave_out_and_the_table_keeps_all(model, detection):
    every = model.segment(detection, **CPU)
    assert all(one.kept for one in every.candidates)
    least = min(one.expected_false for one in every.candidates)
    strict = model.segment(detection, rate=least, **CPU)
    assert {one.label for one in strict.kept} == {
        one.label for one in every.candidates if one.expected_false <= least
    }
    assert set(np.unique(strict.labels.data)) == {0} | {one.label for one in strict.kept}
    assert len(strict.table()) == len(every.candidates)
    left_out = [one for one in strict.candidates if not one.kept]
    assert all(one.way == "" and one.volume_ml == pytest.approx(one.found_ml) for one in left_out)
    by_q = model.segment(detection, fdr=max(one.q for one in every.candidates), **CPU)
    assert len(by_q.kept) == len(every.candidates)
    loose = model.segment(detection, rate=1e3, **CPU)
    assert "fewer than the rate" in loose.warnings[-1]


@pytest.mark.parametrize("rule", [{"rate": 1e-4}, {"fdr": 1e-4}])
def test_what_few_people_cannot_tell_is_refused(model, detection, rule):
    with pytest.raises(SegmentationError, match="healthy people cannot tell") as caught:
        model.segment(detection, **rule)
    assert caught.value.code == "SEG-001"


def test_the_files_say_what_made_them_and_lie_on_the_scan(model, detection, tmp_path):
    made = model.segment(detection, rate=0.9, **CPU)
    files = made.save(tmp_path / "out")
    labels = read_volume(files[0])
    np.testing.assert_array_equal(labels.data, made.labels.data)
    assert labels.same_grid(detection.scan)
    record = json.loads(files[2].read_text())
    assert record["model"]["sha256"] == model.digest
    assert record["rule"]["rate"] == 0.9
    assert record["kept"] == len(made.kept)
    header, *rows = files[1].read_text().splitlines()
    assert header.split("\t")[:4] == ["label", "id", "rank", "sign"]
    assert len(rows) == len(made.candidates)
    (layer,) = made.to_layers()
    assert layer[2] == "labels"
    made.save(tmp_path / "out")  # earlier results are replaced


def reviewed(seed):
    """Return a phantom whose lesion was accepted, and a healthy place rejected."""
    scan = phantom(seed, lesion_ml=30)
    labels = np.zeros(scan.shape, np.float32)
    labels[truth_of(scan)] = 4
    labels[near(scan, OTHER, 10)] = 7
    regions = scan.with_data(labels, is_label=True)
    return ReviewedScan(scan, regions, {4: True, 7: False}, f"person-{seed}", f"case {seed}")


@pytest.fixture(scope="module")
def head(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("head") / "head.safetensors"
    made = fit_head((reviewed(seed) for seed in range(40, 47)), path, model=model, **CPU)
    assert nn.load_head(path).digest == made.digest
    return path


def test_a_head_tells_lesions_of_new_people_from_healthy_places(model, head):
    made = nn.load_head(head)
    figures = made.card.figures
    assert figures["candidate_auroc"] == 1.0
    assert figures["voxel_auroc"] > 0.95
    assert (made.card.people, made.card.accepted, made.card.rejected) == (7, 7, 7)
    new = reviewed(60)
    found = model.detect(new.scan, **CPU)
    odds = made.log_odds(model, found.in_model, **CPU)
    grid = Volume(odds, model.card.preprocess.grid.affine)
    assert odds[near(grid, LEFT, 12)].mean() > odds[near(grid, OTHER, 10)].mean() + 1
    segmented = model.segment(found, head=made, **CPU)
    assert segmented.candidates[0].head > 0.5
    assert segmented.candidates[0].kept
    assert segmented.record["rule"]["head_sha256"] == made.digest
    assert all(one.kept == (one.head >= 0.5) for one in segmented.candidates)


def test_weights_on_coarse_maps_give_what_they_give_voxel_by_voxel(model, detection):
    features = voxel_features(model, detection.in_model, "cpu")
    weights = np.random.default_rng(0).standard_normal(features.count)
    whole = features.linear(weights, 0.25).ravel()
    voxels = np.flatnonzero(detection.in_model.prepared.mask)[::37]
    np.testing.assert_allclose(
        features.at(voxels) @ weights + 0.25, whole[voxels], rtol=1e-3, atol=1e-3
    )


def test_the_finest_to_coarsest_features_are_those_of_the_encoder(model):
    import torch

    network = model.network("cpu")
    x = torch.randn(1, 1, *model.card.preprocess.shape)
    with torch.inference_mode():
        levels = network.encoder.levels(x)
        after = network.encoder.layers[-1](network.encoder.layers[-2](levels[-1]))
        torch.testing.assert_close(after, network.encoder(x))
    sizes = [level.shape[2] for level in levels]
    assert sizes == sorted(sizes, reverse=True)


def test_voxels_are_drawn_from_regions_and_a_bare_rim_around_what_was_accepted():
    regions = np.zeros((30, 30, 30), int)
    regions[12:18, 12:18, 12:18] = 1
    regions[:3, :3, :3] = 2
    mask = np.ones(regions.shape, bool)
    mask[29] = False
    voxels, lesion = choose_voxels(
        regions, {1: True, 2: False}, mask, 2.0, 20, np.random.default_rng(0)
    )
    at = regions.ravel()[voxels]
    assert lesion.sum() == 20
    assert (at[lesion] == 1).all()
    assert (at[~lesion] == 2).sum() == 10
    around = np.stack(np.unravel_index(voxels[~lesion & (at == 0)], regions.shape), 1)
    away = np.linalg.norm(np.maximum(np.maximum(12 - around, around - 17), 0), axis=1) * 2
    assert len(around) == 10
    assert away.min() > 2.0
    assert away.max() <= 12.0


def test_too_few_people_are_refused(model):
    with pytest.raises(SegmentationError, match="in 1 people") as caught:
        fit_head([reviewed(40), reviewed(40)], model=model, **CPU)
    assert caught.value.code == "SEG-002"


def test_a_head_of_another_model_is_refused(model, head, detection):
    made = nn.load_head(head)
    with pytest.raises(SegmentationError, match="reads the features of") as caught:
        nn.load_model("brain-t1").segment(detection, head=made)
    assert caught.value.code == "SEG-003"


@pytest.mark.parametrize("damage", [b"no head", None])
def test_files_that_are_no_head_are_refused(head, tmp_path, damage, tiny_model_path):
    path = tmp_path / "head.safetensors"
    data = head.read_bytes()
    path.write_bytes(damage or data[:-8] + b"\0\0\0\0\0\0\0\1")
    for wrong in (path, tmp_path / "missing.safetensors", tiny_model_path):
        with pytest.raises(SegmentationError) as caught:
            nn.load_head(wrong)
        assert caught.value.code == "SEG-004"


def test_a_detection_without_its_maps_gives_a_head_nothing_to_read(model, head, detection):
    import dataclasses

    bare = dataclasses.replace(detection, in_model=None)
    with pytest.raises(SegmentationError) as caught:
        model.segment(bare, head=nn.load_head(head))
    assert caught.value.code == "SEG-006"
    assert model.segment(bare).kept


def test_a_model_without_encoder_has_no_head(model, tiny_model_path):
    card = model.card.model_copy(
        update={"network": model.card.network.model_copy(update={"kind": "pca"})}
    )
    other = nn.load_model(tiny_model_path)
    other.card = card
    with pytest.raises(SegmentationError, match="pca") as caught:
        fit_head([], model=other)
    assert caught.value.code == "SEG-005"
