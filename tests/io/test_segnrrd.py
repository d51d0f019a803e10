"""Segmentations for Slicer: exact places, Slicer's own files, and no header on trust."""

from __future__ import annotations

import dataclasses
import gzip
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from napari_normative.core.grid import on_grid
from napari_normative.errors import OutputError, RegionsFileError
from napari_normative.io.nrrd import read_nrrd
from napari_normative.io.segnrrd import read_seg_nrrd, write_seg_nrrd
from napari_normative.volume import Volume
from regions import GRIDS, MARKED, SHAPE, assert_same, ends, meaning, regions, seen_by_itk
from strategies import volumes

EXACT = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("name", GRIDS)
def test_itk_and_we_see_every_corner_and_the_marked_voxel_in_the_same_place(tmp_path, name):
    sitk = pytest.importorskip("SimpleITK")
    labels, segments = regions(GRIDS[name])
    path = write_seg_nrrd(tmp_path / "x.seg.nrrd", labels, segments)
    found, meanings = read_seg_nrrd(path)
    np.testing.assert_array_equal(found.data, labels.data)
    np.testing.assert_array_equal(found.affine, labels.affine)
    assert found.source.is_label
    assert_same(meanings, segments)
    index = np.vstack([ends(SHAPE), MARKED])
    places = index @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    np.testing.assert_allclose(seen_by_itk(path, index), places, atol=1e-3)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, labels.data)
    assert image.GetPixelIDValue() == sitk.sitkUInt16
    assert [image.GetMetaData(f"Segment{n}_Name") for n in range(3)] == [s.name for s in segments]


@EXACT
@given(volume=volumes(labels=True, shear=True))
def test_any_grid_comes_back_to_the_last_digit(tmp_path, volume):
    _, segments = regions(volume.affine)
    one = dataclasses.replace(segments[0], value=1)
    kinds = [dataclasses.replace(one, value=int(v), id=str(v)) for v in set(volume.data.flat) - {0}]
    found, meanings = read_seg_nrrd(write_seg_nrrd(tmp_path / "x.seg.nrrd", volume, kinds))
    np.testing.assert_array_equal(found.data, volume.data)
    np.testing.assert_array_equal(found.affine, volume.affine)
    assert {s.id for s in meanings} == {s.id for s in kinds}


def test_the_header_that_slicer_looks_for(tmp_path):
    labels, segments = regions(GRIDS["RAS"])
    path = write_seg_nrrd(tmp_path / "x.seg.nrrd", labels, segments)
    text = path.read_bytes().split(b"\n\n")[0].decode().split("\n")
    assert text[0] == "NRRD0004"
    assert text[1] == "# Research use only, not for diagnosis."
    assert "space: left-posterior-superior" in text
    assert "space directions: (-1.5,0.0,0.0) (0.0,-2.0,0.0) (0.0,0.0,3.25)" in text
    assert "space origin: (-11.125,72.5,33.0625)" in text
    notes = read_nrrd(path).notes
    assert notes["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    assert notes["Segmentation_MasterRepresentation"] == "Binary labelmap"
    for number, segment in enumerate(segments):
        note = {k.split("_", 1)[1]: v for k, v in notes.items() if k.startswith(f"Segment{number}")}
        assert (note["ID"], note["Name"]) == (segment.id, segment.name)
        assert (note["LabelValue"], note["Layer"]) == (str(segment.value), "0")
        # Slicer cuts all segments of a layer to the extent of the first
        assert note["Extent"] == "0 11 0 9 0 8"
        colour = [float(c) for c in note["Color"].split()]
        np.testing.assert_allclose(np.multiply(colour, 255), segment.colour, atol=1e-3)
    assert notes["Segment0_Tags"] == (
        "napari-normative.decision:accept|napari-normative.label:infarct|"
    )
    assert notes["Segment2_Tags"].count("|") == 2, "no separator of tags inside a tag"


def test_a_line_break_in_a_name_adds_no_line_to_the_header(tmp_path):
    labels, segments = regions(GRIDS["RAS"])
    evil = dataclasses.replace(segments[0], name="a\ndata file: /etc/passwd\n\nb \\n")
    path = write_seg_nrrd(tmp_path / "x.seg.nrrd", labels, [evil, *segments[1:]])
    assert read_seg_nrrd(path)[1][0].name == "a data file: /etc/passwd b \\n"


@pytest.mark.parametrize("last", [255, 256, 65535, 65536, 2**24])
def test_the_smallest_type_that_holds_the_values(tmp_path, last):
    labels, segments = regions(GRIDS["RAS"])
    data = np.where(labels.data == 300, last, labels.data)
    path = write_seg_nrrd(
        tmp_path / "x.seg.nrrd",
        labels.with_data(data),
        [*segments[:2], dataclasses.replace(segments[2], value=last)],
    )
    kind = "uint8" if last < 256 else "uint16" if last < 65536 else "int32"
    assert read_nrrd(path).layers.dtype == kind
    np.testing.assert_array_equal(read_seg_nrrd(path)[0].data, data)


def test_no_region_at_all(tmp_path):
    labels, _ = regions(GRIDS["RAS"])
    path = write_seg_nrrd(tmp_path / "x.seg.nrrd", labels.with_data(labels.data * 0), [])
    found, meanings = read_seg_nrrd(path)
    assert not found.data.any()
    assert meanings == ()


def test_what_is_not_written(tmp_path):
    labels, segments = regions(GRIDS["RAS"])
    with pytest.raises(OutputError, match=r"OUT-001.*\.seg\.nrrd"):
        write_seg_nrrd(tmp_path / "x.nrrd", labels, segments)
    with pytest.raises(OutputError, match="OUT-030"):
        write_seg_nrrd(tmp_path / "x.seg.nrrd", labels, segments[1:])
    assert list(tmp_path.iterdir()) == []


def test_equal_labels_give_equal_bytes(tmp_path):
    labels, segments = regions(GRIDS["PIR"])
    first = write_seg_nrrd(tmp_path / "a.seg.nrrd", labels, segments)
    other = Volume(np.asfortranarray(labels.data), labels.affine, labels.source)
    second = write_seg_nrrd(tmp_path / "b.seg.nrrd", other, segments[::-1])
    assert first.read_bytes() == second.read_bytes()


FIELDS = {
    "type": "unsigned char",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 3 2",
    "space directions": "(-1,0,0) (0,-2,0) (0,0,3)",
    "kinds": "domain domain domain",
    "encoding": "raw",
    "space origin": "(-10,20,30)",
}


def stored(tmp_path, data: np.ndarray, notes: dict[str, str] | None = None, **fields: str):
    """A file as Slicer writes it, byte by byte; ``None`` takes a field away."""
    said = {**FIELDS, **{key.replace("_", " "): value for key, value in fields.items()}}
    lines = ["NRRD0004", "# Complete NRRD file format specification at:"]
    lines += [f"{key}: {value}" for key, value in said.items() if value is not None]
    lines += [f"{key}:={value}" for key, value in (notes or {}).items()]
    path = tmp_path / "slicer.seg.nrrd"
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + data.tobytes(order="F"))
    return path


ONE = np.zeros((4, 3, 2), np.uint8)
ONE[1, 2, 1], ONE[3, 0, 0] = 1, 2
LAYERS = {"dimension": "4", "sizes": "2 4 3 2", "kinds": "list domain domain domain",
          "space_directions": "none (-1,0,0) (0,-2,0) (0,0,3)"}  # fmt: skip


class TestFilesOfSlicer:
    def test_a_plain_label_map(self, tmp_path):
        labels, meanings = read_seg_nrrd(stored(tmp_path, ONE))
        np.testing.assert_array_equal(labels.data, ONE)
        assert labels.orientation == "RAS"
        np.testing.assert_allclose(meanings[0].centroid_mm, [10 + 1, -20 + 4, 30 + 3])
        assert [meaning(s) for s in meanings] == [
            (1, "", "region 1", "", ""), (2, "", "region 2", "", ""),
        ]  # fmt: skip

    @pytest.mark.parametrize("space", ["RAS", "right-anterior-superior", "LAS", "LPS"])
    def test_other_spaces(self, tmp_path, space):
        labels, _ = read_seg_nrrd(stored(tmp_path, ONE, space=space))
        signs = {"L": -1, "R": 1, "P": -1, "A": 1}
        x, y = (signs[c] for c in ("RA" if space.startswith("right") else space)[:2])
        np.testing.assert_array_equal(labels.affine[:3, 3], [-10 * x, 20 * y, 30])
        np.testing.assert_array_equal(np.diag(labels.affine), [-x, -2 * y, 3, 1])

    @pytest.mark.parametrize(
        ("kind", "words"), [(">i2", "short"), ("<u4", "unsigned int"), (">i8", "long long int")]
    )
    def test_byte_orders_and_types(self, tmp_path, kind, words):
        endian = "big" if kind[0] == ">" else "little"
        path = stored(tmp_path, ONE.astype(kind), type=words, endian=endian)
        np.testing.assert_array_equal(read_seg_nrrd(path)[0].data, ONE)

    def test_dos_line_ends_and_gzip(self, tmp_path):
        path = stored(tmp_path, np.zeros(0), encoding="gzip")
        packed = gzip.compress(ONE.tobytes(order="F"), mtime=0)
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + packed)
        np.testing.assert_array_equal(read_seg_nrrd(path)[0].data, ONE)

    def test_layers_are_merged_and_a_value_that_two_use_is_given_anew(self, tmp_path):
        layers = np.zeros((2, 4, 3, 2), np.uint8)
        layers[0] = ONE
        layers[1, 0, 0, 0], layers[1, 0, 1, 0] = 1, 9
        notes = {
            "Segment0_ID": "a", "Segment0_Layer": "0", "Segment0_LabelValue": "1",
            "Segment1_ID": "b", "Segment1_Layer": "0", "Segment1_LabelValue": "2",
            "Segment2_ID": "c", "Segment2_Layer": "1", "Segment2_LabelValue": "1",
            "Segment2_Name": "C", "Segment2_Tags": "TerminologyEntry:x~y|odd|napari-normative."
            "decision:perhaps|napari-normative.label:50%25|",
        }  # fmt: skip
        labels, meanings = read_seg_nrrd(stored(tmp_path, layers, notes, **LAYERS))
        assert [meaning(s) for s in meanings] == [
            (1, "a", "region 1", "", ""), (2, "b", "region 2", "", ""),
            (3, "c", "C", "", "50%"), (9, "", "region 9", "", ""),
        ]  # fmt: skip
        assert labels.data[0, 0, 0] == 3
        assert labels.data[1, 2, 1] == 1
        assert labels.data[0, 1, 0] == 9

    def test_old_files_have_a_layer_for_each_segment_and_no_values(self, tmp_path):
        layers = np.zeros((4, 3, 2, 2), np.uint8)
        layers[..., 0], layers[..., 1] = ONE == 1, ONE == 2
        path = stored(
            tmp_path, layers, {"Segment0_ID": "a", "Segment1_ID": "b"},
            dimension="4", sizes="4 3 2 2", space_directions=f"{FIELDS['space directions']} none",
        )  # fmt: skip
        labels, meanings = read_seg_nrrd(path)
        np.testing.assert_array_equal(labels.data, ONE)
        assert [(s.value, s.id) for s in meanings] == [(1, "a"), (2, "b")]

    def test_segments_that_overlap_are_refused_by_name(self, tmp_path):
        layers = np.stack([ONE, ONE])
        notes = {"Segment0_Name": "left", "Segment1_Name": "right"}
        with pytest.raises(RegionsFileError, match=r"IMP-017.*left and right overlap in 1 voxel"):
            read_seg_nrrd(stored(tmp_path, layers * (layers == 1), notes, **LAYERS))

    def test_an_erased_segment_is_left_out(self, tmp_path):
        notes = {"Segment0_ID": "a", "Segment1_ID": "gone", "Segment1_LabelValue": "7"}
        _, meanings = read_seg_nrrd(stored(tmp_path, ONE, notes))
        assert [s.id for s in meanings] == ["a", ""]

    @pytest.mark.parametrize(
        "notes",
        [
            {"Segment0_Layer": "1"},
            {"Segment0_Layer": "-1"},
            {"Segment0_LabelValue": "0"},
            {"Segment0_LabelValue": "99999999"},
            {"Segment0_LabelValue": "one"},
            {"Segment0_LabelValue": "2", "Segment1_LabelValue": "2"},
            {"Segment0_ID": "a", "Segment1_ID": "a", "Segment1_LabelValue": "2"},
        ],
    )
    def test_contradictions(self, tmp_path, notes):
        with pytest.raises(RegionsFileError, match="IMP-016"):
            read_seg_nrrd(stored(tmp_path, ONE, notes))

    @pytest.mark.parametrize("value", [-1, 2**25])
    def test_values_that_are_no_labels(self, tmp_path, value):
        data = ONE.astype("<i4")
        data[0, 0, 0] = value
        with pytest.raises(RegionsFileError, match="IMP-016"):
            read_seg_nrrd(stored(tmp_path, data, type="int", endian="little"))

    @pytest.mark.parametrize("name", GRIDS)
    def test_an_edit_that_slicer_cropped_and_itk_wrote_is_put_back(self, tmp_path, name):
        sitk = pytest.importorskip("SimpleITK")
        labels, segments = regions(GRIDS[name])
        image = sitk.ReadImage(str(write_seg_nrrd(tmp_path / "x.seg.nrrd", labels, segments)))
        part = image[1:11, 1:7, 1:8]
        for key in image.GetMetaDataKeys():
            part.SetMetaData(key, image.GetMetaData(key))
        sitk.WriteImage(part, str(tmp_path / "y.seg.nrrd"), useCompression=True)
        found, meanings = read_seg_nrrd(tmp_path / "y.seg.nrrd")
        assert found.shape == (10, 6, 7)
        np.testing.assert_array_equal(on_grid(found, labels).data, labels.data)
        assert_same(meanings, segments)


class TestRefusals:
    @pytest.mark.parametrize("field", ["data file", "datafile", "Data File"])
    @pytest.mark.parametrize("name", ["x.raw", "../../etc/passwd", "LIST", "%03d.raw 1 9 1"])
    def test_voxels_in_other_files_are_not_followed(self, tmp_path, field, name):
        (tmp_path / "x.raw").write_bytes(ONE.tobytes())
        with pytest.raises(RegionsFileError, match="IMP-011"):
            read_seg_nrrd(stored(tmp_path, np.zeros(0), **{field: name}))

    @pytest.mark.parametrize(
        ("code", "fields"),
        [
            ("IMP-010", {"dimension": "4"}),
            ("IMP-010", {"sizes": "4 3 0"}),
            ("IMP-010", {"sizes": "4 3 -2"}),
            ("IMP-010", {"sizes": "4 3 2.0"}),
            ("IMP-010", {"sizes": None}),
            ("IMP-010", {"type": "short"}),  # no order of bytes
            ("IMP-012", {"type": "float"}),
            ("IMP-012", {"type": "block"}),
            ("IMP-012", {"dimension": "2", "sizes": "12 2"}),
            ("IMP-012", {"encoding": "ascii"}),
            ("IMP-012", {"encoding": "bzip2"}),
            ("IMP-012", {"byte_skip": "-1"}),
            ("IMP-012", {"line skip": "1"}),
            ("IMP-013", {"space": None}),
            ("IMP-013", {"space": "scanner-xyz"}),
            ("IMP-013", {"space_origin": None}),
            ("IMP-013", {"space_origin": "(nan,0,0)"}),
            ("IMP-013", {"space_origin": "(1e300,0,0)"}),
            ("IMP-013", {"space_origin": "(0,0)"}),
            ("IMP-013", {"space_directions": None}),
            ("IMP-013", {"space_directions": "(1,0,0) (0,1,0)"}),
            ("IMP-013", {"space_directions": "(1,0,0) (0,1,0) none"}),
            ("IMP-013", {"space_directions": "(1,0,0) (2,0,0) (0,0,1)"}),
            ("IMP-013", {"space_directions": "(1e300,0,0) (0,1e300,0) (0,0,1)"}),
            ("IMP-013", {"space_units": '"mm" "mm" "um"'}),
            ("IMP-014", {"sizes": "4 3 3"}),
            ("IMP-014", {"sizes": "4 3 1"}),
            ("IMP-014", {"encoding": "gzip"}),
        ],
    )
    def test_headers(self, tmp_path, code, fields):
        with pytest.raises(RegionsFileError, match=code):
            read_seg_nrrd(stored(tmp_path, ONE, **fields))

    @pytest.mark.parametrize(
        "block", [b"", b"NRRD0004\n", b"NRRD0009\ntype: int\n\n", b"\0" * 999, b"NRRD0004\nx\n\n"]
    )
    def test_other_content(self, tmp_path, block):
        (tmp_path / "x.seg.nrrd").write_bytes(block)
        with pytest.raises(RegionsFileError, match="IMP-010"):
            read_seg_nrrd(tmp_path / "x.seg.nrrd")

    def test_a_field_that_is_said_twice(self, tmp_path):
        with pytest.raises(RegionsFileError, match=r"IMP-010.*twice"):
            read_seg_nrrd(stored(tmp_path, ONE, Sizes="4 3 2"))

    @pytest.mark.parametrize("encoding", ["raw", "gzip"])
    @pytest.mark.parametrize("sizes", ["100000 100000 100000", "999999999 999999999 999999999"])
    def test_sizes_that_the_file_cannot_hold_are_refused_before_anything_is_allocated(
        self, tmp_path, sizes, encoding
    ):
        path = stored(tmp_path, ONE, sizes=sizes, encoding=encoding)
        assert peak_of(path, "IMP-014") < 2**20

    def test_a_stream_that_inflates_to_more_than_is_described_is_not_inflated(self, tmp_path):
        path = stored(tmp_path, np.zeros(0), encoding="gzip")
        path.write_bytes(path.read_bytes() + gzip.compress(bytes(2**27), mtime=0))
        assert peak_of(path, "IMP-014") < 2**20

    @pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b[:-8], lambda b: b + b"x"])
    def test_a_stream_that_lacks_its_checksum_or_goes_on(self, tmp_path, change):
        """All voxels are there: only the end of the stream tells."""
        path = stored(tmp_path, np.zeros(0), encoding="gzip")
        packed = gzip.compress(ONE.tobytes(order="F"), mtime=0)
        path.write_bytes(path.read_bytes() + change(packed))
        with pytest.raises(RegionsFileError, match=r"IMP-014.*end"):
            read_seg_nrrd(path)

    def test_more_than_the_free_memory_is_refused(self, tmp_path, monkeypatch):
        path = stored(tmp_path, np.zeros((40, 30, 20), np.uint8), sizes="40 30 20")

        class Scarce:
            available = 60_000

        monkeypatch.setattr("psutil.virtual_memory", Scarce)
        with pytest.raises(RegionsFileError, match=r"IMP-002"):
            read_seg_nrrd(path)
        Scarce.available = 100_000
        with pytest.raises(RegionsFileError, match=r"IMP-015"):
            read_seg_nrrd(path)


def peak_of(path, code: str) -> int:
    """Return the most memory that a refusal took, bytes."""
    tracemalloc.start()
    with pytest.raises(RegionsFileError, match=code):
        read_seg_nrrd(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_no_damage_to_the_voxels_is_silent_and_none_to_the_header_is_a_crash(tmp_path):
    """The header has no checksum: a digit that changed gives another grid, which the scan's
    own then refuses."""
    labels, segments = regions(GRIDS["oblique"])
    path = write_seg_nrrd(tmp_path / "x.seg.nrrd", labels, segments)
    block = path.read_bytes()
    start = block.index(b"\n\n") + 2
    dice = random.Random(10)
    refused = [0, 0]
    for number in range(600):
        damaged = bytearray(block)
        if number % 4:
            at = dice.randrange(start, len(block)) if number % 2 else dice.randrange(start)
            damaged[at] ^= 1 << dice.randrange(8)
        else:
            at = dice.randrange(len(block))
            del damaged[at:]
        path.write_bytes(damaged)
        try:
            found, meanings = read_seg_nrrd(path)
        except RegionsFileError:
            refused[at >= start] += 1
            continue
        assert np.isfinite(found.affine).all()
        assert [s.value for s in meanings] == sorted(set(found.data.flat) - {0})
        if at >= start:
            np.testing.assert_array_equal(found.data, labels.data)
            np.testing.assert_array_equal(found.affine, labels.affine)
            assert_same(meanings, segments)
    assert refused[0] > 100
    assert refused[1] > 200
