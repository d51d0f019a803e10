"""Affine alignment of a scan to a model's template."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_normative.core.grid import Grid, resample, shrink
from napari_normative.errors import PreprocessError
from napari_normative.volume import Affine, FloatArray, Mask, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

WORKING_MM = 4.0
"""Alignment runs at this spacing: finer costs seconds and gains nothing measurable."""

RIM_MM = 12.0

GOOD_SIMILARITY = 0.75
"""Below this, tilted starting positions are tried as well."""

TILT_RAD = float(np.radians(22))

LARGEST_SCALE = 1.8
"""Adult heads differ from a template by less than this in any direction."""


@dataclass(frozen=True)
class Alignment:
    """Where a scan lies in the template's world.

    Attributes
    ----------
    scan_to_template : float64 array, shape (4, 4)
        World mm of the scan to world mm of the template.
    similarity : float
        Correlation of the aligned scan with the template inside the template's mask and a
        rim around it, at 4 mm. A bare brain reaches .9, a whole head .6 to .8.
    """

    scan_to_template: Affine
    similarity: float


def identity_alignment() -> Alignment:
    """Return the alignment of a scan that already lies in the model's world."""
    return Alignment(np.eye(4), 1.0)


def align(
    scan: Volume, template: FloatArray, mask: Mask, grid: Grid, *, seed: int = 0
) -> Alignment:
    """Find the affine map that lays ``scan`` onto the template.

    Mutual information, several starting positions (a whole head's centre of mass lies
    well below its brain's), rigid with scale first, then all twelve parameters. One
    thread and a fixed seed: the same scan gives the same map.

    Parameters
    ----------
    scan : Volume
    template : float32 array, shape of ``grid``
    mask : bool array, shape of ``grid``
        Where the template is foreground; the scan is compared there only.
    grid : Grid
    seed : int
        Of the voxels at which the images are compared.

    Returns
    -------
    Alignment

    Raises
    ------
    PreprocessError
        ``PRE-002`` when no plausible alignment is found.

    References
    ----------
    .. [1] Mattes et al., IEEE Trans. Med. Imaging 22:120-128, 2003.
    """
    factor = max(1, round(WORKING_MM / grid.spacing_mm))
    coarse = grid.coarser(factor)
    inside = _blocks(mask.astype(np.float32), factor) > 0.5
    fixed = _to_sitk(_blocks(template, factor), coarse)
    # A rim of background belongs to the comparison: without it a brain may shrink unpunished.
    rim = ndimage.binary_dilation(inside, iterations=max(1, round(RIM_MM / coarse.spacing_mm)))
    fixed_mask = _to_sitk(rim.astype(np.uint8), coarse)
    moving_grid = Grid.covering(scan, WORKING_MM)
    if np.ptp(np.percentile(scan.data, (0.5, 99.5))) == 0:
        raise _failure(scan, "nearly all of its voxels have the same value")
    small, small_affine = shrink(scan.data, scan.affine, WORKING_MM)
    moving_data = resample(small, small_affine, moving_grid.shape, moving_grid.affine)
    moving = _to_sitk(moving_data, moving_grid)

    centre = _centre_of_mass(_blocks(template * mask, factor), coarse)
    starts = _starts(moving_data, moving_grid, centre, coarse)

    def search(tilts: tuple[float, ...]) -> Alignment | None:
        tries = [
            _similarity_step(fixed, fixed_mask, moving, centre, start, tilt, seed)
            for start in starts
            for tilt in tilts
        ]
        transform, value = min(tries, key=lambda attempt: attempt[1])
        if transform is None or not np.isfinite(value):
            return None
        matrix = _affine_step(fixed, fixed_mask, moving, transform, seed)
        scales = np.linalg.svd(matrix[:3, :3], compute_uv=False)
        if scales.max() > LARGEST_SCALE or scales.min() < 1 / LARGEST_SCALE:
            return None
        to_template: Affine = np.linalg.inv(matrix).astype(np.float64)
        warped = resample(
            moving_data, to_template @ moving_grid.affine, coarse.shape, coarse.affine
        )
        ceiling = np.percentile(warped[inside], 98) if warped[inside].any() else 1.0
        similarity = correlation(np.clip(warped, 0, ceiling)[rim], _blocks(template, factor)[rim])
        return Alignment(to_template, similarity)

    with _one_thread():
        found = search((0.0,))
        if found is None or found.similarity < GOOD_SIMILARITY:
            # A chin far up or down: rare, so looked for only when nothing else fits.
            tilted = search((-TILT_RAD, TILT_RAD))
            if tilted is not None and (found is None or tilted.similarity > found.similarity):
                found = tilted
    if found is None:
        raise _failure(scan, f"no map within a scale of {LARGEST_SCALE:g} was found")
    return found


_threads_lock = threading.Lock()
_threads_users, _threads_before = 0, 0


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let all of ITK work in one thread, so that sums come out the same to the last bit.

    The method's own setting leaves parts of it with the default of the process.
    """
    global _threads_users, _threads_before
    from SimpleITK import ProcessObject

    with _threads_lock:
        if not _threads_users:
            _threads_before = ProcessObject.GetGlobalDefaultNumberOfThreads()
            ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        _threads_users += 1
    try:
        yield
    finally:
        with _threads_lock:
            _threads_users -= 1
            if not _threads_users:
                ProcessObject.SetGlobalDefaultNumberOfThreads(_threads_before)


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson correlation of two value lists; 0 when either is constant."""
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / norm if norm > 0 else 0.0


def _failure(scan: Volume, why: str) -> PreprocessError:
    return PreprocessError(
        "PRE-002",
        f"it could not be aligned to the model's template ({why})",
        "Check that it is the body part and contrast the model was trained on and that its "
        "orientation is right; pass a foreground mask if much else is in the field of view.",
        subject=scan.source.name,
    )


def _blocks(data: FloatArray, factor: int) -> FloatArray:
    """Mean over blocks of ``factor``³ voxels; a rest at the far end is dropped."""
    i, j, k = (n // factor for n in data.shape)
    cut = data[: i * factor, : j * factor, : k * factor]
    out: FloatArray = cut.reshape(i, factor, j, factor, k, factor).mean(axis=(1, 3, 5))
    return out


def _to_sitk(data: NDArray[np.generic], grid: Grid) -> sitk.Image:
    # World axes stay RAS on both sides: only the map between them matters.
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.SetSpacing([grid.spacing_mm] * 3)
    image.SetOrigin(list(grid.origin_mm))
    return image


def _centre_of_mass(data: FloatArray, grid: Grid) -> NDArray[np.float64]:
    weight = np.clip(data, 0, None)
    index = [
        float(weight.sum(axis=tuple(a for a in range(3) if a != axis)) @ np.arange(n))
        for axis, n in enumerate(data.shape)
    ]
    centre: NDArray[np.float64] = np.array(index) / float(weight.sum()) * grid.spacing_mm
    centre += np.array(grid.origin_mm)
    return centre


def _starts(
    moving: FloatArray, grid: Grid, centre: NDArray[np.float64], template_grid: Grid
) -> list[NDArray[np.float64]]:
    """Return translations (template world to scan world) worth trying."""
    clipped = np.clip(moving, 0, np.percentile(moving, 99))
    mass = _centre_of_mass(clipped - clipped.min(), grid)
    # The top of the head is where a whole head and a bare brain agree best.
    filled = np.argwhere(clipped > clipped.min() + 0.2 * np.ptp(clipped))
    top_mm = filled[:, 2].max() * grid.spacing_mm + grid.origin_mm[2]
    reach = template_grid.shape[2] * template_grid.spacing_mm / 2
    from_top = np.array([mass[0], mass[1], top_mm - reach])
    starts = [mass - centre, from_top - centre, np.zeros(3)]
    kept: list[NDArray[np.float64]] = []
    for start in starts:
        if all(np.linalg.norm(start - other) > 8.0 for other in kept):
            kept.append(start)
    return kept


def _method(fixed_mask: sitk.Image, seed: int) -> sitk.ImageRegistrationMethod:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.3, seed + 1)
    method.SetMetricFixedMask(fixed_mask)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _similarity_step(
    fixed: sitk.Image,
    fixed_mask: sitk.Image,
    moving: sitk.Image,
    centre: NDArray[np.float64],
    start: NDArray[np.float64],
    tilt_rad: float,
    seed: int,
) -> tuple[sitk.Similarity3DTransform | None, float]:
    import SimpleITK as sitk

    transform = sitk.Similarity3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetTranslation(start.tolist())
    transform.SetRotation((1.0, 0.0, 0.0), tilt_rad)
    method = _method(fixed_mask, seed)
    method.SetInitialTransform(transform, inPlace=True)
    method.SetOptimizerAsRegularStepGradientDescent(4.0, 0.2, 60, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2])
    method.SetSmoothingSigmasPerLevel([4.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # ITK: all samples map outside the moving image
        return None, np.inf
    return transform, float(method.GetMetricValue())


def _affine_step(
    fixed: sitk.Image,
    fixed_mask: sitk.Image,
    moving: sitk.Image,
    start: sitk.Similarity3DTransform,
    seed: int,
) -> Affine:
    import SimpleITK as sitk

    transform = sitk.AffineTransform(3)
    transform.SetCenter(start.GetCenter())
    transform.SetMatrix(start.GetMatrix())
    transform.SetTranslation(start.GetTranslation())
    method = _method(fixed_mask, seed)
    method.SetInitialTransform(transform, inPlace=True)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, 200, relaxationFactor=0.8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.Execute(fixed, moving)
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    centre, shift = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = shift + centre - linear @ centre
    return matrix
