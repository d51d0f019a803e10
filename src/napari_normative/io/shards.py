"""Prepared scans in files of some tens of megabytes, checked as a whole, read one by one.

A shard is a safetensors file with a SHA-256 (:func:`napari_normative.io.checkpoint.pack`):
``image`` float16 (n, I, J, K), ``mask`` uint8 (n, ⌈IJK/8⌉) bits; its JSON names the scans and
holds their facts. Reading takes the bytes of one scan from the file, so that memory does not grow
with the cohort; nothing stays open.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_normative.errors import CohortError
from napari_normative.io.atomic import replace_files
from napari_normative.io.checkpoint import pack, unpack
from napari_normative.volume import Mask

SHARD_BYTES = 64 * 2**20
"""Of a shard: some fifty scans at 2 mm, four hundred at 4 mm."""

S = TypeVar("S", bound=np.generic)
S_co = TypeVar("S_co", bound=np.generic, covariant=True)
Facts = dict[str, Any]


class Rows(Protocol[S_co]):
    """Scans by position: an array, or files that are read when asked."""

    def __getitem__(self, which: Any, /) -> NDArray[S_co]:
        """Return one scan (I, J, K) for an int, or several (n, I, J, K) for a list."""


@dataclass(frozen=True)
class Shard:
    """Where the scans of one file lie in it.

    Attributes
    ----------
    path : Path
    keys : tuple of str
    facts : tuple of dict
        Of each scan, as they were given.
    shape : tuple of 3 int
    image_at, mask_at : int
        First byte of the images and of the masks.
    """

    path: Path
    keys: tuple[str, ...]
    facts: tuple[Facts, ...]
    shape: tuple[int, int, int]
    image_at: int
    mask_at: int

    def image(self, row: int) -> NDArray[np.float16]:
        """Return one image, shape (I, J, K)."""
        size = 2 * int(np.prod(self.shape))
        data = self._bytes(self.image_at + row * size, size)
        return np.frombuffer(data, np.float16).reshape(self.shape)

    def mask(self, row: int) -> Mask:
        """Return one mask, shape (I, J, K)."""
        voxels = int(np.prod(self.shape))
        size = -(-voxels // 8)
        bits = np.frombuffer(self._bytes(self.mask_at + row * size, size), np.uint8)
        inside: Mask = np.unpackbits(bits, count=voxels).astype(bool).reshape(self.shape)
        return inside

    def _bytes(self, start: int, size: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                data = file.read(size)
        except OSError as error:
            raise _unreadable(self.path, error.strerror or str(error)) from error
        if len(data) < size:
            raise _unreadable(self.path, "the file is shorter than it was")
        return data


@dataclass(frozen=True)
class Stored(Generic[S]):
    """Images or masks of a cohort that stay on disk.

    Attributes
    ----------
    places : list of (Shard, int)
        Shard and row of each scan.
    masks : bool
        Whether these are the masks.
    """

    places: Sequence[tuple[Shard, int]]
    masks: bool = False

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: Any, /) -> NDArray[S]:
        """Read one scan (I, J, K) for an int, or several (n, I, J, K) for a list."""
        if isinstance(which, (int, np.integer)):
            one: NDArray[S] = self._read(int(which))
            return one
        return np.stack([self._read(int(n)) for n in which])

    def _read(self, n: int) -> Any:
        shard, row = self.places[n]
        return shard.mask(row) if self.masks else shard.image(row)


def scans_per_shard(shape: tuple[int, int, int]) -> int:
    """Return how many scans of a shape fill a shard."""
    voxels = int(np.prod(shape))
    return max(1, SHARD_BYTES // (2 * voxels + voxels // 8))


def write_shard(
    folder: Path,
    keys: Sequence[str],
    images: NDArray[np.float16],
    masks: Mask,
    facts: Sequence[Facts],
) -> Shard:
    """Write scans to a file that their keys name, read it again and return it.

    Parameters
    ----------
    folder : Path
    keys : sequence of str
    images : float16 array, shape (n, I, J, K)
    masks : bool array, shape (n, I, J, K)
    facts : sequence of dict
        JSON-ready, one for each scan.

    Raises
    ------
    OutputError
        ``OUT-002`` when it cannot be written.
    ModelFileError
        ``MOD-002`` when the disk does not give back what was written.
    """
    name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
    path = folder / f"{name}.safetensors"
    bits = np.packbits(masks.reshape(len(masks), -1), axis=1)
    text = json.dumps({"keys": list(keys), "facts": list(facts)})
    replace_files({path: pack({"image": images, "mask": bits}, text)})
    return open_shard(path)


def open_shard(path: Path) -> Shard:
    """Check a shard's SHA-256 and return where its scans lie.

    Raises
    ------
    ModelFileError
        ``MOD-001``, ``MOD-002`` for what is no shard or damaged.
    OSError
    """
    data = path.read_bytes()
    tensors, text, _ = unpack(data, path.name)
    found = json.loads(text)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    at = {name: 8 + length + header[name]["data_offsets"][0] for name in ("image", "mask")}
    i, j, k = tensors["image"].shape[1:]
    return Shard(
        path, tuple(found["keys"]), tuple(found["facts"]), (i, j, k), at["image"], at["mask"]
    )


def _unreadable(path: Path, why: str) -> CohortError:
    return CohortError(
        "COH-024",
        f"prepared scans cannot be read ({why})",
        "Run it again with --resume: scans that are missing or damaged are aligned again, and "
        "training goes on from the last checkpoint.",
        consequence="No model was saved.",
        subject=path.name,
    )
