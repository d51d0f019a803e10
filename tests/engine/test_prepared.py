"""The prepared cohort on disk: aligned once, read when asked, mended where it is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_normative.engine import prepared
from napari_normative.engine.cohort import read_cohort
from napari_normative.engine.prepared import PreparedCohort, prepare_cohort
from napari_normative.engine.presets import Preset
from napari_normative.errors import OutputError
from napari_normative.io import shards


@pytest.fixture
def folder(tmp_path: Path, tiny_model_path: Path) -> Path:
    """What a training left behind."""
    work = tiny_model_path.with_name(tiny_model_path.name + ".work")
    return Path(shutil.copytree(work / "prepared", tmp_path / "prepared"))


def made(folder: Path, cohort: Path, preset: Preset, template: Path) -> PreparedCohort:
    return prepare_cohort(
        read_cohort(cohort), preset, folder, template=template, report=lambda *_: None
    )


def used(cohort: PreparedCohort) -> Path:
    """Return a shard of a cohort; other trainings may have left theirs beside it."""
    return cohort.images.places[0][0].path  # type: ignore[attr-defined]


def test_what_is_aligned_is_not_aligned_again(
    folder: Path,
    phantom_cohort: Path,
    tiny_preset: Preset,
    phantom_template: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(prepared, "prepare", never)
    cohort = made(folder, phantom_cohort, tiny_preset, phantom_template)
    assert len(cohort.people) == 14
    assert cohort.images[[0, 13]].dtype == np.float16
    assert not cohort.images[0][~cohort.masks[0]].any()
    train = cohort.select("train")
    total = sum(cohort.images[n].astype(float) for n in train)
    count = sum(cohort.masks[n].astype(float) for n in train)
    mean = (total + total[::-1]) / np.maximum(count + count[::-1], 1)
    inside = cohort.template.mask
    assert np.abs(mean - cohort.template.image)[inside].mean() < 0.1  # aligned once more since


def test_a_damaged_shard_is_named_and_its_scans_are_aligned_again(
    folder: Path, phantom_cohort: Path, tiny_preset: Preset, phantom_template: Path
) -> None:
    before = made(folder, phantom_cohort, tiny_preset, phantom_template)
    images = before.images[list(range(14))]
    assert before.mended == []
    shard = used(before)
    data = bytearray(shard.read_bytes())
    data[-1000] ^= 1
    shard.write_bytes(data)
    after = made(folder, phantom_cohort, tiny_preset, phantom_template)
    assert after.mended == [f"{shard.name}: prepared scans are damaged; they are aligned again"]
    assert after.digest == before.digest
    np.testing.assert_allclose(after.images[list(range(14))], images, atol=1e-3)


def test_scans_lie_in_as_many_shards_as_it_takes(
    folder: Path,
    phantom_cohort: Path,
    tiny_preset: Preset,
    phantom_template: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = made(folder, phantom_cohort, tiny_preset, phantom_template)
    for shard in folder.glob("shards-*/*.safetensors"):
        shard.unlink()
    voxels = int(np.prod(tiny_preset.preprocess.shape))
    monkeypatch.setattr(shards, "SHARD_BYTES", 4 * (2 * voxels + voxels // 8))
    parts = made(folder, phantom_cohort, tiny_preset, phantom_template)
    found = sorted(folder.glob("shards-*/*.safetensors"))
    assert len(found) == 4
    assert parts.digest == whole.digest
    places = [parts.images.places[n] for n in range(14)]  # type: ignore[attr-defined]
    assert {shard.path for shard, _ in places} == set(found)
    for (shard, row), image in zip(places, parts.images[list(range(14))], strict=True):
        np.testing.assert_array_equal(shards.open_shard(shard.path).image(row), image)


def test_a_full_disk_is_no_fault_of_the_scan(
    folder: Path,
    phantom_cohort: Path,
    tiny_preset: Preset,
    phantom_template: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OutputError("OUT-002", "no space left", "Free some.")

    used(made(folder, phantom_cohort, tiny_preset, phantom_template)).unlink()
    monkeypatch.setattr(prepared.Aligned, "store", full)
    with pytest.raises(OutputError, match="no space left"):
        made(folder, phantom_cohort, tiny_preset, phantom_template)


def test_some_people_are_always_the_same_and_all_when_they_are_few(tiny_preset: Preset) -> None:
    from napari_normative.engine.cohort import Person

    everybody = [Person(Path(f"{n}"), f"{n}", "", "train" if n % 2 else "test") for n in range(40)]
    cohort = PreparedCohort(everybody, [], [], None, None, "", [])  # type: ignore[arg-type]
    assert cohort.some(20, "train") == cohort.select("train")
    few = cohort.some(5, "train")
    assert few == cohort.some(5, "train") == sorted(set(few))
    assert len(few) == 5
    assert set(few) < set(cohort.select("train"))
