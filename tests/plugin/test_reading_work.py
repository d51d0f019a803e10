"""What is told of healthy scans at a threshold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from napari_normative.core.calibration import TAIL, Calibration
from napari_normative.plugin.work.reading import rate_line, voxel_share

WITHOUT_CURVE = Calibration(
    mean=np.zeros((1, 2, 2, 2), np.float32),
    sd=np.ones((1, 2, 2, 2), np.float32),
    z_tail=np.linspace(0.0, 8.0, len(TAIL)),
    scan_scores=np.zeros(4),
    evidence=np.zeros(4),
    threshold_z=5.0,
    false_per_scan=0.9,
    rate_low=0.5,
    rate_high=1.4,
    n=32,
)
WITH_CURVE = dataclasses.replace(
    WITHOUT_CURVE, false_curve=np.array([[3.0, 4.0, 5.0, 6.0], [20.0, 5.0, 0.9, 0.1]])
)


def test_at_the_models_threshold_the_interval_is_told():
    assert rate_line(WITH_CURVE, 5.0) == (
        "Healthy scans have 0.9 candidates each at the model's threshold "
        "(95 % interval 0.5 to 1.4)."
    )


@pytest.mark.parametrize(("threshold", "rate"), [(4.0, "5.0"), (4.5, "3.0"), (6.0, "0.1")])
def test_elsewhere_the_models_curve_is_told(threshold, rate):
    line = rate_line(WITH_CURVE, threshold)
    assert line.startswith(f"Healthy scans have {rate} candidates each at this threshold.")
    assert "of healthy voxels lie beyond" in line


def test_without_a_curve_only_the_share_of_voxels_is_told():
    line = rate_line(WITHOUT_CURVE, 4.0)
    assert "of healthy voxels lie beyond this threshold" in line
    assert line.endswith("is known at |z| 5.0.")


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.065, "6.5 %"), (0.002, "1 in 500"), (1e-5, "At most 1 in 100,000")],
)
def test_shares_of_voxels_are_told_in_words(share, words):
    assert voxel_share(share) == words
