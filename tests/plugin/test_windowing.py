"""Grey-value windows: arithmetic, presets, and what is recognised."""

from __future__ import annotations

import numpy as np
import pytest

from napari_normative.io.nifti import read_volume
from napari_normative.plugin.windowing import (
    CT_PRESETS,
    Window,
    foreground_values,
    recognise,
    robust_window,
)
from phantoms import phantom


def ct_head():
    """Air, a skull of 1200 HU, brain of 30 to 40 HU."""
    axes = np.meshgrid(*[np.linspace(-1, 1, 40)] * 3, indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    data = np.where(radius < 0.9, 1200.0, -1000.0)
    inside = radius < 0.8
    data[inside] = 30 + 10 * np.random.default_rng(0).random(inside.sum())
    return data.astype(np.float32)


def test_level_and_width_name_black_and_white():
    assert Window(40, 80).limits == (0, 80)
    assert Window.between(-160, 240) == Window(40, 400)


@pytest.mark.parametrize(
    ("key", "limits"),
    [
        ("brain", (0, 80)),
        ("stroke", (20, 60)),
        ("subdural", (-25, 175)),
        ("bone", (-800, 2000)),
        ("lung", (-1350, 150)),
    ],
)
def test_ct_presets_have_the_usual_limits(key, limits):
    (preset,) = [p for p in CT_PRESETS if p.key == key]
    assert preset.window.limits == limits


def test_a_drag_to_the_right_widens_and_a_drag_down_lowers_the_level():
    window = Window(100, 200)
    assert window.dragged(250, 0, scale=100) == Window(100, 250)
    assert window.dragged(0, 250, scale=100) == Window(50, 200)
    assert window.dragged(0, -250, scale=100) == Window(150, 200)


def test_a_window_cannot_be_dragged_inside_out():
    assert Window(100, 200).dragged(-5000, 0, scale=100).width == pytest.approx(0.1)


def test_hounsfield_units_are_recognised_by_their_air():
    assert recognise(ct_head()) == "CT"
    assert recognise(phantom(1).data) == "MR"
    standardised = np.random.default_rng(0).standard_normal((20, 20, 20))
    assert recognise(standardised) == "MR"
    assert recognise(np.full((4, 4, 4), np.nan)) == "other"


def test_ct_is_first_seen_in_the_brain_window():
    assert robust_window(ct_head(), "CT").limits == (0, 80)


def test_mr_is_first_seen_between_the_percentiles_of_its_foreground():
    scan = phantom(1)
    low, high = robust_window(scan.data, "MR").limits
    inside = scan.data[scan.data > 0]
    assert low == pytest.approx(np.quantile(inside, 0.01), rel=0.1)
    assert high == pytest.approx(np.quantile(inside, 0.995), rel=0.01)


def test_a_few_bright_voxels_do_not_darken_the_rest():
    data = phantom(1).data.copy()
    before = robust_window(data, "MR")
    data.reshape(-1)[:20] = 1e5
    assert robust_window(data, "MR").width == pytest.approx(before.width, rel=0.05)


def test_others_begin_at_their_lowest_value():
    data = np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
    assert robust_window(data, "other").limits == pytest.approx((0, 995))


def test_a_constant_image_has_a_window_all_the_same():
    assert robust_window(np.full((5, 5, 5), 3.0), "MR").width == 1.0


def test_air_is_no_foreground():
    noisy = phantom(1).data + np.abs(np.random.default_rng(0).standard_normal(phantom(1).shape))
    share = foreground_values(noisy).size / noisy.size
    assert share == pytest.approx((phantom(1).data > 0).mean(), rel=0.03)


@pytest.mark.shared
def test_the_window_of_a_real_t1_leaves_grey_and_white_matter_unclipped(shared):
    scan = read_volume(shared / "ixi-t1-2mm" / "sub-IXI013_T1w.nii.gz")
    assert recognise(scan.data) == "MR"
    low, high = robust_window(scan.data, "MR").limits
    brain = foreground_values(scan.data)
    assert low < np.quantile(brain, 0.05)
    assert (brain > high).mean() <= 0.005
