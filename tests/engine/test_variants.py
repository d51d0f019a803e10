"""Variants: names for changes, trained and used like any other model."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_normative.engine import loop
from napari_normative.engine.model import load_model
from napari_normative.engine.optimise import How
from napari_normative.engine.presets import PRESETS, Preset
from napari_normative.engine.ranks import Ranks
from napari_normative.engine.train import _check, fit
from napari_normative.engine.variants import VARIANTS, chosen
from napari_normative.errors import TrainingError


@pytest.mark.parametrize("preset", ["brain-2mm", "brain-4mm", "brain-8mm"])
def test_every_variant_is_a_preset_of_its_own(preset: str) -> None:
    made = {name: chosen(preset, name, {}) for name in VARIANTS}
    assert made["vae"] == PRESETS[preset]
    assert len({m.model_dump_json() for m in made.values()}) == len(VARIANTS)
    assert all(m.preprocess == PRESETS[preset].preprocess for m in made.values())


def test_other_changes_come_after_those_of_the_variant() -> None:
    made = chosen("brain-8mm", "beta-vae", {"objective.beta": "2", "steps": 7})
    assert (made.objective.beta, made.steps) == (2.0, 7)
    assert chosen("brain-8mm", "beta-vae", None).objective.beta == 4.0


def test_an_unknown_variant_names_the_known() -> None:
    with pytest.raises(TrainingError, match=r"TRN-031.*'beta-tv'.*beta-tc"):
        chosen("brain-8mm", "beta-tv", {})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"codes": 4}, "spatial latent"),
        ({"latent": "spatial", "objective.total_correlation": 2}, "dense latent"),
    ],
)
def test_what_does_not_fit_the_latent_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(TrainingError, match=rf"TRN-007.*{says}"):
        chosen("brain-8mm", None, changes)


@pytest.mark.parametrize("variant", ["beta-tc", "vq"])
def test_what_looks_at_a_whole_batch_trains_in_one_process(variant: str, tmp_path: Path) -> None:
    how = How("cpu", "auto", None, False, False, tmp_path, Ranks(0, 2, 0, 2))
    with pytest.raises(TrainingError, match=r"TRN-032.*2 processes.*--devices"):
        _check(chosen("brain-8mm", variant, {}), how)


def test_checkpoints_of_earlier_versions_belong_to_the_presets_of_now() -> None:
    def trained_by(preset: Preset) -> dict[str, object]:
        return loop.Trainee._trained_by(SimpleNamespace(preset=preset))  # type: ignore[arg-type]

    before = trained_by(PRESETS["brain-8mm"])
    assert "codes" not in before
    assert set(before["objective"]) == {"likelihood", "ssim", "beta", "free_nats", "warmup"}
    assert trained_by(chosen("brain-8mm", "beta-tc", {}))["objective"]["total_correlation"] == 6.0
    assert trained_by(chosen("brain-8mm", "vq", {}))["codes"] == 128


@pytest.fixture(scope="module", params=["beta-tc", "vq"])
def variant_model(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    phantom_cohort: Path,
    phantom_template: Path,
    tiny_preset: Preset,
    tiny_model_path: Path,
) -> Path:
    out = tmp_path_factory.mktemp(request.param) / "m.safetensors"
    shutil.copytree(
        tiny_model_path.with_name(tiny_model_path.name + ".work") / "prepared",
        out.with_name(out.name + ".work") / "prepared",
    )
    fit(
        phantom_cohort, out, preset=tiny_preset, variant=request.param, changes={"steps": 30},
        template=phantom_template, device="cpu",
    )  # fmt: skip
    return out


def test_a_variant_trains_and_the_card_says_which(variant_model: Path) -> None:
    model = load_model(variant_model)
    card = model.card
    variant = variant_model.parent.name.rstrip("0123456789")
    assert f"--variant {variant} --set steps=30" in card.training.command
    curve = [point.reconstruction_nats for point in card.training.curves]
    assert np.mean(curve[-5:]) < np.mean(curve[:5])
    if variant == "vq":
        cells = int(np.prod(model.card.network.cells))
        assert card.calibration.latent_total_kl_nats == pytest.approx(
            cells * np.log(card.network.codes), abs=0.01
        )
        assert card.calibration.latents_line().endswith("nats")
        assert 0 < card.training.curves[-1].active_units <= card.network.codes
    else:
        assert card.objective.total_correlation == 6.0


def test_a_variant_detects_encodes_and_samples(variant_model: Path, phantom_cohort: Path) -> None:
    model = load_model(variant_model)
    scan = sorted(phantom_cohort.glob("*.nii.gz"))[0]
    detection = model.detect(scan, device="cpu")
    assert np.isfinite(detection.anomaly_z.data).all()
    assert model.encode(scan, device="cpu").mean.shape == model.card.network.latent_shape
    first, second = model.sample(2, seed=1, device="cpu")
    assert not np.array_equal(first.data, second.data)
