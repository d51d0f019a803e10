"""Read a file's bytes once: hash them, inflate them, check them, keep the part that is wanted.

A gzip stream is always read to its end, because its checksum stands there. Nothing
is allocated on the word of the data alone: the caller says beforehand which bytes
it keeps and where reading stops.
"""

from __future__ import annotations

import hashlib
import importlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_normative.errors import VolumeFileError

_zlib: ModuleType
try:  # inflates twice as fast, deflates as small as zlib does in twenty times the time
    _zlib, _LEVEL = importlib.import_module("isal.isal_zlib"), 2
except ImportError:
    _zlib, _LEVEL = importlib.import_module("zlib"), 1

GZIP_MAGIC = b"\x1f\x8b"
HEAD_BYTES = 1024
SLACK_BYTES = 16 * 2**20
"""Bytes after the voxels that are passed over with a warning; more are refused."""
MAX_RATIO = 1040
"""Deflate cannot expand a byte to more than 1032."""

_GZIP_WRAPPER = 31  # zlib's window-bits code for "gzip header and trailer, checked"
_CHUNK = 1 << 18
_BLOCK = 1 << 22


@dataclass
class Window:
    """The bytes ``start`` to ``stop`` of a stream, filled as the stream goes by.

    Attributes
    ----------
    start, stop : int
        First byte that is kept and the one after the last.
    position : int
        How much of the stream has gone by.
    """

    start: int
    stop: int
    position: int = 0
    buffer: NDArray[np.uint8] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.buffer = np.empty(self.stop - self.start, np.uint8)

    def write(self, block: bytes) -> None:
        """Take the next bytes of the stream."""
        low = max(self.start, self.position)
        high = min(self.stop, self.position + len(block))
        if low < high:
            part = np.frombuffer(block, np.uint8)[low - self.position : high - self.position]
            self.keep(part, low - self.start)
        self.position += len(block)

    def keep(self, part: NDArray[np.uint8], at: int) -> None:
        """Keep bytes of the window, ``at`` bytes behind its start."""
        self.buffer[at : at + len(part)] = part


class FileWindow(Window):
    """A window whose bytes go to a file instead of memory, in the order in which they come."""

    def __init__(self, start: int, stop: int, handle: BinaryIO) -> None:
        self.start, self.stop, self.position, self._handle = start, stop, 0, handle

    def keep(self, part: NDArray[np.uint8], at: int) -> None:
        """Append bytes to the file."""
        self._handle.write(part.tobytes())


class StoredFile:
    """An open file with its first bytes inflated, ready to be poured out once.

    Use it as a context manager.

    Attributes
    ----------
    name : str
        File name without folders, for messages.
    size : int
        Bytes as stored.
    compressed : bool
        Whether the content is a gzip stream, whatever the name says.
    head : bytes
        The first 1024 bytes of the (inflated) content, or fewer if there are no more.
    trailing : int
        After ``pour``: stored bytes behind the gzip stream that belong to nothing.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.trailing = 0
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise VolumeFileError(
                    "NIF-002",
                    "this is a folder, not a volume",
                    "Choose a file in it.",
                    subject=self.name,
                )
            if not stat.S_ISREG(status.st_mode):
                raise VolumeFileError(
                    "NIF-002",
                    "this is a device or a pipe, not a regular file",
                    "Copy the data into a file first.",
                    subject=self.name,
                )
            self.size = status.st_size
            if self.size == 0:
                raise VolumeFileError(
                    "NIF-003",
                    "the file is empty",
                    "Copy it again from its source.",
                    subject=self.name,
                )
            self._handle: BinaryIO = path.open("rb")
        except FileNotFoundError as error:
            raise VolumeFileError(
                "NIF-001", "there is no such file", "Check the path.", subject=self.name
            ) from error
        except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
            raise _unreadable(self.name, error) from error
        try:
            self.compressed = self._handle.read(2) == GZIP_MAGIC
            self.head = self._peek()
        except BaseException:
            self._handle.close()
            raise

    def __enter__(self) -> StoredFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    @property
    def capacity(self) -> int:
        """More bytes than this cannot be in the file."""
        return self.size * MAX_RATIO if self.compressed else self.size

    def pour(self, window: Window, limit: int, digest: hashlib._Hash) -> None:
        """Read the file to its end into ``window`` and ``digest``.

        Parameters
        ----------
        window : Window
            Receives the inflated content.
        limit : int
            Content beyond this many bytes is refused.
        digest : hash object
            Receives the bytes as stored.

        Raises
        ------
        VolumeFileError
            If the stream is cut off or damaged, or goes on beyond ``limit``.
        """
        try:
            for block in self._content(digest, _BLOCK):
                window.write(block)
                if window.position > limit:
                    raise _endless(self.name, limit)
        except OSError as error:
            raise _unreadable(self.name, error) from error

    def _peek(self) -> bytes:
        head = b""
        try:
            for block in self._content(None, HEAD_BYTES):
                head += block
                if len(head) >= HEAD_BYTES:
                    break
        except OSError as error:
            raise _unreadable(self.name, error) from error
        return head[:HEAD_BYTES]

    def _content(self, digest: hashlib._Hash | None, most: int) -> Iterator[bytes]:
        """Yield the content from the start, in blocks of ``most`` bytes or fewer if inflated."""
        self._handle.seek(0)
        chunks = iter(lambda: self._handle.read(_CHUNK), b"")
        if digest is not None:
            chunks = _hashed(chunks, digest)
        return self._inflated(chunks, most) if self.compressed else chunks

    def _inflated(self, chunks: Iterator[bytes], most: int) -> Iterator[bytes]:
        machine = _zlib.decompressobj(_GZIP_WRAPPER)
        rest = b""
        try:
            for chunk in chunks:
                rest += chunk
                while rest:
                    if machine.eof:  # a gzip file may hold several streams, one behind the other
                        rest = rest.lstrip(b"\x00")
                        if len(rest) < 2:
                            break
                        if not rest.startswith(GZIP_MAGIC):
                            self.trailing = len(rest) + sum(len(c) for c in chunks)
                            return
                        machine = _zlib.decompressobj(_GZIP_WRAPPER)
                    yield machine.decompress(rest, most)
                    rest = machine.unused_data if machine.eof else machine.unconsumed_tail
        except _zlib.error as error:
            raise _damaged(self.name, error) from error
        if not machine.eof:
            raise VolumeFileError(
                "NIF-013",
                "the compressed data break off before their end",
                "Copy the file again from its source; check it with gzip -t.",
                subject=self.name,
            )
        self.trailing = len(rest)


def gzip_bytes(block: bytes) -> bytes:
    """Compress without time stamp and file name, so that equal bytes stay equal."""
    packed: bytes = _zlib.compress(block, _LEVEL, wbits=_GZIP_WRAPPER)
    return packed


def _hashed(chunks: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _damaged(name: str, error: Exception) -> VolumeFileError:
    text = str(error).lower()
    reason = "gzip checksum mismatch" if "check" in text else "the gzip stream is corrupt"
    return VolumeFileError(
        "NIF-012",
        f"voxel data are damaged ({reason})",
        "Copy the file again from its source; check it with gzip -t.",
        subject=name,
    )


def _endless(name: str, limit: int) -> VolumeFileError:
    return VolumeFileError(
        "NIF-014",
        f"the file goes on for more than {SLACK_BYTES // 2**20} MiB behind the "
        f"{max(limit - SLACK_BYTES, 0):,} bytes its header describes",
        "Check where the file comes from; write it anew with the program that made it.",
        subject=name,
    )


def _unreadable(name: str, error: Exception) -> VolumeFileError:
    reason = getattr(error, "strerror", None) or str(error)
    return VolumeFileError(
        "NIF-004",
        f"the file cannot be read ({reason})",
        "Check its permissions and the drive it is on.",
        subject=name,
    )
