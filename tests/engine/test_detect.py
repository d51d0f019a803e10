"""Detection: the lesion is found where it is, on the scan's own grid."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_normative.engine.infer import latent_kl_nats, recount
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.errors import CancelledError, GeometryMismatchError
from napari_normative.volume import Volume
from phantoms import phantom


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    return load_model(tiny_model_path)


def reoriented(volume: Volume, codes: str) -> Volume:
    """The same scan with its axes stored in another order."""
    target = nib.orientations.axcodes2ornt(codes)
    change = nib.orientations.ornt_transform(nib.orientations.io_orientation(volume.affine), target)
    data = nib.orientations.apply_orientation(volume.data, change)
    affine = volume.affine @ nib.orientations.inv_ornt_aff(change, volume.shape)
    return Volume.from_array(data, affine, volume.source.name)


def test_a_dark_ball_on_the_left_is_the_first_candidate(model: NormativeModel) -> None:
    found = model.detect(phantom(7, lesion_ml=14))
    first = found.candidates[0]
    assert first.sign == -1
    assert first.peak_z < -found.threshold_z
    assert first.centroid_mm == pytest.approx((-38, 15, 15), abs=8)
    assert 5 < first.volume_mm3 / 1000 < 40


def test_healthy_people_score_lower_than_the_ill(model: NormativeModel) -> None:
    healthy = model.detect(phantom(7))
    ill = model.detect(phantom(7, lesion_ml=14))
    assert healthy.scan_score < ill.scan_score
    assert ill.scan_p == 1 / (1 + model.calibration.n)


def test_residual_is_scan_minus_reconstruction_inside_the_mask(model: NormativeModel) -> None:
    found = model.detect(phantom(7, lesion_ml=14))
    difference = found.scan.data - found.reconstruction.data
    np.testing.assert_allclose(found.residual.data[found.mask], difference[found.mask])
    assert not found.residual.data[~found.mask].any()
    lesion = found.candidate_labels.data == 1
    assert found.residual.data[lesion].mean() < 0


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SAL", "IRP"])
def test_axis_order_does_not_change_the_map(model: NormativeModel, codes: str) -> None:
    scan = phantom(7, lesion_ml=14)
    straight = model.detect(scan).anomaly_z.canonical().data
    turned = model.detect(reoriented(scan, codes))
    assert turned.anomaly_z.same_grid(turned.scan)
    assert turned.scan.orientation == codes
    other = turned.anomaly_z.canonical().data
    assert np.corrcoef(straight.ravel(), other.ravel())[0, 1] > 0.99


def test_a_tilted_and_moved_head_gives_the_same_candidate(model: NormativeModel) -> None:
    scan = phantom(7, lesion_ml=14)
    angle = np.radians(12)
    tilt = np.eye(4)
    tilt[:3, :3] = [
        [np.cos(angle), -np.sin(angle), 0],
        [np.sin(angle), np.cos(angle), 0],
        [0, 0, 1],
    ]
    tilt[:3, 3] = (15, -20, 30)
    moved = Volume.from_array(scan.data, tilt @ scan.affine, "tilted")
    first = model.detect(moved).candidates[0]
    there = tilt @ [-38, 15, 15, 1]
    assert first.centroid_mm == pytest.approx(tuple(there[:3]), abs=8)


def test_equal_seeds_give_equal_samples_and_others_differ(model: NormativeModel) -> None:
    one, again, other = (model.sample(2, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(one[0].data, again[0].data)
    assert not np.array_equal(one[0].data, one[1].data)
    assert not np.array_equal(one[0].data, other[0].data)
    assert "synthetic" in one[0].source.name


def test_samples_lie_on_the_grid_of_the_scan(model: NormativeModel) -> None:
    found = model.detect(phantom(7), samples=2, seed=5)
    assert len(found.samples) == 2
    for sample in found.samples:
        assert sample.same_grid(found.scan)
        # In the scan's units, so that it can be looked at with the same window.
        ratio = np.median(sample.data[found.mask]) / np.median(found.scan.data[found.mask])
        assert 0.7 < ratio < 1.3


def test_a_mask_confines_the_score(model: NormativeModel) -> None:
    scan = phantom(7, lesion_ml=14)
    i = scan.shape[0]
    right = np.zeros(scan.shape, bool)
    right[i // 4 :] = True
    mask = scan.with_data(right & (scan.data > 0))
    found = model.detect(scan, mask=mask)
    assert not found.mask[: i // 4 - 2].any()
    with pytest.raises(GeometryMismatchError, match="GEO-001"):
        model.detect(scan, mask=phantom(7, spacing_mm=5.0))


def test_saved_files_lie_on_the_grid_and_tell_where_they_came_from(
    model: NormativeModel, tmp_path: Path
) -> None:
    scan = reoriented(phantom(7, lesion_ml=14), "LPS")
    found = model.detect(scan, samples=1, seed=9)
    names = {p.name for p in found.save(tmp_path / "out")}
    assert names == {
        "reconstruction.nii.gz", "residual.nii.gz", "anomaly_z.nii.gz", "anomaly_p.nii.gz",
        "candidates.nii.gz", "sample_01.nii.gz", "candidates.tsv", "detection.json",
    }  # fmt: skip
    for name in names:
        if name.endswith(".nii.gz"):
            image = nib.load(tmp_path / "out" / name)
            np.testing.assert_allclose(image.affine, scan.affine, atol=1e-3)
            assert image.shape == scan.shape
    record = json.loads((tmp_path / "out" / "detection.json").read_text())
    assert record["model"]["sha256"] == model.digest
    assert record["seed"] == 9
    assert record["device"] == "cpu"
    assert record["seconds"]["total"] > 0
    assert "not for diagnosis" in record["notice"]
    labels = np.asarray(nib.load(tmp_path / "out" / "candidates.nii.gz").dataobj)
    rows = (tmp_path / "out" / "candidates.tsv").read_text().splitlines()
    assert len(rows) - 1 == len(found.candidates) == len(np.unique(labels)) - 1


def test_local_volume_is_drawn_on_demand_and_changes_nothing_else(
    model: NormativeModel, tmp_path: Path
) -> None:
    scan = reoriented(phantom(7, lesion_ml=14), "LPS")
    plain, found = model.detect(scan), model.detect(scan, local_volume=True)
    assert plain.local_volume is None
    assert found.local_volume is not None
    assert found.local_volume.same_grid(scan)
    assert np.abs(found.local_volume.data[found.mask]).max() > 0.1
    assert not found.local_volume.data[~found.mask].any()
    np.testing.assert_allclose(found.anomaly_z.data, plain.anomaly_z.data, atol=1e-3)
    assert found.scan_score == pytest.approx(plain.scan_score, abs=1e-4)
    assert tmp_path / "local_volume.nii.gz" in found.save(tmp_path)


def test_cancel_ends_the_work(model: NormativeModel) -> None:
    answers = itertools.chain([False, False], itertools.repeat(True))
    with pytest.raises(CancelledError):
        model.detect(phantom(7), cancel=lambda: next(answers))


def test_unloading_and_using_again_gives_the_same_map(model: NormativeModel) -> None:
    before = model.detect(phantom(7)).anomaly_z.data
    model.unload()
    # To float32 rounding: kernels may add in another order at another memory address.
    np.testing.assert_allclose(model.detect(phantom(7)).anomaly_z.data, before, atol=1e-3)


def test_the_kl_counts_the_latents_of_every_level(model: NormativeModel) -> None:
    image = model.template.image[None]
    network = model.network("cpu")
    levels = network.levels(torch.from_numpy(image)[None])
    assert [tuple(level.mean.shape[1:]) for level in levels] == [
        (network.config.latent_size,),
        network.local.size(),
    ]
    each = [
        0.5 * float((q.mean**2 + q.log_variance.exp() - 1 - q.log_variance).sum()) for q in levels
    ]
    assert min(each) > 0
    assert latent_kl_nats(model, image, "cpu") == pytest.approx(sum(each), rel=1e-5)


def test_candidates_at_another_threshold(tiny_model_path):
    model = load_model(tiny_model_path)
    found = model.detect(phantom(7, lesion_ml=8.0))
    labels, same = recount(model, found, found.threshold_z)
    assert same == found.candidates
    np.testing.assert_array_equal(labels.data, found.candidate_labels.data)
    _, none = recount(model, found, 1000.0)
    assert none == ()
    _, more = recount(model, found, found.threshold_z / 2)
    assert sum(c.volume_mm3 for c in more) > sum(c.volume_mm3 for c in same)


@pytest.mark.parametrize("origin_mm", [(0.0, 0.0, 0.0), (-500.0, 300.0, 90.0)])
def test_a_place_in_words_does_not_depend_on_the_scans_origin(tiny_model_path, origin_mm):
    model = load_model(tiny_model_path)
    scan = phantom(7, lesion_ml=8.0)
    moved = scan.affine.copy()
    moved[:3, 3] += origin_mm
    here = model.detect(scan)
    there = model.detect(Volume.from_array(scan.data, moved, "moved"))
    first, again = here.candidates[0], there.candidates[0]
    assert np.allclose(np.subtract(again.centroid_mm, first.centroid_mm), origin_mm, atol=2.0)
    side = here.place_of(first).split()[0]
    assert there.place_of(again).split()[0] == side
    assert side == ("right" if first.centroid_mm[0] > here.middle_mm[0] else "left")
    inside = np.argwhere(here.mask).mean(axis=0)
    expected = scan.affine[:3, :3] @ inside + scan.affine[:3, 3]
    np.testing.assert_allclose(here.middle_mm, expected, atol=1e-6)
