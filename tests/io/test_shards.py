"""Shards: what was written is what is read, one scan at a time; damage is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_normative.errors import CohortError, ModelFileError
from napari_normative.io import shards
from napari_normative.io.shards import Shard, Stored, open_shard, scans_per_shard, write_shard

SHAPE = (5, 3, 7)  # 105 voxels: no whole number of bytes of mask


@pytest.fixture
def scans() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.random((4, *SHAPE)).astype(np.float16), random.random((4, *SHAPE)) > 0.4


@pytest.fixture
def shard(tmp_path: Path, scans: tuple[np.ndarray, np.ndarray]) -> Shard:
    facts = [{"similarity": 0.1 * n} for n in range(4)]
    return write_shard(tmp_path, list("abcd"), *scans, facts)


def test_every_scan_is_read_as_it_was_written(
    shard: Shard, scans: tuple[np.ndarray, np.ndarray]
) -> None:
    images, masks = scans
    for row in range(4):
        np.testing.assert_array_equal(shard.image(row), images[row])
        np.testing.assert_array_equal(shard.mask(row), masks[row])
    assert shard.keys == tuple("abcd")
    assert shard.facts[3] == {"similarity": pytest.approx(0.3)}
    assert open_shard(shard.path) == shard


def test_a_cohort_on_disk_answers_like_an_array(
    shard: Shard, scans: tuple[np.ndarray, np.ndarray]
) -> None:
    images, masks = scans
    places = [(shard, row) for row in (3, 1, 0)]
    stored = Stored[np.float16](places)
    assert len(stored) == 3
    np.testing.assert_array_equal(stored[1], images[1])
    np.testing.assert_array_equal(stored[[2, 0]], images[[0, 3]])
    np.testing.assert_array_equal(Stored[np.bool_](places, masks=True)[[0, 1]], masks[[3, 1]])


def test_the_same_scans_have_one_file(
    tmp_path: Path, shard: Shard, scans: tuple[np.ndarray, np.ndarray]
) -> None:
    again = write_shard(tmp_path, list("abcd"), *scans, [{}] * 4)
    assert again.path == shard.path
    other = write_shard(tmp_path, list("abce"), *scans, [{}] * 4)
    assert other.path != shard.path


def test_every_flipped_bit_is_seen(shard: Shard) -> None:
    whole = shard.path.read_bytes()
    for at in np.linspace(0, len(whole) - 1, 60).astype(int):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(at) % 8
        shard.path.write_bytes(damaged)
        try:
            found = open_shard(shard.path)
        except (ModelFileError, KeyError, ValueError):
            continue
        assert found == shard  # padding of the header


def test_what_is_gone_in_the_middle_of_a_training_is_named(shard: Shard) -> None:
    shard.path.write_bytes(shard.path.read_bytes()[:-40])
    with pytest.raises(CohortError, match=rf"COH-024.*{shard.path.name}.*shorter.*--resume"):
        shard.mask(3)
    shard.path.unlink()
    with pytest.raises(CohortError, match=r"COH-024.*No such file"):
        shard.image(0)


def test_a_shard_is_some_tens_of_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scans_per_shard((80, 96, 80)) == 51
    assert scans_per_shard((40, 48, 40)) == 411
    monkeypatch.setattr(shards, "SHARD_BYTES", 10)
    assert scans_per_shard((80, 96, 80)) == 1
