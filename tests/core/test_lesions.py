"""Simulated lesions: what they change, by how much, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_normative.core.lesions import (
    LESION_KINDS,
    SimulatedLesion,
    drawn_shape,
    place_shape,
    simulate,
)
from napari_normative.core.volume_change import displacement, jacobian
from napari_normative.errors import SimulationError
from phantoms import phantom

SPACING_MM = 4.0


@pytest.fixture(scope="module")
def scan() -> np.ndarray:
    return phantom(1).data


@pytest.fixture(scope="module")
def mask(scan: np.ndarray) -> np.ndarray:
    return scan > 0


@pytest.fixture(scope="module")
def shape(mask: np.ndarray) -> np.ndarray:
    """A ball of 31 ml in the white matter of the left."""
    return ball(mask.shape, (12, 28, 24), 5) & mask


def ball(size: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    axes = np.ogrid[tuple(slice(0, n) for n in size)]
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


def put(scan: np.ndarray, shape: np.ndarray, kind: str, **more: float) -> SimulatedLesion:
    return simulate(scan, scan > 0, shape, SPACING_MM, kind, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_nothing_changes_outside_the_foreground(
    scan: np.ndarray, mask: np.ndarray, shape: np.ndarray, kind: str
) -> None:
    made = put(scan, shape, kind)
    assert (made.image[~mask] == scan[~mask]).all()
    assert not (made.truth & ~mask).any()
    assert made.image.dtype == np.float32
    assert np.abs(made.image - scan)[made.truth].mean() > 2.0
    assert made.volume_ml == pytest.approx(made.truth.sum() * 0.064)


@pytest.mark.parametrize("kind", ["hypointense", "hyperintense", "texture"])
def test_an_intensity_change_stays_within_its_edge(
    scan: np.ndarray, shape: np.ndarray, kind: str
) -> None:
    made = put(scan, shape, kind, edge_mm=4.0)
    far = ndimage.distance_transform_edt(~shape) * SPACING_MM > 1.5 * 4.0 * np.sqrt(3)
    assert (made.image[far] == scan[far]).all()
    assert (made.truth == shape).all()


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_the_same_seed_gives_the_same_lesion(
    scan: np.ndarray, shape: np.ndarray, kind: str
) -> None:
    one, two = put(scan, shape, kind, seed=3), put(scan, shape, kind, seed=3)
    assert (one.image == two.image).all() and (one.truth == two.truth).all()


def test_a_drawn_shape_is_connected_and_of_the_stated_volume(mask: np.ndarray) -> None:
    for seed, volume_ml in enumerate((0.5, 5.0, 50.0)):
        drawn = drawn_shape(mask, volume_ml, SPACING_MM, seed=seed)
        assert not (drawn & ~mask).any()
        assert drawn.sum() * 0.064 == pytest.approx(volume_ml, rel=0.1)
        assert ndimage.label(drawn, np.ones((3, 3, 3)))[1] == 1


def test_a_placed_shape_lies_at_the_same_place_in_the_world() -> None:
    fine = np.diag([-1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = (60, -60, -60)
    source = ball((120, 120, 120), (80, 60, 50), 12)
    coarse = np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = (-60, -60, -60)
    placed = place_shape(source, fine, (60, 60, 60), coarse)
    centre = np.argwhere(placed).mean(axis=0) * 2 - 60
    assert centre == pytest.approx((-20, 0, -10), abs=0.3)
    assert placed.sum() * 8 == pytest.approx(source.sum(), rel=0.05)


def white_with_some_of_all(size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A white cube (100) in black; far corner regions of grey (60) and fluid (20)."""
    image = np.zeros((size,) * 3, np.float32)
    image[2:-2, 2:-2, 2:-2] = 100
    image[2:9, 2:9, 2:-2] = 20
    image[-9:-2, 2:9, 2:-2] = 60
    return image, image > 0


def test_hypointense_goes_nearly_to_fluid_and_never_brightens() -> None:
    image, mask = white_with_some_of_all()
    shape = ball(image.shape, (20, 25, 20), 6)
    made = simulate(image, mask, shape, 2.0, "hypointense")
    core = ball(image.shape, (20, 25, 20), 4)
    assert made.image[core].mean() == pytest.approx(100 - 0.9 * 80, abs=4)
    assert 2 < made.image[core].std() < 10  # uneven
    in_fluid = simulate(image, mask, ball(image.shape, (6, 6, 20), 3), 2.0, "hypointense").image
    assert (made.image <= image).all() and (in_fluid <= image).all()


def test_hyperintense_is_above_the_brightest_tissue_and_never_darkens() -> None:
    image, mask = white_with_some_of_all()
    shape = ball(image.shape, (20, 25, 20), 6)
    made = simulate(image, mask, shape, 2.0, "hyperintense")
    core = ball(image.shape, (20, 25, 20), 4)
    assert made.image[core].mean() == pytest.approx(100 + 0.9 * 40, abs=4)
    assert (made.image >= image).all()


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_a_stronger_lesion_changes_more(scan: np.ndarray, shape: np.ndarray, kind: str) -> None:
    changed = [
        np.abs(put(scan, shape, kind, strength=strength).image - scan).sum()
        for strength in (0.25, 0.5, 1.0)
    ]
    assert changed[0] < 0.75 * changed[1] < 0.75 * 0.9 * changed[2]


def test_half_strength_is_half_the_change(scan: np.ndarray, shape: np.ndarray) -> None:
    for kind in ("hypointense", "hyperintense", "texture", "regional"):
        whole = put(scan, shape, kind).image - scan
        half = put(scan, shape, kind, strength=0.5).image - scan
        np.testing.assert_allclose(2 * half, whole, atol=1e-3)


def test_texture_keeps_the_mean_and_replaces_the_structure(
    scan: np.ndarray, shape: np.ndarray
) -> None:
    made = put(scan, shape, "texture").image
    assert made[shape].mean() == pytest.approx(scan[shape].mean(), rel=1e-4)
    deep = ndimage.binary_erosion(shape)

    def detail(data: np.ndarray) -> np.ndarray:
        return (data - ndimage.gaussian_filter(data, 1.0))[deep]

    assert abs(np.corrcoef(detail(made), detail(scan))[0, 1]) < 0.4


def test_a_region_loses_thirty_percent(scan: np.ndarray, shape: np.ndarray) -> None:
    made = put(scan, shape, "regional")
    loss = 1 - made.image[made.truth] / scan[made.truth]
    assert loss.max() == pytest.approx(0.3, abs=1e-5)
    assert loss.min() > 0.07
    overlap = 2 * (made.truth & shape).sum() / (made.truth.sum() + shape.sum())
    assert overlap > 0.85


@pytest.mark.parametrize("kind", ["hypointense", "hyperintense", "regional"])
def test_no_bare_rim_is_left_at_the_edge_of_the_foreground(kind: str) -> None:
    image, mask = white_with_some_of_all()
    shape = np.zeros_like(mask)
    shape[25:, 14:26, 14:26] = True  # goes through the foreground's edge at index 37
    change = simulate(image, mask, shape, 2.0, kind).image - image
    at_edge, inside = change[37, 17:23, 17:23].mean(), change[33, 17:23, 17:23].mean()
    assert at_edge == pytest.approx(inside, rel=0.2)
    assert (change[38:] == 0).all()


def test_the_edge_is_blended_over_its_width() -> None:
    image, mask = white_with_some_of_all()
    shape = np.zeros_like(mask)
    shape[12:28, 14:30, 14:30] = True

    def profile(edge_mm: float) -> np.ndarray:
        made = [
            simulate(image, mask, shape, 1.0, "hyperintense", edge_mm=edge_mm, seed=seed).image
            for seed in range(12)
        ]
        change = (np.mean(made, axis=0) - image)[:, 20:24, 20:24].mean(axis=(1, 2))
        return change[4:20] / change[18:22].mean()

    soft, sharp = profile(8.0), profile(1.0)
    assert soft[8 - 1] + soft[8] == pytest.approx(1.0, abs=0.15)  # half at the shape's border
    assert (np.diff(soft[:8]) > 0).all()
    assert soft[6] > 0.2 and sharp[6] < 0.02


def test_a_mass_pushes_its_surroundings_outward_as_far_as_its_volume_demands() -> None:
    size, middle, radius = 64, 32, 8.0
    image = np.full((size,) * 3, 100.0)
    image[:3], image[3:6] = 20, 60
    beside = np.abs(np.arange(size) - middle) - 12.0  # planes 12 mm beside the middle
    image[6:] += 60 * np.exp(-(beside**2) / 4)[None, :, None]
    shape = ball(image.shape, (middle, middle, middle), radius)
    mask = np.ones_like(shape)
    made = simulate(image.astype(np.float32), mask, shape, 1.0, "mass").image
    # Tissue of 40 % of the volume grew into the sphere; the rest is pushed aside, by so much
    # when nothing is compressed, by up to twice as much at the cost of some compression.
    demanded = (12**3 + 0.6 * radius**3) ** (1 / 3) - 12
    for sign in (1, -1):
        line = np.array([made[middle, middle + sign * i, middle] for i in range(10, 20)])
        peak = int(line.argmax())
        a, b, c = line[peak - 1 : peak + 2]
        found = 10 + peak + (a - c) / (2 * (a - 2 * b + c)) - 12
        assert demanded < found < 2 * demanded


def test_atrophy_takes_the_stated_share_of_the_tissue() -> None:
    image = np.full((48, 48, 48), 20.0, np.float32)
    image[:4], image[4:8] = 60, 100
    shape = ball(image.shape, (26, 24, 24), 9)
    image[shape] = 100
    mask = np.ones_like(shape)
    around = ball(image.shape, (26, 24, 24), 14)
    before = (image[around] - 20).sum()
    for strength in (0.5, 1.0):
        made = simulate(image, mask, shape, 1.0, "atrophy", strength=strength)
        lost = 1 - (made.image[around] - 20).sum() / before
        assert lost == pytest.approx(0.3 * strength, rel=0.15)
    assert made.truth[shape].mean() > 0.9
    assert not made.truth[~ball(image.shape, (26, 24, 24), 16)].any()


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_units_of_the_scan_do_not_matter(scan: np.ndarray, shape: np.ndarray, kind: str) -> None:
    one, thousand = put(scan, shape, kind), put(1000 * scan, shape, kind)
    np.testing.assert_allclose(thousand.image, 1000 * one.image, rtol=1e-3, atol=20)
    assert (one.truth != thousand.truth).mean() < 1e-4


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_a_single_voxel_is_a_lesion_too(scan: np.ndarray, kind: str) -> None:
    shape = np.zeros(scan.shape, bool)
    shape[12, 28, 24] = True
    made = put(scan, shape, kind)
    assert made.truth[12, 28, 24]
    assert made.volume_ml > 0
    assert np.isfinite(made.image).all()


def test_seeds_differ(scan: np.ndarray, mask: np.ndarray, shape: np.ndarray) -> None:
    one, two = put(scan, shape, "hypointense", seed=1), put(scan, shape, "hypointense", seed=2)
    assert np.abs(one.image - two.image)[shape].mean() > 0.5
    shapes = [drawn_shape(mask, 10.0, SPACING_MM, seed=s) for s in (1, 2)]
    first, second = (np.argwhere(s).mean(axis=0) for s in shapes)
    assert np.abs(first - second).max() > 3  # another place too
    assert not (shapes[0] == shapes[1]).all()
    assert (shapes[0] == drawn_shape(mask, 10.0, SPACING_MM, seed=1)).all()


def test_a_drawn_shape_is_irregular(mask: np.ndarray) -> None:
    drawn = drawn_shape(mask, 40.0, SPACING_MM, seed=5)
    radius = (3 * drawn.sum() / (4 * np.pi)) ** (1 / 3)
    round_one = ball(mask.shape, tuple(np.argwhere(drawn).mean(axis=0)), radius)
    assert 0.3 < 2 * (drawn & round_one).sum() / (drawn.sum() + round_one.sum()) < 0.9


def test_a_drawn_shape_fills_a_foreground_that_is_too_small() -> None:
    mask = np.zeros((12, 12, 12), bool)
    mask[2:4, 2:4, 2:10] = True
    assert (drawn_shape(mask, 5.0, 2.0, seed=0) == mask).all()


def test_a_displacement_has_the_divergence_that_was_asked_for() -> None:
    rate = 0.2 * ndimage.gaussian_filter(ball((40, 44, 48), (20, 22, 24), 6).astype(float), 1.5)
    spacing = np.array([2.0, 1.5, 1.0])
    field = displacement(rate.astype(np.float32), spacing)
    found = sum(np.gradient(field[a], spacing[a], axis=a) for a in range(3))
    inner = (slice(10, -10),) * 3
    np.testing.assert_allclose(found[inner], (rate - rate.mean())[inner], atol=0.02)


def test_the_jacobian_of_a_uniform_stretch() -> None:
    index = np.indices((6, 7, 8)).astype(np.float32) * 2.0
    factors = np.array([0.1, -0.2, 0.3], np.float32)[:, None, None, None]
    volume = jacobian(factors * index, np.array([2.0, 2.0, 2.0]))
    np.testing.assert_allclose(volume, 1.1 * 0.8 * 1.3, rtol=1e-5)


@pytest.mark.shared
def test_real_shapes_on_a_real_scan(shared_data: Path) -> None:
    from napari_normative.core.preprocess import prepare
    from napari_normative.engine.model import load_model
    from napari_normative.io.nifti import read_volume

    model = load_model()
    grid = model.card.preprocess.grid
    scan = read_volume(sorted((shared_data / "ixi-t1-2mm").glob("*.nii*"))[3])
    prepared = prepare(scan, model.card.preprocess, model.template)
    image, mask = prepared.image, prepared.mask
    files = sorted((shared_data / "lesion-shapes" / "soop").glob("*.nii.gz"))
    for file in (files[0], files[32], files[128]):
        real = read_volume(file)
        shape = place_shape(real.data, real.affine, grid.shape, grid.affine)
        assert shape.sum() * 0.008 == pytest.approx(real.data.sum() * real.voxel_ml, rel=0.1)
        assert (shape & mask).sum() > 0.9 * shape.sum()
        for kind in LESION_KINDS:
            made = simulate(image, mask, shape, grid.spacing_mm, kind, seed=1)
            change = (made.image - image)[made.truth]
            assert np.isfinite(made.image).all() and made.image.min() >= min(0, image.min())
            assert (made.image[~mask] == image[~mask]).all()
            if kind in ("hypointense", "regional"):
                assert -0.6 < change.mean() < -0.08
            elif kind == "hyperintense":
                assert 0.08 < change.mean() < 0.6
            elif kind == "texture":
                assert abs(change.mean()) < 1e-3 < np.abs(change).mean()
            else:
                assert np.abs(change).mean() > 0.01


def test_what_cannot_be_simulated_is_said(
    scan: np.ndarray, mask: np.ndarray, shape: np.ndarray
) -> None:
    with pytest.raises(SimulationError, match="SIM-001"):
        put(scan, shape, "haemorrhage")
    with pytest.raises(SimulationError, match="SIM-001"):
        put(scan, shape, "mass", strength=0.0)
    with pytest.raises(SimulationError, match="SIM-002"):
        put(scan, ~mask, "mass")
    with pytest.raises(SimulationError, match="SIM-003"):
        put(scan, shape[1:], "mass")
    with pytest.raises(SimulationError, match="SIM-004"):
        simulate(np.ones_like(scan), mask, shape, SPACING_MM, "hypointense")
    with pytest.raises(SimulationError, match="SIM-005"):
        drawn_shape(np.zeros_like(mask), 1.0, SPACING_MM, seed=0)
