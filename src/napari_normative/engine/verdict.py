"""What an evaluation says, in sentences."""

from __future__ import annotations

import math
from typing import Any

from napari_normative.engine.evaluation import Evaluation
from napari_normative.engine.measure import NOMINAL
from napari_normative.engine.summary import ALL, ILL

Row = dict[str, Any]

FEW_PEOPLE = 5
"""Fewer people give an interval that says little; it is said."""

MILD = (0.8, 1.25)
"""Realised over nominal rate that is called as promised."""


def figure(made: Evaluation, name: str, group: str, model: str, **stratum: str) -> Row | None:
    """Return a figure's row; ``kind``, ``site`` and ``size`` are ``all`` unless named."""
    full = {"kind": ALL, "site": ALL, "size": ALL, "against": ""} | stratum
    return made.row(model, full["against"], group, full["kind"], full["site"], full["size"], name)


def with_interval(row: Row, digits: int = 3, scale: float = 1, sign: str = "") -> str:
    """Return ``0.412 [0.371, 0.455]``; without the bracket where there is no interval."""
    value, low, high = (row[name] * scale for name in ("value", "low", "high"))
    if not math.isfinite(value):
        return "–"

    def text(number: float) -> str:
        return f"{round(number, digits) + 0.0:{sign}.{digits}f}"  # no minus before a zero

    return text(value) + (f" [{text(low)}, {text(high)}]" if math.isfinite(low) else "")


def verdicts(made: Evaluation) -> list[str]:
    """Return what the figures say, a sentence each; the comparison first."""
    return [*_comparisons(made), *_false_positives(made), *_missing(made)]


def kinds_of(made: Evaluation, group: str) -> list[str]:
    """Return the kinds of a group, without the one for all."""
    kinds = made.summary.loc[made.summary["group"] == group, "kind"].unique()
    return sorted(str(kind) for kind in kinds if kind != ALL)


def _comparisons(made: Evaluation) -> list[str]:
    first, *others = made.models
    if not others:
        return [
            f"{first} was judged alone: whether it earns its place shows only beside simple "
            "models. Name them after it with --model."
        ]
    found = []
    for other in others:
        for group in ILL:
            said: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
            kinds = kinds_of(made, group)
            people = 0
            for kind in kinds:
                row = figure(made, "ap", group, first, kind=kind, against=other)
                if row is None:
                    continue
                people = max(people, int(row["people"]))
                said[_outcome(row)].append(f"{kind} {with_interval(row, sign='+')}")
            if not any(said.values()):
                continue
            words = {
                "better": "better on",
                "worse": "worse on",
                "open": "no difference shown on",
            }
            parts = [f"{words[key]} {', '.join(items)}" for key, items in said.items() if items]
            few = f" Only {_people(people)}: too few to tell." if people < FEW_PEOPLE else ""
            found.append(
                f"Against {other}, {group} lesions (voxel AP, difference per person): "
                f"{'; '.join(parts)}.{few}"
            )
    return found


def _outcome(row: Row) -> str:
    if row["people"] >= FEW_PEOPLE and row["low"] > 0:
        return "better"
    if row["people"] >= FEW_PEOPLE and row["high"] < 0:
        return "worse"
    return "open"


def _false_positives(made: Evaluation) -> list[str]:
    found, first = [], made.models[0]
    summary = made.summary
    healthy = summary[(summary["group"] == "healthy") & (summary["model"] == first)]
    nominal = made.record["models"][0]["false_per_scan"]
    for site in sorted(s for s in healthy["site"].unique() if s != ALL):
        rate = figure(made, "fpr_at_1pct", "healthy", first, site=site)
        count = figure(made, "candidates", "healthy", first, site=site)
        if rate is None or count is None:
            continue
        low, high = MILD[0] * NOMINAL, MILD[1] * NOMINAL
        word = "as promised"
        if not low <= rate["value"] <= high:
            more = rate["value"] > high
            sure = rate["low"] > high if more else rate["high"] < low
            sure = sure and rate["people"] >= FEW_PEOPLE
            word = ("more" if more else "fewer") + " than promised" + ("" if sure else ", perhaps")
        found.append(
            f"Healthy people of {site} ({rate['people']}): "
            f"{with_interval(rate, 2, 100)} % of voxels beyond the nominal 1 % level ({word}), "
            f"{with_interval(count, 2)} candidates per scan (calibrated for {nominal:.2f})."
        )
    return found


def _missing(made: Evaluation) -> list[str]:
    """Say which sites have healthy people or patients only."""
    table, found = made.cases, []
    if not (table["group"] == "real").any():
        found.append("There is no patient among the cases: nothing is known of real lesions.")
    if not (table["group"] == "healthy").any():
        found.append("There is no healthy person among the cases: false positives are not known.")
    for site in sorted(table["site"].unique()):
        groups = set(table.loc[table["site"] == site, "group"])
        if "real" in groups and "healthy" not in groups:
            found.append(
                f"Site {site} has patients and no healthy people: no scan AUROC, and its "
                "false-positive rate is not known. Against healthy people of another site an "
                "AUROC would mostly tell scanners apart."
            )
    if refused := made.record["cases"]["refused"]:
        found.append(f"{len(refused)} of {made.record['cases']['listed']} cases were not used.")
    return found


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def headline(made: Evaluation) -> dict[str, Any]:
    """Return the main figures of the first model; JSON-ready."""
    first = made.models[0]
    figures: dict[str, Any] = {}
    for group in ILL:
        for kind in kinds_of(made, group):
            row = figure(made, "ap", group, first, kind=kind)
            if row is not None:
                figures[f"ap_{group}_{kind}"] = round(float(row["value"]), 4)
    row = figure(made, "fpr_at_1pct", "healthy", first)
    if row is not None:
        figures["fpr_at_1pct"] = round(float(row["value"]), 5)
    cases = made.record["cases"]
    return {
        "model": first,
        "cases": cases["used"],
        "refused": len(cases["refused"]),
        **figures,
        "verdict": verdicts(made),
    }


def lines(made: Evaluation) -> list[str]:
    """Return what a person reads in the terminal."""
    cases = made.record["cases"]
    out = [f"{made.models[0]} on {cases['used']} of {cases['listed']} cases"]
    for group in ILL:
        for kind in kinds_of(made, group):
            for model in made.models:
                ap, dice, prevalence = (
                    figure(made, name, group, model, kind=kind)
                    for name in ("ap", "dice", "prevalence")
                )
                if ap is None or dice is None or prevalence is None:
                    continue
                out.append(
                    f"  {group} {kind} ({_people(ap['people'])}), {model}: voxel AP "
                    f"{with_interval(ap)} at prevalence {prevalence['value']:.4f}, "
                    f"Dice {with_interval(dice)}"
                )
    return out + [f"  {text}" for text in verdicts(made)]
