import functools
import sys

import numpy as np
import pytest

from napari_normative.errors import VolumeFileError
from napari_normative.io import samples
from napari_normative.io.samples import SAMPLES, make_sample, sample_truth
from napari_normative.volume import Volume

pytest.importorskip("nilearn", reason="the sample scans need the extra demo")


@functools.cache
def made(key: str) -> tuple[Volume, Volume | None]:
    """Scan and truth of the default individual; made once."""
    return make_sample(key), sample_truth(key)


def test_every_key_has_a_description_and_a_recipe() -> None:
    assert set(SAMPLES) == set(samples._RECIPES)
    assert {"healthy-brain", "brain-with-lesion", "whole-head"} <= set(SAMPLES)


@pytest.mark.parametrize("key", SAMPLES)
def test_a_sample_is_an_adult_head_in_the_stored_orientation(key: str) -> None:
    scan, _ = made(key)
    assert scan.source.name == f"sample-{key}"
    assert scan.orientation == scan.source.orientation == samples._RECIPES[key].orientation
    assert scan.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
    foreground_ml = float((scan.data > 0.15 * scan.data.max()).sum()) * scan.voxel_ml
    if key.startswith("whole-head"):
        assert 2800 < foreground_ml < 5500
        assert (scan.data > 0).mean() > 0.9  # noise in the air, as a scanner gives it
    else:
        assert 1300 < foreground_ml < 2100
        assert (scan.data == 0).mean() > 0.6  # stripped: exactly 0 outside


def test_white_matter_is_brighter_than_grey_than_fluid() -> None:
    """The histogram of the healthy brain has the order of a T1 contrast."""
    scan = made("healthy-brain")[0].canonical()

    def at(x: float, y: float, z: float) -> float:  # mean over 5 mm around a world position
        i, j, k = np.round(np.array([x, y, z]) - scan.affine[:3, 3]).astype(int)
        return float(np.median(scan.data[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3]))

    white = float(np.median([at(26, -20, 32), at(-26, -20, 32)]))
    brain = scan.data[scan.data > 0]
    fluid = float(np.percentile(brain, 2))
    assert fluid < 0.4 * white
    assert fluid < float(np.percentile(brain, 30)) < 0.85 * white


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_person() -> None:
    first = make_sample("healthy-brain", seed=3)
    samples._make.cache_clear()
    again = make_sample("healthy-brain", seed=3)
    other = make_sample("healthy-brain", seed=4)
    assert first is not again
    assert first.data.tobytes() == again.data.tobytes()
    assert first.source.digest == again.source.digest != other.source.digest
    inside = (first.data > 0) & (other.data > 0)
    correlation = np.corrcoef(first.data[inside], other.data[inside])[0, 1]
    assert correlation < 0.8, "two people must differ more than by their noise"


@pytest.mark.parametrize(
    ("key", "side"), [("brain-with-lesion", -1), ("whole-head-with-lesion", 1)]
)
def test_the_lesion_lies_in_the_named_hemisphere_and_is_dark(key: str, side: int) -> None:
    scan, truth = made(key)
    assert truth is not None
    assert truth.source.is_label
    assert truth.same_grid(scan)
    assert set(np.unique(truth.data)) == {0.0, 1.0}
    assert 8.0 < float(truth.data.sum()) * truth.voxel_ml < 30.0

    inside = np.argwhere(truth.data == 1)
    world = inside @ truth.affine[:3, :3].T + truth.affine[:3, 3]
    assert (side * world[:, 0]).min() > 0, "left is left: world x is negative on the left"

    # The same place on the other side, mirrored at x = 0 of the world.
    mirrored = (world * (-1, 1, 1) - scan.affine[:3, 3]) @ np.linalg.inv(scan.affine[:3, :3]).T
    i, j, k = np.round(mirrored).astype(int).T
    lesion = float(np.median(scan.data[truth.data == 1]))
    assert lesion < 0.7 * float(np.median(scan.data[i, j, k]))
    assert (scan.data[truth.data == 1] > 0).mean() > 0.99, "the lesion lies inside the brain"


def test_healthy_samples_have_no_lesion() -> None:
    assert made("healthy-brain")[1] is None
    assert made("whole-head")[1] is None


def test_the_descriptions_name_the_side() -> None:
    assert "left" in SAMPLES["brain-with-lesion"]
    assert "right" in SAMPLES["whole-head-with-lesion"]


def test_an_unknown_sample_is_refused_with_the_list() -> None:
    with pytest.raises(VolumeFileError, match=r"\[SMP-001\] hand: .*healthy-brain"):
        make_sample("hand")


def test_without_nilearn_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    samples._load_template.cache_clear()
    samples._make.cache_clear()
    with pytest.raises(VolumeFileError, match=r'pip install "napari-normative\[demo\]"'):
        make_sample("healthy-brain")


def test_a_coarse_sample_is_the_same_head_in_the_same_place() -> None:
    fine = make_sample("brain-with-lesion", seed=5).canonical()
    fine_truth = sample_truth("brain-with-lesion", seed=5)
    coarse = make_sample("brain-with-lesion", seed=5, spacing_mm=2)
    truth = sample_truth("brain-with-lesion", seed=5, spacing_mm=2)
    assert fine_truth is not None
    assert truth is not None
    assert coarse.spacing_mm == pytest.approx((2.0, 2.0, 2.0))
    assert coarse.orientation == "PSR"
    same_places = coarse.canonical()
    assert np.allclose(same_places.affine[:3, 3], fine.affine[:3, 3])
    every_second = fine.data[::2, ::2, ::2][tuple(slice(n) for n in same_places.shape)]
    inside = (every_second > 0) & (same_places.data > 0)
    assert np.corrcoef(every_second[inside], same_places.data[inside])[0, 1] > 0.95
    ml = float(truth.data.sum()) * truth.voxel_ml
    assert ml == pytest.approx(float(fine_truth.data.sum()) / 1000, rel=0.03)


@pytest.mark.parametrize("spacing_mm", [0.5, 5.0, float("nan")])
def test_a_spacing_that_cannot_be_made_is_refused(spacing_mm: float) -> None:
    with pytest.raises(VolumeFileError, match="SMP-003"):
        make_sample("healthy-brain", spacing_mm=spacing_mm)
