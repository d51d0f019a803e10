"""A scan that does not fit the model: refused, warned of, or scored on demand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_normative.core.applicability import HealthyRange
from napari_normative.engine.cohort import Person
from napari_normative.engine.likeness import healthy_range
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.errors import PreprocessError
from napari_normative.volume import Volume
from phantoms import phantom


@pytest.fixture
def model(tiny_model_path: Path) -> NormativeModel:
    model = load_model(tiny_model_path)
    # An inverted phantom fits its template badly too; here the contrast is what is judged.
    lenient = model.card.preprocess.model_copy(update={"min_similarity": -1.0})
    model.card = model.card.model_copy(update={"preprocess": lenient})
    return model


def inverted() -> Volume:
    scan = phantom(7)
    return scan.with_data(np.where(scan.data > 0, 1.05 * scan.data.max() - scan.data, 0))


def test_another_weighting_is_refused_before_the_network_runs(
    model: NormativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "network", lambda _: pytest.fail("the network was run"))
    with pytest.raises(PreprocessError, match="PRE-004") as caught:
        model.detect(inverted())
    assert caught.value.subject == "phantom-7"


def test_a_refused_scan_is_scored_on_demand_and_says_so(model: NormativeModel) -> None:
    found = model.detect(inverted(), force=True)
    assert any("reversed" in warning for warning in found.warnings)
    assert found.provenance["applicability"]["verdict"] == "refuse"
    assert found.provenance["parameters"]["force"] is True


def test_every_check_stands_in_the_provenance(model: NormativeModel) -> None:
    model.healthy_range = HealthyRange(np.array([5.0]), np.array([5.0]))
    record = model.detect(phantom(7)).provenance["applicability"]
    assert record["verdict"] == "ok"
    assert [row["name"] for row in record["checks"]] == [
        "spacing", "field of view", "alignment", "contrast", "latent", "reconstruction",
    ]  # fmt: skip


def test_a_scan_unlike_all_unseen_people_is_warned_of(model: NormativeModel) -> None:
    model.healthy_range = HealthyRange(np.array([1e-3]), np.array([1e-3]))
    warnings = model.detect(phantom(7)).warnings
    assert sum("unlike the training cohort" in warning for warning in warnings) == 2


def test_the_range_is_that_of_both_calibration_parts(model: NormativeModel) -> None:
    grid = model.card.preprocess.shape
    splits = ["train", "calibration-a", "calibration-b", "test"]
    images = np.stack([np.full(grid, v, np.float16) for v in (9.0, 1.5, 1.25, 7.0)])
    cohort = PreparedCohort(
        people=[Person(Path(s), s, "site", s) for s in splits],
        images=images,
        masks=np.ones(images.shape, bool),
        config=model.card.preprocess,
        template=model.template,
        digest="",
        refused=[],
    )
    latent = model.posterior.mean
    found = healthy_range(cohort, lambda x: (np.ones_like(x), latent), model.posterior)
    np.testing.assert_allclose(found.errors, [0.25, 0.5])
    np.testing.assert_allclose(found.distances, [0.0, 0.0])
