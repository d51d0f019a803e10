"""The quality report of a set of synthetic volumes: a record, a table, and a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_normative.core.card import RESEARCH_USE
from napari_normative.engine.pictures import UNIT, Axis, Line, legend, line_plot
from napari_normative.io.page import escape, page, pairs, sentences, table
from napari_normative.io.tables import json_bytes, tsv_bytes

SIGNIFICANT = 0.05

_HEADS = ("figure", "samples and scans", "samples and decoded scans", "decoded scans and scans")


def report_parts(quality: Mapping[str, Any], record: Mapping[str, Any]) -> tuple[bytes, ...]:
    """Return ``quality.json``, ``quality.tsv`` and ``quality.html``.

    Parameters
    ----------
    quality : mapping
        As :func:`~napari_normative.engine.synthetic_quality.compare` returns it.
    record : mapping
        What made the set.
    """
    import pandas as pd  # late: it takes a third of a second

    whole = {"notice": RESEARCH_USE, "made": record, **quality}
    rows = pd.DataFrame(quality["samples"])
    return json_bytes(whole), tsv_bytes(rows), _page(quality, record).encode()


def conclusions(quality: Mapping[str, Any]) -> list[str]:
    """Return what the tests and figures say, in sentences."""
    said = []
    for test in quality["tests"]:
        whom = "training people" if test["test"] == "latents" else "the real scans"
        closer = test["p"] <= SIGNIFICANT
        found = "are closer" if closer else "are not shown to be closer"
        others = "people the network never saw" if test["test"] == "latents" else "real people"
        said.append(
            f"Samples {found} to {whom} than {others} are "
            f"(a sample is the closer one in {test['chance_that_a_sample_is_closer']:.0%} of "
            f"pairs; p {test['p']:.2g}, {test['samples']} samples, {test['others']} people). "
            f"{test['closer_than_all_others']} are closer than all of these people "
            f"(p {test['p_of_so_many']:.2g})."
        )
    if quality["real_left_out"]:
        said.append(f"{len(quality['real_left_out'])} real scans could not be used.")
    return said


def _page(quality: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{escape(row['figure'])} <small>{escape(row['better'])}</small>",
            *(_number(row[name]) for name in ("samples", "samples_to_decoded", "decoded", "real")),
        ]
        for row in quality["figures"]
    ]
    tests = [
        [
            f"{escape(test['question'])} <small>{escape(test['measure'])}</small>",
            _number(test["median_of_samples"]),
            _number(test["median_of_others"]),
            _number(test["least_of_samples"]),
            _number(test["least_of_others"]),
            f"{test['chance_that_a_sample_is_closer']:.0%}",
            f"{test['p']:.3g}",
            str(test["closer_than_all_others"]),
            f"{test['p_of_so_many']:.3g}",
        ]
        for test in quality["tests"]
    ]
    heads = ["question", "median, samples", "people", "least, samples", "people"]
    made = {k: v for k, v in record.items() if k not in ("notice", "versions", "scans")}
    return page(
        "Synthetic volumes",
        [
            f'<p class="notice">{escape(RESEARCH_USE)} Every volume described here is '
            "synthetic.</p>",
            f"<h1>{quality['samples_compared']} synthetic volumes beside "
            f"{quality['real_people']} real people</h1>",
            f'<p class="sub">napari-normative {escape(record["version"])} · '
            f"{escape(record['utc'])}</p>",
            sentences(conclusions(quality)),
            "<h2>Do they copy anybody?</h2>",
            table([*heads, "a sample is closer", "p", "closer than all people", "p"], tests),
            _distances(quality),
            "<p><small>The first test is about the scans that were given, the second about the "
            "people that the model file holds. A set can pass both and still tell that somebody "
            "was in the cohort; neither is a guarantee of privacy.</small></p>",
            "<h2>Are they like real scans?</h2>",
            table([*_HEADS, "scans and scans"], rows),
            f"<p><small>Fixed features of blocks of the volume, nothing learned; precision and "
            f"recall by {quality['neighbours']} nearest neighbours. Decoded scans: the same "
            "people as the network draws them, which is what its samples can reach at best. Scans "
            "and scans: one half of the people against the other, which have half the "
            "number.</small></p>",
            "<h2>What made them</h2>",
            pairs([[escape(key), escape(value)] for key, value in made.items()]),
        ],
    )


def _distances(quality: Mapping[str, Any]) -> str:
    """Return the samples' places among real people's nearest distances, as a curve."""
    shares = np.sort([row["share_of_real_nearer"] for row in quality["samples"]])
    steps = np.arange(1, len(shares) + 1) / len(shares)
    names = ["samples"]
    plot = line_plot(
        "Distance to the nearest real scan",
        [Line(names[0], shares, steps, 0, steps=True)],
        Axis("rank among the distances of real people", 0, 1, UNIT),
        Axis("share of samples, up to", 0, 1, UNIT),
        reference=Line("real people", np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0),
        width=400,
        height=300,
    )
    return (
        legend(names)
        + f'<div class="plots">{plot}</div>'
        + "<p><small>Grey: where real people lie. A curve that rises at the left: samples that "
        "are nearer to a scan than people are to each other.</small></p>"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
