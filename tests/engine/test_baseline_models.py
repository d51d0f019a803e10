"""Baselines are model files: written by a training, usable wherever a VAE is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_normative.core.comparison import ComparisonRow
from napari_normative.core.config import BaselineConfig
from napari_normative.core.preprocess import prepare
from napari_normative.core.residual import smooth_inside
from napari_normative.core.score import judge
from napari_normative.engine import compare
from napari_normative.engine.cohort import Person
from napari_normative.engine.model import load_model
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.errors import SimulationError
from napari_normative.io.checkpoint import save_model_file
from phantoms import phantom

KINDS = ("threshold", "atlas", "pca")


def baseline_path(model: Path, kind: str) -> Path:
    return model.with_name(model.name + ".work") / "baselines" / f"{kind}.safetensors"


@pytest.mark.parametrize("kind", KINDS)
def test_a_baseline_detects_like_any_model(tiny_model_path: Path, kind: str) -> None:
    model = load_model(baseline_path(tiny_model_path, kind))
    assert isinstance(model.card.network, BaselineConfig)
    assert model.card.network.kind == kind
    assert model.card.objective is None
    assert model.card.verdict().startswith("A simple baseline")
    scan = phantom(7, lesion_ml=14)
    found = model.detect(scan, samples=1)
    assert found.anomaly_z.shape == scan.shape
    assert found.anomaly_z.data[found.mask].std() > 0.5
    assert found.samples[0].data[found.mask].mean() == pytest.approx(
        found.reconstruction.data[found.mask].mean(), rel=0.2
    )
    if kind != "threshold":  # which cannot tell a lesion from a ventricle
        assert found.candidates[0].centroid_mm == pytest.approx((-38, 15, 15), abs=8)


def test_the_thresholds_map_is_the_smoothed_intensity(tiny_model_path: Path) -> None:
    """Up to an offset and a factor of the scan's own: a straight line with a positive slope."""
    model = load_model(baseline_path(tiny_model_path, "threshold"))
    space = model.card.preprocess
    score = model.card.score.model_copy(update={"asymmetry": 0.0, "guide_mm": ()})
    prepared = prepare(phantom(7), space, model.template)
    level = model.network("cpu").reconstruct(torch.zeros(1, 1, *space.shape))[0, 0].numpy()
    mm = space.spacing_mm
    z = judge(prepared.image, level, prepared.mask, model.calibration, score, mm)
    inside = z != 0
    smooth = smooth_inside(prepared.image, prepared.mask, score.scales_mm[0] / mm)
    assert np.corrcoef(z[inside], smooth[inside])[0, 1] == pytest.approx(1, abs=1e-5)
    assert np.ptp(level) == 0


def test_calibration_and_score_are_the_models(tiny_model_path: Path) -> None:
    judged = load_model(tiny_model_path)
    for kind in ("atlas", "pca"):
        model = load_model(baseline_path(tiny_model_path, kind))
        assert model.card.score == judged.card.score
        assert model.calibration.n == judged.calibration.n
        np.testing.assert_array_equal(model.template.image, judged.template.image)
        assert not np.array_equal(model.calibration.sd, judged.calibration.sd)


def test_the_card_compares_with_every_baseline(tiny_model_path: Path) -> None:
    rows = load_model(tiny_model_path).card.comparison
    assert {(r.figure, r.stratum, r.against) for r in rows} == {
        *(("ap", kind, against) for kind in compare.LESIONS for against in KINDS),
        ("error", "site-a", "atlas"),
        ("error", "site-a", "pca"),
    }
    for row in rows:
        assert row.people == 2
        assert row.difference == pytest.approx(row.model - row.baseline, abs=1e-4)
        assert row.low is None is row.high  # two people are no interval
    by = {(r.figure, r.stratum, r.against): r for r in rows}
    held_out = load_model(tiny_model_path).card.held_out[0]
    error = by["error", "site-a", "atlas"]
    assert error.model == pytest.approx(held_out.mae, abs=1e-4)
    assert error.baseline == pytest.approx(held_out.mae_mean_image, abs=1e-4)
    assert by["ap", "hypointense", "threshold"].difference > 0


def test_a_detection_warns_when_nothing_is_beaten(tiny_model_path: Path, tmp_path: Path) -> None:
    model = load_model(tiny_model_path)
    lost = ComparisonRow(
        figure="ap", stratum="hypointense", against="atlas", people=9, model=0.2, baseline=0.3,
        difference=-0.1, low=-0.2, high=-0.05,
    )  # fmt: skip
    path = tmp_path / "poor.safetensors"
    card = model.card.model_copy(update={"comparison": (lost,)})
    save_model_file(path, card, model._tensors)
    warnings = load_model(path).detect(phantom(7)).warnings
    assert any("no better than a simple baseline" in w and "-0.10" in w for w in warnings)
    assert not any("simple baseline" in w for w in model.detect(phantom(7)).warnings)


def test_a_lesion_that_cannot_be_simulated_is_left_out_not_fatal(
    tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flat(*_: object, **__: object) -> None:
        raise SimulationError("SIM-004", "no contrast", "Check the scan.")

    monkeypatch.setattr(compare, "simulate", flat)
    model = load_model(tiny_model_path)
    space = model.card.preprocess
    made = [prepare(phantom(seed), space, model.template) for seed in (7, 8)]
    cohort = PreparedCohort(
        people=[Person(Path("x"), f"{n}", "site-a", "test") for n in range(2)],
        images=np.stack([one.image for one in made]).astype(np.float16),
        masks=np.stack([one.mask for one in made]),
        config=space, template=model.template, digest="", refused=[],
    )  # fmt: skip
    atlas = load_model(baseline_path(tiny_model_path, "atlas"))
    rows = compare.compare(model, {"atlas": atlas, "threshold": atlas}, cohort, "cpu")
    assert [(row.figure, row.against) for row in rows] == [("error", "atlas")]
    expected = [np.abs(one.image - atlas.template.image)[one.mask].mean() for one in made]
    assert rows[0].baseline == pytest.approx(np.mean(expected), abs=1e-3)


def test_six_people_give_an_interval() -> None:
    first = [[0.5, 0.7], [0.6, 0.6], [0.7, math.nan], [0.6], [0.5], [0.7], [math.nan, math.nan]]
    second = [[0.5]] * 7
    row = compare._row("ap", "hypointense", "pca", first, second)
    assert row is not None
    assert row.low is not None and row.high is not None
    assert (row.people, row.model, row.difference) == (6, pytest.approx(0.61667, abs=1e-4), 0.11667)
    assert 0 < row.low < row.difference < row.high < 0.2
    few = compare._row("ap", "hypointense", "pca", first[2:], second[2:])
    assert few is not None
    assert (few.people, few.low, few.high) == (4, None, None)
    assert compare._row("ap", "hypointense", "pca", first[6:], second[6:]) is None


def test_people_are_taken_from_the_sites_in_turn() -> None:
    from types import SimpleNamespace

    people = [SimpleNamespace(site=site) for site in "aaaabb"]
    cohort = SimpleNamespace(people=people, select=lambda split: [0, 1, 2, 3, 4, 5])
    assert compare._in_turn(cohort) == [0, 4, 1, 5, 2, 3]  # type: ignore[arg-type]
