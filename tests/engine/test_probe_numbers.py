"""A probe of numbers, with several sites, on scans that are made of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_normative.core.applicability import Applicability
from napari_normative.engine import probe as engine
from napari_normative.engine.infer import DeviceNote
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.probe import fit_probe
from napari_normative.engine.probe_scans import MeasuredScan
from napari_normative.volume import Volume

PEOPLE = 40


@pytest.fixture
def model(tiny_model_path: Path) -> NormativeModel:
    return load_model(tiny_model_path)


@pytest.fixture
def table(tmp_path: Path, model: NormativeModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two scans a person; age is in the latents and, with the site, nowhere else."""
    random = np.random.default_rng(0)
    ages = random.uniform(20, 80, PEOPLE)
    lines, seen = ["path\tsubject\tsite\tage"], {}
    for n in range(2 * PEOPLE):
        age, name = ages[n // 2] + (n % 2), f"{n}.nii.gz"
        lines.append(f"{name}\tp{n // 2}\t{'ab'[n // 2 % 2]}\t{age:.3f}")
        latent = random.normal(size=8)
        latent[0] = (age - 50) / 15 + 0.1 * random.normal()
        voxels, features = random.normal(size=200), random.normal(size=11)
        seen[name] = MeasuredScan(
            latent.astype(np.float32), np.full(8, 0.1, np.float32), voxels.astype(np.float16),
            features, Applicability(()), DeviceNote("cpu", "", ()),
        )  # fmt: skip

    def read(path: Path) -> Volume:
        return Volume.from_array(np.zeros((2, 2, 2), np.float32), np.eye(4), path.name)

    monkeypatch.setattr(engine, "read_volume", read)
    monkeypatch.setattr(engine, "measure_scan", lambda model, scan, device: seen[scan.source.name])
    path = tmp_path / "table.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_numbers_are_told_beside_baselines_and_the_probe_says_its_range(
    table: Path, model: NormativeModel, tmp_path: Path
) -> None:
    made = fit_probe(table, "age", tmp_path / "out", model=model, permutations=19)
    assert made.target.kind == "number"
    assert list(made.made) == [
        "latents", "voxel components", "volume features", "site alone", "guess"
    ]  # fmt: skip
    assert made.value("latents", "r2") > 0.9
    assert made.value("latents", "calibration_slope") == pytest.approx(1, abs=0.1)
    assert made.value("voxel components", "r2") < 0.2
    assert made.figure("latents", "r2", "voxel components").low > 0
    assert made.p["latents"] == pytest.approx(1 / 20)
    assert "better than voxel components" in " ".join(made.verdict())
    assert (
        "do not clearly tell" in fit_probe(table, "age", model=model, permutations=2).verdict()[0]
    )
    assert "78 files occur under two people" in made.record["warnings"][0], "all are one here"
    assert "calibration slope" in (tmp_path / "out" / "probe.html").read_text()
    folds = made.made["latents"].folds
    assert (folds[::2] == folds[1::2]).all(), "both scans of a person are in one fold"
    card = made.probe.card
    assert (card.lowest, card.highest) == (made.target.values.min(), made.target.values.max())


def test_a_prediction_beyond_the_numbers_or_from_elsewhere_says_so(
    table: Path, model: NormativeModel
) -> None:
    probe = fit_probe(table, "age", model=model, permutations=0).probe

    def predicted(latent: list[float]) -> tuple[float | str, list[str]]:
        seen = MeasuredScan(
            np.array(latent, np.float32), np.ones(8, np.float32), np.zeros(1, np.float16),
            np.zeros(11), Applicability(()), DeviceNote("cpu", "", ()),
        )  # fmt: skip
        made = probe.predicted(model, seen, "")
        return made.value, [c.name for c in made.applicability.checks if c.status == "warn"]

    usual = [1.0, 1, -1, 1, -1, 1, -1, 1]
    value, warned = predicted(usual)
    assert value == pytest.approx(65, abs=5)
    assert warned == []
    assert predicted([6.0, *usual[1:]])[1] == ["probe", "range"]
    assert predicted([0.0] * 8)[1] == ["probe"], "nearer to the middle than anybody"


def test_people_whom_the_model_was_trained_on_are_counted(
    table: Path, model: NormativeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model.people is not None
    known = model.people.latents[~model.people.unseen]
    measured = engine.measure_scan

    def by_heart(model: NormativeModel, scan: Volume, device: str) -> MeasuredScan:
        seen = measured(model, scan, device=device)
        number = int(scan.source.name.split(".")[0])
        if number < 3:
            object.__setattr__(seen, "latent", known[number])
        return seen

    monkeypatch.setattr(engine, "measure_scan", by_heart)
    made = fit_probe(table, "age", model=model, permutations=0)
    assert made.record["scans_of_training_people"] == 3
    assert made.probe.card.trained == 3
    assert "3 of 80 scans are of people the model was trained on" in made.record["warnings"][0]
