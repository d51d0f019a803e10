"""Agreement between readers: the figures, their intervals by image, and what they disagree on."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from napari_normative.review.agreement import (
    ALL,
    Agreement,
    AgreementRow,
    Ratings,
    agreement,
    dice_by_image,
    disagreements,
)
from napari_normative.review.agreement_figures import alpha, kappa
from napari_normative.review.image_bootstrap import FEW_IMAGES, ImageBootstrap

WORDS = {"a": "accept", "r": "reject", "u": "uncertain", ".": ""}


def ratings(*columns: str, images: str = "") -> Ratings:
    """Ratings of readers A, B, ... from a letter for each unit; images from a letter each."""
    units = len(columns[0])
    return Ratings(
        tuple("ABCDEF"[: len(columns)]),
        tuple(images or (f"case-{n:03}" for n in range(units))),
        tuple(f"u{n}" for n in range(units)),
        tuple(tuple(WORDS[c[n]] for c in columns) for n in range(units)),
    )


def row(made: Agreement, figure: str, readers: str = ALL) -> AgreementRow:
    """The one row of a figure."""
    (found,) = (r for r in made.rows if (r.figure, r.readers) == (figure, readers))
    return found


def test_the_figures_of_two_readers_by_hand() -> None:
    # Both accept 4, A alone 1, B alone 2, both reject 3; A doubts one that B accepts.
    made = agreement(ratings("aaaaarrrrru", "aaaaraarrra"))
    values = {r.figure: r.value for r in made.rows if r.readers == "A, B"}
    assert values["observed agreement"] == pytest.approx(7 / 11)
    assert values["Cohen's kappa"] == pytest.approx((7 / 11 - 55 / 121) / (1 - 55 / 121))
    assert values["positive agreement"] == pytest.approx(8 / 12)
    assert values["negative agreement"] == pytest.approx(6 / 10)
    assert values["PABAK, accepted or not"] == pytest.approx(2 * 7 / 11 - 1)
    assert values["kappa, accepted or not"] == pytest.approx((77 - 59) / (121 - 59))
    assert row(made, "mean of Cohen's kappas").value == values["Cohen's kappa"]
    assert all((r.units, r.images) == (11, 11) for r in made.rows)


def test_what_uncertain_counts_as_is_asked_for() -> None:
    read = ratings("aru", "ara")
    made = {rule: agreement(read, uncertain=rule) for rule in ("not accepted", "accepted")}
    made["left out"] = agreement(read, uncertain="left out")
    found = {rule: row(m, "positive agreement", "A, B") for rule, m in made.items()}
    assert found["not accepted"].value == pytest.approx(2 / 3)
    assert found["accepted"].value == found["left out"].value == 1
    assert [found[rule].units for rule in found] == [3, 3, 2]
    assert agreement(read).uncertain == "not accepted"
    assert agreement(read).rows == made["not accepted"].rows
    assert len({row(m, "Cohen's kappa", "A, B").value for m in made.values()}) == 1


def test_units_without_enough_answers_are_left_out_and_counted() -> None:
    made = agreement(ratings("aarr.a.", "arra...", "aara.r.", images="xyzxyzx"))
    fleiss, of_some = row(made, "Fleiss' kappa"), row(made, "Krippendorff's alpha")
    assert (fleiss.units, fleiss.images) == (4, 3)
    assert "candidates not rated by all: 1" in fleiss.note
    assert (of_some.units, of_some.images) == (5, 3)
    assert row(made, "Cohen's kappa", "A, B").units == 4
    complete = agreement(ratings("aarr", "arra", "aara", images="xyzx"))
    assert fleiss.value == row(complete, "Fleiss' kappa").value
    alone = row(agreement(ratings("ara", "ar.")), "Krippendorff's alpha")
    assert (alone.units, alone.note.split(";")[0]) == (
        2,
        "left out, candidates with one answer: 1",
    )


def test_two_passes_of_one_reader_are_two_readers() -> None:
    steady = agreement(ratings("aaarrrrrrrrr", "aaarrrrrrrrr"))
    wavering = agreement(ratings("aaarrrrrrrrr", "arrrrrrrrraa"))
    assert row(steady, "Cohen's kappa", "A, B").value == 1
    assert row(wavering, "Cohen's kappa", "A, B").value == pytest.approx(1 / 9)


@pytest.mark.parametrize(
    ("read", "figure", "readers", "why"),
    [
        (ratings("rrr", "rrr"), "Cohen's kappa", "A, B", "all answers are the same"),
        (ratings("rrr", "rrr"), "Fleiss' kappa", ALL, "all answers are the same"),
        (ratings("rrr", "rrr"), "Krippendorff's alpha", ALL, "all answers are the same"),
        (ratings("rrr", "rrr"), "mean of Cohen's kappas", ALL, "all answers are the same"),
        (ratings("rru", "rur"), "positive agreement", "A, B", "neither accepted anything"),
        (ratings("aa", "aa"), "negative agreement", "A, B", "both accepted everything"),
        (ratings("a.", ".a"), "Cohen's kappa", "A, B", "nothing to compare"),
        (ratings("ar."), "observed agreement", ALL, "nothing to compare"),
        (Ratings(("A", "B"), (), (), ()), "Fleiss' kappa", ALL, "nothing to compare"),
        (Ratings((), (), (), ()), "Krippendorff's alpha", ALL, "nothing to compare"),
    ],
)
def test_what_cannot_be_told_is_nan_and_says_why(
    read: Ratings, figure: str, readers: str, why: str
) -> None:
    found = row(agreement(read), figure, readers)
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.note.startswith(why)
    assert found.in_words() == "–"


def test_a_pair_without_a_kappa_is_left_out_of_the_mean_and_said() -> None:
    made = agreement(ratings("rrrr", "rrrr", "rrar"))
    found = row(made, "mean of Cohen's kappas")
    assert math.isnan(row(made, "Cohen's kappa", "A, B").value)
    assert found.value == row(made, "Cohen's kappa", "A, C").value == 0
    assert "pairs without one: 1" in found.note


def test_intervals_say_when_they_cannot_be_trusted() -> None:
    one = row(agreement(ratings("aarr", "arrr", images="xxxx")), "Fleiss' kappa")
    assert (one.value > 0, math.isnan(one.low), one.note) == (True, True, "one image: no interval")
    short = row(agreement(ratings("aarr" * 4, "arrr" * 4)), "observed agreement")
    assert (short.images, FEW_IMAGES) == (16, 20)
    assert short.note == "few images: the interval is too narrow"
    assert row(agreement(ratings("aarr" * 5, "arrr" * 5)), "observed agreement").note == ""
    alike = row(agreement(ratings("ar" * 20, "ar" * 20)), "Fleiss' kappa")
    assert (alike.value, alike.low, alike.high) == (1, 1, 1)
    assert alike.note.startswith("all images say the same")


def test_draws_without_a_value_are_left_out_and_counted() -> None:
    # Only one of thirty images was accepted: in (29/30)^30 = 36 % of the draws it is missing.
    rare = row(agreement(ratings("a" + "r" * 29, "a" + "r" * 29)), "Cohen's kappa", "A, B")
    assert rare.value == rare.low == 1
    assert int(rare.note.split(" draws")[0]) == pytest.approx(0.362 * 2000, rel=0.1)
    none = row(agreement(ratings("aarr", "arrr"), draws=0), "Fleiss' kappa")
    assert none.value == pytest.approx(7 / 15)
    assert (math.isnan(none.low), none.note) == (True, "most draws have no value: no interval")


def test_an_interval_of_the_few_draws_that_have_a_value_is_none() -> None:
    """All of three images are in 3!/27 = 22 % of the draws."""
    found = ImageBootstrap(list("xyz"), 2000, 0)(
        lambda sums: np.where((sums > 0).all(axis=-1), sums[..., 0], np.nan), np.eye(3)
    )
    assert (found.value, found.units, found.images) == (1, 3, 3)
    assert np.isnan([found.low, found.high]).all()
    assert found.doubts == ("most draws have no value: no interval",)


def test_a_draw_is_the_ratings_of_the_drawn_images() -> None:
    random = np.random.default_rng(3)
    columns = ["".join(random.choice(list("aru."), 40, p=[0.4, 0.4, 0.1, 0.1])) for _ in "ABC"]
    images = "".join(random.choice(list("klmnopqrst"), 40))
    read = ratings(*columns, images=images)
    made = agreement(read, draws=60, seed=7)
    names = sorted(set(images))
    times = np.random.default_rng(7).multinomial(len(names), [1 / len(names)] * 10, size=60)
    drawn = []
    for draw in times:
        often = dict(zip(names, draw, strict=True))
        which = [n for n, image in enumerate(images) for _ in range(often[image])]
        again = ratings(*("".join(c[n] for n in which) for c in columns))
        drawn.append([r.value for r in agreement(again, draws=0).rows])
    expected = np.nanquantile(np.array(drawn), [0.025, 0.975], axis=0)
    assert np.isfinite(drawn).all()
    assert [r.low for r in made.rows] == pytest.approx(expected[0].tolist(), abs=1e-12)
    assert [r.high for r in made.rows] == pytest.approx(expected[1].tolist(), abs=1e-12)


def test_the_same_seed_gives_the_same_interval_in_any_order_of_units() -> None:
    random = np.random.default_rng(0)
    columns = ["".join(random.choice(list("aru."), 60)) for _ in "ABCD"]
    images = "".join(random.choice(list("klmnopqrstxyz"), 60))
    made = agreement(ratings(*columns, images=images))
    assert agreement(ratings(*columns, images=images)) == made
    assert agreement(ratings(*columns, images=images), seed=1) != made
    order = random.permutation(60)
    turned = ["".join(np.array(list(c))[order]) for c in (*columns, images)]
    other = agreement(ratings(*turned[:4], images=turned[4])).table()
    numbers = ["value", "low", "high"]
    assert np.allclose(other[numbers], made.table()[numbers], atol=1e-12)


def test_units_of_one_image_are_not_so_many_independent_ones() -> None:
    random = np.random.default_rng(1)
    said = random.random(30) < 0.5
    first, second = said, said ^ (random.random(30) < 0.25)
    # Sixteen candidates of an image are all read alike: they are worth one.
    columns = ["".join(np.repeat(np.where(reader, "a", "r"), 16)) for reader in (first, second)]
    images = [f"case-{n // 16}" for n in range(480)]
    read = ratings(*columns)
    by_image = agreement(Ratings(read.readers, tuple(images), read.units, read.values))
    by_unit = agreement(read)
    for figure in ("Cohen's kappa", "positive agreement"):
        clustered, naive = row(by_image, figure, "A, B"), row(by_unit, figure, "A, B")
        assert clustered.value == naive.value
        ratio = (clustered.high - clustered.low) / (naive.high - naive.low)
        assert ratio == pytest.approx(4, rel=0.15)  # the square root of sixteen


ACCEPTS = {("easy", True): 0.95, ("easy", False): 0.05, ("hard", True): 0.7, ("hard", False): 0.4}
"""Chance that a reader accepts a candidate: of an easy or a hard image, real or not."""


def simulated(random: np.random.Generator, images: int) -> Ratings:
    """Three readers; half of the images are hard, half of the candidates are real.

    Candidates of an image are alike in both.
    """
    image = np.repeat(np.arange(images), random.integers(1, 13, images))
    real = random.random(len(image)) < random.beta(0.5, 0.5, images)[image]
    hard = (random.random(images) < 0.5)[image]
    easily, hardly = (np.where(real, ACCEPTS[k, True], ACCEPTS[k, False]) for k in ("easy", "hard"))
    accepted = random.random((len(image), 3)) < np.where(hard, hardly, easily)[:, None]
    return Ratings(
        ("A", "B", "C"),
        tuple(map(str, image)),
        tuple(map(str, range(len(image)))),
        tuple(tuple(v) for v in np.where(accepted, "accept", "reject").tolist()),
    )


def true_values() -> dict[tuple[str, str], float]:
    """What the figures of such readers tend to with many images."""
    chances = np.array([*ACCEPTS.values()])
    same, accepts = (chances**2 + (1 - chances) ** 2).mean(), chances.mean()
    by_chance = accepts**2 + (1 - accepts) ** 2
    beyond = (same - by_chance) / (1 - by_chance)
    return {
        ("Krippendorff's alpha", ALL): beyond,
        ("Fleiss' kappa", ALL): beyond,
        ("Cohen's kappa", "A, B"): beyond,
        ("observed agreement", "B, C"): same,
        ("positive agreement", "A, C"): (chances**2).mean() / accepts,
    }


def test_the_interval_holds_the_true_value_as_often_as_it_says() -> None:
    """Coverage over 200 simulated reviews of 40 images, 500 draws each."""
    random = np.random.default_rng(0)
    truth = true_values()
    by_image, by_unit = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for seed in range(200):
        read = simulated(random, 40)
        naive = Ratings(read.readers, read.units, read.units, read.values)
        for held, one in ((by_image, read), (by_unit, naive)):
            made = agreement(one, draws=500, seed=seed)
            for key, value in truth.items():
                found = row(made, *key)
                held[key] += found.low <= value <= found.high
    assert all(180 <= times <= 198 for times in by_image.values()), by_image
    # Drawing units as if they were independent promises more than it holds.
    for key in truth:
        assert by_unit[key] < by_image[key]
    assert by_unit["Krippendorff's alpha", ALL] < 170


def test_two_thousand_draws_of_a_large_review_take_less_than_two_seconds() -> None:
    random = np.random.default_rng(0)
    columns = ["".join(random.choice(list("aru."), 500)) for _ in "ABCD"]
    read = ratings(*columns)
    agreement(read, draws=10)
    begin = time.process_time()
    made = agreement(read)
    assert time.process_time() - begin < 2
    assert len(made.rows) == 4 + 6 * 6


def test_dice_of_masks_by_image() -> None:
    def box(start: int, stop: int) -> np.ndarray:
        mask = np.zeros((8, 4, 4), dtype=bool)
        mask[start:stop] = True
        return mask

    first = {"x": box(0, 4), "y": box(0, 4), "z": box(0, 0), "w": box(0, 0), "only A": box(0, 1)}
    second = {"x": box(0, 4), "y": box(2, 6), "z": box(0, 0), "w": box(1, 2), "only B": box(0, 1)}
    found = dice_by_image(first, second)
    assert found == pytest.approx({"x": 1, "y": 0.5, "z": math.nan, "w": 0}, nan_ok=True)
    made = agreement(ratings("ar", "ar"), {("A", "B"): found})
    dice, nothing = row(made, "Dice of masks", "A, B"), row(made, "both found nothing", "A, B")
    assert (dice.value, dice.units, dice.images) == (0.5, 3, 3)
    assert 0 <= dice.low < 0.5 < dice.high <= 1
    assert "both found nothing: 1" in dice.note
    assert (nothing.value, nothing.units, nothing.images) == (0.25, 4, 4)
    with pytest.raises(ValueError, match="x: masks of shapes"):
        dice_by_image({"x": np.ones((2, 2, 2), bool)}, {"x": np.ones((2, 2, 1), bool)})


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "nothing to compare"),
        ({"x": math.nan, "y": math.nan}, "nothing to compare; left out, images in which both"),
        ({"x": 0.5}, "one image: no interval"),
    ],
)
def test_dice_without_findings_or_images(values: dict[str, float], why: str) -> None:
    found = row(agreement(ratings("a", "a"), {("A", "B"): values}), "Dice of masks", "A, B")
    assert math.isnan(found.low)
    assert found.note.startswith(why)


def test_disagreements_come_most_split_first() -> None:
    found = disagreements(ratings("aaaaaa.a", "aarruu.r", "aarr.a.u", "ar.r.aa."))
    assert [(d.unit, d.split) for d in found] == [
        ("u7", 1.0),  # accept, reject, uncertain
        ("u4", 1.0),  # accept, uncertain
        ("u2", pytest.approx(2 / 3)),
        ("u1", 0.5),  # three to one, with reject
        ("u3", 0.5),
        ("u5", 0.5),  # three to one, with uncertain
    ]
    assert found[1].image == "case-004"
    assert found[1].answers == {"A": "accept", "B": "uncertain", "C": "", "D": ""}


def test_no_answer_is_no_disagreement() -> None:
    assert disagreements(ratings("ar.", "ar.", "..a")) == ()


def test_lines_are_aligned_and_the_table_has_the_same_rows() -> None:
    made = agreement(ratings("aaru" * 5, "arra" * 5, "aarr" * 5))
    lines, table = made.lines(), made.table()
    assert len(lines) == len(table) == len(made.rows)
    before = len("mean of Cohen's kappas  A, B  -0.60 [-0.80, -0.40]  ")
    assert all(line[before:].startswith("20 in 20 images") for line in lines)
    assert table.loc[0, "figure"] == "observed agreement"
    assert table["value"].tolist() == [r.value for r in made.rows]
    assert list(table.columns) == [
        "figure", "readers", "value", "low", "high", "units", "images", "note",
    ]  # fmt: skip


def test_a_value_is_written_with_its_interval() -> None:
    assert AgreementRow("f", ALL, -0.001, -0.2, 0.1249, 9, 9).in_words() == "0.00 [-0.20, 0.12]"
    assert AgreementRow("f", ALL, 0.5, math.nan, math.nan, 9, 9).in_words() == "0.50"


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((("A", "A"), ("x",), ("u",), (("accept", "accept"),)), "same code"),
        ((("A", "B"), ("x",), ("u", "v"), (("accept", "accept"),)), "one image"),
        ((("A", "B"), ("x",), ("u",), (("accept",),)), "one value for each"),
        ((("A", "B"), ("x",), ("u",), (("accept", "maybe"),)), "no such answer: maybe"),
    ],
)
def test_ratings_that_do_not_fit_are_refused(parts: tuple, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Ratings(*parts)


def test_every_pair_has_its_rows() -> None:
    made = agreement(ratings("ar", "ar", "ra", "au"))
    pairs = [", ".join(pair) for pair in itertools.combinations("ABCD", 2)]
    assert list(dict.fromkeys(r.readers for r in made.rows)) == [ALL, *pairs]


def test_the_bootstrap_gives_any_formula_an_interval() -> None:
    """The mean of values of images against the interval of the normal distribution."""
    values = np.random.default_rng(0).standard_normal(400)
    tables = np.stack([values, np.ones(400)], axis=1)
    found = ImageBootstrap([str(n) for n in range(400)], 4000, 0)(
        lambda sums: sums[..., 0] / sums[..., 1], tables
    )
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.008
    )


def test_alpha_tends_to_fleiss_kappa_with_many_units() -> None:
    table = np.array([[30.0, 4, 1], [4, 20, 2], [1, 2, 6]])
    assert alpha(table) > kappa(table)
    assert alpha(1000 * table) == pytest.approx(kappa(table), abs=1e-4)
