"""Colours of candidates under review."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

DECISION_COLOURS = {
    "": (1.0, 0.85, 0.2, 1.0),
    "accept": (0.3, 0.9, 0.4, 1.0),
    "reject": (0.6, 0.6, 0.65, 1.0),
    "uncertain": (0.4, 0.7, 1.0, 1.0),
}
"""Yellow while nothing was decided, then green, grey, blue; red, green, blue, opacity."""


def decision_colours(decisions: Mapping[int, str]) -> Any:
    """Return a colormap for candidates under review, by their value; others are yellow."""
    return _decision_colours(tuple(sorted(decisions.items())))


@lru_cache(maxsize=256)  # one takes 15 ms to make, and few are needed
def _decision_colours(decisions: tuple[tuple[int, str], ...]) -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    colours: dict[int | None, tuple[float, float, float, float]] = {
        value: DECISION_COLOURS.get(decision, DECISION_COLOURS[""]) for value, decision in decisions
    }
    colours |= {None: DECISION_COLOURS[""], 0: (0.0, 0.0, 0.0, 0.0)}
    return DirectLabelColormap(color_dict=colours)
