"""Points for Slicer: LPS signs, one point for each region, and no file on trust."""

from __future__ import annotations

import dataclasses
import json
import os
import random

import numpy as np
import pytest

from napari_normative.core.segments import Segment
from napari_normative.errors import RegionsFileError
from napari_normative.io.markups import markups_bytes, read_markups
from regions import GRIDS, regions

HERE = Segment(1, "c1", "finding 1", "accept", "infarct", 1.5, (10.0, -20.0, 30.0))


def written(tmp_path, content) -> object:
    path = tmp_path / "x.mrk.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_what_lies_to_the_right_and_behind_has_a_negative_x_and_a_positive_y():
    point = json.loads(markups_bytes([HERE]))["markups"][0]["controlPoints"][0]
    assert point["position"] == [-10, 20, 30]
    assert (point["id"], point["label"]) == ("c1", "finding 1")
    assert point["description"] == "accept, infarct"


def test_the_keys_that_slicer_looks_for():
    record = json.loads(markups_bytes([HERE]))
    assert record["@schema"].endswith("/Resources/Schema/markups-schema-v1.0.3.json#")
    assert record["notice"] == "Research use only, not for diagnosis."
    (markup,) = record["markups"]
    assert (markup["type"], markup["coordinateSystem"], markup["coordinateUnits"]) == (
        "Fiducial", "LPS", "mm",
    )  # fmt: skip
    (point,) = markup["controlPoints"]
    assert len(point["orientation"]) == 9
    assert point["positionStatus"] == "defined"


@pytest.mark.parametrize("name", GRIDS)
def test_points_come_back_at_the_centroids(tmp_path, name):
    _, segments = regions(GRIDS[name])
    points = read_markups(written(tmp_path, markups_bytes(segments[::-1])))
    assert [(p.id, p.label) for p in points] == [(s.id, s.name) for s in segments]
    for point, segment in zip(points, segments, strict=True):
        np.testing.assert_allclose(point.position_mm, segment.centroid_mm, atol=1e-9)


def test_no_point_and_a_region_without_an_id(tmp_path):
    assert read_markups(written(tmp_path, markups_bytes([]))) == ()
    plain = dataclasses.replace(HERE, id="", decision="", label="")
    (point,) = read_markups(written(tmp_path, markups_bytes([plain])))
    assert (point.id, point.description) == ("1", "")


def one(tmp_path, **changes) -> object:
    """A file as Slicer writes it, with a change."""
    point = {"id": "1", "label": "F-1", "position": [1.0, 2.0, 3.0], "positionStatus": "defined"}
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [point]}
    point.update({k: v for k, v in changes.items() if k.startswith("position")})
    markup.update({k: v for k, v in changes.items() if k.startswith("c")})
    return written(tmp_path, {"@schema": "…v1.0.0.json#", "markups": [markup]})


def test_both_systems_and_the_default(tmp_path):
    for system, wanted in (("LPS", (-1, -2, 3)), ("RAS", (1, 2, 3))):
        assert read_markups(one(tmp_path, coordinateSystem=system))[0].position_mm == wanted
    path = written(tmp_path, {"markups": [{"controlPoints": [{"position": [1, 2, 3]}]}]})
    assert read_markups(path)[0].position_mm == (-1, -2, 3)
    assert read_markups(one(tmp_path, coordinateUnits=["mm", "UCUM", "millimeter"]))


@pytest.mark.parametrize("system", ["LAS", "lps", "", None, 0, ["LPS"], {"LPS": 1}])
def test_other_systems_are_refused(tmp_path, system):
    with pytest.raises(RegionsFileError, match="IMP-021"):
        read_markups(one(tmp_path, coordinateSystem=system))


@pytest.mark.parametrize("unit", ["um", "", ["um", "UCUM", "micrometre"], None, 3, []])
def test_other_units_are_refused(tmp_path, unit):
    with pytest.raises(RegionsFileError, match="IMP-021"):
        read_markups(one(tmp_path, coordinateUnits=unit))


@pytest.mark.parametrize(
    "position",
    [
        None, 1, [1, 2], [1, 2, 3, 4], [1, 2, "3"], [1, 2, None], [1, 2, True], [1, 2, 2e6],
        [1, 2, float("nan")], [1, 2, float("inf")], [1, 2, -(10**400)],
    ],
)  # fmt: skip
def test_positions_that_cannot_be(tmp_path, position):
    with pytest.raises(RegionsFileError, match="IMP-022"):
        read_markups(one(tmp_path, position=position))


@pytest.mark.parametrize("status", ["undefined", "preview", "missing"])
def test_points_that_were_not_placed_are_left_out(tmp_path, status):
    assert read_markups(one(tmp_path, positionStatus=status, position=None)) == ()


@pytest.mark.parametrize(
    "block",
    [
        b"", b"[]", b"3", b"null", b'{"markups": {}}', b'{"markups": [1]}', b'{"markups": [{}]}',
        b'{"markups": [{"controlPoints": [[]]}]}', b"\xff\xfe{}", b"[" * 100_000,
        b'{"markups": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_other_content_is_refused(tmp_path, block):
    with pytest.raises(RegionsFileError, match="IMP-020"):
        read_markups(written(tmp_path, block))


def test_files_that_cannot_be_read(tmp_path):
    names = ["missing", ".", "nul\0"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        names.append("pipe")
    for name in names:
        with pytest.raises(RegionsFileError, match="IMP-001"):
            read_markups(tmp_path / name)
    with (tmp_path / "huge").open("wb") as handle:
        handle.truncate(2**24 + 1)
    with pytest.raises(RegionsFileError, match="IMP-002"):
        read_markups(tmp_path / "huge")


def test_damage_gives_a_refusal_or_points(tmp_path):
    _, segments = regions(GRIDS["oblique"])
    block = markups_bytes(segments)
    dice = random.Random(9)
    refused = 0
    for number in range(400):
        damaged = bytearray(block)
        if number % 4:
            damaged[dice.randrange(len(block))] ^= 1 << dice.randrange(8)
        else:
            del damaged[dice.randrange(len(block) - 1) :]
        try:
            points = read_markups(written(tmp_path, bytes(damaged)))
        except RegionsFileError:
            refused += 1
        else:
            assert len(points) <= 3
            assert np.isfinite([p.position_mm for p in points]).all()
    assert refused > 150
