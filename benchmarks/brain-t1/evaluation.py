"""Table of an evaluation, for the documentation.

    python benchmarks/brain-t1/evaluation.py JUDGED [--out FILE]

JUDGED is the folder that ``napari-normative evaluate`` wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

import pandas as pd

FIGURES = {
    "ap": "AP",
    "best_dice": "best Dice (oracle)",
    "dice": "Dice, own threshold",
    "sensitivity_at_1pct": "sensitivity at 1 % false positives",
    "froc_at_1": "found, 1 false",
    "froc_at_4": "found, 4 false",
}


def cell(row: pd.Series, sign: str = "") -> str:
    """Return value and interval."""
    return f"{row['value']:{sign}.3f} [{row['low']:{sign}.3f}, {row['high']:{sign}.3f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("judged", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    all_rows = pd.read_csv(arguments.judged / "summary.tsv", sep="\t", keep_default_na=False)
    for name in ("value", "low", "high"):
        all_rows[name] = pd.to_numeric(all_rows[name], errors="coerce")
    whole = all_rows[(all_rows["site"] == "all") & (all_rows["size"] == "all")]
    own, apart = whole[whole["against"] == "n/a"], whole[whole["against"] != "n/a"]
    models = list(dict.fromkeys(own["model"]))
    lines = [
        "| lesions | model | " + " | ".join(FIGURES.values()) + f" | AP of {models[0]} less its |",
        "|" + "---|" * (3 + len(FIGURES)),
    ]
    ill = own[(own["group"] != "healthy") & (own["kind"] != "all")]
    for (group, kind), part in ill.groupby(["group", "kind"], sort=True):
        for model in models:
            rows = part[part["model"] == model].set_index("figure")
            if rows.empty:
                continue
            cells = [f"{rows.loc[name, 'value']:.3f}" for name in FIGURES if name in rows.index]
            difference = apart[
                (apart["group"] == group) & (apart["kind"] == kind)
                & (apart["against"] == model) & (apart["figure"] == "ap")
            ]  # fmt: skip
            last = cell(difference.iloc[0], "+") if len(difference) else ""
            people = rows.loc["ap", "people"]
            lines.append(
                f"| {group} {kind} ({people} people) | {model} | "
                + " | ".join(cells)
                + f" | {last} |"
            )
    record = json.loads((arguments.judged / "evaluation.json").read_text())
    healthy = all_rows[
        (all_rows["group"] == "healthy") & (all_rows["site"] != "all")
        & (all_rows["against"] == "n/a") & (all_rows["size"] == "all")
    ]  # fmt: skip
    lines += ["", "| healthy people of | model | voxels beyond nominal 1 % | candidates per scan | "
              "MAE | PSNR, dB | SSIM |", "|" + "---|" * 7]  # fmt: skip
    for site in sorted(healthy["site"].unique()):
        for model in models:
            rows = healthy[(healthy["site"] == site) & (healthy["model"] == model)]
            rows = rows.set_index("figure")
            if rows.empty:
                continue
            rate = rows.loc["fpr_at_1pct"]
            lines.append(
                f"| {site} ({rate['people']}) | {model} | {rate['value']:.2%} [{rate['low']:.2%}, "
                f"{rate['high']:.2%}] | {cell(rows.loc['candidates'])} | "
                f"{rows.loc['mae', 'value']:.4f} | {rows.loc['psnr', 'value']:.1f} | "
                f"{rows.loc['ssim', 'value']:.3f} |"
            )
    digests = ", ".join(f"{m['name']} {m['sha256'][:12]}" for m in record["models"])
    lines += ["", f"Models: {digests}. {os.cpu_count()} cores, {platform.machine()}, one thread."]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text("# `brain-t1` beside simple baselines\n\n" + text)


if __name__ == "__main__":
    main()
