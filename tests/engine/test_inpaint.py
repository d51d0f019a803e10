"""Filling gaps: observed voxels stay, made ones beat interpolation, nothing missing has a say."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_normative.engine.inpaint import inpaint, parse_slab
from napari_normative.engine.model import NormativeModel
from napari_normative.errors import GenerationError, GeometryMismatchError
from napari_normative.io.nifti import read_volume, read_with_gaps, write_volume
from napari_normative.volume import Volume
from phantoms import phantom

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    found = NormativeModel.load(tiny_model_path)
    found.sample(1, **CPU)  # as in a session: its weights were made for that
    return found


@pytest.fixture(scope="module")
def scan() -> Volume:
    return phantom(31)


def hole(scan: Volume, radius_mm: float) -> np.ndarray:
    """Return a ball about a ventricle."""
    index = np.indices(scan.shape).reshape(3, -1).T
    world = index @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    inside = ((world - (12.0, 0.0, 8.0)) ** 2).sum(axis=1) < radius_mm**2
    return inside.reshape(scan.shape)


def test_observed_voxels_stay_and_the_hole_is_filled_better_than_by_a_membrane(
    model: NormativeModel, scan: Volume, tmp_path: Path
) -> None:
    gap = hole(scan, 24.0)
    spoilt = scan.with_data(np.where(gap, 4e4, scan.data))
    made = model.inpaint(spoilt, scan.with_data(gap.astype(np.float32)), **CPU)
    np.testing.assert_array_equal(made.filled.data[~gap], scan.data[~gap])
    np.testing.assert_array_equal(made.made.data > 0, gap)
    error = np.abs(made.filled.data - scan.data)[gap].mean()
    plain = np.abs(made.interpolation.data - scan.data)[gap].mean()
    assert error < 0.7 * plain
    files = made.save(tmp_path / "out")
    assert [f.name for f in files] == [
        "filled.nii.gz", "made.nii.gz", "interpolation.nii.gz", "inpaint.json"
    ]  # fmt: skip
    read = read_volume(files[0])
    np.testing.assert_array_equal(read.data[~gap], scan.data[~gap])
    assert read.same_grid(scan)
    record = json.loads(files[3].read_bytes())
    assert record["synthetic"] is True
    assert record["made_voxels"] == int(gap.sum())
    assert record["model_sha256"] == model.digest
    assert record["fit"]["nats_after"] <= record["fit"]["nats_before"]
    assert "synthetic" in made.filled.name


def test_what_the_missing_voxels_hold_makes_no_difference(
    model: NormativeModel, scan: Volume
) -> None:
    gap = hole(scan, 16.0)
    mask = scan.with_data(gap.astype(np.float32))
    results = [
        model.inpaint(scan.with_data(np.where(gap, value, scan.data)), mask, **CPU).filled.data
        for value in (0.0, 900.0)
    ]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("flip", [False, True])
def test_slices_are_named_in_the_orientation_of_the_file(
    model: NormativeModel, scan: Volume, flip: bool
) -> None:
    given = scan
    if flip:  # axes stored as S, L, A
        to = nib.orientations.axcodes2ornt("SLA")
        image = nib.Nifti1Image(scan.data, scan.affine).as_reoriented(
            nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), to)
        )
        given = Volume.from_array(np.asarray(image.dataobj), image.affine, "turned")
    name = "i:20-22" if flip else "k:20-22"
    made = model.inpaint(given, slices=[name], **CPU)
    gap = made.made.canonical().data > 0
    assert np.flatnonzero(gap.any(axis=(0, 1))).tolist() == [20, 21, 22]
    assert gap[..., 20:23].all()
    brain = gap & (scan.data > 0)
    assert np.abs(made.filled.canonical().data - scan.data)[brain].mean() < 8
    outside = gap & (made.filled.canonical().data == 0)
    assert np.mean(outside[gap] == (scan.data[gap] == 0)) > 0.98, "the head keeps its outline"
    assert made.record["missing"] == [f"slices {name}"]


def test_slices_without_signal_and_voxels_without_numbers_are_found(
    model: NormativeModel, scan: Volume, tmp_path: Path
) -> None:
    data = scan.data.copy()
    data[:, 25:27] = 0
    data[20, 30, 10:14] = np.nan
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(data, scan.affine), path)
    made = model.inpaint(path, **CPU)
    assert made.record["missing"] == [
        "4 voxels that are not numbers or infinite", "slices j:25-26 without signal"
    ]  # fmt: skip
    gap = made.made.data > 0
    assert gap[20, 30, 10:14].all()
    assert gap.sum() == 2 * scan.shape[0] * scan.shape[2] + 4
    np.testing.assert_array_equal(made.filled.data[~gap], data[~gap])
    assert np.abs(made.filled.data - scan.data)[gap].mean() < 8


def test_a_file_with_many_voxels_without_numbers_can_be_read_for_filling(tmp_path: Path) -> None:
    data = np.ones((10, 10, 10), np.float32)
    data[:, :, 3:5] = np.inf
    nib.save(nib.Nifti1Image(data, np.diag([4.0, 4, 4, 1])), tmp_path / "a.nii.gz")
    read, gaps = read_with_gaps(tmp_path / "a.nii.gz")
    assert gaps[:, :, 3:5].all()
    assert gaps.sum() == 200
    assert read.data[gaps].max() == 0
    assert read.data[~gaps].min() == 1


def test_what_cannot_be_filled_is_refused(model: NormativeModel, scan: Volume) -> None:
    with pytest.raises(GenerationError, match="GEN-010"):
        inpaint(model, scan, **CPU)
    with pytest.raises(GenerationError, match=r"GEN-011.*at most 50%"):
        inpaint(model, scan, slices=["j:0-31"], **CPU)
    for text in ("k:40-99", "k:9-4", "z:3", "3-5"):
        with pytest.raises(GenerationError, match=r"GEN-012.*i:0-41"):
            parse_slab(text, scan.shape)
    other = phantom(3, spacing_mm=6.0)
    with pytest.raises(GeometryMismatchError, match="GEO-001"):
        inpaint(model, scan, mask=other, **CPU)


def test_labels_of_the_made_voxels_are_labels(
    model: NormativeModel, scan: Volume, tmp_path: Path
) -> None:
    path = write_volume(tmp_path / "scan.nii.gz", scan)
    made = model.inpaint(path, slices=["k:18"], **CPU)
    files = made.save(tmp_path / "out")
    assert read_volume(files[1]).source.is_label
    data, attributes, kind = made.filled.to_layers()[0]
    assert kind == "image"
    assert "synthetic" in attributes["name"]
    assert data.size
