"""Small grey pictures of volumes, as a radiologist looks at them: patient's right on the left."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_normative.volume import FloatArray, Mask, Volume

EDGE = 72
"""Rows and columns of each plane of a thumbnail."""


def three_planes(volume: Volume, edge: int = EDGE) -> NDArray[np.uint8]:
    """Return axial, coronal and sagittal planes through the middle of what is there.

    Nearest voxels, proportions in mm; anterior up and right on the left (axial), superior up
    and right on the left (coronal), superior up and anterior on the left (sagittal).

    Returns
    -------
    uint8 array, shape (edge, 3 * edge)
    """
    to_ras = nib.orientations.io_orientation(volume.affine)
    data = nib.orientations.apply_orientation(volume.data, to_ras)  # a view
    spacing = np.array(volume.spacing_mm)[np.argsort(to_ras[:, 0])]
    coarse = data[tuple(slice(None, None, max(1, n // 48)) for n in data.shape)]
    low, high = (float(q) for q in np.quantile(coarse, (0.02, 0.995)))
    inside = coarse > low + 0.1 * (high - low)
    centre = np.array(data.shape) // 2
    if inside.any():
        shares = (np.argwhere(inside).mean(axis=0) + 0.5) / inside.shape
        centre = np.minimum((shares * data.shape).astype(int), np.array(data.shape) - 1)
    reach_mm = float((np.array(data.shape) * spacing).max())
    planes = [
        (data[::-1, ::-1, centre[2]].T, spacing[[1, 0]]),
        (data[::-1, centre[1], ::-1].T, spacing[[2, 0]]),
        (data[centre[0], ::-1, ::-1].T, spacing[[2, 1]]),
    ]
    return np.hstack([_square(grey(p, low, high), mm, reach_mm, edge) for p, mm in planes])


def grey(plane: FloatArray, low: float, high: float) -> NDArray[np.uint8]:
    """Return values between ``low`` and ``high`` as 0 to 255."""
    scaled = np.clip((plane - low) / max(high - low, 1e-6), 0, 1)
    return np.asarray(np.rint(255 * scaled), dtype=np.uint8)


def montage(
    inputs: Sequence[FloatArray], outputs: Sequence[FloatArray], masks: Sequence[Mask]
) -> NDArray[np.uint8]:
    """Return one row per person: input and reconstruction, axial and coronal.

    Parameters
    ----------
    inputs, outputs : sequences of float32 arrays, shape (I, J, K)
        In a model's space (axes right, anterior, superior), model units.
    masks : sequence of bool arrays, shape (I, J, K)

    Returns
    -------
    uint8 array, shape (people * rows, columns)
        From the left: axial input, axial reconstruction, coronal input, coronal reconstruction.
    """
    rows = []
    for image, made, mask in zip(inputs, outputs, masks, strict=True):
        low, high = (float(q) for q in np.quantile(image[mask], (0.005, 0.995)))
        _, y, z = (int(n) for n in np.argwhere(mask).mean(axis=0))
        shown = [grey(np.where(mask, data, low), low, high) for data in (image, made)]
        axial = [data[::-1, ::-1, z].T for data in shown]
        coronal = [data[::-1, y, ::-1].T for data in shown]
        tall = max(axial[0].shape[0], coronal[0].shape[0])
        rows.append(np.hstack([_taller(plane, tall) for plane in (*axial, *coronal)]))
    return np.vstack(rows)


def _square(
    plane: NDArray[np.uint8], spacing: NDArray[np.float64], reach_mm: float, edge: int
) -> NDArray[np.uint8]:
    """Return the plane's nearest voxels in a square of ``reach_mm``, black around it."""
    where = [((np.arange(edge) + 0.5) / edge - 0.5) * reach_mm / mm for mm in spacing]
    index = [np.floor(w + n / 2).astype(int) for w, n in zip(where, plane.shape, strict=True)]
    valid = [(i >= 0) & (i < n) for i, n in zip(index, plane.shape, strict=True)]
    clipped = [np.clip(i, 0, n - 1) for i, n in zip(index, plane.shape, strict=True)]
    inside = np.logical_and.outer(*valid)
    square: NDArray[np.uint8] = np.where(inside, plane[np.ix_(*clipped)], 0).astype(np.uint8)
    return square


def _taller(plane: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    above = (rows - plane.shape[0]) // 2
    return np.pad(plane, ((above, rows - plane.shape[0] - above), (1, 1)))
