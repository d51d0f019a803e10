"""Who lies nearest to a scan among other scans, or among the people of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_normative.core.latent import SAME
from napari_normative.errors import ModelFileError

if TYPE_CHECKING:
    from napari_normative.engine.encode import Latents
    from napari_normative.engine.latent_model import LatentModel
    from napari_normative.volume import FloatArray


@dataclass(frozen=True)
class Neighbour:
    """Somebody near a scan.

    Attributes
    ----------
    distance : float
        Mahalanobis, over the root of the number of latents: two draws from the cohort are
        about 1.4 apart.
    name : str
        Of the file; of the model's people what they are.
    itself : bool
        The same person: the same file, or latents nearer than ``SAME``.
    """

    distance: float
    name: str
    itself: bool

    def facts(self) -> dict[str, Any]:
        """Return it by name, JSON-ready."""
        return {"name": self.name, "distance": round(self.distance, 4), "itself": self.itself}


def neighbours_among(
    model: LatentModel,
    latent: FloatArray,
    among: Sequence[Latents],
    count: int,
    *,
    digest: str = "",
) -> list[Neighbour]:
    """Return the nearest of scans that were encoded; the person's own scans are marked.

    Parameters
    ----------
    model : LatentModel
    latent : float32 array, shape (Z,)
    among : sequence of Latents
        Those without figures are left out.
    count : int
        How many; the person's own scans come on top.
    digest : str
        SHA-256 of the scan's file, if it has one.
    """
    placed = [(row, row.place) for row in among if row.place is not None]
    if not placed:
        return []
    far = model.posterior.apart(latent, np.stack([place.latent for _, place in placed])).tolist()
    found = [
        Neighbour(d, row.path.name, d < SAME or (bool(digest) and row.digest == digest))
        for (row, _), d in zip(placed, far, strict=True)
    ]
    return _nearest(found, count)


def neighbours_in_model(model: LatentModel, latent: FloatArray, count: int) -> list[Neighbour]:
    """Return the nearest of the healthy people that the model file holds, who have no names.

    Raises
    ------
    ModelFileError
        ``MOD-050`` when the file was written without them.
    """
    if model.people is None:
        raise ModelFileError(
            "MOD-050",
            "the model file holds nobody's latents (it was trained with --forget-people)",
            "Name scans to search among (--among).",
            subject=model.card.name,
            consequence="Nobody was looked for.",
        )
    far = model.posterior.apart(latent, model.people.latents).tolist()
    found = [
        Neighbour(d, f"person of the {'calibration' if unseen else 'training'} cohort", d < SAME)
        for d, unseen in zip(far, model.people.unseen.tolist(), strict=True)
    ]
    return _nearest(found, count)


def _nearest(found: list[Neighbour], count: int) -> list[Neighbour]:
    ordered = sorted(found, key=lambda n: n.distance)
    own = [n for n in ordered if n.itself]
    return [*own, *[n for n in ordered if not n.itself][:count]]
