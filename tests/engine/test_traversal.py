"""What directions go with, in people whose latents are planted; and the whole report."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from napari_normative.core.latent import People
from napari_normative.engine.covariates import TRAINED, UNKNOWN, UNSEEN, rows_of
from napari_normative.engine.embed import EmbeddedScan, Embedding, Place, principal_axes
from napari_normative.engine.explore import directions, effect
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.engine.traversal import describe_directions
from napari_normative.errors import ExplanationError, ModelFileError, OutputError
from phantoms import write_cohort

STRANGERS, TRAINED_ON = 30, 12


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    return load_model(tiny_model_path)


@pytest.fixture(scope="module")
def acquainted(tiny_model_path: Path) -> NormativeModel:
    """The model, as if it had been trained on twelve people of its own Gaussian."""
    model = load_model(tiny_model_path)
    latents = model.posterior.draw(TRAINED_ON, 6)
    model.people = People(latents, np.zeros(TRAINED_ON, dtype=bool))
    return model


def people(model: NormativeModel, planted: int) -> Embedding:
    """Strangers drawn from the cohort's Gaussian, and those whom the network was trained on.

    ``age`` follows one latent entry, alike in both; ``coin`` nothing.
    """
    random = np.random.default_rng(0)
    trained = model.posterior.draw(TRAINED_ON, 6)
    latents = np.concatenate([model.posterior.draw(STRANGERS, 5), trained, trained])
    places = (latents[:, planted] - model.posterior.mean[planted]) / model.posterior.sd()[planted]
    scans = []
    for n, latent in enumerate(latents):
        twice = n >= STRANGERS + len(trained)  # a second scan of the same person
        columns = {
            "subject": f"p{n - len(trained) if twice else n}", "site": "ab"[n % 2],
            "age": f"{50 + 10 * places[n] + 2 * random.normal():.3f}",
            "coin": "heads" if random.random() > 0.5 else "tails",
        }  # fmt: skip
        place = Place(latent, 1.0, 0.5, 1.0, np.ones_like(latent))
        scans.append(EmbeddedScan(Path(f"p{n}.nii.gz"), columns, place))
    return Embedding(model.digest, tuple(scans))


def test_the_planted_direction_is_evidence_in_strangers_alone(
    acquainted: NormativeModel, tmp_path: Path
) -> None:
    rows, warnings = rows_of(
        acquainted, people(acquainted, 3), ["age", "coin"], permutations=199, device="cpu",
        cache=tmp_path,
    )  # fmt: skip
    assert warnings == []
    size = acquainted.posterior.mean.size
    assert len([r for r in rows if r.covariate == "age" and r.group == UNSEEN]) == 2 * size
    own = next(
        r for r in rows if (r.basis, r.index, r.covariate, r.group) == ("latent", 3, "age", UNSEEN)
    )
    assert own.found.n == STRANGERS
    assert own.found.value > 0.9
    assert own.found.partial > 0.9
    assert own.is_evidence
    assert "age, 30 people the network never saw" in own.describe()
    assert not any(r.is_evidence for r in rows if r.covariate == "coin")
    trained = [r for r in rows if r.group == TRAINED]
    assert trained[0].found.n == TRAINED_ON  # two scans, one person
    assert not any(r.is_evidence for r in trained)


def test_a_model_without_its_people_gives_no_evidence(
    model: NormativeModel, tmp_path: Path
) -> None:
    forgetful = NormativeModel(
        model.card,
        {n: a for n, a in model._tensors.items() if not n.startswith("latent.people")},
        model.digest,
    )
    rows, warnings = rows_of(
        forgetful, people(model, 3), ["age"], permutations=99, device="cpu", cache=tmp_path
    )
    assert {r.group for r in rows} == {UNKNOWN}
    assert not any(r.is_evidence for r in rows)
    assert "nothing here is evidence" in warnings[0]


def test_columns_of_too_few_people_are_refused(model: NormativeModel, tmp_path: Path) -> None:
    few = Embedding(model.digest, people(model, 0).scans[:5])
    with pytest.raises(ExplanationError, match="WHY-003"):
        rows_of(model, few, ["age"], permutations=99, device="cpu", cache=tmp_path)


def test_people_of_the_model_are_those_it_was_trained_on() -> None:
    latents = np.arange(12, dtype=np.float32).reshape(4, 3) * 10
    known = People(latents, np.array([False, True, False, True]))
    from napari_normative.core.latent import AggregatedPosterior

    posterior = AggregatedPosterior(np.zeros(3, np.float32), np.eye(3, dtype=np.float32))
    assert known.trained_on(latents + 0.01, posterior).tolist() == [True, False, True, False]


def test_a_step_along_a_principal_axis_is_one_sd_of_it_and_none_of_the_others(
    model: NormativeModel, tmp_path: Path
) -> None:
    axes = principal_axes(model, device="cpu", cache=tmp_path)
    places = axes.coordinates(model.posterior.mean + axes.steps())
    np.testing.assert_allclose(places, np.eye(len(places)), atol=1e-3)


def test_principal_directions_have_falling_shares_and_effects(
    model: NormativeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = directions(model, basis="principal", device="cpu")
    shares = [d.variance_share for d in found]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert found[1].name == "principal direction 2"
    first, last = (effect(model, d, device="cpu") for d in (found[0], found[-1]))
    assert first.record["basis"] == "principal"
    assert (first.data**2).sum() > (last.data**2).sum()
    assert "basis" not in effect(model, directions(model, device="cpu")[0], device="cpu").record


def test_the_report_has_effects_tables_and_a_page_without_names(
    model: NormativeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_cohort(tmp_path / "secret", 11, first_seed=400)
    lines = ["path\tsubject\tage\tsex"]
    for n in range(11):
        lines.append(f"sub-{n:02d}_T1w.nii.gz\tsecret-{n}\t{20 + 3 * n}\t{'MF'[n % 2]}")
    (folder / "broken.nii.gz").write_bytes(b"no scan")
    lines.append("broken.nii.gz\tsecret-99\t80\tM")
    (folder / "people.tsv").write_text("\n".join(lines) + "\n")
    refused = []
    report = describe_directions(
        model, 2, table=folder / "people.tsv", columns=["age", "sex"], out=tmp_path / "out",
        permutations=99, device="cpu", explain=lambda line, name: refused.append(name),
    )  # fmt: skip
    assert refused == ["broken.nii.gz"]
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    tables = {"directions.tsv", "correlations.tsv", "directions.html", "directions.json"}
    assert tables <= names
    table = pd.read_csv(out / "directions.tsv", sep="\t")
    assert set(table["effect"]) == names - tables
    assert len(table) >= 4
    one = nib.load(out / table["effect"][0])
    assert one.shape == model.card.preprocess.shape
    np.testing.assert_allclose(one.affine, model.card.preprocess.grid.affine)
    correlations = pd.read_csv(out / "correlations.tsv", sep="\t")
    assert set(correlations["people"]) == {"unseen"}
    assert (correlations["n"] == 11).all()
    assert len(correlations) == 2 * 2 * model.posterior.mean.size
    assert json.loads((out / "directions.json").read_text())["verdict"] == report.verdict()
    for path in out.iterdir():
        assert b"secret" not in path.read_bytes()


def test_what_cannot_be_described_is_refused(
    model: NormativeModel, tiny_model_path: Path, phantom_cohort: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExplanationError, match=r"WHY-002.*'age'"):
        describe_directions(model, 1, table=phantom_cohort, columns=["age"], device="cpu")
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(OutputError, match="OUT-010"):
        describe_directions(model, 1, out=tmp_path)
    atlas = load_model(
        tiny_model_path.with_name(tiny_model_path.name + ".work") / "baselines/atlas.safetensors"
    )
    with pytest.raises(ModelFileError, match="MOD-007"):
        describe_directions(atlas, 1, device="cpu")
