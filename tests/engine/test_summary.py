"""From scans to figures: people are drawn, not scans; strata; differences within people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from napari_normative.core.counts import VoxelCounts
from napari_normative.core.metrics import FrocScan
from napari_normative.engine.measure import LEVELS, Measured
from napari_normative.engine.summary import FIGURES, realised_by_site, size_of, strata, summarise

ALIKE = {"a": "space", "b": "space"}


def scan(model: str, person: str, **facts: object) -> Measured:
    """A measured scan with figures that are chosen."""
    row: dict[str, object] = dict.fromkeys(FIGURES, np.nan)
    row |= {
        "case": "case-001", "person": person, "site": "x", "group": "simulated", "kind": "mass",
        "seed": None, "model": model, "lesion_ml": 5.0, "scan_score": 3.0, "scan_p": 0.5,
    }  # fmt: skip
    row |= facts
    shift = float(facts.get("ap", 0.5)) * 6  # type: ignore[arg-type]
    truth = np.arange(1000) < 50
    z = np.random.default_rng(len(person)).standard_normal(1000) + shift * truth
    hit = np.array([[True, True], [True, False]])
    froc = FrocScan(np.array([2.0, 4.0]), np.array([3.0, 1.0]), hit, np.array([1.0, 2.0]))
    healthy = row["group"] == "healthy"
    rates = np.array(LEVELS) * float(facts.get("times", 1.0))  # type: ignore[arg-type]
    return Measured(
        row, VoxelCounts.of(z.astype(np.float32), truth), None if healthy else froc, rates,
        np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4), bool),
    )  # fmt: skip


def pick(summary: pd.DataFrame, **wanted: str) -> pd.Series:
    wanted = {"kind": "all", "site": "all", "size": "all", "against": "", "model": "a"} | wanted
    for column, value in wanted.items():
        summary = summary[summary[column] == value]
    assert len(summary) == 1
    return summary.iloc[0]


def both(person: str, a: float, b: float, **facts: object) -> list[Measured]:
    return [scan("a", person, ap=a, **facts), scan("b", person, ap=b, **facts)]


def test_scans_of_a_person_are_averaged_before_people_are() -> None:
    measured: list[Measured] = []
    for seed in range(3):
        measured += both("p1", 0.9, 0.9, seed=seed)
    measured += both("p22", 0.1, 0.1, seed=0)
    row = pick(summarise(measured, ALIKE), group="simulated", figure="ap")
    assert row["value"] == pytest.approx(0.5), "not 0.7, which three scans of one person give"
    assert (row["people"], row["scans"]) == (2, 4)


def test_differences_are_within_people() -> None:
    measured: list[Measured] = []
    for n, level in enumerate(np.linspace(0.05, 0.85, 8)):
        measured += both("p" * (n + 1), level + 0.1, level)
    summary = summarise(measured, ALIKE)
    row = pick(summary, group="simulated", figure="ap", against="b")
    assert row["value"] == pytest.approx(0.1)
    assert [row["low"], row["high"]] == pytest.approx([0.1, 0.1]), "people differ, models do not"
    alone = pick(summary, group="simulated", figure="ap")
    assert alone["high"] - alone["low"] > 0.2
    pooled = pick(summary, group="simulated", figure="pooled_ap", against="b")
    assert 0 < pooled["low"] <= pooled["value"] <= pooled["high"]


def test_models_of_other_spaces_are_not_compared_by_reconstruction() -> None:
    measured = [
        m
        for person in ("p", "pp")
        for m in both(person, 0.5, 0.5, group="healthy", kind="", lesion_ml=0.0, mae=0.1)
    ]
    alike = summarise(measured, ALIKE)
    apart = summarise(measured, {"a": "fine", "b": "coarse"})
    figures = [set(s.loc[s["against"] == "b", "figure"]) for s in (alike, apart)]
    assert figures[0] - figures[1] == {"mae", "psnr", "ssim", "elbo_nats"}
    assert "fpr_at_1pct" in figures[1]


def test_sizes_and_kinds_are_strata() -> None:
    facts: Sequence[tuple[str, float]] = [("mass", 0.5), ("mass", 5.0), ("texture", 50.0)]
    measured = [
        scan("a", "p" * (n + 1), kind=kind, lesion_ml=ml, ap=0.2 * (n + 1))
        for n, (kind, ml) in enumerate(facts)
    ]
    summary = summarise(measured, {"a": "space"})
    for size, value in (("<1 ml", 0.2), ("1-10 ml", 0.4), (">10 ml", 0.6)):
        row = pick(summary, group="simulated", figure="ap", size=size)
        assert row["value"] == pytest.approx(value)
    row = pick(summary, group="simulated", figure="ap", kind="mass")
    assert row["value"] == pytest.approx(0.3)
    assert [size_of(ml) for ml in (0.99, 1.0, 9.99, 10.0)] == [
        "<1 ml", "1-10 ml", "1-10 ml", ">10 ml",
    ]  # fmt: skip
    table = pd.DataFrame([m.row for m in measured])
    found = strata(table.assign(size=[size_of(ml) for _, ml in facts]))
    assert len(found) == len(set(found))
    assert not any(s.kind == "texture" and s.size == "<1 ml" for s in found), "empty: left out"


def test_the_spread_over_seeds_is_given() -> None:
    measured = [
        scan("a", person, seed=seed, ap=0.2 + 0.1 * seed)
        for person in ("p", "pp")
        for seed in range(3)
    ]
    row = pick(summarise(measured, {"a": "s"}), group="simulated", figure="ap")
    assert row["seed_sd"] == pytest.approx(0.1)


def test_lesions_found_are_read_off_where_few_enough_candidates_are_false() -> None:
    summary = summarise([scan("a", "p"), scan("a", "pp")], {"a": "s"})
    one = pick(summary, group="simulated", figure="froc_at_1")
    four = pick(summary, group="simulated", figure="froc_at_4")
    assert (one["value"], four["value"]) == (0.5, 1.0)


def test_one_person_has_no_interval_and_no_auroc() -> None:
    well = scan("a", "q", group="healthy", kind="", lesion_ml=0.0)
    summary = summarise([scan("a", "p", ap=0.5), well], {"a": "s"})
    rows = summary[summary["figure"].isin(["ap", "pooled_ap", "froc_at_1"])]
    assert rows["value"].notna().all()
    assert rows["low"].isna().all()
    assert not (summary["figure"] == "auroc").any()


def test_realised_rates_are_means_over_the_people_of_a_site() -> None:
    measured = [
        scan("a", "p", group="healthy", site="x", times=0.5),
        scan("a", "q", group="healthy", site="x", times=1.5),
        scan("a", "r", group="healthy", site="y", times=2.0),
    ]
    table = pd.DataFrame([m.row for m in measured])
    found = realised_by_site(table, measured, "a")
    np.testing.assert_allclose(found["x"], LEVELS)
    np.testing.assert_allclose(found["y"], 2 * np.array(LEVELS))
