"""Models that are told age, sex and site: trained, asked, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_normative.core.config import VAEConfig
from napari_normative.engine.batch import detect_scans, named
from napari_normative.engine.cohort import Person
from napari_normative.engine.conditions import codes_of, covariates_of, known_from
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.presets import Preset, settings_from
from napari_normative.engine.train import fit
from napari_normative.errors import CohortError, ModelFileError, TrainingError
from napari_normative.io.nifti import write_volume
from phantoms import phantom

PEOPLE = 20


def size_of(age: float) -> float:
    """Return how many mm thick the dark slab of somebody is: an age shows."""
    return 4 + 0.5 * (age - 20)


@pytest.fixture(scope="module")
def aged_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of phantoms whose dark slab in the middle is wider with age."""
    folder = tmp_path_factory.mktemp("aged")
    rows = ["path\tsubject\tsite\tage\tsex"]
    for n in range(PEOPLE):
        age, volume = 20 + 3 * n, phantom(300 + n, spacing_mm=8.0)
        data = volume.data.copy()
        x = np.abs(volume.affine[0, 3] + 8.0 * np.arange(data.shape[0]))
        share = np.clip((size_of(age) - x + 4) / 8, 0, 1)[:, None, None]
        data = np.where(data > 0, data * (1 - 0.8 * share), 0).astype(np.float32)
        write_volume(folder / f"sub-{n:02d}.nii.gz", volume.with_data(data))
        cell = "n/a" if n == 7 else str(age)
        rows.append(f"sub-{n:02d}.nii.gz\tsub-{n:02d}\ts\t{cell}\t{'FM'[n % 2]}")
    table = folder / "people.tsv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


@pytest.fixture(scope="module")
def aged_model(
    aged_table: Path, phantom_template: Path, tiny_preset: Preset, tmp_path_factory
) -> NormativeModel:
    """A model of these people that can be told age and sex."""
    out = tmp_path_factory.mktemp("told") / "aged.safetensors"
    preset = tiny_preset.model_copy(update={"steps": 12, "condition_on": ("age", "sex")})
    fit(aged_table, out, preset=preset, template=phantom_template, device="cpu")
    return load_model(out)


def dark(image: np.ndarray) -> float:
    """Return how dark the middle of an image is."""
    i, j, k = (n // 2 for n in image.shape)
    return -float(image[i - 2 : i + 2, j - 3 : j + 3, k - 3 : k + 3].mean())


def test_the_card_says_what_a_model_can_be_told(aged_model: NormativeModel) -> None:
    assert aged_model.covariates.names == ("age", "sex")
    assert "age" in aged_model.card.limits
    assert isinstance(aged_model.card.network, VAEConfig)


def test_what_is_expected_at_an_age_is_what_people_of_that_age_have(
    aged_model: NormativeModel,
) -> None:
    mean = aged_model.posterior.mean
    young, unknown, old = (
        dark(aged_model.given(age=age).decode(mean, device="cpu").data) for age in (25, None, 70)
    )
    assert young + 0.05 < unknown < old - 0.05
    drawn = [dark(v.data) for v in aged_model.given(age=70).sample(4, device="cpu")]
    assert min(drawn) > young


def test_a_scan_is_usual_at_its_age_and_unusual_at_another(
    aged_model: NormativeModel, aged_table: Path
) -> None:
    old = aged_table.parent / f"sub-{PEOPLE - 1:02d}.nii.gz"
    right, wrong = (
        aged_model.given(age=age).detect(old, device="cpu").provenance["latent_distance"]
        for age in (20 + 3 * (PEOPLE - 1), 20)
    )
    assert right < wrong


def test_records_say_what_the_model_was_told(
    aged_model: NormativeModel, aged_table: Path, tmp_path: Path
) -> None:
    scan = aged_table.parent / "sub-03.nii.gz"
    told = aged_model.given({"age": "29"}, sex="M")
    found = told.detect(scan, device="cpu")
    assert found.provenance["given"] == {"age": 29.0, "sex": "M"}
    assert found.provenance["model"]["sha256"] == aged_model.digest
    assert told.identity != aged_model.identity == aged_model.digest
    assert told.encode(scan, device="cpu").record["given"] == {"age": 29.0, "sex": "M"}
    unknown = aged_model.detect(scan, device="cpu")
    assert unknown.provenance["given"] == {}
    aged_model.given(age=99).augment(1, tmp_path / "made", device="cpu")
    (sidecar,) = (tmp_path / "made").rglob("*_desc-synthetic_T1w.json")
    assert json.loads(sidecar.read_text(encoding="utf-8"))["Given"] == {"age": 99.0}
    outside = aged_model.given(age=99).detect(scan, device="cpu").warnings
    assert any("age 99 lies outside" in warning for warning in outside)


def test_candidates_of_a_told_model_are_explained_and_counted_as_such(
    aged_model: NormativeModel, aged_table: Path
) -> None:
    from napari_normative.engine.infer import recount

    found = aged_model.given(age=20).detect(
        aged_table.parent / f"sub-{PEOPLE - 1:02d}.nii.gz", device="cpu"
    )
    _, again = recount(aged_model, found, found.threshold_z)
    assert [c.id for c in again] == [c.id for c in found.candidates]


def test_each_scan_is_told_what_the_table_says(
    aged_model: NormativeModel, aged_table: Path
) -> None:
    scans = [aged_table.parent / f"sub-{n:02d}.nii.gz" for n in (5, 7)]
    look_up = known_from(aged_table, aged_model.covariates)
    options = {"known": look_up, "device": "cpu"}
    made = list(detect_scans(aged_model, named([*scans, Path("else.nii.gz")]), None, **options))
    given = [one.detection.provenance["given"] for one in made[:2]]
    assert given == [{"age": 35.0, "sex": "M"}, {"sex": "M"}]
    assert isinstance(made[2].error, Exception)
    with pytest.raises(CohortError, match="COH-032"):
        look_up("else.nii.gz")


def test_a_model_that_was_not_conditioned_cannot_be_told(
    tiny_model_path: Path, aged_table: Path
) -> None:
    model = load_model(tiny_model_path)
    assert model.given() is model
    assert model.told() == {}
    with pytest.raises(ModelFileError, match="--condition-on"):
        model.given(age=71)
    with pytest.raises(ModelFileError, match="MOD-070"):
        known_from(aged_table, model.covariates)


def person(n: int, **more: str) -> Person:
    """Return a training person of some columns."""
    return Person(Path(f"{n}.nii.gz"), f"{n}", "AB"[n % 2], "train", more)


def test_columns_are_numbers_or_categories_by_what_they_hold() -> None:
    people = [person(n, age=f"{30 + n}", coil=f"{n % 3}", ml=f"{n / 2}") for n in range(12)]
    found = covariates_of(people, ("age", "site", "coil", "ml"))
    assert [one.kind for one in found.each] == ["number", "category", "category", "number"]
    other = Person(Path("x"), "x", "C", "test", {"age": "n/a", "coil": "9"})
    codes = codes_of([people[0], other], found)
    assert codes.shape == (2, 2 + 3 + 4 + 2)
    assert codes[1].tolist() == [0.0] * 11  # a site nobody trained on is an unknown one


@pytest.mark.parametrize(
    ("column", "code"), [("coil", "COH-030"), ("one", "COH-031"), ("name", "COH-031"),
                         ("age", "COH-031")],
)  # fmt: skip
def test_columns_that_say_nothing_are_refused(column: str, code: str) -> None:
    people = [person(n, one="1", name=f"n{n}", age="old" if n == 3 else f"{n}") for n in range(40)]
    with pytest.raises(CohortError) as caught:
        covariates_of(people, (column,))
    assert caught.value.code == code


def test_a_preset_takes_columns_for_whole_people_only(tiny_preset: Preset) -> None:
    assert tiny_preset.changed(settings_from([], None, "age,sex")).condition_on == ("age", "sex")
    with pytest.raises(TrainingError, match="dense latent"):
        tiny_preset.changed({"condition_on": ["age"], "latent": "spatial", "linear_factor": 0})
