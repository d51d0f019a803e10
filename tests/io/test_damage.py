"""Damage at random: nothing is silently wrong, nothing crashes, nothing hangs."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_normative.errors import VolumeFileError
from napari_normative.io import gzipped
from napari_normative.io.nifti import Series, read_series, read_volume
from napari_normative.volume import Volume
from rawnifti import AFFINE, nifti, ramp, zipped
from strategies import damage


@pytest.fixture(params=["isal", "zlib"])
def either_library(request, monkeypatch):
    """The fast and the standard inflater must refuse alike."""
    monkeypatch.setattr(
        gzipped, "_zlib", pytest.importorskip({"isal": "isal.isal_zlib"}.get(request.param, "zlib"))
    )


def test_no_flipped_bit_of_a_compressed_scan_is_silently_wrong(tmp_path, either_library):
    noise = np.random.default_rng(3).normal(500, 80, (16, 15, 14)).astype(np.int16)
    block = zipped(nifti(noise))
    path = tmp_path / "scan.nii.gz"
    dice = random.Random(20)
    refused = 0
    for bit in [*range(80), *(dice.randrange(8 * len(block)) for _ in range(400))]:
        flipped = bytearray(block)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            volume = read_volume(path)
        except VolumeFileError as error:
            assert error.code in {"NIF-010", "NIF-012", "NIF-013"}
            refused += 1
        else:  # a time stamp, or padding: the content is what it was
            np.testing.assert_array_equal(volume.data, noise)
            np.testing.assert_array_equal(volume.affine, AFFINE)
    assert refused > 400


def test_no_truncation_is_silently_wrong(tmp_path, either_library):
    noise = np.random.default_rng(4).normal(500, 80, (16, 15, 14)).astype(np.int16)
    block = zipped(nifti(noise))
    path = tmp_path / "scan.nii.gz"
    for length in random.Random(5).sample(range(2, len(block)), 100):
        path.write_bytes(block[:length])
        with pytest.raises(VolumeFileError):
            read_volume(path)


def test_both_libraries_read_alike(tmp_path, either_library):
    """Zeros inflate a thousandfold: output waits in the machine when the input is used up."""
    data = np.zeros((200, 200, 150), np.int16)
    data[0, 0, 0], data[-1, -1, -1] = 1, 2
    (tmp_path / "a.nii.gz").write_bytes(zipped(nifti(data)))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").data, data)


_FORMATS = {
    "a.nii": nifti(),
    "b.nii": nifti(ramp((5, 6, 7, 3)), qform_code=1, sform_code=1),
    "c.nii": nib.Nifti2Image(ramp(), AFFINE).to_bytes(),
    "d.mgh": nib.MGHImage(ramp().astype(np.int32), AFFINE).to_bytes(),
    "e.nii": nifti(ramp(dtype="float32"), order=">"),
}


@settings(
    max_examples=2000,
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    name=st.sampled_from(sorted(_FORMATS)),
    writes=damage(),
    compress=st.booleans(),
    any_size=st.booleans(),
    trust=st.sampled_from([None, "sform", "qform"]),
)
def test_damaged_headers_are_refused_or_give_a_usable_volume(
    tmp_path, name, writes, compress, any_size, trust
):
    block = bytearray(_FORMATS[name])
    for offset, patch in writes:
        block[offset : offset + len(patch)] = patch
    path = tmp_path / name
    path.write_bytes(zipped(bytes(block)) if compress else block)
    try:
        series = read_series(path, trust=trust, any_size=any_size)
    except VolumeFileError:
        return
    _assert_usable(series, path)


def _assert_usable(series: Series, path: Path) -> None:
    first = series.first
    assert series.data.ndim == 4
    assert series.data.nbytes <= 8 * path.stat().st_size * 1040
    assert np.isfinite(series.data).all()
    assert np.isfinite(first.affine).all()
    np.testing.assert_array_equal(first.affine[3], [0, 0, 0, 1])
    inverse = np.linalg.inv(first.affine)
    corners = first.corners_mm()
    index = corners @ inverse[:3, :3].T + inverse[:3, 3]
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in first.shape], indexing="ij"))
    np.testing.assert_allclose(index, ends.reshape(3, -1).T, atol=0.01)
    again = Volume.from_array(first.data, first.affine)
    assert again.orientation == first.orientation
    assert first.source.orientation == first.orientation


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to see open files")
def test_refusals_leave_no_file_open(tmp_path):
    path = tmp_path / "a.nii.gz"
    before = len(list(Path("/proc/self/fd").iterdir()))
    for block in (b"", b"\x1f\x8b\x00", zipped(nifti())[:-4], zipped(nifti(dim=[0] * 8)), b"text"):
        path.write_bytes(block)
        with pytest.raises(VolumeFileError):
            read_volume(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
