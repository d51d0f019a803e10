"""Attribution by models whose gradient is known, and by a trained one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_normative.core.integrated import Judged
from napari_normative.core.residual import Contrast
from napari_normative.engine.attribute import Attribution, attribute
from napari_normative.engine.candidate_report import report_candidate
from napari_normative.engine.detection import Detection
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.stored_model import NETWORK_PREFIX
from napari_normative.errors import ExplanationError
from phantoms import phantom


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    return load_model(tiny_model_path)


@pytest.fixture(scope="module")
def ill(model: NormativeModel) -> Detection:
    return model.detect(phantom(900, lesion_ml=30), device="cpu")


@pytest.fixture(scope="module")
def made(model: NormativeModel, ill: Detection) -> Attribution:
    return attribute(model, ill, ill.candidates[0], device="cpu")


def test_attributions_add_up_to_the_change_of_the_score(made: Attribution) -> None:
    change = made.score - made.baseline
    assert abs(made.error) < 0.005 * abs(change)
    assert made.image.sum() == pytest.approx(change, rel=0.005)
    assert made.shares.total == pytest.approx(made.image.sum())
    assert made.score < made.baseline < 0.2 * abs(made.score)


def test_a_dark_lesion_is_dark_by_its_own_voxels_and_on_its_side(
    made: Attribution, ill: Detection, model: NormativeModel
) -> None:
    assert made.shares.residual_inside < 0
    assert made.image[made.region].sum() < 0
    on_scan = made.on_scan
    assert on_scan.same_grid(ill.scan)
    x = on_scan.affine[0, 0] * np.arange(on_scan.shape[0]) + on_scan.affine[0, 3]
    by_side = np.abs(on_scan.data).sum(axis=(1, 2))
    assert by_side[x < 0].sum() > 3 * by_side[x > 0].sum()  # the lesion is on the left
    assert (on_scan.data[~ill.mask] == 0).all()
    # A density in SD per ml: its integral is the sum, as far as voxels are not cut.
    assert on_scan.data.sum() * ill.scan.voxel_ml == pytest.approx(made.image.sum(), rel=0.25)


def test_the_account_of_the_expectation_adds_up(made: Attribution) -> None:
    account = made.account
    assert account is not None
    named = sum(c.contribution for c in account.directions)
    total = account.average + named + account.others + account.local
    assert total == pytest.approx(account.expected, abs=0.02)
    sizes = [abs(c.contribution) for c in account.directions]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 5


def test_a_model_that_expects_the_same_of_everybody_leaves_the_residual_alone(
    tiny_model_path: Path,
) -> None:
    atlas = load_model(
        tiny_model_path.with_name(tiny_model_path.name + ".work") / "baselines/atlas.safetensors"
    )
    found = atlas.detect(phantom(900, lesion_ml=30), device="cpu")
    made = attribute(atlas, found, found.candidates[0], device="cpu")
    assert (made.through == 0).all()
    assert made.error == pytest.approx(0, abs=1e-3)
    assert made.account is not None
    assert made.account.directions == ()
    assert made.sentence().endswith("what it saw elsewhere +0.0.")


def test_the_part_through_the_expectation_of_components_is_their_projection(
    tiny_model_path: Path,
) -> None:
    pca = load_model(
        tiny_model_path.with_name(tiny_model_path.name + ".work") / "baselines/pca.safetensors"
    )
    # Without the contrast fit the expectation is linear in the scan, and known.
    pca.card = pca.card.model_copy(
        update={"score": pca.card.score.model_copy(update={"contrast_fit": False})}
    )
    found = pca.detect(phantom(900, lesion_ml=30), device="cpu")
    made = attribute(pca, found, found.candidates[0], device="cpu", steps=1)
    space = found.in_model
    assert space is not None
    judged = Judged.inside(
        made.region, space.prepared.mask, pca.calibration, pca.card.score,
        pca.card.preprocess.spacing_mm,
    )  # fmt: skip
    network = pca.network("cpu")
    voxels = network.voxels.long().numpy()
    basis = network.basis.numpy().astype(np.float64)
    slope = (basis @ judged.weights.ravel()[voxels]) @ basis / basis.shape[1]
    start = np.where(space.prepared.mask, space.reconstruction, 0)
    wanted = np.zeros(start.size)
    wanted[voxels] = -slope * (space.prepared.image - start).ravel()[voxels]
    np.testing.assert_allclose(made.through.ravel(), wanted, atol=1e-4 * np.abs(wanted).max())


def test_other_weights_give_another_map(model: NormativeModel, ill: Detection, made: Attribution):
    random = np.random.default_rng(0)
    places = ("network.linear.voxels", "network.local.start", "network.mean_image")
    tensors = {
        name: (
            random.permutation(array.ravel()).reshape(array.shape)
            if name.startswith(NETWORK_PREFIX) and name not in places
            else array
        )
        for name, array in model._tensors.items()
    }
    other = NormativeModel(model.card, tensors, model.digest)
    made_other = attribute(other, ill, ill.candidates[0], device="cpu")
    # Both maps have the departure from the reconstruction as a factor, which no weights change.
    apart = np.linalg.norm(made.through - made_other.through) / np.linalg.norm(made.through)
    assert apart > 0.5


def test_the_report_says_all_of_it_in_files_on_the_scans_grid(
    model: NormativeModel, ill: Detection, tmp_path: Path
) -> None:
    report = report_candidate(model, ill, 1, directions=2, device="cpu")
    files = [path.name for path in report.save(tmp_path / "why")]
    effects = [name for name in files if name.startswith("effect_latent-")]
    assert len(effects) == 2
    assert set(files) - set(effects) == {
        "attribution.nii.gz", "attribution_through_expectation.nii.gz", "explain.json",
        "explain.png",
    }  # fmt: skip
    record = json.loads((tmp_path / "why" / "explain.json").read_text())
    assert record["model_sha256"] == model.digest
    assert record["explanation"]["candidate"] == ill.candidates[0].id
    score = record["attribution"]["score"]
    shares = record["attribution"]["shares"]
    assert shares["sum"] == pytest.approx(score["scan"] - score["baseline"], rel=0.01)
    assert "tolerance" in score["left_out"]
    assert all(volume.same_grid(ill.scan) for volume in report.effects.values())
    assert report.picture().shape[2] == 3


def test_a_candidate_that_is_not_there_is_refused(model: NormativeModel, ill: Detection) -> None:
    with pytest.raises(ExplanationError, match=r"WHY-001.*no candidate 99"):
        report_candidate(model, ill, 99, device="cpu")
    with pytest.raises(ValueError, match="from this session"):
        attribute(model, replace(ill, in_model=None), ill.candidates[0])


def test_the_contrast_is_the_same_for_arrays_and_tensors() -> None:
    contrast = Contrast((0.1, 0.8, 0.05), 0.2, 1.1)
    values = np.linspace(-1, 2, 50)
    np.testing.assert_allclose(
        contrast.applied(torch.from_numpy(values)).numpy(), contrast.applied(values)
    )
