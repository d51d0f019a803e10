"""How good volumes are: reconstructions against their scan, samples against real people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.volume import FloatArray, Mask

WINDOW = 7
"""Edge of the cube over which local statistics are taken, voxels."""

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Wang et al. 2003; the first ones, rescaled, where a volume has room for fewer scales."""

FEATURE_BLOCKS = 8


def mae(image: FloatArray, reconstruction: FloatArray, mask: Mask) -> float:
    """Return the mean absolute error inside the mask."""
    return float(np.abs(image[mask] - reconstruction[mask]).mean(dtype=np.float64))


def psnr(image: FloatArray, reconstruction: FloatArray, mask: Mask) -> float:
    """Return the peak signal-to-noise ratio inside the mask, dB.

    The peak is the image's own range inside the mask; infinite for equal images.
    """
    error = float(((image[mask] - reconstruction[mask]) ** 2).mean(dtype=np.float64))
    if error == 0:
        return float("inf")
    return float(20 * np.log10(_range(image, mask)) - 10 * np.log10(error))


def ssim(image: FloatArray, reconstruction: FloatArray, mask: Mask) -> float:
    """Return the mean structural similarity inside the mask.

    Cubes of 7 voxels; both images are 0 outside the mask; the range is the image's own
    inside the mask.

    References
    ----------
    .. [1] Wang et al., IEEE Trans. Image Process. 13:600, 2004.
    """
    from skimage.metrics import structural_similarity

    first, second = np.where(mask, image, 0), np.where(mask, reconstruction, 0)
    _, full = structural_similarity(
        first, second, win_size=WINDOW, data_range=_range(image, mask), full=True
    )
    return float(full[mask].mean(dtype=np.float64))


def ms_ssim(first: FloatArray, second: FloatArray, mask: Mask) -> float:
    """Return the multi-scale structural similarity inside the mask.

    Scales halve the grid as long as it holds two windows along its shortest side.

    References
    ----------
    .. [1] Wang, Simoncelli & Bovik, Asilomar Conf. Signals Syst. Comput., 2003.
    """
    span = max(_range(first, mask), _range(second, mask))
    a = np.where(mask, first, 0).astype(np.float32)
    b = np.where(mask, second, 0).astype(np.float32)
    weight = mask.astype(np.float32)
    scales = 1
    while scales < len(SCALE_WEIGHTS) and min(a.shape) / 2**scales >= 2 * WINDOW:
        scales += 1
    exponents = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    result = 1.0
    for scale, exponent in enumerate(exponents):
        luminance, structure = _similarity(a, b, span)
        part = structure if scale < scales - 1 else luminance * structure
        mean = float((part * weight).sum(dtype=np.float64) / weight.sum(dtype=np.float64))
        result *= max(mean, 0.0) ** float(exponent)
        a, b, weight = _halved(a), _halved(b), _halved(weight)
    return result


def ms_ssim_diversity(
    images: Sequence[FloatArray], mask: Mask, *, seed: int = 0, pairs: int = 50
) -> float:
    """Return the mean MS-SSIM of random pairs; lower is more diverse.

    Compare it with that of real people: samples that are all alike have more.
    nan for fewer than two images.
    """
    every = [(i, j) for i in range(len(images)) for j in range(i)]
    if not every:
        return float("nan")
    count = min(pairs, len(every))
    chosen = np.random.default_rng(seed).choice(len(every), count, replace=False)
    values = [ms_ssim(images[every[c][0]], images[every[c][1]], mask) for c in chosen]
    return float(np.mean(values))


def fixed_features(images: Sequence[FloatArray]) -> NDArray[np.float64]:
    """Return fixed features of volumes, shape (n, 1024).

    Mean, and SD of what a Gaussian of one voxel takes away, in each of 8 x 8 x 8 blocks:
    anatomy and sharpness. Nothing is learned, so that no model can be fitted to them;
    figures are comparable on one grid and one intensity scale only.
    """
    rows = []
    for image in images:
        detail = image - ndimage.gaussian_filter(image, 1.0)
        rows.append(np.concatenate([_blocks(image).ravel(), np.sqrt(_blocks(detail**2)).ravel()]))
    return np.stack(rows).astype(np.float64)


def mmd2(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the unbiased squared maximum mean discrepancy of two samples.

    A Gaussian kernel whose width is the median distance of the pooled sample; about 0,
    and as often below as above, for equal distributions.

    Parameters
    ----------
    first : array, shape (n, d)
    second : array, shape (m, d)
        Two rows or more in each.

    References
    ----------
    .. [1] Gretton et al., J. Mach. Learn. Res. 13:723, 2012, equation 3.
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        return float("nan")
    pooled = np.concatenate([first, second]).astype(np.float64)
    pooled -= pooled.mean(axis=0)
    norm = (pooled**2).sum(axis=1)
    square = np.maximum(norm[:, None] + norm[None] - 2 * pooled @ pooled.T, 0)
    median = float(np.median(square[np.triu_indices(n + m, 1)]))
    kernel = np.exp(-square / (2 * max(median, 1e-24)))
    np.fill_diagonal(kernel, 0)
    within = kernel[:n, :n].sum() / (n * (n - 1)) + kernel[n:, n:].sum() / (m * (m - 1))
    return float(within - 2 * kernel[:n, n:].mean())


def _range(image: FloatArray, mask: Mask) -> float:
    values = image[mask]
    return max(float(values.max() - values.min()), 1e-12)


def _similarity(a: FloatArray, b: FloatArray, span: float) -> tuple[FloatArray, FloatArray]:
    """Luminance, and contrast with structure, of every voxel's window."""

    def local(data: FloatArray) -> FloatArray:
        mean: FloatArray = ndimage.uniform_filter(data, WINDOW)
        return mean

    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mean_a, mean_b = local(a), local(b)
    var_a, var_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    both = local(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * both + c2) / (var_a + var_b + c2)
    return luminance.astype(np.float32), structure.astype(np.float32)


def _halved(data: FloatArray) -> FloatArray:
    i, j, k = (n // 2 for n in data.shape)
    cut = data[: 2 * i, : 2 * j, : 2 * k]
    mean: FloatArray = cut.reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5))
    return mean


def _blocks(image: FloatArray) -> NDArray[np.float64]:
    """Means of 8 x 8 x 8 blocks; sides that do not divide are cut unevenly."""
    data = image.astype(np.float64)
    for axis, n in enumerate(data.shape):
        edges = np.linspace(0, n, FEATURE_BLOCKS + 1).round().astype(int)
        sums = np.add.reduceat(data, edges[:-1], axis=axis)
        widths = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(3)])
        data = sums / widths
    return data
