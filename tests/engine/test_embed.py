"""Scans among a model's latents: places, the memory of them, bad files, the axes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_normative.core.embedding import PrincipalAxes
from napari_normative.core.latent import AggregatedPosterior
from napari_normative.engine import embed as module
from napari_normative.engine.embed import embed, place_of, principal_axes
from napari_normative.engine.layout import umap_layout
from napari_normative.engine.model import NormativeModel, load_model
from napari_normative.errors import CancelledError, CohortError, DeviceError, ModelFileError
from phantoms import phantom


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> NormativeModel:
    return load_model(tiny_model_path)


@pytest.fixture
def few(phantom_cohort: Path, tmp_path: Path) -> Path:
    """Three scans of the cohort, one of them damaged, and a table that names a missing one."""
    for n in (0, 3, 7):
        shutil.copy(phantom_cohort / f"sub-{n:02d}_T1w.nii.gz", tmp_path)
    data = (tmp_path / "sub-03_T1w.nii.gz").read_bytes()
    (tmp_path / "sub-03_T1w.nii.gz").write_bytes(data[: len(data) // 2])
    lines = [
        "path\tsite\tage",
        "sub-00_T1w.nii.gz\tA\t31",
        "sub-03_T1w.nii.gz\tB\t40",
        "sub-07_T1w.nii.gz\tA\t",
        "sub-99_T1w.nii.gz\tB\t50",
    ]
    table = tmp_path / "few.tsv"
    table.write_text("\n".join(lines) + "\n")
    return table


def test_a_table_is_placed_and_bad_files_are_rows(
    model: NormativeModel, few: Path, tmp_path: Path
) -> None:
    found = embed(model, few, device="cpu", cache=tmp_path / "cache")
    assert [s.path.name[:6] for s in found.scans] == ["sub-00", "sub-03", "sub-07", "sub-99"]
    assert [s.columns["age"] for s in found.scans] == ["31", "40", "", "50"]
    assert [s.place is not None for s in found.scans] == [True, False, True, False]
    assert "NIF-0" in found.scans[1].error
    assert "sub-99_T1w.nii.gz" in found.scans[3].error
    assert str(tmp_path) not in found.scans[3].error
    table = found.table()
    assert list(table.columns) == [
        "scan", "subject", "site", "age", "scan_score", "scan_p", "latent_distance", "error",
    ]  # fmt: skip
    scan = model.detect(few.parent / "sub-00_T1w.nii.gz", device="cpu")
    assert table.scan_score[0] == pytest.approx(scan.scan_score, abs=1e-5)
    assert table.scan_p[0] == scan.scan_p
    assert scan.in_model is not None
    np.testing.assert_allclose(found.placed[0].place.latent, scan.in_model.latent_mean, atol=1e-5)


def test_a_second_time_nothing_is_computed(
    model: NormativeModel, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embed(model, few, device="cpu", cache=tmp_path / "cache")
    computed: list[str] = []
    honest = module.place_of

    def watched(m, scan, **more):  # type: ignore[no-untyped-def]
        computed.append(scan.source.name)
        return honest(m, scan, **more)

    monkeypatch.setattr(module, "place_of", watched)
    again = embed(model, few, device="cpu", cache=tmp_path / "cache")
    assert computed == []
    for one, other in zip(first.placed, again.placed, strict=True):
        np.testing.assert_array_equal(one.place.latent, other.place.latent)
        assert one.place.scan_score == other.place.scan_score
    entry = sorted((tmp_path / "cache").iterdir())[0]
    entry.write_bytes(entry.read_bytes()[:-1])  # a damaged memory is no memory
    embed(model, few, device="cpu", cache=tmp_path / "cache")
    assert len(computed) == 1
    other = NormativeModel(model.card, model._tensors, "another model")
    embed(other, few, device="cpu", cache=tmp_path / "cache")
    assert len(computed) == 3


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    model: NormativeModel, few: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert len(embed(model, few, device="cpu", cache=tmp_path / "cache").placed) == 2


def test_one_scan_is_a_cohort_and_none_is_a_sentence(
    model: NormativeModel, phantom_cohort: Path, tmp_path: Path
) -> None:
    shutil.copy(phantom_cohort / "sub-00_T1w.nii.gz", tmp_path)
    assert len(embed(model, tmp_path, device="cpu", cache=tmp_path / "cache").placed) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(CohortError, match=r"COH-001.*Nothing was placed"):
        embed(model, tmp_path / "empty", device="cpu", cache=tmp_path / "cache")


def test_cancel_ends_between_scans(model: NormativeModel, few: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(CancelledError):
        embed(
            model, few, device="cpu", cache=tmp_path / "cache",
            progress=lambda step, fraction: told.append(step), cancel=lambda: len(told) >= 2,
        )  # fmt: skip
    assert told == ["sub-00_T1w.nii.gz", "sub-03_T1w.nii.gz"]


def test_a_model_without_latents_is_refused(tiny_model_path: Path, few: Path) -> None:
    atlas = load_model(
        tiny_model_path.with_name(tiny_model_path.name + ".work") / "baselines/atlas.safetensors"
    )
    with pytest.raises(ModelFileError, match=r"MOD-007.*dense latents"):
        embed(atlas, few)


def test_the_ellipse_holds_95_per_cent_of_draws() -> None:
    random = np.random.default_rng(0)
    mixing = np.tril(random.normal(size=(5, 5))) + 2 * np.eye(5)
    posterior = AggregatedPosterior(
        random.normal(size=5).astype(np.float32), mixing.astype(np.float32)
    )
    axes = PrincipalAxes.of(posterior, random.normal(size=(5, 300)).astype(np.float32))
    places = axes.place(posterior.draw(20_000, 1))
    assert (np.diff(axes.sd) <= 0).all()
    np.testing.assert_allclose(places.std(axis=0), axes.sd, rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(places.T), np.eye(5), atol=0.03)
    for level in (0.5, 0.95):
        a, b = axes.ellipse(0, 2, level)
        inside = (places[:, 0] / a) ** 2 + (places[:, 2] / b) ** 2 < 1
        assert inside.mean() == pytest.approx(level, abs=0.01)
    assert axes.share().sum() == pytest.approx(1)


def test_a_distance_on_the_map_is_the_difference_of_decoded_volumes() -> None:
    random = np.random.default_rng(1)
    effects = random.normal(size=(4, 500)).astype(np.float32)
    mixing = np.tril(random.normal(size=(4, 4))) + 2 * np.eye(4)
    posterior = AggregatedPosterior(np.zeros(4, np.float32), mixing.astype(np.float32))
    axes = PrincipalAxes.of(posterior, effects)
    one, other = random.normal(size=(2, 4)).astype(np.float32)
    apart = np.linalg.norm(axes.place(one[None]) - axes.place(other[None]))
    assert apart == pytest.approx(np.sqrt((((one - other) @ effects) ** 2).mean()), rel=1e-4)


def test_the_first_axis_of_a_model_changes_its_volumes_most(
    model: NormativeModel, tmp_path: Path
) -> None:
    axes = principal_axes(model, device="cpu", cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    again = principal_axes(model, device="cpu", cache=tmp_path)
    np.testing.assert_array_equal(axes.turn, again.turn)
    entry.write_bytes(b"damaged")
    again = principal_axes(model, device="cpu", cache=tmp_path)
    np.testing.assert_array_equal(axes.sd, again.sd)
    assert axes.share()[0] > axes.share()[1] > 0
    assert axes.share().sum() == pytest.approx(1)
    np.testing.assert_allclose(axes.place(model.posterior.mean[None]), 0, atol=1e-6)


@pytest.mark.slow
def test_umap_is_seeded_and_keeps_two_crowds_apart() -> None:
    pytest.importorskip("umap")
    random = np.random.default_rng(0)
    crowd = random.normal(size=(40, 6))
    crowd[20:] += 12
    one = umap_layout(crowd, seed=3)
    np.testing.assert_array_equal(one, umap_layout(crowd, seed=3))
    assert one.shape == (40, 2)
    centres = one[:20].mean(axis=0), one[20:].mean(axis=0)
    spread = max(one[:20].std(), one[20:].std())
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


def test_umap_can_be_cancelled_and_its_failure_is_a_sentence() -> None:
    crowd = np.random.default_rng(0).normal(size=(40, 6))
    with pytest.raises(CancelledError):
        umap_layout(crowd, cancel=lambda: True)
    with pytest.raises(DeviceError, match=r"DEV-004.*principal axes"):
        umap_layout(crowd[:1])


def test_a_scan_without_contrast_has_no_place(model: NormativeModel) -> None:
    flat = phantom(3)
    with pytest.raises(Exception, match="NIF-026"):
        place_of(model, flat.with_data(np.ones_like(flat.data)))
