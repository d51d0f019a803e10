"""Why a place is a candidate: what was expected there, what moves it, who is like that.

Everything lies on the model's grid, in model units (1 is about the cohort's median), and in
the scan's contrast: reconstructions have been fitted to it first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_normative.core.calibration import Calibration
from napari_normative.core.latent import SAME, AggregatedPosterior, People
from napari_normative.core.residual import smooth_inside
from napari_normative.core.score import ScoreConfig
from napari_normative.volume import FloatArray, Mask

AXES = ("left to right", "back to front", "bottom to top")
"""Names of the axes of the model's grid, from negative to positive mm."""

REACH_MM = 32.0
"""How far profiles go to either side of the candidate's centre."""

BAND = 2.0
"""Half width of the band, in SD of healthy residuals."""


@dataclass(frozen=True)
class Profile:
    """Intensities along one axis through a candidate's centre.

    Attributes
    ----------
    axis : str
        One of ``AXES``.
    offset_mm : tuple of float
        From the centre, in the model's space; rising.
    observed, expected, low, high : tuple of float or None
        Scan, reconstruction, and the band in which healthy scans mostly lie; None outside the
        foreground, or where no healthy statistics are known.
    inside : tuple of bool
        Whether the voxel belongs to the candidate.
    """

    axis: str
    offset_mm: tuple[float, ...]
    observed: tuple[float | None, ...]
    expected: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    inside: tuple[bool, ...]


@dataclass(frozen=True)
class Effect:
    """A latent direction, and what it does to the expectation inside a candidate.

    Attributes
    ----------
    index : int
        Entry of the latent, from 0.
    effect_per_sd : float
        Change of the mean reconstruction inside the candidate for one SD of the cohort along
        the direction; model units, first order.
    coordinate_sd : float
        Where the scan lies along it, in SD of the cohort from its mean.
    """

    index: int
    effect_per_sd: float
    coordinate_sd: float

    @property
    def contribution(self) -> float:
        """What the scan's own place on the direction did to the expectation, first order."""
        return self.effect_per_sd * self.coordinate_sd


@dataclass(frozen=True)
class Neighbour:
    """A healthy person of the model's cohort that resembles the scan.

    Attributes
    ----------
    person : int
        Row in :class:`~napari_normative.core.latent.People`, from 0; no name is known.
    distance : float
        Mahalanobis distance over the square root of the latent's size; two people drawn from
        the cohort are about 1.4 apart.
    unseen : bool
        A calibration person; otherwise the network was trained on the person.
    same : bool
        So near that it is the scanned person's own scan.
    mean, sd : float
        Of the decoded intensity inside the candidate, model units.
    """

    person: int
    distance: float
    unseen: bool
    same: bool
    mean: float
    sd: float


@dataclass(frozen=True)
class Explanation:
    """Why a place is a candidate.

    Attributes
    ----------
    candidate : str
        Its id.
    label, voxels : int
        Its label, and its size on the model's grid.
    observed_mean, expected_mean : float
        Inside the candidate, model units.
    observed_sd, expected_sd : float
        Over its voxels.
    profiles : tuple of 3 Profile
    directions : tuple of Effect
        Largest effect first; empty where the model has no global latent, or one without effect.
    neighbours : tuple of Neighbour or None
        Nearest first; None for a model that does not hold its people.
    """

    candidate: str
    label: int
    voxels: int
    observed_mean: float
    observed_sd: float
    expected_mean: float
    expected_sd: float
    profiles: tuple[Profile, ...]
    directions: tuple[Effect, ...]
    neighbours: tuple[Neighbour, ...] | None

    @property
    def neighbours_mean(self) -> float | None:
        """Mean over the neighbours, without the scanned person; None if there are none."""
        means = [n.mean for n in self.neighbours or () if not n.same]
        return float(np.mean(means)) if means else None

    @property
    def neighbours_sd(self) -> float | None:
        """SD over the neighbours' means, without the scanned person; None for fewer than two."""
        means = [n.mean for n in self.neighbours or () if not n.same]
        return float(np.std(means, ddof=1)) if len(means) > 1 else None

    def sentence(self) -> str:
        """Return the essence in a sentence or two, for people."""
        change = 100 * (self.observed_mean / self.expected_mean - 1) if self.expected_mean else 0.0
        word = "brighter" if change > 0 else "darker"
        text = (
            f"{abs(change):.0f} % {word} than the model expects here "
            f"({self.observed_mean:.2f} against {self.expected_mean:.2f})"
        )
        mean, sd = self.neighbours_mean, self.neighbours_sd
        if mean is None or sd is None:
            return f"{text}."
        others = sum(not n.same for n in self.neighbours or ())
        return f"{text}; the {others} most similar healthy people have {mean:.2f} ± {sd:.3f}."

    def record(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        made = dataclasses.asdict(self)
        made["neighbours_mean"], made["neighbours_sd"] = self.neighbours_mean, self.neighbours_sd
        for row, direction in zip(made["directions"], self.directions, strict=True):
            row["contribution"] = direction.contribution
        return made


def centre_of(region: Mask) -> tuple[int, int, int]:
    """Return the voxel of a region that is nearest to its centre of mass."""
    points = np.argwhere(region)
    off = points - points.mean(axis=0)
    i, j, k = points[(off**2).sum(axis=1).argmin()]
    return int(i), int(j), int(k)


def profiles(
    image: FloatArray,
    expected: FloatArray,
    mask: Mask,
    region: Mask,
    calibration: Calibration,
    score: ScoreConfig,
    spacing_mm: float,
) -> tuple[Profile, ...]:
    """Return the profiles along the three axes through a candidate's centre.

    The healthy statistics belong to residuals that are smoothed and that forgive small
    displacements, so a raw profile would leave their band at every fold of the cortex. Scan and
    reconstruction are smoothed as much as that forgives: then 95 to 98 % of the scored voxels
    of unseen healthy scans of a known scanner lie in the band.

    Parameters
    ----------
    image, expected : float32 array, shape (I, J, K)
        Prepared scan, and reconstruction after the contrast fit.
    mask, region : bool array, shape (I, J, K)
        Foreground; the candidate.
    calibration : Calibration
    score : ScoreConfig
    spacing_mm : float
    """
    sigma = max(score.scales_mm[0], score.tolerance_mm / 2) / spacing_mm
    seen, made = smooth_inside(image, mask, sigma), smooth_inside(expected, mask, sigma)
    usual, spread = made + calibration.mean[0], BAND * calibration.sd[0]
    known = mask & (calibration.sd[0] > 0)
    centre = centre_of(region)
    reach = int(REACH_MM / spacing_mm)
    found = []
    for axis, name in enumerate(AXES):
        steps = [s for s in range(-reach, reach + 1) if 0 <= centre[axis] + s < region.shape[axis]]
        line: tuple[Any, ...] = tuple(
            slice(centre[axis] + steps[0], centre[axis] + steps[-1] + 1) if a == axis else c
            for a, c in enumerate(centre)
        )
        found.append(
            Profile(
                axis=name,
                offset_mm=tuple(s * spacing_mm for s in steps),
                observed=_where(seen[line], mask[line]),
                expected=_where(made[line], mask[line]),
                low=_where((usual - spread)[line], known[line]),
                high=_where((usual + spread)[line], known[line]),
                inside=tuple(bool(v) for v in region[line]),
            )
        )
    return tuple(found)


def strongest_directions(
    gradient: NDArray[np.floating], latent: FloatArray, posterior: AggregatedPosterior, count: int
) -> tuple[Effect, ...]:
    """Return the directions that move the expectation most, largest effect first.

    Parameters
    ----------
    gradient : float array, shape (Z,)
        Of the mean reconstruction inside the candidate, per unit of each latent.
    latent : float array, shape (Z,)
        The scan's.
    posterior : AggregatedPosterior
    count : int
        At most so many; those without any effect are left out.
    """
    sd = posterior.sd()
    effects = gradient * sd
    places = (latent - posterior.mean) / sd
    order = np.argsort(-np.abs(effects), kind="stable")[:count]
    return tuple(Effect(int(d), float(effects[d]), float(places[d])) for d in order if effects[d])


def nearest_people(
    latent: FloatArray, people: People, posterior: AggregatedPosterior, count: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return rows and distances of the healthy people nearest to a latent, nearest first.

    Parameters
    ----------
    latent : float array, shape (Z,)
    people : People
    posterior : AggregatedPosterior
        Whose covariance makes directions comparable (Mahalanobis).
    count : int
        At most so many, not counting the scanned person, who comes first if in the cohort.
    """
    distance = posterior.apart(latent, people.latents)
    order = np.argsort(distance, kind="stable")
    order = order[: count + int((distance < SAME).sum())]
    return order, distance[order]


def inside_mean_sd(image: FloatArray, region: Mask) -> tuple[float, float]:
    """Return mean and SD of an image inside a region."""
    values = image[region].astype(np.float64)
    return float(values.mean()), float(values.std())


def _where(values: Sequence[float] | FloatArray, known: Mask) -> tuple[float | None, ...]:
    return tuple(float(v) if k else None for v, k in zip(values, known, strict=True))
