"""How far readers agree: who said what, the figures, and what they disagree about."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.review import agreement_figures as figures
from napari_normative.review.agreement_figures import Numbers, UncertainAs
from napari_normative.review.image_bootstrap import Estimate, ImageBootstrap
from napari_normative.review.records import DECISIONS
from napari_normative.volume import Mask

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"
"""What stands in place of two readers where a figure is of all of them."""


@dataclass(frozen=True)
class Ratings:
    """Who said what of which unit.

    Two passes of one reader are compared as two readers; the figures then say how consistent
    the reader is.

    Attributes
    ----------
    readers : tuple of str, length R
        Codes.
    images : tuple of str, length U
        Image (case) id of each unit.
    units : tuple of str, length U
        Candidate id of each unit.
    values : tuple of U tuples of R str
        ``accept``, ``reject``, ``uncertain``, or empty where it was not rated.

    Raises
    ------
    ValueError
        If the lengths do not fit, two readers share a code, or a value is none of these.
    """

    readers: tuple[str, ...]
    images: tuple[str, ...]
    units: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if len(set(self.readers)) < len(self.readers):
            raise ValueError("two readers have the same code")
        if not len(self.images) == len(self.units) == len(self.values):
            raise ValueError("each unit needs one image and one row of values")
        if any(len(row) != len(self.readers) for row in self.values):
            raise ValueError("each row needs one value for each reader")
        if unknown := {value for row in self.values for value in row} - {*DECISIONS, ""}:
            raise ValueError(f"no such answer: {', '.join(sorted(unknown))}")


@dataclass(frozen=True)
class AgreementRow:
    """One figure with its interval.

    Attributes
    ----------
    figure : str
    readers : str
        ``all``, or two codes with a comma between.
    value, low, high : float
        The figure and its 95 % interval; nan where there is none.
    units, images : int
        What the figure is made of: candidates, and the images they lie in. For masks both are
        images.
    note : str
        Why there is no figure or interval, what was left out, what to beware of.
    """

    figure: str
    readers: str
    value: float
    low: float
    high: float
    units: int
    images: int
    note: str = ""

    def in_words(self) -> str:
        """Return ``0.43 [0.31, 0.55]``, without the bracket where there is no interval."""
        if not math.isfinite(self.value):
            return "–"
        value, low, high = (f"{round(n, 2) + 0.0:.2f}" for n in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]" if math.isfinite(self.low) else value


@dataclass(frozen=True)
class Agreement:
    """Figures of agreement; those of all readers first.

    Attributes
    ----------
    readers : tuple of str
    rows : tuple of AgreementRow
    uncertain : str
        What ``uncertain`` counts as where *accepted or not* is compared.
    draws, seed : int
        Of the bootstrap.
    """

    readers: tuple[str, ...]
    rows: tuple[AgreementRow, ...]
    uncertain: UncertainAs
    draws: int
    seed: int

    def table(self) -> pd.DataFrame:
        """Return the rows as a table; its columns are the attributes of a row."""
        import pandas as pd

        names = [field.name for field in dataclasses.fields(AgreementRow)]
        return pd.DataFrame([dataclasses.astuple(row) for row in self.rows], columns=names)

    def lines(self) -> tuple[str, ...]:
        """Return a line of text for each row, aligned."""
        figure = max(len(row.figure) for row in self.rows)
        readers = max(len(row.readers) for row in self.rows)
        return tuple(
            f"{row.figure:{figure}}  {row.readers:{readers}}  {row.in_words():20}  "
            f"{row.units} in {row.images} images{f' ({row.note})' if row.note else ''}"
            for row in self.rows
        )


@dataclass(frozen=True)
class Disagreement:
    """A unit that readers answered differently.

    Attributes
    ----------
    image, unit : str
    split : float
        Share of the pairs of its answers that differ; above 0, at most 1.
    answers : mapping of reader to answer
        Empty where the reader has not rated it.
    """

    image: str
    unit: str
    split: float
    answers: Mapping[str, str]


def agreement(
    ratings: Ratings,
    dice: Mapping[tuple[str, str], Mapping[str, float]] | None = None,
    *,
    uncertain: UncertainAs = "not accepted",
    draws: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Return how far readers agree.

    Of all readers: observed agreement and Krippendorff's alpha on units that two or more have
    rated, Fleiss' kappa on those that all have rated, and the mean of Cohen's kappas. Of each
    pair, on units that both have rated: observed agreement and Cohen's kappa of the three
    answers, then kappa, PABAK, positive and negative agreement of *accepted or not*.

    Parameters
    ----------
    ratings : Ratings
    dice : mapping of two readers to Dice by image, optional
        From :func:`dice_by_image`.
    uncertain : ``not accepted``, ``accepted`` or ``left out``
        What ``uncertain`` counts as in *accepted or not*.
    draws, seed : int
        Of the bootstrap. It draws images: the candidates of one scan are not independent.

    Returns
    -------
    Agreement
        What cannot be computed is nan, and its note says why.
    """
    said = figures.answers_given(ratings.values, len(ratings.readers))
    bootstrap = ImageBootstrap(ratings.images, draws, seed)
    rows = [*_of_all(said, ratings.readers, bootstrap)]
    for a, b in itertools.combinations(range(len(ratings.readers)), 2):
        pair = f"{ratings.readers[a]}, {ratings.readers[b]}"
        rows += _of_pair(pair, figures.confusions(said[:, a], said[:, b]), bootstrap, uncertain)
    for (first, second), values in (dice or {}).items():
        found = ImageBootstrap(tuple(values), draws, seed)
        rows += _of_masks(f"{first}, {second}", np.array([*values.values()]), found)
    return Agreement(ratings.readers, tuple(rows), uncertain, draws, seed)


def disagreements(ratings: Ratings) -> tuple[Disagreement, ...]:
    """Return the units that readers answered differently, most split first.

    Where the split is equal, accept against reject comes before what only uncertain divides;
    beyond that the order of the ratings holds.
    """
    found = []
    for image, unit, values in zip(ratings.images, ratings.units, ratings.values, strict=True):
        pairs = list(itertools.combinations([value for value in values if value], 2))
        differ = sum(first != second for first, second in pairs)
        if differ:
            answers = dict(zip(ratings.readers, values, strict=True))
            found.append(Disagreement(image, unit, differ / len(pairs), answers))

    def order(one: Disagreement) -> tuple[float, bool]:
        return -one.split, not {"accept", "reject"} <= set(one.answers.values())

    return tuple(sorted(found, key=order))


def dice_by_image(masks_a: Mapping[str, Mask], masks_b: Mapping[str, Mask]) -> dict[str, float]:
    """Return Dice's coefficient of two readers for each image that both have read.

    Parameters
    ----------
    masks_a, masks_b : mapping of image id to bool array, shape (I, J, K)
        Union of a reader's findings; all False where the reader found nothing.

    Returns
    -------
    dict of image id to float
        0 where one alone found something, nan where both found nothing.

    Raises
    ------
    ValueError
        If the two masks of an image differ in shape.
    """
    from napari_normative.core.metrics import dice

    found = {}
    for image in masks_a:
        if image in masks_b:
            first, second = masks_a[image], masks_b[image]
            if first.shape != second.shape:
                raise ValueError(f"{image}: masks of shapes {first.shape} and {second.shape}")
            found[image] = dice(first, second)
    return found


SAME = "all answers are the same: agreement beyond chance cannot be told"


def _of_all(
    said: Numbers, readers: tuple[str, ...], bootstrap: ImageBootstrap
) -> Iterator[AgreementRow]:
    """Yield the figures of all readers."""
    times = said.sum(axis=1)
    answers = times.sum(axis=1)
    tables = figures.coincidences(times)
    alone = _left_out(answers == 1, "candidates with one answer")
    yield _row("observed agreement", ALL, bootstrap(figures.observed, tables), SAME, alone)
    yield _row("Krippendorff's alpha", ALL, bootstrap(figures.alpha, tables), SAME, alone)
    partly = (answers > 0) & (answers < len(readers))
    complete = bootstrap(figures.kappa, tables * ~partly[:, None, None])
    yield _row(
        "Fleiss' kappa", ALL, complete, SAME, _left_out(partly, "candidates not rated by all")
    )
    pairs = itertools.combinations(range(len(readers)), 2)
    each = [figures.confusions(said[:, a], said[:, b]) for a, b in pairs]
    if each:
        stacked = np.stack(each, axis=1)
        missing = _left_out(np.isnan(figures.kappa(stacked.sum(axis=0))), "pairs without one")
        mean = bootstrap(figures.mean_kappa, stacked)
        yield _row("mean of Cohen's kappas", ALL, mean, SAME, missing)


def _of_pair(
    pair: str, tables: Numbers, bootstrap: ImageBootstrap, uncertain: UncertainAs
) -> Iterator[AgreementRow]:
    """Yield the figures of two readers."""
    sides = figures.accepted_or_not(tables, uncertain)
    nobody, everything = "neither accepted anything", "both accepted everything"
    yield _row("observed agreement", pair, bootstrap(figures.observed, tables), SAME)
    yield _row("Cohen's kappa", pair, bootstrap(figures.kappa, tables), SAME)
    yield _row("kappa, accepted or not", pair, bootstrap(figures.kappa, sides), SAME)
    yield _row("PABAK, accepted or not", pair, bootstrap(figures.pabak, sides), SAME)
    yield _row("positive agreement", pair, bootstrap(figures.positive, sides), nobody)
    yield _row("negative agreement", pair, bootstrap(figures.negative, sides), everything)


def _of_masks(pair: str, dice: Numbers, bootstrap: ImageBootstrap) -> Iterator[AgreementRow]:
    """Yield the mean Dice, and how often both found nothing."""
    nothing = np.isnan(dice)
    mean = bootstrap(figures.mean, np.stack([np.where(nothing, 0.0, dice), ~nothing], axis=1))
    left_out = _left_out(nothing, "images in which both found nothing")
    yield _row("Dice of masks", pair, mean, "", left_out)
    share = bootstrap(figures.mean, np.stack([nothing, np.ones_like(dice)], axis=1))
    yield _row("both found nothing", pair, share, "")


def _row(
    figure: str, readers: str, found: Estimate, undefined: str, left_out: str = ""
) -> AgreementRow:
    """Return a row; ``undefined`` says why there is no value though there are answers."""
    why = ""
    if math.isnan(found.value):
        why = undefined if found.units else "nothing to compare"
    return AgreementRow(
        figure, readers, found.value, found.low, found.high, found.units, found.images,
        "; ".join(part for part in (why, left_out, *found.doubts) if part),
    )  # fmt: skip


def _left_out(which: NDArray[np.bool_], what: str) -> str:
    return f"left out, {what}: {which.sum()}" if which.any() else ""
