"""Two images of one grid in one picture, mixed only where it is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

COMPARISON = "comparison"
"""Role of the layer that shows the mix."""

Axes = list[NDArray[np.int64]]
Chooser = Callable[[Axes, tuple[int, ...]], NDArray[np.bool_]]
"""Says where the second image is seen: from the voxel numbers along the axes of the picture,
and the numbers of those axes."""


def everywhere(axes: Axes, numbers: tuple[int, ...]) -> NDArray[np.bool_]:
    """See the second image everywhere: for flicker."""
    return np.ones([len(axis) for axis in axes], dtype=bool)


def checkerboard(spacing_mm: tuple[float, ...], square_mm: float) -> Chooser:
    """See the images in alternate squares of a board; the first in the square at the origin.

    The squares lie in the plane that is looked at, so they do not swap from slice to slice.

    Parameters
    ----------
    spacing_mm : tuple of floats
        Of all axes.
    square_mm : float
        Side of a square.
    """

    def choose(axes: Axes, numbers: tuple[int, ...]) -> NDArray[np.bool_]:
        total = np.zeros([1] * len(axes), dtype=np.int64)
        for place, (axis, number) in enumerate(zip(axes, numbers, strict=True)):
            squares = (axis * spacing_mm[number] // square_mm).astype(np.int64)
            total = total + squares.reshape([-1 if n == place else 1 for n in range(len(axes))])
        odd: NDArray[np.bool_] = total % 2 == 1
        return odd

    return choose


def swipe(shape: tuple[int, ...], fraction: float, *, from_end: bool) -> Chooser:
    """See the first image up to a line across the last axis of the picture, the second beyond.

    Parameters
    ----------
    shape : tuple of int
        Of all axes.
    fraction : float
        Share of the axis that shows the first image.
    from_end : bool
        The first image is seen at the end of the axis: where it grows to the left.
    """

    def choose(axes: Axes, numbers: tuple[int, ...]) -> NDArray[np.bool_]:
        length = shape[numbers[-1]]
        beyond = axes[-1] < (1 - fraction) * length if from_end else axes[-1] >= fraction * length
        return np.broadcast_to(beyond, [len(axis) for axis in axes])

    return choose


class Mixed:
    """An array that takes each voxel from one of two images.

    Nothing is stored: each access mixes what it asks for, so a slice costs a slice, and the
    picture follows its images when they change. Where the second image is 0 (a reconstruction
    outside its mask) the first is seen.

    Parameters
    ----------
    first, second : array, same shape
    choose : Chooser
    """

    def __init__(
        self, first: NDArray[np.generic], second: NDArray[np.generic], choose: Chooser
    ) -> None:
        if first.shape != second.shape:
            raise ValueError(f"shapes {first.shape} and {second.shape} differ")
        self.first, self.second = first, second
        self._choose = choose

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Of what is given out."""
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of both images."""
        return self.first.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Return the picture there; axes given as a number are not axes of the picture.

        A single voxel, which has no picture around it, is that of the first image.
        """
        keys = key if isinstance(key, tuple) else (key,)
        spread = [n for n, k in enumerate(keys) if k is Ellipsis]
        if spread:
            fill = (slice(None),) * (self.ndim - len(keys) + 1)
            keys = (*keys[: spread[0]], *fill, *keys[spread[0] + 1 :])
        keys = (*keys, *(slice(None),) * (self.ndim - len(keys)))
        numbers = tuple(n for n, k in enumerate(keys) if isinstance(k, slice))
        first, second = self.first[keys], self.second[keys]
        if not numbers:
            return np.asarray(first, dtype=np.float32)
        chosen = self._choose([np.arange(self.shape[n])[keys[n]] for n in numbers], numbers)
        return np.where(chosen & (second != 0), second, first).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole picture."""
        return self[(slice(None),) * self.ndim].astype(dtype or self.dtype)
