"""What age, sex or site do to the mean image: linear, shrunk as leaving people out asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_normative.volume import FloatArray

PENALTIES = tuple(float(p) for p in np.geomspace(0.1, 3000, 16))
"""Of the squared coefficients, columns of SD 1; the best of them by leaving one person out."""


def linear_effects(images: FloatArray, codes: FloatArray) -> FloatArray:
    """Return how much a voxel differs per unit of each column, shape (D, M), by ridge regression.

    Zeros where no effect at all predicts a person better who was left out.

    Parameters
    ----------
    images : float32 array, shape (n, M)
        Deviations from the mean.
    codes : float32 array, shape (n, D)
        Columns of mean 0; a column of zeros has no effect.

    References
    ----------
    .. [1] Hoerl & Kennard, Technometrics 12:55-67, 1970.
    """
    spread = codes.std(axis=0, dtype=np.float64)
    standard = codes / np.where(spread > 0, spread, 1)
    gram = _gram(images)
    best, chosen = float(np.trace(gram)), None
    for penalty in PENALTIES:
        solve = _solver(standard, penalty)
        hat = standard @ solve
        left = np.eye(len(hat)) - hat
        squared = np.einsum("ij,jk,ik->i", left, gram, left) / (1 - np.diag(hat)) ** 2
        if (error := float(squared.sum())) < best:
            best, chosen = error, solve
    if chosen is None:
        return np.zeros((codes.shape[1], images.shape[1]), np.float32)
    effects: FloatArray = chosen.astype(np.float32) @ images
    return effects / np.where(spread > 0, spread, 1).astype(np.float32)[:, None]


def _solver(codes: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Return what leads from images to coefficients, shape (D, n)."""
    system = codes.T @ codes + penalty * np.eye(codes.shape[1])
    return np.asarray(np.linalg.solve(system, codes.T), dtype=np.float64)


def _gram(images: FloatArray) -> NDArray[np.float64]:
    gram = np.zeros((len(images), len(images)))
    for start in range(0, images.shape[1], 65536):  # in double precision, but not all at once
        part = images[:, start : start + 65536].astype(np.float64)
        gram += part @ part.T
    return gram
