"""What is refused: one error, with its code, a consequence and a remedy; nothing is allocated."""

from __future__ import annotations

import gzip
import math
import os
import struct
import sys
import time
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest

from napari_normative.errors import VolumeFileError
from napari_normative.io.nifti import read_series, read_volume, require_signal
from napari_normative.volume import Volume
from rawnifti import AFFINE, header, nifti, ramp, voxels, zipped


def refusal(path, **options) -> VolumeFileError:
    with pytest.raises(VolumeFileError) as caught:
        read_volume(path, **options)
    error = caught.value
    assert str(error).startswith(f"[{error.code}] {error.subject}: ")
    assert str(path.parent) not in str(error), "messages name files, not private folders"
    assert error.remedy.endswith(".")
    return error


@pytest.fixture
def refused(tmp_path):
    """Write bytes under a name and return the error that reading them gives."""

    def check(block: bytes, name: str = "sub-07_T1w.nii", **options) -> VolumeFileError:
        (tmp_path / name).write_bytes(block)
        return refusal(tmp_path / name, **options)

    return check


def test_missing_folder_empty_and_odd_paths(tmp_path, refused):
    assert refusal(tmp_path / "no.nii").code == "NIF-001"
    assert refusal(tmp_path).code == "NIF-002"
    assert refused(b"").code == "NIF-003"
    assert refusal(tmp_path / "a\0b.nii").code == "NIF-004"
    assert refusal(tmp_path / ("x" * 400 + ".nii")).code == "NIF-004"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes of this kind")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    assert refusal(tmp_path / "pipe.nii").code == "NIF-002"


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (b"\0" * 128 + b"DICM" + b"\0" * 400, "DICOM"),
        (b"NRRD0004\ntype: short\n", "NRRD"),
        (b"ObjectType = Image\nNDims = 3\n", "MetaImage"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 500, "MINC2"),
        (b"CDF\x01" + b"\0" * 500, "MINC1"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 500, "PNG"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 500, "JPEG"),
        (b"PK\x03\x04" + b"\0" * 500, "zip"),
        (b"BZh91AY" + b"\0" * 500, "bzip2"),
        (b"a.txt".ljust(257, b"\0") + b"ustar\0" + b"\0" * 300, "tar"),
        (b"\x93NUMPY" + b"\0" * 500, "NumPy"),
        (b"id,age\n1,30\n", "text"),
        ("Größe in Ångström, 頭".encode() * 40, "text"),
        (b"<?xml version='1.0'?><GIFTI/>", "XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\0" * 4096, "zero bytes"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, zipped])
def test_other_formats_are_named(refused, block, words, pack):
    error = refused(pack(block))
    assert error.code == "NIF-006"
    assert words in error.what


def test_apple_double_companions(refused, tmp_path):
    block = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X".ljust(4096, b"\0")
    assert refused(block, "._scan.nii.gz").code == "NIF-005"
    assert refused(block, "scan.nii").code == "NIF-005"
    assert refused(b"\x01\x02" * 300, "._scan.img").code == "NIF-005"


def test_cifti(refused):
    head = nib.Nifti2Header()
    head["intent_code"] = 3006
    head["datatype"], head["bitpix"] = 16, 32
    assert refused(head.binaryblock + b"\0" * 4000, "x.dscalar.nii").code == "NIF-007"


def test_analyze_does_not_know_left_from_right(tmp_path, refused):
    (tmp_path / "a.img").write_bytes(voxels(ramp()))
    assert refused(header(ramp(), magic=b"\0" * 4)[:348], "a.hdr").code == "NIF-008"


@pytest.mark.parametrize("name", ["scan.hdr", "scan.nii"])
def test_the_image_half_is_missing(refused, name):
    error = refused(header(ramp(), magic=b"ni1\0", vox_offset=0)[:348], name)
    assert error.code == "NIF-009"
    assert "scan.img is missing" in error.what


def test_the_header_half_is_missing(refused):
    assert refused(voxels(ramp()), "scan.img").code == "NIF-009"


@pytest.mark.parametrize(
    "block",
    [
        nifti()[:200],
        nifti()[:347],
        b"\x5c\x01\x00\x01" + nifti()[4:],
        nib.Nifti2Image(ramp(), AFFINE).to_bytes()[:500],
        nifti(vox_offset=300),
        nifti(vox_offset=352.5),
        nifti(vox_offset=math.nan),
        nifti(vox_offset=math.inf),
        nifti(bitpix=32),
        np.random.default_rng(0).bytes(5000),
    ],
)
def test_damaged_headers(refused, block):
    assert refused(block).code == "NIF-010"


@pytest.mark.parametrize(
    "dim",
    [
        [0, 5, 6, 7, 1, 1, 1, 1],
        [8, 5, 6, 7, 1, 1, 1, 1],
        [-1, 5, 6, 7, 1, 1, 1, 1],
        [3, 5, 0, 7, 1, 1, 1, 1],
        [3, 5, -6, 7, 1, 1, 1, 1],
        [4, 5, 6, 7, 0, 1, 1, 1],
    ],
)
def test_impossible_dimensions(refused, dim):
    assert refused(nifti(dim=dim)).code == "NIF-011"


def test_impossible_mgh_headers(refused):
    block = bytearray(nib.MGHImage(ramp().astype(np.int32), AFFINE).to_bytes())
    for offset, value in ((4, 0), (8, -3), (20, 77)):
        changed = bytearray(block)
        struct.pack_into(">i", changed, offset, value)
        assert refused(bytes(changed), "a.mgh").code == "NIF-011"


class TestDamagedVoxels:
    def test_checksum_and_length_in_the_gzip_trailer(self, refused):
        block = bytearray(zipped(nifti()))
        for position in (-8, -4):  # CRC32, ISIZE
            changed = bytearray(block)
            changed[position] ^= 1
            error = refused(bytes(changed), "sub-07_T1w.nii.gz")
            assert str(error) == (
                "[NIF-012] sub-07_T1w.nii.gz: voxel data are damaged (gzip checksum mismatch). "
                "Nothing was loaded. Copy the file again from its source; check it with gzip -t."
            )

    def test_a_stream_that_is_nonsense(self, refused):
        block = bytearray(zipped(nifti()))
        block[10:60] = b"\xff" * 50
        assert refused(bytes(block), "a.nii.gz").code == "NIF-012"

    def test_a_damaged_second_stream(self, refused):
        block = zipped(nifti()[:500]) + zipped(nifti()[500:])[:-8] + b"\0" * 8
        assert refused(block, "a.nii.gz").code == "NIF-012"

    def test_every_way_of_cutting_a_compressed_file(self, refused):
        block = zipped(nifti())
        for length in range(3, len(block)):
            assert refused(block[:length], "a.nii.gz").code == "NIF-013"

    def test_a_plain_file_that_lacks_one_byte(self, refused, tmp_path):
        assert refused(nifti()[:-1]).code == "NIF-013"
        assert refused(zipped(nifti()[:-1]), "a.nii.gz").code == "NIF-013"
        (tmp_path / "p.img").write_bytes(voxels(ramp())[:-1])
        error = refused(header(ramp(), magic=b"ni1\0", vox_offset=0)[:348], "p.hdr")
        assert error.code == "NIF-013"
        assert error.subject == "p.img"


class TestSize:
    """The header alone decides; memory is not touched."""

    def test_huge_dimensions_in_a_small_file(self, refused):
        huge = [3, 32767, 32767, 32767, 1, 1, 1, 1]
        tracemalloc.start()
        start = time.perf_counter()
        assert refused(nifti(dim=huge), any_size=True).code == "NIF-013"
        assert refused(zipped(nifti(dim=huge)), "a.nii.gz", any_size=True).code == "NIF-013"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert time.perf_counter() - start < 2
        assert peak < 8 * 2**20

    def test_a_sparse_file_as_large_as_it_says(self, tmp_path, monkeypatch):
        _pretend_memory(monkeypatch, 2**30)
        path = tmp_path / "a.nii"
        dims = [3, 1000, 1000, 1000, 1, 1, 1, 1]
        with path.open("wb") as handle:
            handle.write(nifti(dim=dims, srow=[0.2, 0, 0, 0, 0, 0.2, 0, 0, 0, 0, 0.2, 0])[:352])
            handle.truncate(352 + 2 * 10**9)
        error = refusal(path)
        assert error.code == "NIF-014"
        assert "5.6 GiB" in error.what

    def test_a_gzip_bomb_with_an_honest_header(self, tmp_path, monkeypatch):
        _pretend_memory(monkeypatch, 2**28)
        head = nifti(dim=[3, 512, 512, 512, 1, 1, 1, 1])[:352]
        path = tmp_path / "a.nii.gz"
        path.write_bytes(_bomb(head, 270))
        tracemalloc.start()
        assert refusal(path).code == "NIF-014"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * 2**20

    def test_a_gzip_bomb_behind_a_small_volume(self, tmp_path):
        path = tmp_path / "a.nii.gz"
        path.write_bytes(_bomb(nifti(), 400))
        tracemalloc.start()
        error = refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert error.code == "NIF-014"
        assert peak < 32 * 2**20, "inflating stops soon after the voxels"


def _pretend_memory(monkeypatch, free: int) -> None:
    class Memory:
        available = free

    monkeypatch.setattr("psutil.virtual_memory", Memory)


def _bomb(start: bytes, mebibytes: int) -> bytes:
    machine = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b"\0" * 2**20
    packed = machine.compress(start) + b"".join(machine.compress(zeros) for _ in range(mebibytes))
    return packed + machine.flush()


@pytest.mark.parametrize(
    ("code", "bits", "expected"),
    [
        (128, 24, "NIF-016"), (2304, 32, "NIF-016"),
        (32, 64, "NIF-017"), (1792, 128, "NIF-017"), (2048, 256, "NIF-017"),
        (1536, 128, "NIF-015"), (0, 0, "NIF-015"), (1, 1, "NIF-015"), (2826, 16, "NIF-015"),
    ],
)  # fmt: skip
def test_voxels_that_are_no_intensities(refused, code, bits, expected):
    assert refused(nifti(datatype=code, bitpix=bits)).code == expected


def test_five_dimensions(refused):
    error = refused(nifti(ramp((5, 6, 7, 1, 3))))
    assert error.code == "NIF-018"
    assert "5 × 6 × 7 × 1 × 3" in error.what


def test_the_first_of_several_volumes_is_never_taken_in_silence(refused):
    error = refused(nifti(ramp((5, 6, 7, 20))))
    assert error.code == "NIF-019"
    assert "20 volumes" in error.what
    assert error.remedy == "Choose one with --volume N, counted from 0 (0 to 19)."
    for index in (20, -1):
        assert refused(nifti(ramp((5, 6, 7, 20))), volume=index).code == "NIF-020"
    assert refused(nifti(), volume=1).code == "NIF-020"


class TestGeometry:
    @pytest.mark.parametrize(
        "fields",
        [
            {"srow": [0] * 12},
            {"srow": [math.nan] * 12},
            {"sform_code": 0, "qform_code": 1, "pixdim": [1, 0, 3, 4, 0, 0, 0, 0]},
            {"sform_code": 0, "qform_code": 1, "pixdim": [1, 2, -3, 4, 0, 0, 0, 0]},
            {"sform_code": 0, "qform_code": 1, "pixdim": [1, 2, 3, math.nan, 0, 0, 0, 0]},
            {"sform_code": 0, "qform_code": 1, "pixdim": [1, 2, math.inf, 4, 0, 0, 0, 0]},
            {"sform_code": 0, "qform_code": 1, "quatern": [math.nan, 0, 0]},
            {"sform_code": 0, "qform_code": 1, "quatern": [9, 9, 9]},
            {"sform_code": 0, "qform_code": 1, "qoffset": [math.inf, 0, 0]},
            {"sform_code": 0, "pixdim": [1, 0, 3, 4, 0, 0, 0, 0]},
            {"sform_code": 0, "pixdim": [1, -2, 3, 4, 0, 0, 0, 0]},
            {"sform_code": 1, "srow": [0] * 12, "qform_code": 1, "pixdim": [1] + [0] * 7},
        ],
    )
    def test_no_usable_transform(self, refused, fields):
        assert refused(nifti(**fields)).code == "NIF-021"

    @pytest.mark.parametrize(
        ("quatern", "qfac"),
        [
            ([0, 0, 0], 1),  # RAS beside LAS: a mirror image
            ([0, 0, math.sqrt(0.5)], -1),  # left and right have become front and back
            ([0, 0, 0], -1),  # RAI: turned about y, right has become left
            ([0, 0, 1], 1),  # LPS: the first axis agrees, and yet a mirror image
        ],
    )
    def test_left_and_right_are_not_guessed(self, refused, quatern, qfac):
        block = nifti(qform_code=1, quatern=quatern, pixdim=[qfac, 2, 3, 4, 0, 0, 0, 0])
        error = refused(block)
        assert error.code == "NIF-022"
        assert "--trust sform or --trust qform" in error.remedy

    @pytest.mark.parametrize("step", [1e-3, 0.7, 358])
    def test_an_unusual_field_of_view_is_asked_about(self, refused, step):
        error = refused(nifti(affine=np.diag([step, step, step, 1])))
        assert error.code == "NIF-023"
        assert "--any-size" in error.remedy

    def test_millimetres_declared_as_metres(self, refused):
        assert refused(nifti(xyzt_units=1)).code == "NIF-023"

    def test_a_flat_mgh(self, refused):
        block = bytearray(nib.MGHImage(ramp().astype(np.int32), AFFINE).to_bytes())
        struct.pack_into(">3f", block, 30, 0, 0, 0)
        assert refused(bytes(block), "a.mgh").code == "NIF-021"


@pytest.mark.parametrize("inter", [math.nan, math.inf])
def test_a_damaged_intercept(refused, inter):
    assert refused(nifti(scl_inter=inter)).code == "NIF-024"


def test_more_than_one_per_cent_that_are_no_numbers(refused):
    data = ramp((10, 10, 10), "float32")
    data.ravel()[:11] = np.nan
    error = refused(nifti(data))
    assert error.code == "NIF-025"
    assert "11 of 1,000 voxels (1.10%)" in error.what


def test_an_overflowing_slope_is_seen(refused):
    assert refused(nifti(ramp() + np.int16(1), scl_slope=3e38)).code == "NIF-025"


def test_labels_too_large_to_tell_apart(refused):
    assert refused(nifti(ramp(dtype="int32") + 2**24, intent_code=1002)).code == "NIF-027"


@pytest.mark.parametrize("value", [0, 41])
def test_a_constant_volume_can_be_seen_but_not_scored(tmp_path, value):
    (tmp_path / "flat.nii").write_bytes(nifti(np.full((5, 6, 7), value, np.int16)))
    volume = read_volume(tmp_path / "flat.nii")
    assert volume.data.max() == value
    with pytest.raises(VolumeFileError, match=r"NIF-026.*same value.*neither scored nor used"):
        require_signal(volume)
    require_signal(Volume.from_array(ramp(), AFFINE))


def test_a_series_is_refused_for_the_same_reasons(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti(ramp((5, 6, 7, 2))))[:-9])
    with pytest.raises(VolumeFileError, match="NIF-013"):
        read_series(tmp_path / "a.nii.gz")
