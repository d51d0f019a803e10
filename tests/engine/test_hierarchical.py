"""Hierarchical models: two levels trained one after the other, used like any other model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import napari_normative as nn
from napari_normative.core.augment import MIRRORED
from napari_normative.core.card import TrainingFacts
from napari_normative.core.config import VAEConfig
from napari_normative.core.two_levels import block_means
from napari_normative.engine.anatomy import FOLDER, in_blocks
from napari_normative.engine.assemble import Label, assemble
from napari_normative.engine.cohort import counts, read_cohort
from napari_normative.engine.draws import decode_levels, encode
from napari_normative.engine.feed import Feed
from napari_normative.engine.infer import run_network
from napari_normative.engine.loop import Trainee
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.optimise import How, optimise
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import PRESETS, Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.engine.train import fit
from napari_normative.errors import (
    CancelledError,
    ExportError,
    TrainingError,
    VolumeFileError,
)
from napari_normative.io.nifti import write_volume
from phantoms import phantom


@pytest.fixture(scope="module")
def preset(tiny_preset) -> Preset:
    """Windows of 96 mm below an anatomy level in blocks of 16 mm, for phantoms that lie alike."""
    space = tiny_preset.preprocess.model_copy(update={"alignment": "none"})
    return Preset.model_validate(
        {
            **tiny_preset.model_dump(),
            "preprocess": space.model_dump(), "template": "none", "steps": 12, "batch": 2,
            "latent": "spatial", "latent_size": 3, "widths": (8, 16), "stem": 2,
            "linear_factor": 0, "local_edge": 0, "window": (12, 12, 12), "overlap": 4,
            "rate": 3e-3,
            "anatomy": {
                "factor": 2, "latent_size": 6, "stem": 1, "widths": (8, 16), "bottleneck": 4,
                "local_edge": 2, "local_size": 3, "steps": 8,
            },
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, phantom_cohort, preset) -> PreparedCohort:
    """Fourteen phantoms on the model's grid."""
    return prepare_cohort(
        read_cohort(phantom_cohort, seed=0), preset, tmp_path_factory.mktemp("prepared"),
        report=lambda stage, done, name: None,
    )  # fmt: skip


def trained(cohort, preset, folder: Path, stop_after: int | None = None):
    """Train, or stop when so many curve points were reported."""
    points: list[float] = []

    def report(point, fraction, left) -> None:
        points.append(fraction)

    how = How("cpu", "fp32", None, True, False, folder, Ranks())
    made = optimise(
        cohort, preset, how, 0, report=report,
        cancel=lambda: stop_after is not None and len(points) >= stop_after,
    )  # fmt: skip
    return made, points


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cohort, preset):
    """A training from start to end, and where it lies."""
    folder = tmp_path_factory.mktemp("work")
    return *trained(cohort, preset, folder), folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, uninterrupted, cohort, preset) -> NormativeModel:
    """The model of it."""
    facts = TrainingFacts(
        preset="custom", command="-", seed=0, steps=12, minutes=0.1, device="cpu",
        precision="fp32", people=counts(cohort.people), cohort_digest=cohort.digest,
        versions={}, curves=(),
    )  # fmt: skip
    found = assemble(
        uninterrupted[0].network, cohort, Label("two", "Two", "MRI", "-", "-"), facts, "cpu",
        score=preset.score, objective=preset.objective, flip=preset.augment.flip,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("two") / "two.safetensors"
    found.save(path)
    return NormativeModel.load(path)


@pytest.fixture(scope="module")
def scan_path(tmp_path_factory) -> Path:
    """A phantom with a lesion."""
    path = tmp_path_factory.mktemp("scan") / "case.nii.gz"
    return write_volume(path, phantom(7, lesion_ml=8.0))


def test_the_anatomy_is_trained_first_and_windows_begin_with_what_it_knows(
    uninterrupted, cohort
) -> None:
    made, fractions, folder = uninterrupted
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert sum(fraction <= 0.25 for fraction in fractions) == 8
    assert (folder / FOLDER / "checkpoints").is_dir()
    first = next(p.held_out_mae for p in made.curves if p.held_out_mae is not None)
    usual = [
        np.abs(cohort.images[n].astype(np.float32) - cohort.template.image)[cohort.masks[n]].mean()
        for n in cohort.select("calibration-a")
    ]
    assert first < 0.9 * np.mean(usual)
    start = made.network.anatomy.state_dict()
    assert not any(parameter.requires_grad for parameter in made.network.anatomy.parameters())
    assert start["linear.basis"].any()


@pytest.mark.parametrize("after", [3, 12])
def test_interrupted_in_either_level_it_goes_on_to_the_same_weights(
    cohort, preset, uninterrupted, tmp_path, after
) -> None:
    with pytest.raises(CancelledError):
        trained(cohort, preset, tmp_path, stop_after=after)
    made, points = trained(cohort, preset, tmp_path)
    assert len(points) == 20 - after
    for name, value in uninterrupted[0].network.state_dict().items():
        torch.testing.assert_close(made.network.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_a_work_folder_with_an_anatomy_level_in_it_is_not_used_unasked(
    cohort, preset, tmp_path, phantom_cohort
) -> None:
    with pytest.raises(CancelledError):
        trained(cohort, preset, tmp_path / "two.safetensors.work", stop_after=2)
    with pytest.raises(TrainingError, match="TRN-005"):
        fit(phantom_cohort, tmp_path / "two.safetensors", preset=preset, device="cpu")


def test_checkpoints_of_presets_without_levels_keep_their_identity() -> None:
    trainee = SimpleNamespace(preset=PRESETS["brain-2mm"])
    assert "anatomy" not in Trainee._trained_by(trainee)
    trainee = SimpleNamespace(preset=PRESETS["brain-1mm-hierarchical"])
    assert Trainee._trained_by(trainee)["anatomy"]["factor"] == 4


def test_the_presets_anatomy_sees_the_same_millimetres_in_blocks() -> None:
    above = PRESETS["brain-1mm-hierarchical"].above()
    assert above.preprocess.shape == PRESETS["brain-4mm"].preprocess.shape
    assert above.preprocess.origin_mm == PRESETS["brain-4mm"].preprocess.origin_mm
    assert (above.latent, above.window, above.anatomy) == ("dense", None, None)
    with pytest.raises(TrainingError, match=r"TRN-007.*not divisible"):
        PRESETS["brain-1mm-hierarchical"].changed({"anatomy.factor": 16})


def test_the_cohort_in_blocks_is_the_cohort_averaged(cohort, preset, tmp_path) -> None:
    coarse = in_blocks(cohort, preset.above(), tmp_path, Ranks())
    image = cohort.images[2].astype(np.float32)
    inside = coarse.masks[2]
    wanted = block_means(torch.from_numpy(image)[None, None], 2)[0, 0].numpy()
    np.testing.assert_allclose(coarse.images[2], wanted, atol=1e-3)
    np.testing.assert_array_equal(inside, wanted != 0)
    assert coarse.config.spacing_mm == 16.0
    assert coarse.template.mask.mean() == pytest.approx(cohort.template.mask.mean(), abs=0.05)


@pytest.mark.parametrize("flip", [False, True])
def test_windows_come_with_the_blocks_of_their_place_mirrored_when_they_are(
    cohort, preset, flip
) -> None:
    augment = preset.augment.model_copy(update={"flip": flip})
    config = VAEConfig(
        shape=(20, 24, 20), latent="spatial", latent_size=2, widths=(8, 16), window=(12, 12, 12),
        anatomy=VAEConfig(shape=(10, 12, 10), stem=1, widths=(8, 16)),
    )  # fmt: skip
    everybody = np.stack([cohort.images[n] for n in range(len(cohort.people))])
    blocks = block_means(torch.from_numpy(everybody.astype(np.float32))[:, None], 2)[:, 0]
    known = dataclasses.replace(cohort, anatomies=blocks.numpy().astype(np.float16))
    chosen = preset.model_copy(update={"augment": augment, "batch": 6, "steps": 2})
    for batch in Feed(known, chosen, config, seed=0, first=0, ranks=Ranks()):
        mirrored = flip & (batch.chance.uniform[:, 0] < MIRRORED).view(-1, 1, 1, 1)
        seen = torch.where(mirrored, batch.images.flip(1), batch.images).float()
        inner = batch.anatomies[:, 1:-1, 1:-1, 1:-1].float()
        torch.testing.assert_close(inner, block_means(seen[:, None], 2)[:, 0], atol=2e-3, rtol=0)


def test_from_disk_to_disk_comes_what_memory_gives_and_opens_again(
    model, scan_path, tmp_path
) -> None:
    wanted = model.detect(scan_path, device="cpu")
    stored = model.reconstruct_to(scan_path, tmp_path / "case", device="cpu")
    scale = np.ptp(wanted.reconstruction.data)
    np.testing.assert_allclose(
        stored.reconstruction.data, wanted.reconstruction.data, atol=1e-4 * scale
    )
    assert stored.record["windows"]["anatomy_blocks"] == 2
    again = nn.open_reconstruction(tmp_path / "case")
    assert isinstance(again.residual.data, np.memmap)
    np.testing.assert_array_equal(again.residual.data, stored.residual.data)
    np.testing.assert_array_equal(again.residual.affine, stored.residual.affine)
    assert again.record == json.loads((tmp_path / "case" / "reconstruction.json").read_text())
    (first, shown, _), _ = again.to_layers()
    assert np.shares_memory(first, again.reconstruction.data)
    assert shown["contrast_limits"] == stored.to_layers()[0][1]["contrast_limits"]


def test_what_is_no_whole_stored_reconstruction_is_refused(model, scan_path, tmp_path) -> None:
    with pytest.raises(VolumeFileError, match="NIF-028"):
        nn.open_reconstruction(tmp_path)
    model.reconstruct_to(scan_path, tmp_path / "case", device="cpu")
    file = tmp_path / "case" / "residual.nii"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(VolumeFileError, match=r"NIF-028.*cut short"):
        nn.open_reconstruction(tmp_path / "case")


def test_latents_are_of_the_whole_so_that_people_and_draws_work(model, scan_path, tmp_path) -> None:
    assert model.card.network.anatomy_factor == 2
    assert "in blocks of 16 mm" in model.card.limits
    assert model.encode(scan_path, device="cpu").mean.shape == (6,)
    assert model.neighbours(scan_path, count=2, device="cpu")
    (drawn,) = model.sample(1, device="cpu")
    assert 0.3 < drawn.data[model.template.mask].mean() < 1.5
    seen = encode(model, nn.read_volume(scan_path), "cpu")
    image, inside = seen.prepared.image, seen.prepared.mask
    (made, _, _), _ = run_network(model, image[None], "cpu")
    np.testing.assert_allclose(
        decode_levels(model, seen.means, "cpu")[inside], made[0][inside], atol=1e-5
    )
    with pytest.raises(ExportError, match="EXP-006"):
        model.export(tmp_path / "out", "torch")
