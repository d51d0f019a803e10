"""What is accepted: values and world positions are right, repairs are said."""

from __future__ import annotations

import gzip
import hashlib
import math

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from napari_normative.io import volume_file as reader
from napari_normative.io.nifti import read_series, read_volume
from rawnifti import AFFINE, header, nifti, ramp, voxels, zipped
from strategies import AXIS_ORDERS, affines


@pytest.fixture
def put(tmp_path):
    """Write bytes under a name and return the path."""

    def write(name: str, block: bytes):
        path = tmp_path / name
        path.write_bytes(block)
        return path

    return write


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "dtype",
    [
        "uint8",
        "int8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "float32",
        "float64",
    ],
)
def test_values_and_positions_of_every_type_in_both_byte_orders(put, dtype, order):
    data = ramp((5, 6, 4), "int16").astype(dtype)
    volume = read_volume(put("a.nii", nifti(data, order=order)))
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.data.dtype == np.float32
    assert volume.source.orientation == "LAS"
    assert volume.source.warnings == ()


def test_int16_extremes_survive(put):
    data = ramp()
    data[0, 0, 0], data[-1, -1, -1] = -32768, 32767
    volume = read_volume(put("a.nii", nifti(data)))
    assert volume.data[0, 0, 0] == -32768
    assert volume.data[-1, -1, -1] == 32767


def test_source_facts(put):
    block = zipped(nifti())
    path = put("sub-07_T1w.nii.gz", block)
    source = read_volume(path).source
    assert source.name == "sub-07_T1w"
    assert source.path == path
    assert source.digest == hashlib.sha256(block).hexdigest()
    assert source.header is not None
    assert not source.is_label


def test_a_text_path_with_letters_of_all_alphabets(tmp_path):
    folder = tmp_path / "Köpfe 頭 🧠"
    folder.mkdir()
    (folder / "Müller-ß_Ω.nii.gz").write_bytes(zipped(nifti()))
    volume = read_volume(str(folder / "Müller-ß_Ω.nii.gz"))
    assert volume.source.name == "Müller-ß_Ω"
    assert volume.data[4, 5, 6] == 209


def test_nifti2_and_mgz_as_nibabel_writes_them(tmp_path):
    data = ramp()
    nib.save(nib.Nifti2Image(data, AFFINE), tmp_path / "two.nii.gz")
    nib.save(nib.MGHImage(data.astype(np.int32), AFFINE), tmp_path / "t.mgz")
    nib.save(nib.MGHImage(data, AFFINE), tmp_path / "t.mgh")
    for name in ("two.nii.gz", "t.mgz", "t.mgh"):
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.data, data)
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
        assert volume.source.warnings == ()


@pytest.mark.parametrize("given_half", ["scan.hdr", "scan.img"])
def test_a_pair_is_read_from_either_half(put, given_half):
    data = ramp()
    head = header(data, magic=b"ni1\x00", vox_offset=16)[:348]
    body = b"\xff" * 16 + voxels(data)
    put("scan.hdr", head)
    put("scan.img", body)
    volume = read_volume(put("x", b"x").with_name(given_half))
    np.testing.assert_array_equal(volume.data, data)
    assert volume.source.name == "scan"
    assert volume.source.digest == hashlib.sha256(head + body).hexdigest()
    assert volume.source.warnings == ()


def test_a_compressed_pair(put):
    data = ramp()
    put("scan.img.gz", gzip.compress(voxels(data)))
    head = gzip.compress(header(data, magic=b"ni1\x00", vox_offset=0))
    volume = read_volume(put("scan.hdr.gz", head))
    np.testing.assert_array_equal(volume.data, data)


class TestScale:
    def test_slope_and_intercept_are_applied_and_rounded_once(self, put):
        slope, inter = np.float32(0.36295640), np.float32(-500.25)
        data = ramp()
        volume = read_volume(put("a.nii", nifti(data, scl_slope=slope, scl_inter=inter)))
        exact = (data.astype(np.float64) * float(slope) + float(inter)).astype(np.float32)
        np.testing.assert_array_equal(volume.data, exact)

    @pytest.mark.parametrize("slope", [0.0, math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("inter", [0.0, 7.0, math.nan])
    def test_no_usable_slope_means_stored_values_and_is_said(self, put, slope, inter):
        volume = read_volume(put("a.nii", nifti(scl_slope=slope, scl_inter=inter)))
        np.testing.assert_array_equal(volume.data, ramp())
        assert any("no intensity scale" in w for w in volume.source.warnings)


class TestSeries:
    def test_trailing_ones_are_squeezed(self, put):
        data = ramp((5, 6, 7, 1, 1))
        assert read_volume(put("a.nii", nifti(data))).shape == (5, 6, 7)

    @pytest.mark.parametrize("pack", [bytes, zipped])
    def test_the_volume_that_was_chosen(self, put, pack):
        data = ramp((5, 6, 7, 3))
        path = put("a.nii", pack(nifti(data)))
        for n in range(3):
            np.testing.assert_array_equal(read_volume(path, volume=n).data, data[..., n])

    def test_a_series_holds_all_volumes_on_one_grid(self, put):
        data = ramp((5, 6, 7, 3))
        values, first = read_series(put("a.nii.gz", zipped(nifti(data))))
        np.testing.assert_array_equal(values, data)
        np.testing.assert_array_equal(first.data, data[..., 0])
        series = read_series(put("a.nii.gz", zipped(nifti(data))))
        np.testing.assert_array_equal(series.volume(2).data, data[..., 2])
        np.testing.assert_array_equal(series.volume(2).affine, AFFINE)

    def test_a_3d_file_is_a_series_of_one(self, put):
        assert read_series(put("a.nii", nifti())).data.shape == (5, 6, 7, 1)

    def test_a_picture_is_one_slice(self, put):
        data = ramp((9, 8))
        block = nifti(data, pixdim=[1, 2, 3, 0, 0, 0, 0, 0], sform_code=0, qform_code=1)
        volume = read_volume(put("a.nii", block))
        assert volume.shape == (9, 8, 1)
        np.testing.assert_array_equal(volume.affine[:3, :3], np.diag([2, 3, 1]))
        assert volume.source.warnings == ()


class TestGeometry:
    def test_48_axis_orders_of_one_object_are_one_object(self, put):
        """The burned-in ramp tells every voxel apart, so equality means no side is swapped."""
        world = ramp((7, 6, 5))
        base = np.diag([2.0, 3.0, 4.0, 1.0])
        base[:3, 3] = -20, 15, 7
        expected = read_volume(put("ras.nii", nifti(world, base)))
        assert expected.orientation == "RAS"
        for matrix in AXIS_ORDERS:
            ornt = nib.orientations.io_orientation(
                np.block([[matrix, np.zeros((3, 1))], [np.zeros(3), 1]])
            )
            # stored so that canonicalising with ``ornt`` gives ``world``
            back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), ornt)
            stored = nib.orientations.apply_orientation(world, back)
            affine = base @ nib.orientations.inv_ornt_aff(back, world.shape)
            volume = read_volume(put("turned.nii", nifti(np.ascontiguousarray(stored), affine)))
            canonical = volume.canonical()
            np.testing.assert_array_equal(canonical.data, world)
            np.testing.assert_array_equal(canonical.affine, base)

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(affine=affines(shear=True))
    def test_sheared_and_oblique_grids_are_taken_as_they_are(self, put, affine):
        volume = read_volume(put("a.nii", nifti(ramp((12, 12, 12)), affine)))
        np.testing.assert_array_equal(volume.affine, affine.astype(np.float32).astype(np.float64))

    def test_qform_alone_places_the_voxels(self, put):
        # 90 degrees about z: b = c = 0, d = sin 45; qfac -1 turns the third axis around
        half = math.sqrt(0.5)
        block = nifti(
            sform_code=0, qform_code=1, pixdim=[-1, 2, 3, 4, 0, 0, 0, 0],
            quatern=[0, 0, half], qoffset=[1, 2, 3],
        )  # fmt: skip
        volume = read_volume(put("a.nii", block))
        expected = [[0, -3, 0, 1], [2, 0, 0, 2], [0, 0, -4, 3], [0, 0, 0, 1]]
        np.testing.assert_allclose(volume.affine, expected, atol=1e-6)
        assert volume.source.warnings == ()

    @pytest.mark.parametrize(("code", "factor", "word"), [(1, 1000, "metres"), (3, 1e-3, "micro")])
    def test_metres_and_micrometres_become_millimetres(self, put, code, factor, word):
        scaled = AFFINE.copy()
        scaled[:3] /= factor
        volume = read_volume(put("a.nii", nifti(affine=scaled, xyzt_units=code)))
        np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
        assert any(word in w for w in volume.source.warnings)

    def test_a_length_unit_nobody_knows_is_taken_for_millimetres(self, put):
        volume = read_volume(put("a.nii", nifti(xyzt_units=5)))
        np.testing.assert_array_equal(volume.affine, AFFINE)
        assert volume.source.warnings == (
            "The length unit (code 5) is unknown; millimetres were assumed.",
        )

    def test_sform_wins_over_a_different_qform_and_the_distance_is_said(self, put):
        # qform: same directions, one corner (here all) 5 mm away
        block = _both(shift=5.0)
        volume = read_volume(put("a.nii", block))
        np.testing.assert_array_equal(volume.affine, AFFINE)
        assert volume.source.warnings == (
            "sform and qform differ by up to 5 mm; the sform was used.",
        )
        chosen = read_volume(put("a.nii", block), trust="qform")
        assert chosen.affine[0, 3] == AFFINE[0, 3] + 5

    def test_a_difference_below_a_tenth_of_a_millimetre_is_not_worth_a_word(self, put):
        assert read_volume(put("a.nii", _both(shift=0.09))).source.warnings == ()
        assert read_volume(put("a.nii", _both(shift=0.11))).source.warnings != ()

    @pytest.mark.parametrize("trust", ["sform", "qform"])
    def test_the_user_decides_about_left_and_right(self, put, trust):
        volume = read_volume(put("a.nii", _both(mirror=True)), trust=trust)
        assert volume.orientation == {"sform": "LAS", "qform": "RAS"}[trust]
        assert any(f"the {trust} was used, as chosen" in w for w in volume.source.warnings)

    def test_no_transform_at_all_is_an_assumption_that_stays_visible(self, put):
        block = nifti(sform_code=0, srow=[0] * 12)
        volume = read_volume(put("a.nii", block))
        assert volume.source.warnings[0].startswith("Orientation assumed")
        assert volume.orientation == "LAS"
        np.testing.assert_array_equal(volume.affine, nib.Nifti1Image.from_bytes(block).affine)

    @pytest.mark.parametrize("size", [0.0, -2.0, math.nan, math.inf])
    def test_damaged_voxel_sizes_do_not_matter_beside_a_good_sform(self, put, size):
        block = nifti(pixdim=[1, size, 3, 4, 0, 0, 0, 0], qform_code=1)
        volume = read_volume(put("a.nii", block))
        np.testing.assert_array_equal(volume.affine, AFFINE)
        assert any(w.startswith("The voxel sizes in the header") for w in volume.source.warnings)

    def test_voxel_sizes_that_do_not_fit_the_sform_are_said(self, put):
        volume = read_volume(put("a.nii", nifti(pixdim=[1, 2, 3.1, 4, 0, 0, 0, 0])))
        assert volume.source.warnings == (
            "The voxel sizes in the header (2 × 3.1 × 4) differ from those of the sform "
            "(2 × 3 × 4); the sform was used.",
        )

    @pytest.mark.parametrize(
        "rows",
        [
            [math.nan] * 12,
            [0.0] * 12,
            [2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 4, 0],
            [2, 0, 0, math.inf, 0, 3, 0, 0, 0, 0, 4, 0],
            [2, 0, 0, 1e9, 0, 3, 0, 0, 0, 0, 4, 0],
            [2, 2, 0, 0, 0, 3e-4, 0, 0, 0, 0, 4, 0],
            [2e7, 0, 0, 0, 0, 3, 0, 0, 0, 0, 4, 0],
            [2e3, 0, 0, 0, 0, 3e-5, 0, 0, 0, 0, 4, 0],
        ],
    )
    def test_a_useless_sform_gives_way_to_the_qform(self, put, rows):
        block = nifti(srow=rows, qform_code=1)
        volume = read_volume(put("a.nii", block))
        np.testing.assert_array_equal(volume.affine, np.diag([2, 3, 4, 1]))
        assert "The sform is not usable; the qform was used instead." in volume.source.warnings

    def test_an_mgh_file_without_directions_says_what_was_assumed(self, put):
        block = bytearray(nib.MGHImage(ramp().astype(np.int32), AFFINE).to_bytes())
        block[28:30] = b"\x00\x00"
        volume = read_volume(put("a.mgh", bytes(block)))
        assert volume.orientation == "LIA"
        assert volume.source.warnings[0].startswith("Orientation assumed")

    @pytest.mark.parametrize("step", [0.01, 600.0])
    def test_an_unusual_size_is_accepted_once_confirmed(self, put, step):
        affine = np.diag([step, step, step, 1])
        volume = read_volume(put("a.nii", nifti(affine=affine)), any_size=True)
        assert volume.spacing_mm[0] == pytest.approx(step)


def _both(shift: float = 0.0, mirror: bool = False) -> bytes:
    """A LAS sform beside a qform that differs as asked."""
    turn = [0, 0, 0] if mirror else [0, 1, 0]  # half a turn about y with qfac -1 is LAS
    qfac = 1 if mirror else -1
    return nifti(
        qform_code=1, quatern=turn, pixdim=[qfac, 2, 3, 4, 0, 0, 0, 0],
        qoffset=[AFFINE[0, 3] + shift, AFFINE[1, 3], AFFINE[2, 3]],
    )  # fmt: skip


class TestContentDecides:
    def test_gzip_under_a_plain_name_and_the_reverse(self, put):
        hidden = read_volume(put("a.nii", zipped(nifti())))
        plain = read_volume(put("b.nii.gz", nifti()))
        np.testing.assert_array_equal(hidden.data, plain.data)
        assert "although its name does not say so" in hidden.source.warnings[0]
        assert "not compressed although its name says so" in plain.source.warnings[0]

    @pytest.mark.parametrize("name", ["a.hdr", "a.img", "a.mgh", "a.dat", "a"])
    def test_one_file_nifti_under_another_name(self, put, name):
        volume = read_volume(put(name, nifti()))
        np.testing.assert_array_equal(volume.data, ramp())
        assert "the name does not say so" in volume.source.warnings[0]

    def test_bytes_behind_the_voxels_are_passed_over_and_counted(self, put):
        for name, block in {
            "a.nii": nifti() + b"x" * 37,
            "b.nii.gz": zipped(nifti() + b"x" * 37),
            "c.nii.gz": zipped(nifti()) + b"x" * 37,
        }.items():
            volume = read_volume(put(name, block))
            np.testing.assert_array_equal(volume.data, ramp())
            assert volume.source.warnings == ("37 bytes behind the voxels were passed over.",)

    def test_zero_padding_behind_a_gzip_stream_is_ordinary(self, put):
        assert read_volume(put("a.nii.gz", zipped(nifti()) + b"\0" * 512)).source.warnings == ()

    def test_a_gzip_file_of_many_streams(self, put):
        block = nifti()
        parts = [block[i : i + 100] for i in range(0, len(block), 100)]
        path = put("a.nii.gz", b"".join(gzip.compress(p) for p in parts))
        np.testing.assert_array_equal(read_volume(path).data, ramp())

    def test_header_extensions_are_stepped_over(self, put):
        block = nifti(vox_offset=384)
        extension = b"\x01\x00\x00\x00" + (28).to_bytes(4, "little") + b"\x06" + b"\x00" * 23
        path = put("a.nii", block[:348] + extension.ljust(36, b"\0") + block[352:])
        np.testing.assert_array_equal(read_volume(path).data, ramp())

    def test_a_voxel_offset_of_zero_means_behind_the_header(self, put):
        np.testing.assert_array_equal(read_volume(put("a.nii", nifti(vox_offset=0))).data, ramp())


class TestNonFinite:
    def test_a_few_are_set_to_zero_and_counted(self, put):
        data = ramp((10, 10, 10), "float32")
        data[3, 4, 5], data[3, 4, 6] = np.nan, -np.inf
        volume = read_volume(put("a.nii", nifti(data)))
        assert np.isfinite(volume.data).all()
        assert volume.data[3, 4, 5] == volume.data[3, 4, 6] == 0
        assert volume.source.warnings == (
            "2 of 1,000 voxels (0.20%) were not numbers or infinite; they were set to 0.",
        )

    def test_values_beyond_float32_count_as_infinite(self, put):
        data = ramp((10, 10, 10), "float64")
        data[0, 0, 0] = 1e300
        assert read_volume(put("a.nii", nifti(data))).data[0, 0, 0] == 0

    def test_exactly_one_per_cent_is_still_accepted(self, put):
        data = ramp((10, 10, 10), "float32")
        data.ravel()[:10] = np.nan
        assert "10 of 1,000" in read_volume(put("a.nii", nifti(data))).source.warnings[0]


class TestLabels:
    @pytest.mark.parametrize("name", ["s_dseg.nii", "lesion-mask.nii", "seg.nii", "x.label.nii"])
    def test_names_that_say_so(self, put, name):
        assert read_volume(put(name, nifti())).source.is_label

    @pytest.mark.parametrize("name", ["s_T1w.nii", "damask.nii", "dseg_T1w.nii"])
    def test_names_that_do_not(self, put, name):
        assert not read_volume(put(name, nifti())).source.is_label

    def test_the_intent_says_so(self, put):
        assert read_volume(put("a.nii", nifti(intent_code=1002))).source.is_label

    def test_fractions_and_scaled_values_are_no_labels(self, put):
        half = ramp(dtype="float32") + np.float32(0.5)
        assert not read_volume(put("a_dseg.nii", nifti(half))).source.is_label
        assert read_volume(put("a_dseg.nii", nifti(half - np.float32(0.5)))).source.is_label
        assert not read_volume(put("a_mask.nii", nifti(scl_slope=2))).source.is_label

    def test_numbers_too_large_to_tell_apart_are_an_image(self, put):
        big = ramp(dtype="int32") + 2**24
        assert not read_volume(put("a_dseg.nii", nifti(big))).source.is_label


def test_memory_is_not_asked_for_on_the_word_of_a_single_volume(put, monkeypatch):
    """Of a compressed series only the wanted volume is kept."""
    kept = []
    window = reader.Window

    def watch(start, stop):
        kept.append(stop - start)
        return window(start, stop)

    monkeypatch.setattr(reader, "Window", watch)
    read_volume(put("a.nii.gz", zipped(nifti(ramp((5, 6, 7, 9))))), volume=4)
    assert kept == [5 * 6 * 7 * 2]
