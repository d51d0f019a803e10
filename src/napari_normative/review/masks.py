"""Masks as bytes that their digest names: equal masks are kept once, and none can change."""

from __future__ import annotations

import hashlib
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from napari_normative.errors import ReviewError
from napari_normative.volume import Mask

_HEAD = struct.Struct("<4s9I")
_MAGIC = b"NNM1"
MOST_VOXELS = 1 << 31


def encode_mask(mask: Mask) -> tuple[str, bytes]:
    """Return the digest and the bytes of a mask.

    Only the box around it is kept, one bit a voxel, compressed. The digest covers the bits
    and the box, not the compression.

    Parameters
    ----------
    mask : bool array, shape (I, J, K)
        On the scan's stored grid.
    """
    box = _box(mask)
    bits = np.packbits(mask[box]).tobytes()
    head = _HEAD.pack(_MAGIC, *mask.shape, *(n for s in box for n in (s.start, s.stop)))
    return hashlib.sha256(head + bits).hexdigest(), head + zlib.compress(bits, 6)


def decode_mask(data: bytes, digest: str = "") -> Mask:
    """Return the mask, shape (I, J, K).

    Raises
    ------
    ReviewError
        ``REV-004`` if the bytes are no mask, or not the one with this digest.
    """
    shape, box, bits = _parts(data, digest)
    mask = np.zeros(shape, dtype=bool)
    mask[box] = _unpacked(bits, box)
    return mask


def check_mask(data: bytes, digest: str) -> None:
    """Refuse bytes that are no mask, or not the one with this digest, without unpacking them.

    Raises
    ------
    ReviewError
        ``REV-004``.
    """
    _parts(data, digest)


def mask_in_box(data: bytes) -> tuple[Mask, tuple[slice, slice, slice]]:
    """Return the mask inside its bounding box, and where the box lies."""
    _, box, bits = _parts(data)
    return _unpacked(bits, box), box


def _parts(
    data: bytes, digest: str = ""
) -> tuple[tuple[int, int, int], tuple[slice, slice, slice], bytes]:
    if len(data) < _HEAD.size:
        raise _damaged("it is cut short")
    magic, i, j, k, *edges = _HEAD.unpack_from(data)
    starts, stops = edges[0::2], edges[1::2]
    inside = all(a <= b <= n for a, b, n in zip(starts, stops, (i, j, k), strict=True))
    if magic != _MAGIC or not inside or i * j * k > MOST_VOXELS:
        raise _damaged("its header makes no sense")
    sizes = [b - a for a, b in zip(starts, stops, strict=True)]
    expected = (sizes[0] * sizes[1] * sizes[2] + 7) // 8
    unpacker = zlib.decompressobj()
    try:
        bits = unpacker.decompress(data[_HEAD.size :], expected + 1)
    except zlib.error as error:
        raise _damaged("it cannot be inflated") from error
    if len(bits) != expected:
        raise _damaged("it has another size than its header says")
    if digest and hashlib.sha256(data[: _HEAD.size] + bits).hexdigest() != digest:
        raise _damaged("its content was changed")
    a, b, c = (slice(s, e) for s, e in zip(starts, stops, strict=True))
    return (i, j, k), (a, b, c), bits


def _unpacked(bits: bytes, box: tuple[slice, slice, slice]) -> Mask:
    size = tuple(s.stop - s.start for s in box)
    flat = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=int(np.prod(size)))
    return flat.reshape(size).astype(bool)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    edges = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        at = np.flatnonzero(mask.any(axis=others))
        edges.append(slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 0))
    a, b, c = edges
    return a, b, c


def _damaged(why: str) -> ReviewError:
    return ReviewError(
        "REV-004",
        f"a mask in the review file is damaged: {why}",
        "Restore the file from a backup; `review status FILE` says what else is wrong.",
        consequence="The mask was not used.",
    )
