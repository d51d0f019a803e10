"""What explains a candidate, on images where the answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_normative.core.attribution import (
    AXES,
    Effect,
    Explanation,
    Neighbour,
    centre_of,
    nearest_people,
    profiles,
    strongest_directions,
)
from napari_normative.core.calibration import TAIL, Calibration
from napari_normative.core.latent import AggregatedPosterior, People
from napari_normative.core.score import ScoreConfig

SHAPE = (30, 24, 20)


def calibration(mean: float = 0.0, sd: float = 0.1) -> Calibration:
    return Calibration(
        mean=np.full((1, *SHAPE), mean, np.float32),
        sd=np.full((1, *SHAPE), sd, np.float32),
        z_tail=np.linspace(0, 5, len(TAIL)),
        scan_scores=np.ones(3),
        evidence=np.ones(3),
        threshold_z=4.0,
        false_per_scan=1.0,
        rate_low=0.5,
        rate_high=1.5,
        n=3,
    )


def region(*, at: tuple[int, int, int] = (10, 12, 9), size: int = 3) -> np.ndarray:
    made = np.zeros(SHAPE, bool)
    made[tuple(slice(a - size // 2, a + size // 2 + 1) for a in at)] = True
    return made


def test_a_profile_shows_the_bright_place_above_the_band() -> None:
    where = region()
    image = np.ones(SHAPE, np.float32)
    image[where] = 3.0
    mask = np.ones(SHAPE, bool)
    mask[:4] = False
    known = calibration(mean=0.05, sd=0.1)
    found = profiles(
        image, np.ones(SHAPE, np.float32), mask, where, known, ScoreConfig(scales_mm=(1.0,)), 2.0
    )
    assert [p.axis for p in found] == list(AXES)
    across = found[0]
    assert across.offset_mm[0] == -20  # the grid ends before the reach does
    assert across.offset_mm[-1] == 32
    centre = across.offset_mm.index(0.0)
    assert across.observed[centre] > across.high[centre]
    assert across.expected[centre] == pytest.approx(1.0)
    assert across.low[centre] == pytest.approx(1.05 - 0.2)
    assert across.high[centre] == pytest.approx(1.05 + 0.2)
    assert [o for o, i in zip(across.offset_mm, across.inside, strict=True) if i] == [-2, 0, 2]
    assert across.observed[:4] == (None,) * 4  # outside the foreground
    assert across.low[:4] == (None,) * 4
    assert across.low[-1] < across.observed[-1] < across.high[-1]


def test_each_axis_is_a_walk_along_its_own_axis() -> None:
    image = np.broadcast_to(np.arange(SHAPE[1], dtype=np.float32)[:, None], SHAPE)
    whole = np.ones(SHAPE, bool)
    found = profiles(image, image, whole, region(), calibration(), ScoreConfig(), 2.0)
    left, back, bottom = (np.array(p.observed) for p in found)
    assert np.ptp(left) == pytest.approx(0, abs=1e-4)
    assert np.ptp(bottom) == pytest.approx(0, abs=1e-4)
    assert (np.diff(back) > 0).all()


def test_the_centre_of_a_bent_region_lies_in_it() -> None:
    bent = np.zeros(SHAPE, bool)
    bent[5:20, 5, 9] = bent[5, 5:20, 9] = bent[19, 5:20, 9] = True
    assert bent[centre_of(bent)]


def test_directions_are_ordered_by_what_one_sd_of_the_cohort_does() -> None:
    posterior = AggregatedPosterior(
        np.array([1.0, 0.0, 0.0, 0.0], np.float32), np.diag([1.0, 10.0, 1.0, 1.0]).astype("f4")
    )
    gradient = np.array([0.5, -0.2, 0.1, 0.0])
    first, second, third = strongest_directions(
        gradient, np.array([3.0, 5.0, 0.0, 9.0], np.float32), posterior, 5
    )  # the fourth has no effect at all
    assert (first.index, first.effect_per_sd, first.coordinate_sd) == (1, -2.0, 0.5)
    assert first.contribution == -1.0
    assert (second.index, second.coordinate_sd) == (0, 2.0)
    assert third.index == 2


def test_the_nearest_person_of_a_person_is_that_person() -> None:
    random = np.random.default_rng(0)
    mixing = np.tril(random.normal(size=(6, 6))) + 3 * np.eye(6)
    posterior = AggregatedPosterior(np.zeros(6, np.float32), mixing.astype(np.float32))
    people = People.anonymous(posterior.draw(30, 1), posterior.draw(10, 2))
    for row in (0, 17, 39):
        rows, distances = nearest_people(people.latents[row], people, posterior, 5)
        assert rows[0] == row
        assert distances[0] == pytest.approx(0, abs=1e-9)
        assert len(rows) == 6  # five others
        assert (np.diff(distances) >= 0).all()
    stranger, _ = nearest_people(posterior.draw(1, 3)[0], people, posterior, 5)
    assert len(stranger) == 5


def test_distance_counts_sd_of_the_cohort_not_units_of_the_latent() -> None:
    posterior = AggregatedPosterior(np.zeros(2, np.float32), np.diag([10.0, 0.1]).astype("f4"))
    people = People(np.array([[5.0, 0.0], [0.0, 1.0]], np.float32), np.zeros(2, bool))
    rows, distances = nearest_people(np.zeros(2, np.float32), people, posterior, 2)
    assert list(rows) == [0, 1]
    assert distances[0] == pytest.approx(0.5 / np.sqrt(2))
    assert distances[1] == pytest.approx(10 / np.sqrt(2))


def explanation(neighbours: tuple[Neighbour, ...] | None) -> Explanation:
    return Explanation(
        "abc", 1, 27, 0.4, 0.1, 0.8, 0.05, (), (Effect(3, -0.1, 2.0),), neighbours
    )  # fmt: skip


def test_what_similar_people_look_like_leaves_out_the_scanned_person() -> None:
    near = [Neighbour(i, 1.0, False, False, 0.7 + 0.1 * i, 0.1) for i in range(3)]
    found = explanation((Neighbour(9, 0.0, False, True, 0.1, 0.1), *near))
    assert found.neighbours_mean == pytest.approx(0.8)
    assert found.neighbours_sd == pytest.approx(0.1)
    assert "50 % darker" in found.sentence()
    assert "the 3 most similar healthy people have 0.80 ± 0.10" in found.sentence()


def test_a_record_is_json_and_says_what_is_unknown() -> None:
    record = json.loads(json.dumps(explanation(None).record()))
    assert record["neighbours"] is None
    assert record["neighbours_mean"] is None
    assert record["directions"][0]["contribution"] == -0.2
    assert explanation(None).sentence().endswith("(0.40 against 0.80).")
