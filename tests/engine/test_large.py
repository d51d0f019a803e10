"""Patch models: trained on windows, used from disk to disk with the result of memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_normative.cli import app
from napari_normative.core.augment import AugmentConfig, augment
from napari_normative.core.config import VAEConfig
from napari_normative.engine import scan_in_space
from napari_normative.engine.feed import Feed
from napari_normative.engine.model import NormativeModel
from napari_normative.engine.presets import PRESETS, Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.engine.train import fit
from napari_normative.errors import CancelledError, ExportError, OutputError, TrainingError
from napari_normative.io import streamed
from napari_normative.io.nifti import read_volume, write_volume
from napari_normative.volume import Volume
from phantoms import phantom


@pytest.fixture(scope="module")
def patch_model(tmp_path_factory, phantom_cohort, tiny_preset) -> NormativeModel:
    """A patch model, trained by the program itself on windows of phantoms, which lie alike."""
    space = tiny_preset.preprocess.model_copy(update={"alignment": "none"})
    preset = Preset.model_validate(
        {
            **tiny_preset.model_dump(),
            "preprocess": space.model_dump(), "template": "none", "steps": 30,
            "latent": "spatial", "latent_size": 4, "widths": (8, 16), "linear_factor": 0,
            "local_edge": 0, "window": (12, 12, 12), "overlap": 4, "rate": 3e-3,
        }
    )  # fmt: skip
    out = tmp_path_factory.mktemp("patch") / "patch.safetensors"
    fit(phantom_cohort, out, preset=preset, device="cpu")
    return NormativeModel.load(out)


@pytest.fixture(scope="module")
def scan_path(tmp_path_factory) -> Path:
    """A phantom with a lesion."""
    path = tmp_path_factory.mktemp("scan") / "case.nii.gz"
    return write_volume(path, phantom(7, lesion_ml=8.0))


@pytest.fixture(scope="module")
def in_memory(patch_model, scan_path):
    """What detection makes of it in memory."""
    return patch_model.detect(scan_path, device="cpu")


def test_a_patch_model_learns_and_its_card_says_what_it_does_not_see(patch_model) -> None:
    card = patch_model.card
    assert card.network.window == (12, 12, 12)
    errors = [p.held_out_mae for p in card.training.curves if p.held_out_mae is not None]
    assert errors[-1] < 0.7 * errors[0]
    assert "windows of 96 × 96 × 96 mm" in card.limits
    assert len(card.comparison) > 0


def test_detection_in_memory_judges_a_patch_model_as_any_other(in_memory) -> None:
    z = in_memory.anomaly_z.data
    darkest = in_memory.anomaly_z.affine @ [*np.unravel_index(z.argmin(), z.shape), 1]
    assert np.linalg.norm(darkest[:3] - [-38, 15, 15]) < 20  # where the dark ball lies


def test_from_disk_to_disk_comes_what_memory_gives(
    patch_model, scan_path, in_memory, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(streamed, "SLAB_VOXELS", 42 * 50 * 5)
    stored = patch_model.reconstruct_to(scan_path, tmp_path / "out", device="cpu")
    scale = np.ptp(in_memory.reconstruction.data)
    for name in ("reconstruction", "residual"):
        made, wanted = getattr(stored, name).data, getattr(in_memory, name).data
        np.testing.assert_allclose(made, wanted, atol=1e-4 * scale)
        file = read_volume(tmp_path / "out" / f"{name}.nii")
        np.testing.assert_array_equal(file.data, made)
        assert file.same_grid(read_volume(scan_path))
    record = json.loads((tmp_path / "out" / "reconstruction.json").read_text())
    assert record == stored.record
    assert record["model_sha256"] == patch_model.digest
    assert record["scan"]["sha256"] == read_volume(scan_path).source.digest
    assert 0 < record["windows"]["with_foreground"] <= record["windows"]["count"] == 2 * 3 * 2
    assert "not for diagnosis" in record["notice"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "reconstruction.json", "reconstruction.nii", "residual.nii",
    ]  # fmt: skip


def test_axes_in_another_order_give_the_same_at_the_same_place(
    patch_model, scan_path, in_memory, tmp_path
) -> None:
    given = read_volume(scan_path)
    turn = np.array([[0, 0, -1, given.shape[0] - 1], [-1, 0, 0, given.shape[1] - 1],
                     [0, 1, 0, 0], [0, 0, 0, 1.0]])  # fmt: skip
    data = given.data[::-1, ::-1].transpose(1, 2, 0)
    turned = Volume.from_array(data, given.affine @ turn, "turned")
    path = write_volume(tmp_path / "turned.nii", turned)
    stored = patch_model.reconstruct_to(path, tmp_path / "out", device="cpu")
    wanted = in_memory.residual.data[::-1, ::-1].transpose(1, 2, 0)
    np.testing.assert_allclose(stored.residual.data, wanted, atol=0.02 * np.ptp(wanted))


def test_layers_stay_on_disk_and_lie_where_the_scan_lies(patch_model, scan_path, tmp_path) -> None:
    stored = patch_model.reconstruct_to(read_volume(scan_path), tmp_path / "out", device="cpu")
    (first, attributes, kind), (second, signed, _) = stored.to_layers()
    assert (kind, attributes["scale"]) == ("image", (4.0, 4.0, 4.0))
    for shown, volume in ((first, stored.reconstruction), (second, stored.residual)):
        assert np.shares_memory(shown, volume.data)
        np.testing.assert_array_equal(shown, volume.data.transpose(2, 1, 0))
    low, high = signed["contrast_limits"]
    assert low == -high < 0


@pytest.mark.parametrize(("voxels", "most"), [(20000, 0.02), (2000, 0.07)])
def test_what_is_too_large_to_see_as_a_whole_is_seen_in_blocks_first(
    patch_model, scan_path, in_memory, tmp_path, monkeypatch, voxels, most
) -> None:
    monkeypatch.setattr(scan_in_space, "OVERVIEW_VOXELS", voxels)
    stored = patch_model.reconstruct_to(scan_path, tmp_path / "out", device="cpu", force=True)
    inside = (stored.reconstruction.data > 0) & in_memory.mask
    assert inside.sum() > 0.8 * in_memory.mask.sum()
    error = np.abs(stored.reconstruction.data - in_memory.reconstruction.data)[inside]
    assert np.median(error) < most * np.ptp(in_memory.reconstruction.data)


def test_a_model_of_whole_volumes_reconstructs_to_disk_as_well(
    tiny_model_path, scan_path, tmp_path
) -> None:
    model = NormativeModel.load(tiny_model_path)
    stored = model.reconstruct_to(scan_path, tmp_path / "out", device="cpu")
    wanted = model.reconstruct(scan_path, device="cpu").data
    np.testing.assert_allclose(stored.reconstruction.data, wanted, atol=1e-4 * np.ptp(wanted))
    assert stored.record["windows"]["count"] == 1


def test_cancelled_or_in_a_folder_of_others_it_leaves_everything_as_it_was(
    patch_model, scan_path, tmp_path
) -> None:
    asked = iter(range(100))
    with pytest.raises(CancelledError):
        patch_model.reconstruct_to(
            scan_path, tmp_path / "out", device="cpu", cancel=lambda: next(asked) > 3
        )
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(OutputError, match="OUT-010"):
        patch_model.reconstruct_to(scan_path, tmp_path / "mine", device="cpu")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def ramp_feed(flip: bool) -> tuple[Feed, Preset]:
    """A feed of windows whose voxels hold their number along the first axis, plus one."""
    preset = PRESETS["brain-1mm-patch"].model_copy(
        update={"batch": 6, "steps": 4, "augment": AugmentConfig(flip=flip)}
    )
    config = VAEConfig(
        shape=(32, 16, 16), latent="spatial", latent_size=2, widths=(8,), window=(8, 8, 8)
    )
    mask = np.zeros((32, 16, 16), bool)
    mask[2:12, 4:12, 4:12] = True
    ramp = np.broadcast_to(np.arange(1, 33, dtype=np.float16)[:, None, None], mask.shape)
    cohort = SimpleNamespace(
        people=[SimpleNamespace(site="a", columns={}) for _ in range(6)],
        images=np.stack([ramp] * 6), masks=np.stack([mask] * 6),
        template=SimpleNamespace(mask=mask), select=lambda *splits: list(range(6)),
    )  # fmt: skip
    return Feed(cohort, preset, config, seed=1, first=0, ranks=Ranks()), preset


def test_windows_are_drawn_around_foreground_alike_for_a_seed_and_on_the_latents_grid() -> None:
    (feed, _), (again, _) = ramp_feed(False), ramp_feed(False)
    batches = list(feed)
    for batch, other in zip(batches, again, strict=True):
        torch.testing.assert_close(batch.images, other.images)
        assert batch.images.shape == (6, 8, 8, 8)
        assert batch.chance.latent.shape == (6, 2, 4, 4, 4)
        assert batch.masks.flatten(1).any(1).all()
        assert (batch.origins % 2 == 0).all()
        torch.testing.assert_close(batch.images[:, 0, 0, 0].float(), batch.origins[:, 0] + 1)
    assert len({tuple(o) for b in batches for o in b.origins.tolist()}) > 6


def test_a_mirrored_window_lies_in_the_mirrored_place() -> None:
    feed, preset = ramp_feed(True)
    still = dict.fromkeys(("scale", "shear", "shift_mm", "field_mm", "gain", "gamma"), 0.0)
    config = preset.augment.model_copy(update={**still, "noise": 0.0, "erase": 0.0})
    batch = next(iter(feed))
    seen = augment(batch.images[:, None].float(), torch.ones(6, 1, 8, 8, 8), config, 1.0,
                   batch.chance)[1][:, 0, :, 4, 4]  # fmt: skip
    number = batch.origins[:, :1] + torch.arange(8)
    mirrored = batch.chance.uniform[:, :1] < 0.5
    assert 0 < mirrored.sum() < 6
    torch.testing.assert_close(seen, torch.where(mirrored, 32 - number, number + 1))


def test_a_preset_whose_windows_do_not_tile_is_refused_in_a_sentence() -> None:
    with pytest.raises(TrainingError, match=r"TRN-007.*multiple of the stride"):
        PRESETS["brain-1mm-patch"].changed({"window": [60, 60, 60]})
    with pytest.raises(TrainingError, match=r"TRN-007.*spatial latent"):
        PRESETS["brain-2mm"].changed({"window": [16, 16, 16]})


def test_a_patch_model_draws_samples_and_says_that_it_cannot_be_exported(
    patch_model, tmp_path
) -> None:
    (drawn,) = patch_model.sample(1, seed=3, device="cpu")
    assert drawn.shape == (20, 24, 20)
    assert 0.3 < drawn.data[patch_model.template.mask].mean() < 1.5
    with pytest.raises(ExportError, match=r"EXP-006.*reconstruct_to"):
        patch_model.export(tmp_path / "out", "torch")


def test_the_command_writes_a_folder_for_each_scan_and_a_bad_one_is_a_line(
    patch_model, scan_path, tmp_path
) -> None:
    model = tmp_path / "patch.safetensors"
    patch_model.save(model)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"nothing")
    words = ["reconstruct", broken, scan_path, "--out", tmp_path / "out", "--model", model]
    result = CliRunner().invoke(app, [str(w) for w in [*words, "--device", "cpu", "--json"]])
    assert result.exit_code == 1
    assert result.stderr.startswith("[NIF-006] broken.nii.gz")
    failed, done = map(json.loads, result.stdout.splitlines())
    assert failed["code"] == "NIF-006"
    assert done["record"]["model_sha256"] == patch_model.digest
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["case"]
