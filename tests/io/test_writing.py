"""Writing: the grid comes back exactly, nothing private goes out, a failure changes nothing."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
import textwrap

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from napari_normative.errors import GeometryMismatchError, OutputError
from napari_normative.io.nifti import read_volume, write_volume
from napari_normative.volume import Source, Volume
from rawnifti import AFFINE, header, nifti, ramp, voxels
from strategies import affines, turn, volumes

FIELDS = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
    "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip
FLIP = np.array([[-1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
"""Index change of reversing a first axis of five voxels."""
EVERY = ["o.nii", "o.nii.gz", "o.hdr", "o.img", "o.mgz", "o.mgh"]

slow_start = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_bytes(tmp_path, block: bytes, name: str = "in.nii", **options) -> Volume:
    (tmp_path / name).write_bytes(block)
    return read_volume(tmp_path / name, **options)


@pytest.mark.parametrize("name", EVERY)
@slow_start
@given(volume=volumes())
def test_values_and_positions_come_back(tmp_path, name, volume):
    again = read_volume(write_volume(tmp_path / name, volume))
    np.testing.assert_array_equal(again.data, volume.data)
    assert again.same_grid(volume)
    assert not again.source.is_label
    assert again.source.warnings == ()


@pytest.mark.parametrize("name", EVERY)
@slow_start
@given(volume=volumes(labels=True))
def test_labels_come_back_as_labels(tmp_path, name, volume):
    path = write_volume(tmp_path / name.replace("o.", "x_dseg."), volume)
    again = read_volume(path)
    np.testing.assert_array_equal(again.data, volume.data)
    assert again.source.is_label
    largest = volume.data.max()
    kind = np.uint8 if largest < 256 else np.int16 if largest < 32768 else np.int32
    assert nib.load(path).get_data_dtype().newbyteorder("=") == kind


@slow_start
@given(affine=affines(shear=True))
def test_a_sheared_grid_is_kept_by_the_sform_alone(tmp_path, affine):
    volume = Volume.from_array(ramp((12, 12, 12)), affine)
    image = nib.load(write_volume(tmp_path / "o.nii", volume))
    assert image.header["qform_code"] == 0
    assert read_volume(tmp_path / "o.nii").same_grid(volume)


GRIDS = {
    "sform only": {"sform_code": 4},
    "both, different codes": {
        "sform_code": 2, "qform_code": 1, "quatern": [0, 1, 0],
        "pixdim": [-1, 2, 3, 4, 0, 0, 0, 0], "qoffset": [9.1, -8.2, -7.3],
    },
    "qform only, tilted": {
        "sform_code": 0, "srow": [0] * 12, "qform_code": 1, "quatern": [0.1, 0.2, 0.3],
        "qoffset": [1.5, 2.5, 3.5],
    },
    "micrometres": {"xyzt_units": 3, "srow": (AFFINE[:3] * 1000).ravel(),
                    "pixdim": [1, 2000, 3000, 4000, 0, 0, 0, 0]},
    "seconds beside millimetres": {"xyzt_units": 2 | 8},
    "neither": {"sform_code": 0, "srow": [0] * 12},
}  # fmt: skip


class TestSourceGrid:
    """What the source file says about its grid is said again, bit for bit."""

    @pytest.mark.parametrize("case", GRIDS)
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("name", ["o.nii", "o.nii.gz", "o.hdr"])
    def test_transforms_codes_sizes_and_units(self, tmp_path, case, order, name):
        volume = read_bytes(tmp_path, nifti(order=order, **GRIDS[case]))
        result = volume.with_data(volume.data * 2 + 0.5)
        written = nib.load(write_volume(tmp_path / name, result)).header
        for field in FIELDS:
            np.testing.assert_array_equal(written[field], volume.source.header[field], field)
        np.testing.assert_array_equal(written["pixdim"][:4], volume.source.header["pixdim"][:4])
        assert written["xyzt_units"] == int(volume.source.header["xyzt_units"]) & 7
        again = read_volume(tmp_path / name)
        np.testing.assert_array_equal(again.affine, volume.affine)
        np.testing.assert_array_equal(again.data, result.data)

    def test_a_side_the_user_chose_stays_a_question_in_the_result(self, tmp_path):
        block = nifti(qform_code=1, qoffset=AFFINE[:3, 3])
        volume = read_bytes(tmp_path, block, trust="qform")
        written = write_volume(tmp_path / "o.nii", volume)
        again = read_volume(written, trust="qform")
        np.testing.assert_array_equal(again.affine, volume.affine)

    def test_nifti2_stays_nifti2_with_its_double_precision(self, tmp_path):
        affine = AFFINE.copy()
        affine[0, 3] = 1 / 3
        nib.save(nib.Nifti2Image(ramp(), affine), tmp_path / "in.nii")
        written = write_volume(tmp_path / "o.nii", read_volume(tmp_path / "in.nii"))
        assert isinstance(nib.load(written), nib.Nifti2Image)
        np.testing.assert_array_equal(read_volume(written).affine, affine)

    def test_mgh_directions_come_back_bit_for_bit(self, tmp_path):
        affine = np.eye(4)
        affine[:3, :3] = turn(0.1, 0.2, 0.3) * [1, 2, 3]
        nib.save(nib.MGHImage(ramp().astype(np.int32), affine), tmp_path / "in.mgz")
        volume = read_volume(tmp_path / "in.mgz")
        written = nib.load(write_volume(tmp_path / "o.mgz", volume)).header
        for field in ("goodRASFlag", "delta", "Mdc", "Pxyz_c"):
            np.testing.assert_array_equal(written[field], volume.source.header[field])

    def test_another_grid_than_the_sources_is_not_written_under_its_header(self, tmp_path):
        volume = read_bytes(tmp_path, nifti(sform_code=4))
        turned = volume.canonical()
        assert turned.source.header is volume.source.header
        again = read_volume(write_volume(tmp_path / "o.nii", turned))
        np.testing.assert_array_equal(again.affine, turned.affine)
        np.testing.assert_array_equal(again.data, turned.data)
        assert again.source.header["sform_code"] == 1

    @pytest.mark.parametrize("fields", [{"sform_code": 4}, {"sform_code": 0, "srow": [0] * 12}])
    def test_a_part_of_the_volume_stays_where_it_was(self, tmp_path, fields):
        """Without transforms the place follows from the size: then it has to be written."""
        volume = read_bytes(tmp_path, nifti(**fields))
        cropped = Volume(volume.data[:, :, :-1], volume.affine, volume.source)
        again = read_volume(write_volume(tmp_path / "c.nii", cropped))
        assert again.same_grid(cropped)
        turned = Volume(volume.data[::-1], volume.affine @ FLIP, volume.source)
        again = read_volume(write_volume(tmp_path / "t.nii", turned))
        assert again.same_grid(turned)
        assert again.orientation == "RAS"

    @pytest.mark.parametrize("codes", [(0, 1), (0, 0)])
    def test_a_picture_comes_back_as_one_slice(self, tmp_path, codes):
        block = nifti(ramp((9, 8)), pixdim=[-1, 2, 3, 0, 0, 0, 0, 0], srow=[0] * 12,
                      sform_code=codes[0], qform_code=codes[1])  # fmt: skip
        volume = read_bytes(tmp_path, block)
        again = read_volume(write_volume(tmp_path / "o.nii", volume))
        assert again.same_grid(volume)
        np.testing.assert_array_equal(again.data, volume.data)

    def test_a_useless_transform_is_written_as_absent(self, tmp_path):
        volume = read_bytes(tmp_path, nifti(srow=[math.nan] * 12, qform_code=1))
        written = nib.load(write_volume(tmp_path / "o.nii", volume)).header
        assert (written["sform_code"], written["qform_code"]) == (0, 1)
        volume = read_bytes(tmp_path, nifti(pixdim=[1, math.nan, 3, 4, 0, 0, 0, 0], qform_code=1))
        written = nib.load(write_volume(tmp_path / "o.nii", volume)).header
        assert (written["sform_code"], written["qform_code"]) == (1, 0)
        np.testing.assert_array_equal(written["pixdim"][:4], [1, 2, 3, 4])

    def test_like_lends_its_header_to_a_volume_of_the_same_grid(self, tmp_path):
        scan = read_bytes(tmp_path, nifti(sform_code=4))
        bare = Volume.from_array(scan.data, scan.affine)
        written = write_volume(tmp_path / "o.nii", bare, like=scan)
        assert nib.load(written).header["sform_code"] == 4
        moved = Volume.from_array(scan.data, np.diag([2.0, 3, 4, 1]))
        with pytest.raises(GeometryMismatchError):
            write_volume(tmp_path / "p.nii", moved, like=scan)
        assert not (tmp_path / "p.nii").exists()


@pytest.mark.parametrize("name", EVERY)
def test_nothing_private_of_the_source_goes_out(tmp_path, name):
    secret = b"Jane Roe 1970-01-01"
    head = bytearray(header(ramp(), vox_offset=400, descrip=secret, aux_file=secret,
                            intent_name=secret[:16], intent_code=1001))  # fmt: skip
    head[4:32] = secret.ljust(28, b"\0")  # data_type and db_name, unused fields of NIfTI-1
    head[348] = 1
    block = bytes(head) + (48).to_bytes(4, "little") + (6).to_bytes(4, "little") + secret.ljust(40)
    volume = read_bytes(tmp_path, block + voxels(ramp()))
    np.testing.assert_array_equal(volume.data, ramp())
    path = write_volume(tmp_path / name, volume)
    image = nib.load(path)
    everything = image.to_bytes() if name != "o.img" and name != "o.hdr" else b""
    for part in tmp_path.glob("o.*"):
        everything += part.read_bytes()
    for piece in (b"Jane", b"Roe", b"1970"):
        assert piece not in everything
    if not name.startswith("o.mg"):
        assert not image.header.extensions


@pytest.mark.parametrize("name", ["o.nii.gz", "o.mgz"])
def test_equal_volumes_give_equal_bytes(tmp_path, name):
    volume = Volume.from_array(ramp(), AFFINE)
    first = write_volume(tmp_path / name, volume).read_bytes()
    os.utime(tmp_path / name, (1, 1))
    (tmp_path / "other").mkdir()
    second = write_volume(tmp_path / "other" / ("another" + name), volume).read_bytes()
    assert first == second
    assert first[3] == 0, "no file name in the gzip header"
    assert first[4:8] == b"\0\0\0\0", "no time in the gzip header"


def test_memory_order_does_not_matter(tmp_path):
    volume = Volume.from_array(ramp(), AFFINE)
    other = Volume(np.asfortranarray(volume.data), volume.affine, volume.source)
    assert (
        write_volume(tmp_path / "a.nii", volume).read_bytes()
        == write_volume(tmp_path / "b.nii", other).read_bytes()
    )


def test_a_long_axis_takes_nifti2(tmp_path):
    volume = Volume.from_array(np.ones((40000, 1, 1)), np.diag([0.05, 1, 1, 1]))
    assert isinstance(nib.load(write_volume(tmp_path / "o.nii", volume)), nib.Nifti2Image)


ORIENTATIONS = ["RAS", "LAS", "LPS", "PSR", "AIL", "SLA", "IRP", "oblique"]


@pytest.mark.parametrize("name", ["o.nii.gz", "o.hdr"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_another_program_sees_every_corner_in_the_same_place(tmp_path, orientation, name):
    """ITK has its own NIfTI reader and its own world (LPS): left must be left there too."""
    sitk = pytest.importorskip("SimpleITK")
    affine = np.eye(4)
    if orientation == "oblique":
        affine[:3, :3] = turn(0.3, -0.2, 0.1) @ np.diag([-1.0, 1, 1])
    else:
        codes = nib.orientations.axcodes2ornt(orientation)
        affine[:3, :3] = nib.orientations.inv_ornt_aff(codes, (1, 1, 1))[:3, :3]
    affine[:3, :3] *= [1.5, 2, 3.25]
    affine[:3, 3] = 11, -22, 33
    volume = Volume.from_array(ramp((10, 9, 8)), affine)
    image = sitk.ReadImage(str(write_volume(tmp_path / name, volume)))
    assert image.GetSize() == (10, 9, 8)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, volume.data)
    ends = np.array(np.meshgrid((0, 9), (0, 8), (0, 7), indexing="ij")).reshape(3, -1).T
    lps = np.array([image.TransformIndexToPhysicalPoint([int(i) for i in e]) for e in ends])
    np.testing.assert_allclose(lps * [-1, -1, 1], volume.corners_mm(), atol=1e-3)


class TestFailure:
    def test_names_that_cannot_be_written(self, tmp_path):
        with pytest.raises(OutputError, match=r"OUT-001.*\.nii\.gz"):
            write_volume(tmp_path / "o.nrrd", Volume.from_array(ramp(), AFFINE))

    def test_values_that_cannot_be_meant(self, tmp_path):
        data = ramp(dtype="float32")
        half = Volume.from_array(data + np.float32(0.5), AFFINE)
        with pytest.raises(OutputError, match=r"OUT-004.*between whole numbers"):
            write_volume(tmp_path / "o.nii", half.with_data(half.data, is_label=True))
        big = half.with_data(data * 0 + np.float32(2**31), is_label=True)
        with pytest.raises(OutputError, match=r"OUT-004.*too large"):
            write_volume(tmp_path / "o.nii", big)
        data[1, 2, 3] = np.nan
        with pytest.raises(OutputError, match=r"OUT-003"):
            write_volume(tmp_path / "o.nii", Volume.from_array(data, AFFINE))
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(OutputError, match=r"OUT-002.*o\.nii: .*(Not a directory|File exists)"):
            write_volume(tmp_path / "file" / "o.nii", Volume.from_array(ramp(), AFFINE))

    @pytest.mark.skipif(sys.platform == "win32", reason="folder permissions are POSIX")
    def test_a_read_only_folder(self, tmp_path):
        tmp_path.chmod(0o500)
        volume, user = Volume.from_array(ramp(), AFFINE), os.geteuid()
        try:
            if user == 0:  # root may write anywhere
                os.seteuid(65534)
            with pytest.raises(OutputError, match=r"OUT-002.*Permission"):
                write_volume(tmp_path / "o.nii", volume)
        finally:
            os.seteuid(user)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(sys.platform == "win32", reason="uses a POSIX limit on file size")
    @pytest.mark.parametrize("name", ["o.nii", "o.hdr"])
    def test_a_full_disk_leaves_the_old_result_and_no_rubbish(self, tmp_path, name):
        """The kernel refuses every byte after the 600th, as a full disk does."""
        old = write_volume(tmp_path / name, Volume.from_array(ramp(), AFFINE))
        before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
        script = f"""
            import resource, numpy as np
            from napari_normative.errors import OutputError
            from napari_normative.io.nifti import write_volume
            from napari_normative.volume import Volume
            volume = Volume.from_array(np.ones((9, 9, 9)), np.eye(4))
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, resource.RLIM_INFINITY))
            try:
                write_volume({str(old)!r}, volume)
            except OutputError as error:
                print(error)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
        )
        assert done.stdout.startswith("[OUT-002]"), done.stderr
        assert "File too large" in done.stdout
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before

    def test_an_interruption_leaves_no_rubbish(self, tmp_path, monkeypatch):
        def interrupt(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_volume(tmp_path / "o.nii", Volume.from_array(ramp(), AFFINE))
        assert list(tmp_path.iterdir()) == []

    def test_a_rename_that_fails_leaves_no_rubbish(self, tmp_path):
        (tmp_path / "o.nii").mkdir()
        with pytest.raises(OutputError, match=r"OUT-002"):
            write_volume(tmp_path / "o.nii", Volume.from_array(ramp(), AFFINE))
        assert [p.name for p in tmp_path.iterdir()] == ["o.nii"]

    @pytest.mark.skipif(sys.platform == "win32", reason="permission bits are POSIX")
    def test_files_get_the_permissions_new_files_get(self, tmp_path):
        (tmp_path / "ordinary").write_bytes(b"")
        written = write_volume(tmp_path / "o.nii", Volume.from_array(ramp(), AFFINE))
        assert written.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_label_flag_alone_makes_no_label_of_the_source(tmp_path):
    volume = Volume.from_array(ramp(), AFFINE)
    marked = dataclasses.replace(volume, source=Source(name="m", is_label=True))
    assert read_volume(write_volume(tmp_path / "m.nii.gz", marked)).source.is_label
