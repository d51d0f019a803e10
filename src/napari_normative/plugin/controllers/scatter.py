"""What the latent map shows, worked out from places: dots, colours, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.latent import SAME
from napari_normative.plugin.state.common import Choice
from napari_normative.plugin.state.latent_map import SCORE, Colouring, NeighbourRow

if TYPE_CHECKING:
    import pandas as pd

    from napari_normative.engine.embed import EmbeddedScan, Place
    from napari_normative.plugin.work.latent_map import Mapped

FIGURES = {SCORE: "Scan score", "scan_p": "Scan p", "latent_distance": "Latent distance"}
FEW = 8
"""Up to so many different numbers are categories, as in a cohort's table."""
MOST_CATEGORIES = 7
NEIGHBOURS = 8
LEVELS = (0.5, 0.95)


def columns_of(table: pd.DataFrame) -> tuple[Choice, ...]:
    """Return what dots can be coloured by: our figures, then the cohort's columns."""
    left_out = {"scan", "subject", "error", *FIGURES}
    own = [Choice(name, label) for name, label in FIGURES.items()]
    return (*own, *(Choice(str(c), str(c)) for c in table.columns if c not in left_out))


def first_column(table: pd.DataFrame) -> str:
    """Return what is coloured by at first: the site where there are several."""
    return "site" if "site" in table and table["site"].nunique() > 1 else SCORE


def colouring(table: pd.DataFrame, column: str, label: str) -> Colouring:
    """Return the colours of the rows of a table.

    A column of more than ``FEW`` different numbers is a scale; others are categories, the
    most frequent ones by name and the rest together.
    """
    cells = ["" if cell is None or cell != cell else str(cell) for cell in table[column]]
    numbers = _numbers(cells)
    if numbers is not None and (
        column in FIGURES or len(np.unique(numbers[np.isfinite(numbers)])) > FEW
    ):
        return Colouring(label, numbers)
    names, counts = np.unique([c for c in cells if c] or ["none"], return_counts=True)
    if len(names) > MOST_CATEGORIES:
        often = set(names[np.argsort(-counts, kind="stable")[: MOST_CATEGORIES - 1]])
        cells = [c if c in often or not c else "others" for c in cells]
        names = np.array([*sorted(often), "others"])
    order = {str(name): float(i) for i, name in enumerate(names)}
    values = np.array([order.get(c, np.nan) for c in cells])
    return Colouring(label, values, tuple(order))


def tip_of(scan: EmbeddedScan) -> str:
    """Return what hovering over a scan shows."""
    lines = [scan.path.name, figures_of(scan)]
    return "\n".join(line for line in lines if line)


def figures_of(scan: EmbeddedScan) -> str:
    """Return a scan's figures and columns in a line."""
    place = scan.place
    parts = []
    if place is not None:
        parts.append(f"scan score {place.scan_score:.2f} (p {place.scan_p:.2g})")
    parts += [f"{k} {v}" for k, v in scan.columns.items() if v and k != "subject"]
    return ", ".join(parts)


def nearest(place: Place, mapped: Mapped) -> tuple[tuple[NeighbourRow, ...], bool]:
    """Return who is nearest to a place, and whether the place is that of a known person.

    Scans on the map have their file's name; the model's people have none. Whoever is so near
    that it is the same person's scan is left out.
    """
    posterior = mapped.axes.posterior
    found, itself = [], False
    scans = mapped.embedding.scans
    placed = [n for n, scan in enumerate(scans) if scan.place is not None]
    taken = np.array([s.place.latent for s in scans if s.place is not None])
    if len(taken):
        for row, distance in zip(placed, posterior.apart(place.latent, taken), strict=True):
            scan = scans[row]
            found.append(NeighbourRow(float(distance), scan.path.name, row, figures_of(scan)))
    if (people := mapped.people) is not None:
        far = posterior.apart(place.latent, people.latents)
        for latent, unseen, distance in zip(people.latents, people.unseen, far, strict=True):
            itself = itself or bool(distance < SAME)
            if len(taken) and posterior.apart(latent, taken).min() < SAME:
                continue  # on the map by name already
            who = f"person of the {'calibration' if unseen else 'training'} cohort"
            found.append(NeighbourRow(float(distance), who, -1, ""))
    others = sorted((n for n in found if n.distance >= SAME), key=lambda n: n.distance)
    return tuple(others[:NEIGHBOURS]), itself


def _numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    try:
        return np.array([float(c) if c else np.nan for c in cells])
    except ValueError:
        return None
