"""What is said of a model beside its baselines."""

from __future__ import annotations

from typing import Any

import pytest

from napari_normative.core.comparison import UNKNOWN, ComparisonRow, beaten, verdict


def row(against: str, difference: float, half: float | None = 0.02, **more: Any) -> ComparisonRow:
    given: dict[str, Any] = {
        "figure": "ap", "stratum": "hypointense", "against": against, "people": 16,
        "model": 0.5, "baseline": 0.5 - difference, "difference": difference,
        "low": None if half is None else difference - half,
        "high": None if half is None else difference + half, **more,
    }  # fmt: skip
    return ComparisonRow.model_validate(given)


ERROR = {"figure": "error", "stratum": "Site A"}
BRIGHT = {"stratum": "hyperintense"}


def test_less_error_is_better_and_more_precision_is() -> None:
    assert row("pca", 0.05).outcome == "better"
    assert row("pca", -0.05).outcome == "worse"
    assert row("pca", 0.01).outcome == "undecided"
    assert row("pca", -0.05, **ERROR).outcome == "better"
    assert row("pca", 0.05, **ERROR).outcome == "worse"
    assert row("pca", 0.5, None).outcome == "undecided"


def test_a_winner_is_told_with_intervals() -> None:
    rows = (row("threshold", 0.4), row("pca", 0.05), row("pca", -0.03, 0.002, **ERROR))
    assert verdict(rows) == (
        "On 16 people it never saw, with simulated lesions, it beats "
        "principal components (darker lesions AP "
        "+0.05 [+0.03, +0.07]; error at Site A -0.030 [-0.032, -0.028]), an intensity "
        "threshold (darker lesions AP +0.40 [+0.38, +0.42])."
    )
    assert beaten(rows) == ["pca", "threshold"]


def test_a_narrow_window_gets_no_figures() -> None:
    rows = (row("pca", 0.05), row("pca", -0.04, **BRIGHT), row("atlas", -0.03, 0.002, **ERROR))
    assert verdict(rows, figures=False) == (
        "On 16 people it never saw, with simulated lesions, it beats principal components (darker "
        "lesions), the mean image (error at Site A). It does not beat principal components "
        "(brighter lesions)."
    )


def test_a_loser_is_told_so_first() -> None:
    rows = (row("atlas", -0.1), row("threshold", 0.01))
    assert verdict(rows) == (
        "On 16 people it never saw, with simulated lesions, it beats "
        "no simple baseline: not the mean image (darker "
        "lesions AP -0.10 [-0.12, -0.08]), not an intensity threshold (darker "
        "lesions AP +0.01 [-0.01, +0.03])."
    )
    assert beaten(rows) == []


def test_what_is_not_beaten_is_named_beside_what_is() -> None:
    rows = (row("pca", 0.05), row("pca", -0.04, **BRIGHT), row("atlas", 0.1))
    assert verdict(rows) == (
        "On 16 people it never saw, with simulated lesions, it beats "
        "principal components (darker lesions AP "
        "+0.05 [+0.03, +0.07]), the mean image (darker lesions AP +0.10 "
        "[+0.08, +0.12]). It does not beat principal components (brighter lesions AP "
        "-0.04 [-0.06, -0.02])."
    )
    assert beaten(rows) == ["atlas"]


def test_a_site_with_too_few_people_is_neither_won_nor_lost() -> None:
    rows = (row("pca", 0.05), row("pca", -0.03, None, figure="error", stratum="Site B", people=2))
    assert verdict(rows) == (
        "On 16 people it never saw, with simulated lesions, it beats principal components (darker "
        "lesions AP +0.05 [+0.03, +0.07]). Too few people to tell for Site B (2)."
    )


def test_better_reconstruction_alone_beats_nothing() -> None:
    rows = (row("pca", 0.0), row("pca", -0.05, **ERROR))
    assert beaten(rows) == []


@pytest.mark.parametrize(("rows", "said"), [((), UNKNOWN), ((row("pca", 0.2, None),), "Too few")])
def test_what_is_not_known_is_not_claimed(rows: tuple[ComparisonRow, ...], said: str) -> None:
    assert verdict(rows).startswith(said)
    assert beaten(rows) == []
