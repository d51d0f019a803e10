"""Whether neighbourhoods are kept."""

from __future__ import annotations

import numpy as np

from napari_normative.core.neighbourhood import preserved


def test_a_map_without_loss_keeps_all_and_a_shuffled_one_nothing() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(60, 3))
    turned = true @ np.linalg.qr(random.normal(size=(3, 3)))[0]
    kept = preserved(true, turned, 5)
    assert (kept.trustworthiness, kept.continuity) == (1, 1)
    lost = preserved(true, random.permutation(true), 5)
    assert abs(lost.trustworthiness - 0.5) < 0.1
    assert abs(lost.continuity - 0.5) < 0.1


def test_a_fold_costs_trust_and_a_tear_costs_continuity() -> None:
    line = np.linspace(-1, 1, 60)[:, None]
    folded = preserved(line, np.abs(line), 5)
    assert folded.trustworthiness < folded.continuity
    torn = preserved(np.abs(line), line, 5)
    assert torn.continuity < torn.trustworthiness
