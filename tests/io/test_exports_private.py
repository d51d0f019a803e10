"""Fifty identifiers planted wherever a scan can carry them: none goes out in any export."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

import numpy as np

from napari_normative.io.atomic import replace_files
from napari_normative.io.bids import BidsCase, write_bids
from napari_normative.io.labelfile import write_labels
from napari_normative.io.markups import markups_bytes
from napari_normative.io.nifti import read_volume
from napari_normative.io.segnrrd import write_seg_nrrd
from napari_normative.volume import Volume
from rawnifti import header, ramp, voxels
from regions import GRIDS, MARKED, SHAPE, regions

NAMES = [f"Jane{n:02d}Roe" for n in range(50)]
"""Nine letters each."""
DESCRIPTION, AUXILIARY = NAMES[:8], NAMES[8:10]
INTENT, DATABASE, KIND = NAMES[10:13]
EXTENSIONS, FOLDERS, FILE, FACTS = NAMES[13:33], NAMES[33:40], NAMES[40:42], NAMES[42:]


def scan_of_a_person(root: Path) -> Path:
    """Write a NIfTI file with a name in every field and folder that can hold one."""
    data = ramp(SHAPE)
    notes = [name.encode().ljust(24, b"\0") for name in EXTENSIONS]
    notes[0] = f"PatientName={EXTENSIONS[0]}".encode().ljust(24, b"\0")
    extensions = b"".join(struct.pack("<2i", 32, 6) + note for note in notes)
    head = bytearray(
        header(
            data, GRIDS["oblique"], vox_offset=352 + len(extensions),
            descrip=" ".join(DESCRIPTION).encode(), aux_file=" ".join(AUXILIARY).encode(),
            intent_name=INTENT.encode(),
        )
    )  # fmt: skip
    head[4 : 4 + len(KIND)] = KIND.encode()  # data_type
    head[14 : 14 + len(DATABASE)] = DATABASE.encode()  # db_name
    head[348] = 1
    path = root.joinpath(*FOLDERS, f"{'^'.join(FILE)}.nii.gz")
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(bytes(head) + extensions + voxels(data)))
    return path


def exported(root: Path, scan: Volume) -> Path:
    """Write every format."""
    like, segments = regions(scan.affine)
    labels = scan.with_data(like.data, is_label=True)
    facts: dict[str, object] = {"reader": "reader-1a2b3c4d", "software": "napari-normative 9.9"}
    keys = ("scan", "path", "subject", "operator", "model", "title", "comment", "host")
    facts |= dict(zip(keys, FACTS, strict=True))
    out = root / "out"
    write_labels(out / "case-001.nii.gz", labels, segments, scan)
    write_labels(out / "case-001.mgz", labels, segments, scan)
    write_seg_nrrd(out / "case-001.seg.nrrd", labels, segments)
    replace_files({out / "case-001.mrk.json": markups_bytes(segments)})
    write_bids(out / "bids", [BidsCase("case001", labels, tuple(segments), facts)])
    return out


def plain(block: bytes) -> bytes:
    """A file's bytes, and all that is compressed in it."""
    packed = re.search(rb"(?:\A|\n\n)(\x1f\x8b\x08)", block)  # a gzip file, or behind a header
    return block + gzip.decompress(block[packed.start(1) :]) if packed else block


def test_no_planted_name_goes_out(tmp_path):
    path = scan_of_a_person(tmp_path)
    planted = plain(path.read_bytes()) + str(path).encode() + " ".join(FACTS).encode()
    assert all(name.encode() in planted for name in NAMES)
    scan = read_volume(path)
    np.testing.assert_array_equal(scan.data, ramp(SHAPE))

    out = exported(tmp_path, scan)
    files = [file for file in out.rglob("*") if file.is_file()]
    assert len(files) == 11
    for file in files:
        seen = plain(file.read_bytes()) + str(file.relative_to(out)).encode()
        lowered = seen.lower()
        for name in NAMES:
            for letters in (name.lower().encode(), name.lower().encode("utf-16-le")):
                assert letters not in lowered, (file.name, name)


def test_what_is_searched_is_really_unpacked(tmp_path):
    """The search above would be blind if it did not see the voxels."""
    out = exported(tmp_path, read_volume(scan_of_a_person(tmp_path)))
    marked = np.zeros(SHAPE, np.uint16)
    like, _ = regions(GRIDS["oblique"])
    marked[:] = like.data
    assert marked[MARKED] == 300
    for name in ("case-001.seg.nrrd", "case-001.nii.gz"):
        assert marked.tobytes(order="F") in plain((out / name).read_bytes())
