"""How well a model's latents keep the neighbourhoods of its scans, beside components of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.neighbourhood import preserved
from napari_normative.core.probe import components, inner_products
from napari_normative.engine.embed import principal_axes
from napari_normative.engine.probe_scans import MeasuredScan, measure_scan
from napari_normative.errors import ProbeError
from napari_normative.io.nifti import read_volume

if TYPE_CHECKING:
    import pandas as pd

    from napari_normative.engine.model import NormativeModel
    from napari_normative.engine.stored_model import Progress

NEIGHBOURS = (5, 15)
FEWEST = 2 * NEIGHBOURS[0] + 2


def preservation_of(
    model: NormativeModel,
    paths: Sequence[Path],
    *,
    device: str = "auto",
    progress: Progress | None = None,
    **reading: Any,
) -> pd.DataFrame:
    """Read scans and return their :func:`preservation_table`.

    Parameters
    ----------
    model : NormativeModel
    paths : sequence of Path
    device : str
    progress : callable, optional
    **reading
        As for :func:`read_volume`.

    Raises
    ------
    NormativeError
        As for a detection; ``PRB-006``.
    """
    _require_enough(len(paths))
    tell, seen = progress or (lambda step, fraction: None), []
    for n, path in enumerate(paths):
        tell(path.name, n / len(paths))
        seen.append(measure_scan(model, read_volume(path, **reading), device=device))
    return preservation_table(model, seen, device=device)


def preservation_table(
    model: NormativeModel,
    scans: Sequence[MeasuredScan],
    *,
    neighbours: Sequence[int] = NEIGHBOURS,
    device: str = "auto",
) -> pd.DataFrame:
    """Return trustworthiness and continuity of latents and of components of voxels.

    True neighbours are those in the prepared voxels inside the template's mask (Euclidean).
    Components are those of these very scans, so that they are at their best.

    Parameters
    ----------
    model : NormativeModel
    scans : sequence of MeasuredScan
    neighbours : sequence of int
        Left out where there are not more than twice as many scans.
    device : str

    Returns
    -------
    DataFrame
        ``space``, ``numbers``, ``neighbours``, ``trustworthiness``, ``continuity``.

    Raises
    ------
    ProbeError
        ``PRB-006`` for fewer than twelve scans.
    """
    import pandas as pd  # late: it takes a third of a second

    _require_enough(len(scans))
    everybody = np.arange(len(scans))
    products = inner_products(np.stack([scan.voxels for scan in scans]))
    latents = np.stack([scan.latent for scan in scans])
    # All components together keep every distance of the voxels.
    true = components(products, len(scans)).learn(everybody, everybody)[0]
    size = latents.shape[1]
    spaces = {
        "latents": latents.astype(np.float64),
        "latents, principal axes of the map": principal_axes(model, device=device).place(latents),
        "voxel components": components(products, size).learn(everybody, everybody)[0],
    }
    rows: list[dict[str, Any]] = []
    for name, shown in spaces.items():
        for count in neighbours:
            if 2 * count >= len(scans):
                continue
            found = preserved(true, shown, count)
            rows.append(
                {
                    "space": name,
                    "numbers": shown.shape[1],
                    "neighbours": count,
                    "trustworthiness": found.trustworthiness,
                    "continuity": found.continuity,
                }
            )
    return pd.DataFrame(rows)


def _require_enough(scans: int) -> None:
    if scans < FEWEST:
        raise ProbeError(
            "PRB-006",
            f"{scans} scans are too few for neighbourhoods, {FEWEST} are needed",
            "Add scans.",
            consequence="Neighbourhoods were not compared.",
        )
