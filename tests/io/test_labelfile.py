"""Labels with their lookup table: the scan's grid, every meaning, and nothing on trust."""

from __future__ import annotations

import dataclasses
import random
import re

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_normative.errors import NormativeError, OutputError, RegionsFileError
from napari_normative.io.labelfile import read_labels, write_labels
from napari_normative.io.lookup import COLUMNS, lookup_table, read_lookup
from napari_normative.io.nifti import read_volume
from napari_normative.io.tables import tsv_bytes
from napari_normative.volume import Volume
from rawnifti import AFFINE, nifti, ramp
from regions import GRIDS, MARKED, SHAPE, assert_same, ends, meaning, regions, seen_by_itk


@pytest.mark.parametrize("name", GRIDS)
def test_three_readers_see_every_corner_and_the_marked_voxel_in_the_same_place(tmp_path, name):
    labels, segments = regions(GRIDS[name])
    path, table = write_labels(tmp_path / "x.nii.gz", labels, segments, labels)
    assert table == tmp_path / "x.tsv"
    found, meanings = read_labels(path, table)
    np.testing.assert_array_equal(found.data, labels.data)
    assert found.source.is_label
    assert_same(meanings, segments)
    index = np.vstack([ends(SHAPE), MARKED])
    places = index @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    image = nib.load(path)
    for affine in (found.affine, image.affine):
        seen = index @ affine[:3, :3].T + affine[:3, 3]
        np.testing.assert_allclose(seen, places, atol=1e-3)
    assert image.get_fdata()[MARKED] == 300
    if name != "sheared":  # ITK has no place for shear in NIfTI: it refuses, or is far off
        np.testing.assert_allclose(seen_by_itk(path, index), places, atol=1e-3)


def test_the_scans_header_gives_transforms_and_codes(tmp_path):
    (tmp_path / "scan.nii").write_bytes(nifti(ramp(SHAPE), sform_code=4))
    scan = read_volume(tmp_path / "scan.nii")
    labels, segments = regions(scan.affine)
    path, _ = write_labels(tmp_path / "x.nii", labels, segments, scan)
    assert nib.load(path).header["sform_code"] == 4
    assert nib.load(path).header["intent_code"] == 1002


def test_what_the_user_chose_for_the_scan_holds_for_its_labels(tmp_path):
    """Sides that disagree stay a question; a small field of view was confirmed with the scan."""
    (tmp_path / "scan.nii").write_bytes(nifti(ramp(SHAPE), qform_code=1, qoffset=AFFINE[:3, 3]))
    scan = read_volume(tmp_path / "scan.nii", trust="qform")
    labels, segments = regions(scan.affine)
    path, table = write_labels(tmp_path / "x.nii", labels, segments, scan)
    with pytest.raises(NormativeError, match="NIF-022"):
        read_labels(path, table)
    np.testing.assert_array_equal(read_labels(path, table, trust="qform")[0].affine, scan.affine)

    labels, segments = regions(np.diag([0.1, 0.1, 0.1, 1.0]))
    path, table = write_labels(tmp_path / "y.nii", labels, segments, labels)
    np.testing.assert_array_equal(read_labels(path, table)[0].data, labels.data)


def test_the_table_says_what_each_value_means():
    _, segments = regions(GRIDS["RAS"])
    lines = tsv_bytes(lookup_table(reversed(segments))).decode().splitlines()
    assert lines[0].split("\t") == list(COLUMNS)
    assert [line.split("\t")[0] for line in lines[1:]] == ["1", "7", "300"]
    _, name, colour, id, decision, label, volume, x, y, z = lines[1].split("\t")
    assert (name, id, decision, label) == ("finding 1", "case-001:c1", "accept", "infarct")
    assert re.fullmatch("#[0-9A-F]{6}", colour)
    assert float(volume) == pytest.approx(3 * 5 * 2 * 1.5 * 2 * 3.25 / 1000)
    # the middle of voxels 1..3, 2..6 and 1..2
    place = [11.125 + 1.5 * 2, -72.5 + 2 * 4, 33.0625 + 3.25 * 1.5]
    np.testing.assert_allclose([float(x), float(y), float(z)], place, atol=1e-3)


def test_cells_that_a_spreadsheet_would_run_are_escaped_and_come_back(tmp_path):
    labels, segments = regions(GRIDS["RAS"])
    evil = [dataclasses.replace(s, name=f"{c}cmd|' /C calc'!A0", label=f"{c}1")
            for s, c in zip(segments, "=+@", strict=True)]  # fmt: skip
    path, table = write_labels(tmp_path / "x.nii", labels, evil, labels)
    cells = [cell for line in table.read_text().splitlines()[1:] for cell in line.split("\t")]
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)
    assert_same(read_labels(path, table)[1], evil)


@given(words=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=3, max_size=3))
def test_every_text_comes_back(tmp_path_factory, words):
    """White space is made plain; an apostrophe before a formula is taken for our own."""
    _, segments = regions(GRIDS["RAS"])
    path = tmp_path_factory.mktemp("t") / "t.tsv"
    spoken = [dataclasses.replace(s, label=w) for s, w in zip(segments, words, strict=True)]
    path.write_bytes(tsv_bytes(lookup_table(spoken)))
    for found, word in zip(read_lookup(path), words, strict=True):
        plain = " ".join(word.split())
        plain = plain[1:] if re.match("'[=+@-]", plain) else plain
        assert found.label == ("" if plain == "n/a" else plain)


def test_values_without_a_row_and_rows_without_voxels(tmp_path):
    labels, segments = regions(GRIDS["RAS"])
    path, table = write_labels(tmp_path / "x.nii.gz", labels, segments, labels)
    assert [meaning(s) for s in read_labels(path)[1]] == [
        (value, "", f"region {value}", "", "") for value in (1, 7, 300)
    ]
    table.write_text("name\tindex\nbackground\t0\nseven\t7\nnowhere\t8\n")
    assert [s.name for s in read_labels(path, table)[1]] == ["region 1", "seven", "region 300"]
    assert [s.name for s in read_lookup(table)] == ["seven", "nowhere"], "0 is the background"


def test_labels_and_segments_that_do_not_fit_are_not_written(tmp_path):
    labels, segments = regions(GRIDS["RAS"])
    one = segments[0]
    for wrong, why in (
        (segments[:2], "no segment describes"),
        ([*segments, dataclasses.replace(one, id="x")], "share"),
        ([*segments, dataclasses.replace(one, value=2)], "share"),
        ([*segments, dataclasses.replace(one, value=0, id="x")], "between"),
        ([*segments, dataclasses.replace(one, value=2**25, id="x")], "between"),
    ):
        with pytest.raises(OutputError, match=f"OUT-030.*{why}"):
            write_labels(tmp_path / "x.nii", labels, wrong, labels)
    half = labels.with_data(labels.data / 2)
    with pytest.raises(OutputError, match="OUT-030"):
        write_labels(tmp_path / "x.nii", half, segments, labels)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_table_and_labels_of_before(tmp_path, monkeypatch):
    labels, segments = regions(GRIDS["RAS"])
    write_labels(tmp_path / "x.nii", labels, segments, labels)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="OUT-002"):
        write_labels(tmp_path / "x.nii", labels.with_data(labels.data * 0), [], labels)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("value", [-1.0, 0.5, 2.0**25])
def test_a_map_is_no_label_volume(tmp_path, value):
    data = np.zeros(SHAPE, np.float32)
    data[MARKED] = value
    (tmp_path / "x.nii").write_bytes(nifti(data))
    with pytest.raises(RegionsFileError, match="IMP-030"):
        read_labels(tmp_path / "x.nii")


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "name\n", "index\tname\n1\n", "index\tname\nx\ta\n", "index\tname\n1\ta\n1\tb\n",
        "index\tname\n1.5\ta\n", "index\tname\n-1\ta\n", "index\tname\n99999999999\ta\n",
        "index\tname\n²\ta\n", "index\tname\tdecision\n1\ta\tmaybe\n", "index\tname\n1\ta\tb\n",
    ],
)  # fmt: skip
def test_tables_that_are_refused(tmp_path, text):
    (tmp_path / "t.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(RegionsFileError, match=r"IMP-031.*t\.tsv"):
        read_lookup(tmp_path / "t.tsv")


def test_tables_from_elsewhere_are_read(tmp_path):
    text = "\ufeffindex\tname\tabbreviation\tmapping\r\n1\tGrey Matter\tGM\t1\r\n"
    (tmp_path / "t.tsv").write_bytes(text.encode())
    assert [meaning(s) for s in read_lookup(tmp_path / "t.tsv")] == [(1, "", "Grey Matter", "", "")]


def test_no_damage_is_anything_but_a_refusal_or_usable_labels(tmp_path):
    labels, segments = regions(GRIDS["oblique"])
    path, table = write_labels(tmp_path / "x.nii.gz", labels, segments, labels)
    volume, text = path.read_bytes(), table.read_bytes()
    dice = random.Random(8)
    refused = 0
    for number in range(400):
        block = bytearray(volume if number % 2 else text)
        if number % 8 > 5:
            del block[dice.randrange(len(block)) :]
        else:
            block[dice.randrange(len(block))] ^= 1 << dice.randrange(8)
        (path if number % 2 else table).write_bytes(block)
        try:
            found, meanings = read_labels(path, table)
        except NormativeError:
            refused += 1
        else:
            np.testing.assert_array_equal(found.data, labels.data)
            assert [s.value for s in meanings] == [1, 7, 300]
        path.write_bytes(volume)
        table.write_bytes(text)
    assert refused > 200


def test_equal_labels_give_equal_bytes(tmp_path):
    labels, segments = regions(GRIDS["PIR"])
    first = write_labels(tmp_path / "a.nii.gz", labels, segments, labels)
    other = Volume(np.asfortranarray(labels.data), labels.affine, labels.source)
    second = write_labels(tmp_path / "b.nii.gz", other, segments[::-1], other)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
