"""NIfTI-1 files byte by byte, from the standard's offsets and from no library.

A reader tested on files that its own library wrote shares that library's mistakes.
"""

from __future__ import annotations

import gzip
import struct
from typing import Any

import numpy as np

FIELDS = {
    "sizeof_hdr": (0, "i"),
    "dim": (40, "8h"),
    "intent_code": (68, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "descrip": (148, "80s"),
    "aux_file": (228, "24s"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
    "intent_name": (328, "16s"),
    "magic": (344, "4s"),
}
CODES = {
    "uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64,
    "int8": 256, "uint16": 512, "uint32": 768, "int64": 1024, "uint64": 1280,
}  # fmt: skip

AFFINE = np.array([[-2, 0, 0, 9], [0, 3, 0, -8], [0, 0, 4, -7], [0, 0, 0, 1]], float)
"""An ordinary LAS grid; spacing 2, 3, 4 mm."""


def ramp(shape: tuple[int, ...] = (5, 6, 7), dtype: str = "int16") -> np.ndarray:
    """Every voxel another value, so that no flip or permutation goes unseen."""
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def header(data: np.ndarray, affine: np.ndarray = AFFINE, order: str = "<", **fields: Any) -> bytes:
    """Return 352 bytes of header; ``fields`` overwrite the ordinary values."""
    dims = [data.ndim, *data.shape, *[1] * (7 - data.ndim)]
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    values: dict[str, Any] = {
        "sizeof_hdr": 348,
        "dim": dims,
        "datatype": CODES.get(data.dtype.name, 0),
        "bitpix": 8 * data.dtype.itemsize,
        "pixdim": [1, *zooms, 1, 1, 1, 1],
        "vox_offset": 352,
        "scl_slope": 1,
        "xyzt_units": 2,
        "sform_code": 1,
        "srow": affine[:3].ravel(),
        "magic": b"n+1\x00",
        **fields,
    }
    block = bytearray(352)
    for name, value in values.items():
        offset, layout = FIELDS[name]
        items = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
        struct.pack_into(order + layout, block, offset, *items)
    return bytes(block)


def voxels(data: np.ndarray, order: str = "<") -> bytes:
    """Return the voxels as NIfTI stores them, first axis fastest."""
    return data.astype(data.dtype.newbyteorder(order)).tobytes(order="F")


def nifti(
    data: np.ndarray | None = None, affine: np.ndarray = AFFINE, order: str = "<", **fields: Any
) -> bytes:
    """Return a whole ``.nii`` file."""
    array = ramp() if data is None else data
    return header(array, affine, order, **fields) + voxels(array, order)


def zipped(block: bytes) -> bytes:
    """Return the bytes of a ``.nii.gz``."""
    return gzip.compress(block, 6, mtime=0)
