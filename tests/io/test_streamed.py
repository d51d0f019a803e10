"""Scans read in boxes are what whole scans are; planes written are what volumes are."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_normative.core.grid import shrink
from napari_normative.errors import VolumeFileError
from napari_normative.io import streamed
from napari_normative.io.nifti import read_volume, write_volume
from napari_normative.io.streamed import PlaneWriter, StreamedScan, on_disk, opened
from napari_normative.volume import Volume

BOX = (slice(1, 7), slice(0, 5), slice(3, 9))


def stored(path: Path, dtype: str, *, scaled: bool = False) -> Path:
    """Write a file with nibabel: values of a type, with a scale where asked."""
    values = np.random.default_rng(3).integers(0, 200, (9, 8, 11)).astype(dtype)
    image = nib.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0]))
    image.header.set_data_dtype(dtype)
    if scaled:
        image.header.set_slope_inter(0.5, -10)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(("dtype", "scaled"), [("<i2", False), (">i2", False), ("<i2", True)])
def test_boxes_hold_what_the_whole_scan_holds(tmp_path, name, dtype, scaled) -> None:
    path = stored(tmp_path / name, dtype, scaled=scaled)
    whole = read_volume(path)
    with opened(path, tmp_path) as scan:
        np.testing.assert_array_equal(scan.box(BOX), whole.data[BOX])
        assert scan.source.digest == whole.source.digest
        assert scan.source.warnings == whole.source.warnings
        assert scan.grid.same_grid(whole)
        assert scan.grid.data.strides == (0, 0, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_of_a_series_one_volume_is_read(tmp_path) -> None:
    values = np.arange(2 * 60, dtype=np.float32).reshape(3, 4, 5, 2)
    path = tmp_path / "series.nii.gz"
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    with opened(path, tmp_path, volume=1, any_size=True) as scan:
        np.testing.assert_array_equal(scan.box(tuple(map(slice, (3, 4, 5)))), values[..., 1])
    with pytest.raises(VolumeFileError, match="NIF-019"), opened(path, tmp_path, any_size=True):
        pass


def test_a_truncated_file_is_refused_and_nothing_is_left(tmp_path) -> None:
    path = stored(tmp_path / "a.nii.gz", "<i2")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-40]))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(VolumeFileError, match="NIF-013"), opened(path, scratch):
        pass


@pytest.mark.parametrize("most", [10**6, 100])
def test_the_overview_is_the_mean_of_blocks_in_their_place(monkeypatch, most) -> None:
    monkeypatch.setattr(streamed, "SLAB_VOXELS", 9 * 8 * 3)
    data = np.random.default_rng(0).random((9, 8, 11)).astype(np.float32)
    whole = Volume.from_array(data, np.diag([2.0, 2.0, 2.0, 1.0]), "x")
    seen = StreamedScan(whole.data, whole.shape, whole.affine, whole.source).overview(most)
    blocks = 1 if most > data.size else 2
    mean, affine = shrink(whole.data, whole.affine, 2.0 * blocks)
    np.testing.assert_allclose(seen.scan.data, mean, rtol=1e-5)
    np.testing.assert_allclose(seen.scan.affine, affine)
    faces = [np.take(data, (0, -1), axis=axis).ravel() for axis in range(3)]
    assert seen.background == pytest.approx(float(np.median(np.concatenate(faces))))


def test_a_few_values_that_are_no_numbers_become_zero_and_many_are_refused() -> None:
    data = np.ones((10, 10, 10), np.float32)
    data[3, 3, 3] = np.nan
    scan = StreamedScan(data, (10, 10, 10), np.eye(4), Volume.from_array(data, np.eye(4)).source)
    assert scan.box((slice(10), slice(10), slice(10)))[3, 3, 3] == 0
    assert "1 of 1,000 voxels" in scan.overview(10**6).warnings[0]
    data[:5] = np.inf
    with pytest.raises(VolumeFileError, match="NIF-025"):
        scan.overview(10**6)


def test_planes_written_one_after_the_other_are_the_file_of_the_whole(tmp_path) -> None:
    whole = read_volume(stored(tmp_path / "a.nii", "<f4"))
    write_volume(tmp_path / "whole.nii", whole)
    with (tmp_path / "planes.nii").open("wb") as handle:
        writer = PlaneWriter(handle, whole)
        for k in range(0, 11, 4):
            writer.write(whole.data[..., k : k + 4])
    assert (tmp_path / "planes.nii").read_bytes() == (tmp_path / "whole.nii").read_bytes()
    again = on_disk(tmp_path / "planes.nii", whole)
    assert isinstance(again.data, np.memmap)
    np.testing.assert_array_equal(again.data, whole.data)
