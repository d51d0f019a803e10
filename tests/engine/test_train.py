"""Training: real runs on phantoms, killed, resumed, poisoned."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_normative.core.augment import AugmentConfig, augment, draw_chance
from napari_normative.engine import loop
from napari_normative.engine.cohort import Person, read_cohort
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.presets import Preset
from napari_normative.engine.progress import TrainProgress
from napari_normative.engine.train import fit
from napari_normative.errors import CancelledError, CohortError, TrainingError
from napari_normative.io.checkpoint import newest_checkpoint
from napari_normative.io.nifti import write_volume
from napari_normative.volume import Volume

RUN = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from napari_normative.engine import loop
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.presets import Preset
from napari_normative.engine.train import fit
loop.CHECKPOINT_SECONDS = 0.3
preset = Preset.model_validate_json(Path(sys.argv[1]).read_text())
fit(sys.argv[2], sys.argv[3], preset=preset, template=sys.argv[4], device="cpu", resume=True)
"""


def test_a_trained_model_beats_the_mean_image_and_says_so(tiny_model_path: Path) -> None:
    card = load_model(tiny_model_path).card
    assert [site.site for site in card.held_out] == ["site-a"]
    assert card.held_out[0].mae < card.held_out[0].mae_mean_image
    assert len(card.comparison) == 8
    assert card.training.people["train"] == {"site-a": 8}
    assert card.calibration.false_per_scan <= 1.0


def test_curves_are_in_nats_and_add_up(tiny_model_path: Path) -> None:
    curves = load_model(tiny_model_path).card.training.curves
    assert curves[-1].step == 40
    elbo = [point.elbo_nats for point in curves]
    assert np.mean(elbo[-10:]) > np.mean(elbo[:10])
    for point in curves:
        total = point.reconstruction_nats + point.kl_nats
        assert point.elbo_nats == pytest.approx(-total, abs=1.0)
        assert 0 <= point.active_units <= 8


def test_the_error_on_people_not_trained_on_is_in_the_curves(tiny_model_path: Path) -> None:
    curves = load_model(tiny_model_path).card.training.curves
    errors = [p.held_out_mae for p in curves if p.held_out_mae is not None]
    assert len(errors) == loop.HELD_OUT_CHECKS
    assert all(0 < error < 0.2 for error in errors)


def test_no_name_or_folder_of_a_person_is_in_the_model(
    tiny_model_path: Path, phantom_cohort: Path
) -> None:
    data = tiny_model_path.read_bytes()
    assert b"sub-0" not in data
    assert str(phantom_cohort).encode() not in data


@pytest.mark.slow
def test_killed_again_and_again_it_ends_where_an_undisturbed_run_ends(
    tmp_path: Path, phantom_cohort: Path, phantom_template: Path, tiny_preset: Preset
) -> None:
    preset = tmp_path / "preset.json"
    preset.write_text(tiny_preset.model_copy(update={"steps": 30}).model_dump_json())
    work = tmp_path / "prepared-once"

    def command(out: Path) -> list[str]:
        return [
            sys.executable, "-c", RUN, str(preset), str(phantom_cohort), str(out),
            str(phantom_template),
        ]  # fmt: skip

    straight, stopped = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    subprocess.run(command(straight), check=True, timeout=200)
    (tmp_path / "b.safetensors.work").mkdir()
    shutil.copytree(
        tmp_path / "a.safetensors.work" / "prepared", tmp_path / "b.safetensors.work" / "prepared"
    )
    assert not work.exists()
    seen: set[str] = set()
    folder = tmp_path / "b.safetensors.work" / "checkpoints"
    for _ in range(2):
        process = subprocess.Popen(command(stopped))
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            fresh = {p.name for p in folder.glob("step-*.safetensors")} - seen
            if fresh:
                seen |= fresh
                break
            time.sleep(0.02)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert seen, "it was never caught in the middle"
    subprocess.run(command(stopped), check=True, timeout=200)
    one, other = load_model(straight), load_model(stopped)
    np.testing.assert_array_equal(one.sample(1)[0].data, other.sample(1)[0].data)
    for name, array in one._tensors.items():
        np.testing.assert_array_equal(array, other._tensors[name], err_msg=name)


def fitted(out: Path, cohort: Path, template: Path, preset: Preset, **more: object) -> None:
    fit(cohort, out, preset=preset, template=template, device="cpu", **more)


def test_a_finished_work_folder_is_not_overwritten_in_silence(
    tiny_model_path: Path, phantom_cohort: Path, phantom_template: Path, tiny_preset: Preset
) -> None:
    with pytest.raises(TrainingError, match=r"TRN-005.*--resume"):
        fitted(tiny_model_path, phantom_cohort, phantom_template, tiny_preset)


def test_a_checkpoint_of_another_seed_is_refused(
    tiny_model_path: Path, phantom_cohort: Path, phantom_template: Path, tiny_preset: Preset
) -> None:
    with pytest.raises((TrainingError, CohortError), match="TRN-003"):
        fitted(tiny_model_path, phantom_cohort, phantom_template, tiny_preset, resume=True, seed=5)


def test_a_checkpoint_of_other_draws_is_refused(
    tmp_path: Path, phantom_cohort: Path, phantom_template: Path, tiny_preset: Preset
) -> None:
    """The column people are balanced by decides what a step does, so it is part of a run."""
    cohort = tmp_path / "cohort.tsv"
    paths = sorted(phantom_cohort.glob("*.nii.gz"))

    def write(coils: str) -> None:
        rows = [f"{path}\ts\t{coils[i % len(coils)]}" for i, path in enumerate(paths)]
        cohort.write_text("\n".join(["path\tsite\tcoil", *rows]) + "\n")

    preset = tiny_preset.model_copy(update={"steps": 2, "balance_by": ("coil",)})
    out = tmp_path / "m.safetensors"
    write("aab")
    fitted(out, cohort, phantom_template, preset)
    fitted(out, cohort, phantom_template, preset, resume=True)
    write("a")
    with pytest.raises(TrainingError, match="TRN-003"):
        fitted(out, cohort, phantom_template, preset, resume=True)


@pytest.mark.parametrize("change", ["gaussian-map", "laplace", "ssim"])
def test_every_objective_trains_and_the_card_says_which(
    change: str,
    tmp_path: Path,
    phantom_cohort: Path,
    phantom_template: Path,
    tiny_preset: Preset,
    tiny_model_path: Path,
) -> None:
    out = tmp_path / "m.safetensors"
    changes = {"steps": 25}
    changes |= {"objective.ssim": 0.5} if change == "ssim" else {"objective.likelihood": change}
    shutil.copytree(
        tiny_model_path.with_name(tiny_model_path.name + ".work") / "prepared",
        tmp_path / "m.safetensors.work" / "prepared",
    )
    fitted(out, phantom_cohort, phantom_template, tiny_preset, changes=changes)
    model = load_model(out)
    assert model.card.objective.likelihood == (change if change != "ssim" else "gaussian")
    assert model.card.objective.ssim == (0.5 if change == "ssim" else 0.0)
    assert all(
        f"--set {name}={value}" in model.card.training.command for name, value in changes.items()
    )
    assert model.card.held_out[0].mae < model.card.held_out[0].mae_mean_image
    curve = [point.reconstruction_nats for point in model.card.training.curves]
    assert np.mean(curve[-5:]) < np.mean(curve[:5])
    if change == "gaussian-map":
        sigma = model.network("cpu").log_sigma
        assert sigma is not None
        inside = sigma.detach().exp().numpy()[0][model.template.mask]
        assert np.quantile(inside, 0.9) > 1.5 * np.quantile(inside, 0.1)  # places differ


def test_the_card_says_how_the_latents_are(tiny_model_path: Path) -> None:
    facts = load_model(tiny_model_path).card.calibration
    assert facts.latent_aggregate_kl_nats is not None
    assert 0 <= facts.latent_aggregate_kl_nats < facts.latent_total_kl_nats
    assert f"{facts.latent_active} active" in facts.latents_line()


def test_the_model_knows_its_rates_and_its_people(tiny_model_path: Path) -> None:
    model = load_model(tiny_model_path)
    facts = model.card.calibration
    at_own = model.calibration.false_per_scan_at(facts.threshold_z)
    assert at_own == pytest.approx(facts.false_per_scan, abs=6e-4)  # the card has three digits
    rates = [model.calibration.false_per_scan_at(t) for t in np.arange(facts.threshold_z, 13, 0.2)]
    assert rates == sorted(rates, reverse=True)
    people = model.people
    assert people is not None
    assert people.latents.shape == (8 + facts.people, 8)
    assert people.unseen.sum() == facts.people
    np.testing.assert_allclose(
        people.latents[~people.unseen].mean(axis=0), model.posterior.mean, atol=2e-3
    )


def test_people_can_be_forgotten(
    tmp_path: Path,
    phantom_cohort: Path,
    phantom_template: Path,
    tiny_preset: Preset,
    tiny_model_path: Path,
) -> None:
    shutil.copytree(
        tiny_model_path.with_name(tiny_model_path.name + ".work") / "prepared",
        tmp_path / "m.safetensors.work" / "prepared",
    )
    out = tmp_path / "m.safetensors"
    preset = tiny_preset.model_copy(update={"steps": 2})
    fitted(out, phantom_cohort, phantom_template, preset, forget_people=True)
    for path in (out, *(tmp_path / "m.safetensors.work" / "baselines").glob("*.safetensors")):
        assert load_model(path).people is None
        assert not any(name.startswith("latent.people") for name in load_model(path)._tensors)
    assert load_model(out).card.training.command.endswith("--forget-people")


def test_a_file_without_people_and_rates_still_loads(tiny_model_path: Path, tmp_path: Path) -> None:
    model = load_model(tiny_model_path)
    new = ("latent.people", "latent.people_split", "calibration.false_curve")
    older = {name: array for name, array in model._tensors.items() if name not in new}
    assert len(older) == len(model._tensors) - 3
    again = load_model(NormativeModel(model.card, older).save(tmp_path / "older.safetensors"))
    assert again.people is None
    assert again.calibration.false_per_scan_at(5.0) is None


def test_cancel_keeps_a_checkpoint(
    tmp_path: Path, phantom_cohort: Path, phantom_template: Path, tiny_preset: Preset
) -> None:
    steps: list[int] = []

    def watch(state: TrainProgress) -> None:
        if state.point is not None:
            steps.append(state.point.step)

    out = tmp_path / "m.safetensors"
    with pytest.raises(CancelledError):
        fitted(
            out, phantom_cohort, phantom_template, tiny_preset,
            progress=watch, cancel=lambda: len(steps) >= 3,
        )  # fmt: skip
    assert not out.exists()
    found = newest_checkpoint(tmp_path / "m.safetensors.work" / "checkpoints")
    assert found is not None
    assert found[1]["step"] == steps[-1]


def test_nan_is_skipped_then_rolled_back_then_named(
    tmp_path: Path,
    phantom_cohort: Path,
    phantom_template: Path,
    tiny_preset: Preset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch that is not finite from step 12 on: never saved, and its scans are named."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    honest = loop.augment
    calls = {"n": 0}

    def poisoned(images, masks, config, spacing, generator):  # type: ignore[no-untyped-def]
        calls["n"] += 1
        seen, target, mask = honest(images, masks, config, spacing, generator)
        return (seen * float("nan") if calls["n"] > 12 else seen), target, mask

    monkeypatch.setattr(loop, "augment", poisoned)
    out = tmp_path / "m.safetensors"
    with pytest.raises(TrainingError, match=r"TRN-004.*sub-\d\d_T1w\.nii\.gz"):
        fitted(out, phantom_cohort, phantom_template, tiny_preset)
    assert calls["n"] == 12 + 2 * (loop.LARGEST_SKIP + 1)
    assert not out.exists()
    found = newest_checkpoint(tmp_path / "m.safetensors.work" / "checkpoints")
    assert found is not None
    assert all(np.isfinite(a).all() for a in found[0].values())


def test_bad_scans_are_named_and_the_rest_is_used(
    tmp_path: Path, phantom_cohort: Path, phantom_template: Path, tiny_preset: Preset
) -> None:
    cohort = tmp_path / "site-a"
    shutil.copytree(phantom_cohort, cohort)
    bad = sorted(p.path for p in read_cohort(cohort) if p.split == "train")[:2]
    bad[0].write_bytes(b"no volume")
    flat = Volume.from_array(np.ones((40, 40, 40), np.float32), np.diag([4.0, 4, 4, 1]))
    write_volume(bad[1], flat)
    said: list[str] = []
    out = tmp_path / "m.safetensors"
    fitted(
        out, cohort, phantom_template, tiny_preset.model_copy(update={"steps": 3}),
        progress=lambda state: said.append(state.message),
    )  # fmt: skip
    left_out = [line for line in said if line.startswith("left out")]
    assert len(left_out) == 2
    assert all(path.name.split(".")[0] in line for path, line in zip(bad, left_out, strict=True))
    assert out.exists()


def test_more_bad_than_good_is_refused(
    tmp_path: Path, phantom_cohort: Path, phantom_template: Path, tiny_preset: Preset
) -> None:
    cohort = tmp_path / "site-a"
    shutil.copytree(phantom_cohort, cohort)
    for i in range(12):
        (cohort / f"sub-{i:02d}_T1w.nii.gz").write_bytes(b"no volume")
    with pytest.raises(CohortError, match=r"COH-005.*sub-00"):
        fitted(tmp_path / "m.safetensors", cohort, phantom_template, tiny_preset)


def test_an_unknown_preset_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"TRN-001.*brain-2mm"):
        fit(tmp_path, tmp_path / "m.safetensors", preset="brain-9mm")


def test_small_groups_are_drawn_more_often(tiny_preset: Preset) -> None:
    people = [
        Person(Path(f"{i}"), f"{i}", "big" if i < 90 else "small", "train", {"sex": "FM"[i % 2]})
        for i in range(100)
    ]
    cohort = SimpleNamespace(people=people, select=lambda *splits: list(range(100)))

    def share(balance: float, by: tuple[str, ...] = ("site",)) -> float:
        preset = tiny_preset.model_copy(update={"balance": balance, "balance_by": by, "steps": 500})
        drawn = [i for people in loop.Steps(cohort, preset, 0, 0) for i in people]  # type: ignore[arg-type]
        return float(np.mean(np.array(drawn) >= 90))

    assert share(0.0) == pytest.approx(0.1, abs=0.03)
    assert share(1.0) == pytest.approx(0.5, abs=0.05)
    assert share(1.0, ("sex",)) == pytest.approx(0.1, abs=0.03)
    assert share(1.0, ()) == pytest.approx(0.1, abs=0.03)


def test_augmentation_keeps_target_whole_and_is_seeded() -> None:
    import torch

    images = torch.rand(2, 1, 16, 18, 16)
    masks = torch.ones(2, 1, 16, 18, 16)
    config = AugmentConfig(erase=1.0, noise=0.0, flip=False)

    def run(seed: int):  # type: ignore[no-untyped-def]
        chance = draw_chance(seed, 0, [0, 1], (1, 16, 18, 16), (4,))
        return augment(images, masks, config, 4.0, chance)

    seen, target, mask = run(0)
    blanked = (seen != target) & (mask > 0)
    assert 0.002 < blanked.float().mean() < 0.1  # a box is missing from the input alone
    again = run(0)
    assert torch.equal(seen, again[0])
    assert torch.equal(target, again[1])
    assert not torch.equal(target, run(1)[1])


def test_a_full_gpu_stops_training_with_a_remedy(
    tmp_path: Path,
    phantom_cohort: Path,
    phantom_template: Path,
    tiny_preset: Preset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "augment", full)
    with pytest.raises(TrainingError, match=r"TRN-006.*4 volumes a step.*coarser preset"):
        fitted(tmp_path / "m.safetensors", phantom_cohort, phantom_template, tiny_preset)
