"""To the model's space and back."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_normative.core.grid import Grid, overlap, resample, shrink
from napari_normative.core.preprocess import (
    LEVELS,
    IntensityMap,
    PreprocessConfig,
    Template,
    bias_field,
    prepare,
    restore,
    scored_mask,
)
from napari_normative.core.register import align
from napari_normative.errors import GeometryMismatchError, PreprocessError
from napari_normative.volume import Volume
from phantoms import phantom

CONFIG = PreprocessConfig(
    shape=(40, 48, 40), spacing_mm=4.0, origin_mm=(-78.0, -94.0, -78.0), alignment="none"
)


@pytest.fixture(scope="module")
def template() -> Template:
    scan, grid = phantom(1), CONFIG.grid
    image = resample(scan.data, scan.affine, grid.shape, grid.affine)
    return Template(image / np.median(image[image > 0]), image > 0)


def stored_as(volume: Volume, codes: tuple[str, ...]) -> Volume:
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(volume.affine), nib.orientations.axcodes2ornt(codes)
    )
    data = nib.orientations.apply_orientation(volume.data, change)
    affine = volume.affine @ nib.orientations.inv_ornt_aff(change, volume.shape)
    return Volume.from_array(data, affine)


ORDERS = [
    tuple(np.array([list("RL"), list("AP"), list("SI")])[list(axes), list(sides)])
    for axes in itertools.permutations(range(3))
    for sides in [(0, 0, 0), (1, 0, 1)]
]


@pytest.mark.parametrize("codes", ORDERS, ids="".join)
def test_there_and_back_in_every_axis_order(template: Template, codes: tuple[str, ...]) -> None:
    """What comes back correlates with what went in, voxel by voxel, and left stays left."""
    smooth = phantom(2, lesion_ml=14)
    smooth = smooth.with_data(ndimage.gaussian_filter(smooth.data, 1.0) * (smooth.data > 0))
    scan = stored_as(smooth, codes)
    made = prepare(scan, CONFIG, template)
    back = restore(made.image, made, CONFIG, scan)
    inside = ndimage.binary_erosion(scored_mask(made, CONFIG, scan), iterations=2)
    assert np.corrcoef(back[inside], scan.data[inside])[0, 1] > 0.98
    error = np.abs(back - scan.data)[inside]
    assert np.median(error) < 0.02 * np.median(scan.data[inside])
    # The lesion lies at x = -38 mm: on the left of the model's grid too.
    x, y, z = np.rint((np.array([-38, 15, 15]) - CONFIG.origin_mm) / 4).astype(int)
    assert made.image[x, y, z] < 0.7 * made.image[-1 - x, y, z]


def test_a_scan_on_the_models_grid_comes_back_exactly() -> None:
    grid = CONFIG.grid
    random = np.random.default_rng(0)
    data = random.uniform(50, 100, grid.shape).astype(np.float32)
    data[:4] = data[-4:] = data[:, :4] = data[:, -4:] = data[:, :, :4] = data[:, :, -4:] = 0
    scan = Volume.from_array(data, grid.affine)
    flat = Template(np.where(data > 0, 1, 0).astype(np.float32), data > 0)
    made = prepare(scan, CONFIG, flat)
    back = restore(made.image, made, CONFIG, scan)
    np.testing.assert_allclose(back[made.mask], data[made.mask], rtol=1e-4)


@given(
    values=st.lists(st.floats(-1e4, 1e4, width=32), min_size=20, max_size=200, unique=True),
    seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_intensity_map_rises_and_inverts(values: list[float], seed: int) -> None:
    data = np.array(values, dtype=np.float32)
    if np.ptp(np.quantile(data, [0.01, 0.99])) < 1e-2:
        return
    steps = np.random.default_rng(seed).uniform(0.01, 1, len(LEVELS))
    mapping = IntensityMap.matching(data, tuple(np.cumsum(steps)))
    probe = np.sort(np.concatenate([data, data * 3]))
    there = mapping.forward(probe)
    assert (np.diff(there) >= 0).all()
    span = np.ptp(mapping.scan[1:-1])
    np.testing.assert_allclose(mapping.backward(there), probe, atol=2e-3 * span + 1e-3)


def test_known_bias_field_is_found(template: Template) -> None:
    grid = CONFIG.grid
    y = np.linspace(-1, 1, grid.shape[1])[None, :, None]
    field = np.broadcast_to(np.exp(0.25 * y), grid.shape).astype(np.float32)
    found = bias_field(template.image * field, template.mask, template.image, CONFIG)
    inner = ndimage.binary_erosion(template.mask, iterations=4)
    ratio = (found / field)[inner]
    # Up to a factor, which the intensity map takes up; wide Gaussians flatten the ends.
    before = (1 / field)[inner]
    assert ratio.std() / ratio.mean() < 0.3 * before.std() / before.mean()


def test_the_same_scan_gives_the_same_map_to_the_last_bit(template: Template) -> None:
    from SimpleITK import ProcessObject

    threads = ProcessObject.GetGlobalDefaultNumberOfThreads()
    scan = phantom(7, spacing_mm=2.0)

    def maps() -> set[bytes]:
        found = (align(scan, template.image, template.mask, CONFIG.grid) for _ in range(2))
        return {each.scan_to_template.tobytes() for each in found}

    with ThreadPoolExecutor(2) as pool:  # also beside another one
        both = list(pool.map(lambda _: maps(), range(2)))
    assert len(both[0] | both[1]) == 1
    assert ProcessObject.GetGlobalDefaultNumberOfThreads() == threads


def test_alignment_finds_a_known_turn(template: Template) -> None:
    angle = np.radians(10)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = (12, -25, 40)
    scan = phantom(1)
    moved = Volume(scan.data, turn @ scan.affine, scan.source)
    found = align(moved, template.image, template.mask, CONFIG.grid)
    corners = np.array(list(itertools.product((-50, 50), (-60, 60), (-40, 40))), float)
    there = corners @ turn[:3, :3].T + turn[:3, 3]
    back = there @ found.scan_to_template[:3, :3].T + found.scan_to_template[:3, 3]
    assert np.linalg.norm(back - corners, axis=1).max() < 4.0  # a voxel
    assert found.similarity > 0.9


def test_what_is_no_brain_is_refused(template: Template) -> None:
    random = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(random.standard_normal((40, 40, 40)), 2).astype(np.float32)
    scan = Volume.from_array(noise, np.diag([4.0, 4, 4, 1]), "noise")
    config = CONFIG.model_copy(update={"alignment": "affine"})
    with pytest.raises(PreprocessError, match=r"PRE-002.*noise"):
        prepare(scan, config, template)


def test_a_lesion_mask_given_as_a_scan_is_refused(template: Template) -> None:
    scan = phantom(3)
    few = np.zeros(scan.shape)
    few[20:22, 20:22, 20:22] = 1
    with pytest.raises(PreprocessError, match="PRE-002"):
        align(scan.with_data(few), template.image, template.mask, CONFIG.grid)


def test_a_whole_head_takes_the_templates_mask(template: Template) -> None:
    bare = phantom(3)
    skull, scalp = (ndimage.binary_dilation(bare.data > 0, iterations=n) for n in (2, 4))
    head = bare.with_data(np.where(bare.data > 0, bare.data, np.where(scalp & ~skull, 90, 8)))
    config = CONFIG.model_copy(update={"alignment": "affine"})
    assert prepare(bare, config, template).foreground == "zeros"
    made = prepare(head, config, template)
    assert made.foreground == "template"
    assert made.mask.sum() == pytest.approx(template.mask.sum(), rel=0.05)


def test_a_mask_on_another_grid_is_refused(template: Template) -> None:
    scan = phantom(3)
    other = Volume(scan.data, scan.affine + np.eye(4) * [0, 0, 0, 0], scan.source)
    shifted = other.affine.copy()
    shifted[0, 3] += 0.5
    with pytest.raises(GeometryMismatchError, match="GEO-001"):
        prepare(scan, CONFIG, template, mask=Volume(scan.data, shifted, scan.source))


def test_a_flat_foreground_is_refused(template: Template) -> None:
    scan = phantom(3)
    flat = scan.with_data(np.where(scan.data > 0, 7, 0))
    with pytest.raises(PreprocessError, match="PRE-001"):
        prepare(flat, CONFIG.model_copy(update={"bias_mm": 0.0}), template)


def test_a_scan_elsewhere_is_refused(template: Template) -> None:
    scan = phantom(3)
    far = scan.affine.copy()
    far[0, 3] += 500
    with pytest.raises(PreprocessError, match="PRE-003"):
        prepare(Volume(scan.data, far, scan.source), CONFIG, template)


def test_coarser_grids_keep_the_centre() -> None:
    fine = Grid((8, 12, 4), 2.0, (1.0, 2.0, 3.0))
    coarse = fine.coarser(2)
    assert coarse.shape == (4, 6, 2)
    middle = [(np.array(g.shape) - 1) / 2 * g.spacing_mm + g.origin_mm for g in (fine, coarse)]
    np.testing.assert_allclose(middle[0], middle[1])


def test_resampling_equals_an_independent_program() -> None:
    scan = phantom(4)
    turned = scan.affine.copy()
    turned[:3, :3] = scan.affine[:3, :3] @ [[0.9, 0.2, 0.0], [-0.1, 1.1, 0.05], [0.0, 0.1, 1.0]]
    shape = (30, 40, 35)
    ours = resample(scan.data, scan.affine, shape, turned)
    index = np.linalg.inv(scan.affine) @ turned
    theirs = ndimage.affine_transform(
        scan.data, index[:3, :3], index[:3, 3], output_shape=shape, order=1
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-2)


def test_the_shared_part_of_two_grids_holds_every_shared_voxel() -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    turn[:3, 3] = (12, -4, 7)
    box = overlap((60, 60, 60), turn, (10, 12, 14), 0)
    points = np.stack(np.meshgrid(*[np.arange(60)] * 3, indexing="ij"), -1).reshape(-1, 3)
    other = points @ turn[:3, :3].T + turn[:3, 3]
    inside = points[((other >= -0.5) & (other <= [9.5, 11.5, 13.5])).all(axis=1)]
    assert all(s.start <= inside[:, a].min() for a, s in enumerate(box))
    assert all(s.stop > inside[:, a].max() for a, s in enumerate(box))
    assert np.prod([s.stop - s.start for s in box]) < 60**3 / 10


def test_blocks_are_means_at_their_own_place() -> None:
    ramp = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 8, 9)).astype(np.float32)
    small, affine = shrink(ramp, np.diag([1.0, 2.0, 5.0, 1.0]), 4.0)
    assert small.shape == (3, 4, 9)  # 4, 2 and 1 voxels a block
    x = affine[0, 0] * np.arange(3) + affine[0, 3]
    np.testing.assert_allclose(small[:, 0, 0], x)  # the ramp's value is its position
