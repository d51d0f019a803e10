"""Hypothesis strategies for volumes, affines and damaged headers."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_normative.volume import Volume
from rawnifti import FIELDS

AXIS_ORDERS = [
    np.array(
        [[sign[c] if order[c] == r else 0 for c in range(3)] for r in range(3)], dtype=np.float64
    )
    for order in itertools.permutations(range(3))
    for sign in itertools.product((1, -1), repeat=3)
]
"""The 48 signed permutations: rotations and mirror images."""


def turn(x: float, y: float, z: float) -> np.ndarray:
    """Return the rotation by angles about the three axes, radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        c, s = np.cos(angle), np.sin(angle)
        step = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step[a, a], step[a, b], step[b, a], step[b, b] = c, -s, s, c
        matrix = step @ matrix
    return matrix


@st.composite
def affines(draw: st.DrawFn, *, shear: bool = False) -> np.ndarray:
    """Voxel-to-world affines of any axis order, spacing 0.5 to 6 mm, tilted up to 40 degrees."""
    angle = st.floats(-0.7, 0.7)
    matrix = turn(draw(angle), draw(angle), draw(angle)) @ draw(st.sampled_from(AXIS_ORDERS))
    if shear:
        matrix = matrix @ (np.eye(3) + np.triu(np.full((3, 3), draw(st.floats(0.05, 0.5))), 1))
    affine = np.eye(4)
    affine[:3, :3] = matrix * [draw(st.floats(0.5, 6)) for _ in range(3)]
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return affine


@st.composite
def volumes(draw: st.DrawFn, *, labels: bool = False, shear: bool = False) -> Volume:
    """Volumes of 8 to 14 voxels a side (so at least 4 mm) with finite values."""
    shape = draw(st.tuples(*[st.integers(10, 14)] * 3))
    value = st.integers(0, 70000) if labels else st.floats(-1e6, 1e6, width=32)
    values = draw(hnp.arrays(np.float32, 8, elements=value))
    data = np.resize(values, shape).astype(np.float32)
    volume = Volume.from_array(data, draw(affines(shear=shear)), "drawn")
    return volume.with_data(volume.data, is_label=labels)


_ODD_NUMBERS = {
    "i": [0, -1, 347, 540, 2**31 - 1, -(2**31)],
    "h": [0, -1, 1, 2, 3, 5, 7, 8, 255, 256, 2304, 3001, 32767, -32768],
    "f": [0.0, -0.0, -1.0, 1e-45, 1e-20, 1e38, -1e38, 352.0,
          float("inf"), float("-inf"), float("nan")],
    "B": [0, 1, 3, 7, 255],
}  # fmt: skip


@st.composite
def damage(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """One to four writes into a header: odd numbers into fields, or any bytes anywhere."""
    writes: list[tuple[int, bytes]] = []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            offset, layout = FIELDS[draw(st.sampled_from(sorted(FIELDS)))]
            kind = layout[-1]
            if kind == "s":
                writes.append((offset, draw(st.binary(min_size=1, max_size=4))))
                continue
            count = int(layout[:-1] or 1)
            index = draw(st.integers(0, count - 1))
            value: Any = draw(st.sampled_from(_ODD_NUMBERS[kind]))
            block = struct.pack("<" + kind, value)
            writes.append((offset + index * len(block), block))
        else:
            writes.append((draw(st.integers(0, 351)), draw(st.binary(min_size=1, max_size=8))))
    return writes
