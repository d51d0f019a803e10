"""NRRD files with label values: the part of the format that segmentations need.

A small reader of our own, because others pass over a wrong gzip checksum, follow a header to
data in other files, and believe the sizes it gives.

References
----------
.. [1] Definition of NRRD File Format, https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_normative.errors import RegionsFileError
from napari_normative.io.gzipped import MAX_RATIO, gzip_bytes
from napari_normative.io.imported import file_bytes
from napari_normative.io.transforms import is_usable
from napari_normative.volume import Affine

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("unsigned char", "uchar", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("unsigned short", "ushort", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("unsigned int", "uint", "uint32", "uint32_t"),
    "i8": ("long long", "longlong", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("unsigned long long", "ulonglong", "unsigned long long int", "uint64", "uint64_t"),
}
_SPACES = {
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
}
"""By what a position is multiplied to be RAS+."""
_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_MOST_HEADER = 1 << 24
_MEMORY_SHARE = 0.8
_END = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(r"(.+?)(:=|: )(.*)", re.DOTALL)
_VECTOR = re.compile(r"none|\(([^()]*)\)")
_ESCAPES = {"\\n": "\n", "\\\\": "\\"}


@dataclass(frozen=True)
class Nrrd:
    """What a file holds.

    Attributes
    ----------
    layers : integer array, shape (L, I, J, K)
        One layer for a 3D file.
    affine : float64 array, shape (4, 4)
        Voxel index to world mm (RAS+).
    notes : mapping of str to str
        The key/value pairs.
    """

    layers: NDArray[np.integer]
    affine: Affine
    notes: Mapping[str, str]


def nrrd_bytes(
    data: NDArray[np.integer], affine: Affine, notes: Mapping[str, str], comment: str
) -> bytes:
    """Return a gzip-compressed NRRD file in LPS; equal content gives equal bytes.

    Parameters
    ----------
    data : uint8, uint16 or int32 array, shape (I, J, K)
    affine : array, shape (4, 4)
        Voxel index to world mm (RAS+); any invertible matrix, kept to the last digit.
    notes : mapping of str to str
    comment : str
        For people who open the file in an editor.
    """
    code = f"{data.dtype.kind}{data.dtype.itemsize}"
    directions = [_vector(column) for column in (_TO_LPS @ affine[:3, :3]).T]
    lines = [
        "NRRD0004",
        f"# {comment}",
        f"type: {_TYPES[code][0]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, data.shape))}",
        f"space directions: {' '.join(directions)}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(_TO_LPS @ affine[:3, 3])}",
    ]
    lines += [f"{key}:={_escaped(value)}" for key, value in notes.items()]
    voxels = data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes(order="F")
    return ("\n".join(lines) + "\n\n").encode() + gzip_bytes(voxels)


def read_nrrd(path: Path) -> Nrrd:
    """Read whole-number values, their place in the world and the notes.

    Raises
    ------
    RegionsFileError
        ``IMP-010`` to ``IMP-015``: another format or a damaged header; data in other files;
        values that are no labels; no usable place; voxels cut short or damaged; too large.
        ``IMP-001`` and ``IMP-002`` as in every import.
    """
    free = int(psutil.virtual_memory().available * _MEMORY_SHARE)
    block = file_bytes(path, free // 2)
    fields, notes, start = _header(block, path.name)
    if {"data file", "datafile"} & set(fields):
        raise RegionsFileError(
            "IMP-011",
            "its voxels lie in another file, which is not followed",
            "Save header and voxels in one file (.seg.nrrd, not .nhdr).",
            subject=path.name,
        )
    sizes = _sizes(fields, path.name)
    affine, listed = _place(fields, len(sizes), path.name)
    dtype = _dtype(fields, path.name)
    expected = math.prod(sizes) * dtype.itemsize
    stored = memoryview(block)[start:]
    packed = _is_packed(fields, path.name)
    if expected > len(stored) * (MAX_RATIO if packed else 1):
        raise _broken(path.name, f"{expected:,} bytes are described, fewer are there")
    if expected + 8 * math.prod(sizes) > free:
        raise RegionsFileError(
            "IMP-015",
            f"its {math.prod(sizes):,} voxels do not fit into the free memory",
            "Crop the segmentation, or use a machine with more memory.",
            subject=path.name,
        )
    voxels = _inflated(stored, expected, path.name) if packed else bytes(stored)
    if len(voxels) != expected:
        raise _broken(path.name, f"{expected:,} bytes are described, others are there")
    data = np.frombuffer(voxels, dtype).reshape(sizes, order="F")
    return Nrrd(data[None] if listed is None else np.moveaxis(data, listed, 0), affine, notes)


def _header(block: bytes, name: str) -> tuple[dict[str, str], dict[str, str], int]:
    """Return the fields, the key/value pairs, and where the voxels begin."""
    end = _END.search(block, 0, _MOST_HEADER)
    if not re.match(rb"NRRD000[1-5]\r?\n", block) or end is None:
        raise _no_nrrd(name, "this is not an NRRD file, or its header is cut short")
    fields: dict[str, str] = {}
    notes: dict[str, str] = {}
    for line in block[: end.start()].decode("utf-8", "replace").split("\n")[1:]:
        parts = _LINE.fullmatch(line.rstrip("\r"))
        if line.startswith("#"):
            continue
        if parts is None:
            raise _no_nrrd(name, "a line of the header is neither a field nor a key with a value")
        key, sign, value = parts.groups()
        known, key = (notes, key) if sign == ":=" else (fields, key.lower())
        if key in known:
            raise _no_nrrd(name, "the header says something twice")
        known[key] = (
            re.sub(r"\\[n\\]", lambda m: _ESCAPES[m[0]], value) if known is notes else value
        )
    return fields, notes, end.end()


def _sizes(fields: Mapping[str, str], name: str) -> tuple[int, ...]:
    words = fields.get("sizes", "").split()
    if (
        not all(re.fullmatch("[1-9][0-9]{0,8}", word) for word in words)
        or str(len(words)) != fields.get("dimension", "").strip()
    ):
        raise _no_nrrd(name, "dimension and sizes make no sense")
    if len(words) not in (3, 4):
        raise _unfit(name, f"it has {len(words)} dimensions")
    return tuple(map(int, words))


def _place(fields: Mapping[str, str], rank: int, name: str) -> tuple[Affine, int | None]:
    """Return the affine (RAS+, mm), and which axis counts layers."""
    signs = _SPACES.get(fields.get("space", "").strip().lower())
    columns = [_numbers(found[1]) for found in _VECTOR.finditer(fields.get("space directions", ""))]
    origin = _numbers(fields.get("space origin", "").strip().strip("()"))
    units = set(fields.get("space units", "").replace('"', " ").split())
    axes = [column for column in columns if column is not None]
    if signs is None or len(columns) != rank or len(axes) != 3 or not units <= {"mm"}:
        raise _no_place(name)
    if origin is None or any(len(vector) != 3 for vector in (origin, *axes)):
        raise _no_place(name)
    affine = np.eye(4)
    affine[:3] = np.array(signs)[:, None] * np.array([*axes, origin]).T
    with np.errstate(all="ignore"):  # damaged numbers are judged, not announced
        usable = is_usable(affine)
    if not usable:
        raise _no_place(name)
    return affine, columns.index(None) if rank == 4 else None


def _numbers(text: str | None) -> list[float] | None:
    """Return the numbers of a vector; None for ``none``, or where one is no number."""
    try:
        return None if text is None else [float(word) for word in text.split(",")]
    except ValueError:
        return None


def _dtype(fields: Mapping[str, str], name: str) -> np.dtype[np.integer]:
    kind = " ".join(fields.get("type", "").lower().split())
    code = next((code for code, names in _TYPES.items() if kind in names), None)
    endian = fields.get("endian", "").strip().lower()
    if code is None:
        raise _unfit(name, f"its values are of the type {kind[:40] or 'unknown'}")
    if code[1] != "1" and endian not in ("little", "big"):
        raise _no_nrrd(name, "the header does not say the order of bytes")
    return np.dtype((">" if endian == "big" else "<") + code)


def _is_packed(fields: Mapping[str, str], name: str) -> bool:
    encoding = fields.get("encoding", "").strip().lower()
    skips = [fields.get(f"{unit}{gap}skip", "0") for unit in ("line", "byte") for gap in (" ", "")]
    if encoding not in ("raw", "gzip", "gz") or {skip.strip() for skip in skips} != {"0"}:
        raise _unfit(name, f"its voxels are stored in another way ({encoding[:40]})")
    return encoding != "raw"


def _inflated(stored: memoryview, expected: int, name: str) -> bytes:
    machine = zlib.decompressobj(31)  # with the gzip wrapper, whose checksum is compared
    try:
        voxels = machine.decompress(stored, expected + 1)
    except zlib.error as error:
        raise _broken(name, "the gzip stream or its checksum is wrong") from error
    if not machine.eof or machine.unused_data:
        raise _broken(name, "the gzip stream does not end where the file ends")
    return voxels


def _vector(numbers: NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(n) + 0.0) for n in numbers) + ")"  # + 0.0: no minus zero


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\")


def _no_nrrd(name: str, why: str) -> RegionsFileError:
    return RegionsFileError(
        "IMP-010", why, "Save the segmentation from 3D Slicer as .seg.nrrd.", subject=name
    )


def _unfit(name: str, why: str) -> RegionsFileError:
    return RegionsFileError(
        "IMP-012",
        f"{why}; whole numbers in 3 dimensions or layers of them are read, raw or gzip",
        "Save the segmentation from 3D Slicer as .seg.nrrd.",
        subject=name,
    )


def _no_place(name: str) -> RegionsFileError:
    return RegionsFileError(
        "IMP-013",
        "the header gives no usable place in the world (space, directions, origin, mm)",
        "Save the segmentation from 3D Slicer as .seg.nrrd.",
        subject=name,
    )


def _broken(name: str, why: str) -> RegionsFileError:
    return RegionsFileError(
        "IMP-014", f"its voxels are damaged: {why}", "Copy or save the file again.", subject=name
    )
