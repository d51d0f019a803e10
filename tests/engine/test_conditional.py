"""Models that are told age, sex and site: trained, asked, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aged import PEOPLE, made_cohort, made_model, write_scan
from napari_normative.core.config import VAEConfig
from napari_normative.engine.batch import detect_scans, named
from napari_normative.engine.cluster import run_cohort
from napari_normative.engine.cohort import Person
from napari_normative.engine.conditions import codes_of, covariates_of, known_from
from napari_normative.engine.feed import Feed
from napari_normative.engine.infer import recount
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.prepared import PreparedCohort
from napari_normative.engine.presets import Preset, settings_from
from napari_normative.engine.ranks import Ranks
from napari_normative.engine.start import architecture
from napari_normative.engine.train import fit
from napari_normative.errors import CohortError, ModelFileError, TrainingError


@pytest.fixture(scope="module")
def aged_cohort(tiny_preset: Preset) -> PreparedCohort:
    """People of 20 to 66, alike but for a dark slab."""
    return made_cohort(tiny_preset)


@pytest.fixture(scope="module")
def aged_path(aged_cohort: PreparedCohort, tiny_preset: Preset, tmp_path_factory) -> Path:
    """The file of a model of these people that can be told age and sex."""
    return made_model(aged_cohort, tiny_preset, tmp_path_factory.mktemp("told"))


@pytest.fixture(scope="module")
def aged_model(aged_path: Path) -> NormativeModel:
    """That model."""
    return load_model(aged_path)


@pytest.fixture
def scan_of(aged_cohort: PreparedCohort, tmp_path: Path):
    """Write the scan of one of the people, and return its path."""

    return lambda n: write_scan(aged_cohort, n, tmp_path)


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


def test_a_person_is_nearer_to_what_is_expected_at_their_age_than_at_another(
    aged_model: NormativeModel, aged_cohort: PreparedCohort
) -> None:
    oldest = aged_cohort.images[-1].astype(np.float32)
    mean = aged_model.posterior.mean

    def away(**known: float) -> float:
        expected = aged_model.given(known).decode(mean, device="cpu").data
        return float(np.abs(oldest - expected)[oldest != 0].mean())

    assert away(age=66) < 0.9 * away() < 0.9 * away(age=20)


def test_records_say_what_the_model_was_told(
    aged_model: NormativeModel, scan_of, tmp_path: Path
) -> None:
    scan = scan_of(3)
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
    aged_model: NormativeModel, scan_of
) -> None:
    found = aged_model.given(age=20).detect(scan_of(PEOPLE - 1), device="cpu")
    _, again = recount(aged_model, found, found.threshold_z)
    assert [c.id for c in again] == [c.id for c in found.candidates]


def test_each_scan_is_told_what_the_table_says(
    aged_model: NormativeModel, scan_of, tmp_path: Path
) -> None:
    table = tmp_path / "people.tsv"
    table.write_text("path\tage\tsex\n5.nii.gz\t30\tM\n7.nii.gz\tn/a\tM\n", encoding="utf-8")
    look_up = known_from(table, aged_model.covariates)
    scans = [scan_of(5), scan_of(7), scan_of(6)]
    made = list(detect_scans(aged_model, named(scans), None, known=look_up, device="cpu"))
    given = [one.detection.provenance["given"] for one in made[:2]]
    assert given == [{"age": 30.0, "sex": "M"}, {"sex": "M"}]
    assert isinstance(made[2].error, CohortError)
    assert made[2].error.code == "COH-032"


def test_a_cohort_run_tells_what_its_table_says_and_does_anew_whom_it_now_says_else_of(
    aged_path: Path, scan_of, tmp_path: Path
) -> None:
    table, out = tmp_path / "people.tsv", tmp_path / "out"
    scans = [scan_of(5), scan_of(7)]

    def run(age: int) -> tuple[int, list[dict[str, object]]]:
        rows = [f"{scans[0].name}\t{age}\tM", f"{scans[1].name}\tn/a\tneither"]
        table.write_text("\n".join(["path\tage\tsex", *rows]) + "\n", encoding="utf-8")
        done = list(run_cohort(aged_path, table, out, device="cpu", workers=1))
        records = [out / "scans" / name / "detection.json" for name in ("5", "7")]
        return len(done), [json.loads(r.read_text(encoding="utf-8"))["given"] for r in records]

    assert run(30) == (2, [{"age": 30.0, "sex": "M"}, {}])
    assert run(30)[0] == 0
    assert run(31) == (1, [{"age": 31.0, "sex": "M"}, {}])


def test_a_model_that_was_not_conditioned_cannot_be_told(tiny_model_path: Path) -> None:
    model = load_model(tiny_model_path)
    assert model.given() is model
    assert model.told() == {}
    with pytest.raises(ModelFileError, match="--condition-on"):
        model.given(age=71)


def test_a_column_that_is_not_there_is_missed_before_anything_is_aligned(
    phantom_cohort: Path, tiny_preset: Preset, tmp_path: Path
) -> None:
    preset = tiny_preset.model_copy(update={"condition_on": ("coil",)})
    with pytest.raises(CohortError, match="COH-030"):
        fit(phantom_cohort, tmp_path / "m.safetensors", preset=preset, device="cpu")


def test_draws_leave_out_what_is_told_now_and_then_and_always_alike(
    aged_cohort: PreparedCohort, tiny_preset: Preset
) -> None:
    preset = tiny_preset.model_copy(update={"condition_on": ("age", "sex"), "steps": 100})
    config = architecture(preset, aged_cohort)
    feed, again = (
        Feed(aged_cohort, preset, config, seed=3, first=0, ranks=Ranks()) for _ in range(2)
    )
    codes = np.stack([feed._told(step, 0, 10) for step in range(400)])
    whole, age, sex = feed.codes[10], codes[:, 1] == 0, codes[:, -1] == 0
    assert {tuple(c) for c in codes[~age & ~sex]} == {tuple(whole)}
    assert 0.06 < (age & sex).mean() < 0.17  # all of it, or each by chance
    assert 0.14 < age.mean() < 0.25
    np.testing.assert_array_equal(codes[7], again._told(7, 0, 10))


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
    assert tiny_preset.changed(settings_from(["condition_on=age"], None)).condition_on == ("age",)
    with pytest.raises(TrainingError, match="dense latent"):
        tiny_preset.changed({"condition_on": ["age"], "latent": "spatial", "linear_factor": 0})
