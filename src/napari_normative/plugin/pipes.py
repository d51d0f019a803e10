"""Objects through a pipe between the window and its engine process.

A frame is a pickle and the arrays in it, each sent as it lies in memory. Both ends are ours:
nothing that a person hands over is ever unpickled.
"""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any

import numpy as np

_SIZE = struct.Struct("<Q")
_COUNT = struct.Struct("<I")


def send(pipe: IO[bytes], message: object) -> None:
    """Write one message.

    Raises
    ------
    OSError, ValueError
        If the other end is gone, or this end was closed.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = [len(head), *(view.nbytes for view in views)]
    pipe.write(_COUNT.pack(len(sizes)) + b"".join(_SIZE.pack(size) for size in sizes))
    pipe.write(head)
    for view in views:
        pipe.write(view)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read one message.

    Raises
    ------
    EOFError
        If the other end is gone.
    """
    (count,) = _COUNT.unpack(_exactly(pipe, _COUNT.size))
    sizes = [_SIZE.unpack(_exactly(pipe, _SIZE.size))[0] for _ in range(count)]
    head, *buffers = [_exactly(pipe, size) for size in sizes]
    return pickle.loads(head, buffers=buffers)


def _exactly(pipe: IO[bytes], size: int) -> memoryview:
    # An array's memory is not cleared first, unlike that of a bytearray.
    room = np.empty(size, dtype=np.uint8).data
    got = 0
    while got < size:
        more = pipe.readinto(room[got:])  # type: ignore[attr-defined]
        if not more:
            raise EOFError
        got += more
    return room
